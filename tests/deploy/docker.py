"""Checks deploy/docker as far as a machine without a container engine can.

The Dockerfile by hadolint; the compose file by a reader that refuses what the specification does not
know; and an image of the static program, assembled by umoci with the user, entry point and ports of
the Dockerfile's last stage, which runc runs as Kubernetes would: read-only, without capabilities.

usage: docker.py MODULES [PROGRAM]   (MODULES is the folder of requirements-docker.txt)
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from compose_spec.compose_spec import PyCompose
from dockerfile_parse import DockerfileParser

ROOT = Path(__file__).resolve().parent.parent.parent
DOCKERFILE = ROOT / "deploy/docker/Dockerfile"
COMPOSE = ROOT / "deploy/docker/compose.yaml"
# Of a container whose program only says something about itself.
TIMEOUT_S = 60

# What must be refused, so that what is not refused means something.
MISSPELT = [("stop_grace_period:", "stop_grace_periode:"), ("service_healthy", "service_healty"),
            ("cap_drop: [ALL]", "cap_drop: ALL"), ("restart: unless-stopped", "restart: alway")]


def lint(modules: Path) -> None:
    hadolint = modules / "bin/hadolint"
    ended = subprocess.run([hadolint, "--no-color", DOCKERFILE], capture_output=True, text=True, timeout=TIMEOUT_S)
    assert ended.returncode == 0, f"hadolint:\n{ended.stdout}{ended.stderr}"


def compose() -> int:
    def read(text: str) -> PyCompose:
        # Merge keys are YAML's: the reader sees what they come to.
        return PyCompose.from_json(json.dumps(yaml.safe_load(text)))

    text = COMPOSE.read_text()
    services = read(text).services
    for right, wrong in MISSPELT:
        assert right in text, f"{COMPOSE} has no {right!r}"
        try:
            read(text.replace(right, wrong))
        except ValueError:
            continue
        raise SystemExit(f"not refused: {wrong}")
    return len(services)


def last_stage() -> dict:
    """What the image runs, by the Dockerfile's last stage."""
    stage = {"labels": {}}
    for line in DockerfileParser(str(DOCKERFILE)).structure:
        name, value = line["instruction"], line["value"]
        if name == "FROM":
            stage = {"labels": {}}
        elif name == "COPY":
            [stage["program"]] = value.split()[-1:]
        elif name in {"USER", "EXPOSE"}:
            stage[name] = value
        elif name in {"ENTRYPOINT", "CMD"}:
            stage[name] = json.loads(value)
    stage["labels"] = DockerfileParser(str(DOCKERFILE)).labels
    return stage


def assemble(folder: Path, program: Path, stage: dict) -> Path:
    """The bundle of an image with nothing in it but the program and what distroless has for it."""
    files = folder / "files"
    target = files / stage["program"].lstrip("/")
    target.parent.mkdir(parents=True)
    shutil.copy(program, target)
    target.chmod(0o755)
    (files / "etc").mkdir()
    user = stage["USER"].split(":")[0]
    (files / "etc/passwd").write_text(f"nonroot:x:{user}:{user}:nonroot:/:/sbin/nologin\n")
    (files / "etc/group").write_text(f"nonroot:x:{user}:\n")
    (files / "tmp").mkdir()
    layout = folder / "layout"
    image = ["--image", f"{layout}:planfleet"]
    run("umoci", "init", "--layout", layout)
    run("umoci", "new", *image)
    run("umoci", "insert", *image, files, "/")
    settings = [f"--config.user={stage['USER']}", f"--config.workingdir=/"]
    settings += [f"--config.entrypoint={word}" for word in stage["ENTRYPOINT"]]
    settings += [f"--config.cmd={word}" for word in stage["CMD"]]
    settings += [f"--config.exposedports={port}/tcp" for port in stage["EXPOSE"].split()]
    settings += [f"--config.label={key}={value}" for key, value in stage["labels"].items()]
    run("umoci", "config", *image, *settings)
    bundle = folder / "bundle"
    run("umoci", "unpack", *image, bundle)
    return bundle


def contained(bundle: Path, arguments: list[str]) -> str:
    """What the program says in a container of the bundle, fenced in as a pod of the chart is."""
    file = bundle / "config.json"
    config = json.loads(file.read_text())
    process = config["process"]
    process["args"] = process["args"][:1] + arguments
    process["terminal"] = False
    process["noNewPrivileges"] = True
    process["capabilities"] = {kind: [] for kind in process["capabilities"]}
    config["root"]["readonly"] = True
    file.write_text(json.dumps(config))
    name = f"planfleet-{os.getpid()}"
    return run("runc", "run", "--bundle", bundle, name)


def run(*command: object) -> str:
    words = [str(word) for word in command]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert ended.returncode == 0, f"{' '.join(words)}: {ended.stdout}{ended.stderr}"
    return ended.stdout


def image(program: Path) -> str:
    missing = [tool for tool in ("umoci", "runc") if not shutil.which(tool)]
    if missing:
        return f"no image without {' and '.join(missing)}"
    if os.getuid() != 0:
        return "no image but by root"
    stage = last_stage()
    with tempfile.TemporaryDirectory() as folder:
        bundle = assemble(Path(folder), program, stage)
        config = json.loads((bundle / "config.json").read_text())
        user = config["process"]["user"]
        assert f"{user['uid']}:{user['gid']}" == stage["USER"], user
        assert config["process"]["args"] == stage["ENTRYPOINT"] + stage["CMD"], config["process"]["args"]
        try:
            help_text = contained(bundle, stage["CMD"])
        except AssertionError as error:
            # A machine that is a container itself: the program has not been started.
            if "runc create failed" in str(error):
                return f"an image, and no rights to run it: {error}"
            raise
        assert "Usage: planfleet" in help_text, help_text
        return f"{contained(bundle, ['--version']).strip()} in an image as {stage['USER']}"


def main() -> None:
    modules, program = Path(sys.argv[1]), sys.argv[2:]
    lint(modules)
    services = compose()
    told = image(Path(program[0])) if program else "no image"
    print(f"docker: Dockerfile is clean; compose: {services} services; {told}")


if __name__ == "__main__":
    main()
