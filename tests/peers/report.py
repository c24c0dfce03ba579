"""Writes `target/bench/peers.json`, and prints the rows beside planfleet's own."""

import json
import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "target" / "bench"
HEAD = [
    "engine", "shape", "runs", "steps/s", "p50 ms", "p99 ms", "all in s", "CPU ms/step: server",
    "workers", "client", "RSS MB", "others %", "planfleet is", "note",
]
FIGURES = [
    "steps_per_s", "p50_ms", "p99_ms", "makespan_s", "server_cpu_s_per_1k", "worker_cpu_s_per_1k",
    "client_cpu_s_per_1k", "peak_rss_mb",
]


def say(text):
    print(f"peers: {text}", file=sys.stderr, flush=True)


def write(rows):
    BENCH.mkdir(parents=True, exist_ok=True)
    (BENCH / "peers.json").write_text(json.dumps(rows, indent=2) + "\n")


def in_short(row):
    synced = "fsynced" if row["fsync"] else "not fsynced"
    what = f"{row['peer']}, {row['shape']}, {synced}, {row['workload']} x {row['runs']}"
    if row["repeats"] == 0:
        return f"{what}: {row['note']}"
    beside = f"beside {100 * row['others_cpu_share']:.0f} % of others"
    note = f", {row['note']}" if row["note"] else ""
    return f"{what}: {shown(row['steps_per_s'])} steps/s, p50 {shown(row['p50_ms'])} ms, {beside}{note}"


def print_tables(rows):
    """A table for each way to write and each workload: like is beside like."""
    for fsync in [False, True]:
        for workload in dict.fromkeys(row["workload"] for row in rows):
            alike = [row for row in rows if (row["fsync"], row["workload"]) == (fsync, workload)]
            if alike:
                order = "fsynced before they are acknowledged" if fsync else "acknowledged before any fsync"
                print(f"\n{workload}, writes {order}")
                print_table(alike, own_rows(workload, fsync))
    if not any(own_rows(row["workload"], row["fsync"]) for row in rows):
        print("\nNothing of planfleet's own to set beside: `planfleet bench` writes it.")
    print("\nDurability:")
    for said in dict.fromkeys(f"{row['peer']} {row['version']}: {row['durability']}" for row in rows):
        print(f"  {said}")


def print_table(rows, own):
    ordered = sorted([*own, *rows], key=lambda row: row["runs"])
    lines = [HEAD, *(cells(row, nearest(own, row["runs"])) for row in ordered)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    for line in lines:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


def cells(row, own):
    figures = [shown(row.get(name)) for name in FIGURES]
    beside = row.get("others_cpu_share")
    others = "-" if beside is None else f"{100 * beside:.0f}"
    ends = [others, ratio(row, own), row["note"] or ""]
    return [row["peer"], row["shape"], str(row["runs"]), *figures, *ends]


def ratio(row, own):
    """How many times better planfleet's figure is: of latency where runs come one at a time."""
    if own is None or row["peer"] == own["peer"]:
        return "-"
    if row["workload"] == "idle":
        more, less = row["p50_ms"], own["p50_ms"]
    else:
        more, less = own["steps_per_s"], row["steps_per_s"]
    return f"{more / less:.1f} x" if more and less else "-"


def nearest(own, runs):
    return min(own, key=lambda row: abs(row["runs"] - runs), default=None)


def own_rows(workload, fsync):
    """What `planfleet bench` last wrote of a workload, on one broker that syncs likewise."""
    file = BENCH / f"{workload}.json"
    if not file.is_file():
        return []
    alike = [
        row for row in json.loads(file.read_text())
        if row["replicas"] == 1 and (row["sync_interval"] == "always") == fsync
    ]
    return [
        {
            **row, "peer": "planfleet", "shape": "workers", "makespan_s": None, "note": None,
            "worker_cpu_s_per_1k": row.get("engine_cpu_s_per_1k"),
        }
        for row in alike
    ]


def shown(figure):
    if figure is None:
        return "-"
    digits = 0 if abs(figure) >= 100 else 1 if abs(figure) >= 10 else 2 if abs(figure) >= 0.1 else 3
    return f"{figure:.{digits}f}"
