"""Processes of one measurement: started on free loopback ports, with their data in a temporary
folder, counted, and all ended at the end, whatever happens."""

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
ENDING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
SAMPLE_EVERY_S = 0.5
START_LIMIT_S = 60
STOP_LIMIT_S = 5

_libc = ctypes.CDLL(None, use_errno=True)


class Fault(Exception):
    """Why a measurement has no numbers."""


def adopt_orphans():
    """Descendants whose parent has gone become ours, so that none can get away."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Stage:
    """What is started in it is a "server", a "worker" or a "client"."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="planfleet-peers-"))
        # PostgreSQL's own user has to pass through; everything below is closed by its owner.
        self.folder.chmod(0o711)
        self.ledger = self.folder / "ledger"
        self._children = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # A signal that comes now waits, or it would leave the rest running.
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        for _, child, _ in reversed(self._children):
            end(child)
        end_orphans()
        shutil.rmtree(self.folder, ignore_errors=True)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)

    def start(self, role, name, argv, env=None, user=None, piped=False):
        log = self.folder / f"{name}.log"
        with open(log, "wb") as errors:
            child = subprocess.Popen(
                [str(word) for word in argv],
                env={**os.environ, "PEERS_LEDGER": str(self.ledger), **(env or {})},
                cwd=self.folder,
                user=user,
                stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else errors,
                stderr=errors,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        self._children.append((role, child, log))
        return child

    def wait_for(self, what, ready):
        """Until `ready()` is true: it may fail with an OSError while it is not."""
        give_up = time.monotonic() + START_LIMIT_S
        while time.monotonic() < give_up:
            self.check_children()
            with contextlib.suppress(OSError):
                if ready():
                    return
            time.sleep(0.05)
        raise Fault(f"{what} was not ready after {START_LIMIT_S} s")

    def wait_for_port(self, what, port):
        def answers():
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return True

        self.wait_for(what, answers)

    def check_children(self):
        for _, child, log in self._children:
            if child.poll() is not None:
                raise Fault(f"{log.stem} ended with {child.returncode}: {last_line(log)}")

    def log_tails(self):
        return {log.stem: last_line(log) for _, _, log in self._children}

    def cpu_s(self):
        """CPU seconds so far by role, those of ended children included."""
        return {role: sum(map(_cpu_s, pids)) for role, pids in self._trees().items()}

    def pss_mb(self):
        """Memory of servers and workers, shared pages counted once."""
        trees = self._trees()
        pids = trees.get("server", []) + trees.get("worker", [])
        return sum(map(_pss_kb, pids)) / 1024

    def _trees(self):
        parents, trees = parent_table(), {}
        for role, child, _ in self._children:
            trees.setdefault(role, []).extend([child.pid, *descendants(child.pid, parents)])
        return trees


class Client:
    """A process that takes orders: a line of JSON each way."""

    def __init__(self, stage, name, argv, env, role="client"):
        self._stage = stage
        self._child = stage.start(role, name, argv, env, piped=True)
        self._received = b""
        self._answer(START_LIMIT_S)

    def ask(self, order, limit_s):
        self._child.stdin.write(json.dumps(order).encode() + b"\n")
        self._child.stdin.flush()
        return self._answer(limit_s)

    def _answer(self, limit_s):
        give_up = time.monotonic() + limit_s
        output = self._child.stdout.fileno()
        while b"\n" not in self._received:
            if time.monotonic() > give_up:
                raise Fault(f"not done after {limit_s} s, ended")
            if select.select([output], [], [], 0.5)[0]:
                if not (read := os.read(output, 1 << 20)):
                    end(self._child)
                self._received += read
            self._stage.check_children()
        line, self._received = self._received.split(b"\n", 1)
        return json.loads(line)


@contextlib.contextmanager
def peak_pss_mb(stage):
    """Samples memory until the block ends; yields a list that then has the peak as its one item."""
    peak, done = [0.0], threading.Event()

    def sample():
        while not done.is_set():
            peak[0] = max(peak[0], stage.pss_mb())
            done.wait(SAMPLE_EVERY_S)

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield peak
    finally:
        done.set()
        sampler.join()


def end(child):
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def end_orphans():
    """Ends what children have left behind: adopted, it is ours, and nothing else is."""
    give_up = time.monotonic() + STOP_LIMIT_S
    while (left := descendants(os.getpid())) and time.monotonic() < give_up:
        for pid in left:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def last_line(log):
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else "it said nothing"


def parent_table():
    return {pid: int(fields[1]) for pid, fields in _all_stats()}


def descendants(pid, parents=None):
    parents = parent_table() if parents is None else parents
    children = [child for child, parent in parents.items() if parent == pid]
    return children + [one for child in children for one in descendants(child, parents)]


def _all_stats():
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := _stat(entry)):
            yield int(entry), fields


def _stat(pid):
    """The fields of /proc/PID/stat from the third on: the second may hold spaces."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _cpu_s(pid):
    fields = _stat(pid)
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def _pss_kb(pid):
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
    return next((int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")), 0)


def machine_busy_s():
    """CPU seconds of the whole machine so far: user, nice, system and interrupts."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    return sum(int(fields[n]) for n in [0, 1, 2, 5, 6]) / os.sysconf("SC_CLK_TCK")


def _die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
