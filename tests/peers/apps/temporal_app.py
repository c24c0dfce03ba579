"""The Temporal workflow, its worker (`temporal_app.py worker ADDRESS`) and its client
(`temporal_app.py client ADDRESS workers|in-process`)."""

import asyncio
import sys
from datetime import timedelta

import workload
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import PollerBehaviorAutoscaling, UnsandboxedWorkflowRunner, Worker

QUEUE = "runs"
# "Activity timeouts": little more than a step can take, since a lost one is seen only then.
STEP_LIMIT = timedelta(seconds=10)


# No step waits for anything, so all run on the event loop: threads would only cost more.
@activity.defn
async def root(run: int, text: str) -> str:
    return workload.root(run, text)


@activity.defn
async def branch(run: int, index: int, text: str) -> str:
    return workload.branch(run, index, text)


@activity.defn
async def join(run: int, texts: list[str]) -> str:
    return workload.join(run, texts)


def of_workers(step, *arguments):
    return workflow.execute_activity(step, args=arguments, start_to_close_timeout=STEP_LIMIT)


def in_process(step, *arguments):
    return workflow.execute_local_activity(step, args=arguments, start_to_close_timeout=STEP_LIMIT)


@workflow.defn
class Run:
    @workflow.run
    async def run(self, run: int, width: int, text: str, shape: str) -> str:
        execute = of_workers if shape == "workers" else in_process
        first = await execute(root, run, text)
        texts = await asyncio.gather(*(execute(branch, run, n, first) for n in range(width)))
        return await execute(join, run, list(texts))


async def worker(address):
    taker = Worker(
        await Client.connect(address),
        task_queue=QUEUE,
        workflows=[Run],
        activities=[root, branch, join],
        # The workflow is known to be deterministic: its sandbox would be most of the CPU.
        workflow_runner=UnsandboxedWorkflowRunner(),
        # "Worker performance": slots for all that can be ready, and pollers by demand.
        max_concurrent_workflow_tasks=200,
        max_concurrent_activities=200,
        max_concurrent_local_activities=200,
        max_cached_workflows=2000,
        workflow_task_poller_behavior=PollerBehaviorAutoscaling(),
        activity_task_poller_behavior=PollerBehaviorAutoscaling(),
    )
    await taker.run()


async def client(address, shape):
    temporal = await Client.connect(address)

    async def run_one(run, width, text):
        arguments = [run, width, text, shape]
        return await temporal.execute_workflow(Run.run, args=arguments, id=str(run), task_queue=QUEUE)

    await workload.take_orders_async(run_one)


role, *rest = sys.argv[1:]
asyncio.run({"worker": worker, "client": client}[role](*rest))
