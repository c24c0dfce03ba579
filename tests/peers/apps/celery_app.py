"""The Celery app, its tasks, and its client (`python celery_app.py`)."""

import os
import time

import celery
import workload

app = celery.Celery(broker=os.environ["PEERS_REDIS"], backend=os.environ["PEERS_REDIS"])
app.conf.update(
    # Celery's guide "Optimizing": many short tasks want a large prefetch.
    worker_prefetch_multiplier=64,
    # "Optimizing", "Reserve one task at a time" apart: late acks only where loss must not happen.
    task_acks_late=os.environ["PEERS_ACKS_LATE"] == "yes",
    task_reject_on_worker_lost=os.environ["PEERS_ACKS_LATE"] == "yes",
    # "Configuration": nothing listens to events or needs the names and times of tasks.
    worker_send_task_events=False,
    task_store_errors_even_if_ignored=False,
)


@app.task
def root(run, text):
    return workload.root(run, text)


@app.task
def branch(text, run, index):
    return workload.branch(run, index, text)


@app.task
def join(texts, run):
    return workload.join(run, texts)


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


if __name__ == "__main__":
    workload.take_orders(carry_out)
