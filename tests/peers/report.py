"""Writes `target/bench/peers.json`, and prints the rows beside planfleet's own."""

import json
import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "target" / "bench"


def say(text):
    print(f"peers: {text}", file=sys.stderr, flush=True)


def write(rows):
    BENCH.mkdir(parents=True, exist_ok=True)
    (BENCH / "peers.json").write_text(json.dumps(rows, indent=2) + "\n")


def line(row):
    return f"{row['peer']} {row['shape']} fsync={row['fsync']} {row['workload']} {row['runs']}: {row['steps_per_s']} steps/s p50 {row['p50_ms']} {row['fault'] or ''}"


def print_tables(rows):
    for row in rows:
        print(json.dumps(row))
