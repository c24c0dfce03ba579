"""The DBOS app: `dbos_app.py in-process` runs the workflows that it is ordered itself,
`dbos_app.py worker ID` takes them and their steps from queues, and `dbos_app.py client` fills
those queues."""

import asyncio
import os
import sys
from pathlib import Path

import workload
from dbos import DBOS, DBOSClient

URL = os.environ["PEERS_POSTGRES"]
# Queues and answers are polled for, each second by default ("Queues" in the reference: lower
# for latency).
POLL_S = 0.02
# A worker takes no more at once than it gets through between two polls of a busy machine.
RUNS_AT_ONCE, STEPS_AT_ONCE = 50, 100
# DBOS's own default, which the client would not take by itself.
POOL = 20


@DBOS.workflow()
async def run_in_process(run, width, text):
    first = await step_root(run, text)
    texts = await asyncio.gather(*(step_branch(run, index, first) for index in range(width)))
    return await step_join(run, list(texts))


@DBOS.step()
async def step_root(run, text):
    return workload.root(run, text)


@DBOS.step()
async def step_branch(run, index, text):
    return workload.branch(run, index, text)


@DBOS.step()
async def step_join(run, texts):
    return workload.join(run, texts)


# A workflow of its own is what DBOS hands to whichever worker has room.
@DBOS.workflow()
async def queued_root(run, text):
    return workload.root(run, text)


@DBOS.workflow()
async def queued_branch(run, index, text):
    return workload.branch(run, index, text)


@DBOS.workflow()
async def queued_join(run, texts):
    return workload.join(run, texts)


@DBOS.workflow()
async def run_on_workers(run, width, text):
    first = await answer(await DBOS.enqueue_workflow_async("steps", queued_root, run, text))
    branches = [
        await DBOS.enqueue_workflow_async("steps", queued_branch, run, index, first)
        for index in range(width)
    ]
    texts = await asyncio.gather(*map(answer, branches))
    return await answer(await DBOS.enqueue_workflow_async("steps", queued_join, run, list(texts)))


def answer(handle):
    return handle.get_result(polling_interval_sec=POLL_S)


def launch(executor):
    DBOS(config={
        "name": "peers", "system_database_url": URL, "executor_id": executor,
        "application_version": "1", "sys_db_pool_size": POOL, "max_executor_threads": 32,
        "log_level": "WARNING",
    })
    DBOS.launch()


async def in_process():
    launch("1")

    async def run_one(run, width, text):
        return await (await DBOS.start_workflow_async(run_in_process, run, width, text)).get_result()

    await workload.take_orders_async(run_one)


async def worker(executor):
    launch(executor)
    for queue, at_once in [("runs", RUNS_AT_ONCE), ("steps", STEPS_AT_ONCE)]:
        await DBOS.register_queue_async(
            queue, worker_concurrency=at_once, polling_interval_sec=POLL_S
        )
    Path(f"worker-{executor}-ready").touch()
    await asyncio.Event().wait()


async def client():
    enqueuer = DBOSClient(system_database_url=URL, system_database_pool_size=POOL)
    options = {"queue_name": "runs", "workflow_name": "run_on_workers"}

    async def run_one(run, width, text):
        return await answer(await enqueuer.enqueue_async(options, run, width, text))

    await workload.take_orders_async(run_one)


role, *rest = sys.argv[1:]
asyncio.run({"in-process": in_process, "worker": worker, "client": client}[role](*rest))
