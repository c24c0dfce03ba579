"""`make bench-peers`: the workloads of `planfleet bench` on other engines, side by side.

PEERS=restate,celery picks peers, REPEAT=5 repeats each measurement, RUNS=20 bounds the runs of
each workload for a quick look.
"""

import importlib
import json
import os
import signal
import sys

import report
from common import row, workloads_of
from install import Missing
from stage import ENDING, adopt_orphans

PEERS = ["restate", "celery", "dbos", "temporal"]


def main():
    peers, repeats, most_runs = settings()
    adopt_orphans()
    for ending in ENDING:
        signal.signal(ending, lambda *_: sys.exit(1))
    rows = []
    for peer in peers:
        rows += rows_of(peer, repeats, most_runs)
        report.write(rows)
    report.print_tables(rows)


def settings():
    peers = [name for name in os.environ.get("PEERS", "").split(",") if name] or PEERS
    if unknown := [name for name in peers if name not in PEERS]:
        sys.exit(f"bench-peers: no peer {', '.join(unknown)}: there are {', '.join(PEERS)}")
    return peers, int(os.environ.get("REPEAT") or 1), int(os.environ.get("RUNS") or 10**9)


def rows_of(peer, repeats, most_runs):
    try:
        setups = list(importlib.import_module(f"peer_{peer}").setups())
    except Missing as why:
        report.say(f"{peer} is skipped: {why}")
        return []
    rows = []
    for setup in setups:
        for workload, note in workloads_of(setup, most_runs):
            rows.append(row(setup, workload, repeats, note))
            report.say(report.in_short(rows[-1]))
    return rows


if __name__ == "__main__":
    main()
