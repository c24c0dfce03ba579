"""What a step does, which answer is right, and how a client takes orders, for the peers in Python.

Imported by programs that run under a peer, never by the harness; `workload.mjs` says the same
for Node. An order is one line of JSON on stdin, its outcome one line on stdout.
"""

import asyncio
import json
import os
import sys
import time

PAYLOAD_BYTES = 200

_ledger = None


def payload(run, number):
    return f"{run}:{number}:".ljust(PAYLOAD_BYTES, "x")


def number_of(text):
    return int(text.split(":", 2)[1])


def step(run, name, plus, inputs):
    """The no-op: adds its inputs up, and notes in the ledger that it ran."""
    global _ledger
    if _ledger is None:
        _ledger = os.open(os.environ["PEERS_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(_ledger, f"{run} {name}\n".encode())
    return payload(run, plus + sum(map(number_of, inputs)))


def root(run, text):
    return step(run, "root", 1, [text])


def branch(run, index, text):
    return step(run, str(index), index, [text])


def join(run, texts):
    return step(run, "join", 0, texts)


def right_answer(run, width):
    return payload(run, sum(1 + index for index in range(width)))


def outcome(order, seconds, latencies_s, answers):
    runs = range(order["first"], order["first"] + order["runs"])
    wrong = sum(answers[run] != right_answer(run, order["width"]) for run in runs)
    return {"makespan_s": seconds, "latencies_ms": [s * 1000 for s in latencies_s], "wrong": wrong}


def take_orders(carry_out):
    """Says it is ready, then carries orders out until stdin ends."""
    print('"ready"', flush=True)
    for line in sys.stdin:
        print(json.dumps(carry_out(json.loads(line))), flush=True)


async def take_orders_async(run_one):
    """The same for an asyncio client: `run_one(run, width, text)` is one run, submit to answer."""
    print('"ready"', flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(await _carry_out(run_one, json.loads(line))), flush=True)


async def _carry_out(run_one, order):
    answers, latencies_s = {}, []
    places = asyncio.Semaphore(order["at_once"])

    async def timed(run):
        async with places:
            submitted = time.perf_counter()
            answers[run] = await run_one(run, order["width"], payload(run, 0))
            latencies_s.append(time.perf_counter() - submitted)

    started = time.perf_counter()
    await asyncio.gather(*(timed(order["first"] + n) for n in range(order["runs"])))
    return outcome(order, time.perf_counter() - started, latencies_s, answers)
