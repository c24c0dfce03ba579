"""The client of the Celery peer."""

import time

import celery
import workload
from celery_app import branch, join, root


def submit(run, width):
    branches = celery.group(branch.s(run, index) for index in range(width))
    return celery.chain(root.s(run, workload.payload(run, 0)), branches, join.s(run)).apply_async()


def carry_out(order):
    answers, latencies_s = {}, []
    runs = range(order["first"], order["first"] + order["runs"])
    started = time.perf_counter()
    for batch in [runs[n : n + order["at_once"]] for n in range(0, len(runs), order["at_once"])]:
        results = {run: followed(run, order["width"], answers, latencies_s) for run in batch}
        for result in results.values():
            result.get()
    return workload.outcome(order, time.perf_counter() - started, latencies_s, answers)


def followed(run, width, answers, latencies_s):
    """Submits a run; its answer is noted when it arrives, whichever run is waited for then."""
    submitted = time.perf_counter()

    def arrived(result):
        latencies_s.append(time.perf_counter() - submitted)
        answers[run] = result.result

    result = submit(run, width)
    result.then(arrived)
    return result


workload.take_orders(carry_out)
