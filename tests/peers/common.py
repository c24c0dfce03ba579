"""The workloads, what a peer is, and how one workload is measured on one of them."""

import math
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, replace
from statistics import median
from typing import Callable

from stage import Client, Fault, Stage, machine_busy_s, peak_pss_mb

LIMIT_S = 120
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
# What a fresh start gets before it is measured, as much as `planfleet bench` gives.
WARM_UP = Workload("warm-up", 50, 8)
WIDE_WARM_UP = Workload("warm-up", 1, 1000)

FIGURES = [
    "steps_per_s", "p50_ms", "p99_ms", "makespan_s", "server_cpu_s_per_1k", "worker_cpu_s_per_1k",
    "client_cpu_s_per_1k", "peak_rss_mb", "others_cpu_share",
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
    # Where more would take minutes.
    most_runs: int = ALL_AT_ONCE


def workloads_of(setup, most_runs):
    """The workloads of one set-up: `most_runs` bounds their runs, for a quick look."""
    wanted = {}
    for workload in WORKLOADS:
        runs = min(workload.runs, setup.most_runs)
        note = "" if runs == workload.runs else f"{workload.runs:,} runs would take minutes"
        at_once = min(workload.at_once, setup.at_once)
        wanted[replace(workload, runs=min(runs, most_runs), at_once=at_once)] = note
    return wanted.items()


def row(setup, workload, repeats, note=""):
    """One row: medians of `repeats` measurements, or the fault that ended them."""
    samples, notes = [], [note]
    while len(samples) < repeats:
        try:
            sample, note = measure(setup, workload)
        except Fault as fault:
            notes.append(str(fault))
            break
        samples.append(sample)
        notes.append(note)
    shown = {
        "peer": setup.peer, "version": setup.version, "shape": setup.shape,
        "durability": setup.durability, "fsync": setup.fsync,
        "workload": workload.name, "runs": workload.runs,
    }
    for name in FIGURES:
        values = [sample[name] for sample in samples if sample.get(name) is not None]
        shown[name] = median(values) if values else None
        if len(values) > 1:
            shown[f"{name}_min"], shown[f"{name}_max"] = min(values), max(values)
    note = "; ".join(dict.fromkeys(filter(None, notes)))
    return {**shown, "repeats": len(samples), "note": note or None}


def measure(setup, workload):
    with Stage() as stage:
        try:
            client = setup.start(stage)
            warm_up = WIDE_WARM_UP if workload.width > 8 else WARM_UP
            client.ask(order(1, replace(warm_up, at_once=setup.at_once)), LIMIT_S)
            return measure_warm(stage, client, workload, 1 + warm_up.runs)
        except (Fault, OSError, ValueError, subprocess.SubprocessError) as trouble:
            for name, line in stage.log_tails().items():
                print(f"peers:   {name} said last: {line}", file=sys.stderr)
            raise Fault(str(trouble)) from trouble


def order(first, workload):
    return {
        "first": first, "runs": workload.runs, "width": workload.width, "at_once": workload.at_once,
    }


def measure_warm(stage, client, workload, first):
    os.truncate(stage.ledger, 0)
    cpu_s, busy_s = stage.cpu_s(), machine_busy_s()
    with peak_pss_mb(stage) as peak:
        told = client.ask(order(first, workload), LIMIT_S)
    spent = {role: total - cpu_s[role] for role, total in stage.cpu_s().items()}
    others = machine_busy_s() - busy_s - sum(spent.values())
    if told["wrong"]:
        raise Fault(f"{told['wrong']} of {workload.runs} answers were wrong")
    latencies = sorted(told["latencies_ms"])
    sample = {
        "steps_per_s": workload.steps / told["makespan_s"],
        "p50_ms": median(latencies),
        "p99_ms": nearest_rank(latencies, 0.99) if len(latencies) >= 100 else None,
        "makespan_s": told["makespan_s"],
        "peak_rss_mb": peak[0],
        "others_cpu_share": max(others, 0) / (told["makespan_s"] * os.cpu_count()),
    }
    for role, used in spent.items():
        sample[f"{role}_cpu_s_per_1k"] = used / workload.steps * 1000
    return sample, ledger_note(stage.ledger, first, workload)


def nearest_rank(ordered, part):
    return ordered[math.ceil(len(ordered) * part) - 1]


def ledger_note(ledger, first, workload):
    """Says so where not each step ran exactly once; a step that never ran is a fault."""
    ran = Counter(ledger.read_text().splitlines())
    names = ["root", "join", *map(str, range(workload.width))]
    due = {f"{first + n} {name}" for n in range(workload.runs) for name in names}
    if ran.keys() != due:
        raise Fault(f"{len(due - ran.keys())} steps never ran, {len(ran.keys() - due)} were not asked for")
    again = sum(ran.values()) - len(due)
    return f"{again} steps ran more than once" if again else None
