"""The workloads, what a peer is, and how one workload is measured on one of them."""

import os
from collections import Counter
from dataclasses import dataclass, field
from statistics import median
from typing import Callable

from stage import Client, Fault, Stage, peak_pss_mb

LIMIT_S = 120
WARM_UP_RUNS = 20
ALL_AT_ONCE = 1_000_000

WORKERS = "workers"
IN_PROCESS = "in-process"


@dataclass(frozen=True)
class Workload:
    """`runs` times: one step, then `width` side by side, then one that joins them."""

    name: str
    runs: int
    width: int
    at_once: int = ALL_AT_ONCE

    @property
    def steps(self):
        return self.runs * (self.width + 2)


WORKLOADS = [
    Workload("diamond-10", 200, 8),
    Workload("diamond-10", 1000, 8),
    Workload("idle", 200, 8, at_once=1),
    Workload("wide-1000", 1, 1000),
]


@dataclass(frozen=True)
class Setup:
    """One way to run a peer. `start` fills a stage and checks that the durability is as said."""

    peer: str
    version: str
    shape: str
    durability: str
    fsync: bool
    start: Callable[[Stage], Client]
    at_once: int = ALL_AT_ONCE
    # Runs of a workload where its own number would take minutes; 0 leaves it out.
    fewer: dict = field(default_factory=dict)


def workloads_of(setup, scale):
    """The workloads of one set-up: `scale` runs at most, for a quick look."""
    wanted = []
    for workload in WORKLOADS:
        runs = setup.fewer.get((workload.name, workload.runs), workload.runs)
        at_once = min(workload.at_once, setup.at_once)
        wanted.append(Workload(workload.name, min(runs, scale), workload.width, at_once))
    return [workload for workload in dict.fromkeys(wanted) if workload.runs]


def row(setup, workload, repeats):
    """One row: medians of `repeats` measurements, or the fault that ended them."""
    measured, fault = [], None
    while len(measured) < repeats and fault is None:
        try:
            measured.append(measure(setup, workload))
        except Fault as trouble:
            fault = str(trouble)
    shown = {
        "peer": setup.peer, "version": setup.version, "shape": setup.shape,
        "durability": setup.durability, "fsync": setup.fsync,
        "workload": workload.name, "runs": workload.runs,
    }
    for name in FIGURES:
        values = [one[name] for one in measured if one[name] is not None]
        shown[name] = median(values) if values else None
        if len(values) > 1:
            shown[f"{name}_min"], shown[f"{name}_max"] = min(values), max(values)
    return {**shown, "repeats": len(measured), "fault": fault or notes(measured)}


FIGURES = [
    "steps_per_s", "p50_ms", "p99_ms", "makespan_s", "server_cpu_s_per_1k",
    "worker_cpu_s_per_1k", "client_cpu_s_per_1k", "peak_rss_mb",
]


def notes(measured):
    return "; ".join(dict.fromkeys(one["note"] for one in measured if one["note"])) or None


def measure(setup, workload):
    with Stage() as stage:
        try:
            client = setup.start(stage)
            client.ask(order(1, WARM_UP_RUNS, 8, setup.at_once), LIMIT_S)
            return measured(stage, client, workload)
        except Fault as trouble:
            tails = "".join(f"\n  {name}: {line}" for name, line in stage.log_tails().items())
            raise Fault(f"{trouble}{tails}") from None


def order(first, runs, width, at_once):
    return {"first": first, "runs": runs, "width": width, "at_once": at_once}


def measured(stage, client, workload):
    first = WARM_UP_RUNS + 1
    os.truncate(stage.ledger, 0)
    before = stage.cpu_s()
    with peak_pss_mb(stage) as peak:
        told = client.ask(order(first, workload.runs, workload.width, workload.at_once), LIMIT_S)
    spent = {role: after - before[role] for role, after in stage.cpu_s().items()}
    if told["wrong"]:
        raise Fault(f"{told['wrong']} of {workload.runs} answers were wrong")
    latencies = sorted(told["latencies_ms"])
    figures = {
        "steps_per_s": workload.steps / told["makespan_s"],
        "p50_ms": median(latencies),
        "p99_ms": latencies[int(len(latencies) * 0.99)] if len(latencies) >= 100 else None,
        "makespan_s": told["makespan_s"],
        "peak_rss_mb": peak[0],
    }
    for role in ["server", "worker", "client"]:
        cpu_s = spent.get(role)
        figures[f"{role}_cpu_s_per_1k"] = None if cpu_s is None else cpu_s / workload.steps * 1000
    return {**figures, "note": ledger_note(stage.ledger, first, workload)}


def ledger_note(ledger, first, workload):
    """Says so where not each step ran exactly once; a step that never ran is a fault."""
    ran = Counter(ledger.read_text().splitlines())
    names = ["root", "join", *map(str, range(workload.width))]
    due = {f"{first + n} {name}" for n in range(workload.runs) for name in names}
    if ran.keys() != due:
        raise Fault(f"{len(due - ran.keys())} steps never ran, {len(ran.keys() - due)} nobody asked for")
    again = sum(ran.values()) - len(due)
    return f"{again} steps ran more than once" if again else None
