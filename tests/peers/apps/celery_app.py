"""The Celery app and its tasks."""

import os

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
