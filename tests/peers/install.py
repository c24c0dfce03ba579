"""Installs a peer's packages into `.tools/peers`, each checked by the hash that its lock pins."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
TOOLS = HERE.parents[1] / ".tools" / "peers"
APPS = HERE / "apps"
INSTALL_LIMIT_S = 900


class Missing(Exception):
    """Why a peer cannot be measured here."""


def python_packages(peer):
    """The peer's Python, with what `locks/PEER.txt` pins; and the folder of its packages."""
    lock = HERE / "locks" / f"{peer}.txt"
    folder = TOOLS / peer / "python"
    _once(folder, [lock], lambda: _make_environment(folder, lock))
    return folder / "bin" / "python", next(folder.glob("lib/python3*/site-packages"))


def node_packages(node, npm):
    """The folder of what `apps/package-lock.json` pins."""
    pins = [APPS / "package.json", APPS / "package-lock.json"]
    folder = TOOLS / "restate" / "node"

    def make():
        folder.mkdir(parents=True)
        for pin in pins:
            shutil.copy(pin, folder)
        # No package's script is run: what is needed is in the packages themselves.
        _run([node, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder)

    _once(folder, pins, make)
    return folder / "node_modules"


def pinned(peer, package):
    lock = (HERE / "locks" / f"{peer}.txt").read_text()
    return re.search(rf"^{re.escape(package)}==(\S+)", lock, re.MULTILINE)[1]


def _once(folder, pins, make):
    """Runs `make` for a folder unless it was made whole from the same pins by the same Python."""
    wanted = hashlib.sha256(sys.version.encode())
    for pin in pins:
        wanted.update(pin.read_bytes())
    stamp = folder / ".made-from"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.is_file() and stamp.read_text() == wanted.hexdigest():
            return
        print(f"peers: installing {folder.parent.name} ({folder.name})", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        make()
        stamp.write_text(wanted.hexdigest())


def _make_environment(folder, lock):
    _run([sys.executable, "-m", "venv", folder], HERE)
    pip = [folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install"]
    checked = ["--quiet", "--require-hashes", "--only-binary", ":all:", "--no-deps"]
    _run([*pip, *checked, "--requirement", lock], HERE)


def _run(argv, folder):
    argv = [str(word) for word in argv]
    path = os.pathsep.join([str(Path(argv[0]).parent), os.environ["PATH"]])
    try:
        subprocess.run(
            argv, cwd=folder, env={**os.environ, "PATH": path}, check=True, timeout=INSTALL_LIMIT_S,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
    except subprocess.CalledProcessError as error:
        said = error.stdout.strip().splitlines() or ["it said nothing"]
        why = next((line for line in said if "error" in line.lower()), said[-1])
        raise Missing(f"{' '.join(argv)} failed: {why[:300]}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{' '.join(argv)}: {error}") from None
