"""The methods of both clients, each written once as a program."""

from __future__ import annotations

import json
import math
import os
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from typing import Any, Concatenate, Generic, Literal, ParamSpec, TypeVar, Union, cast, overload

import httpx

from . import _operations as op
from . import types as t
from ._errors import PlanfleetError, UnreachableError, WaitTimeoutError
from ._lines import Lines, Messages
from ._program import (
    Chunk,
    Item,
    Open,
    Operation,
    Program,
    Request,
    Retry,
    Sleep,
    Stream,
    Tries,
    line,
    opened,
    send,
)

P = ParamSpec("P")
T = TypeVar("T")

# The longest that the API holds a request back for a run's end.
_WAIT_MAX = 60
# A batch is answered when all of its lines are taken.
_BATCH_S = 600
# Bytes of a batch that are sent at once.
_PIECE = 64 * 1024
# Longest line of a batch's results: a run's document, with large outputs in it.
_RESULT_MAX = 256 << 20
# Between two looks at a batch, at first and at most.
_LOOK_S = (0.25, 5.0)


class Called:
    """Carries programs out while the caller waits."""

    def _answer(self, program: Program[T]) -> T:
        raise NotImplementedError

    def _items(self, stream: Stream[T]) -> Generator[T, None, None]:
        raise NotImplementedError


class Awaited:
    """Carries programs out while others do something."""

    async def _answer(self, program: Program[T]) -> T:
        raise NotImplementedError

    def _items(self, stream: Stream[T]) -> AsyncGenerator[T, None]:
        raise NotImplementedError


class answers(Generic[P, T]):
    """A method that gives one thing."""

    def __init__(self, program: Callable[Concatenate[Any, P], Program[T]]) -> None:
        self._program = program
        self.__doc__ = program.__doc__

    @overload
    def __get__(self, client: None, owner: object) -> answers[P, T]: ...
    @overload
    def __get__(self, client: Called, owner: object) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: Awaited, owner: object) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, client: Any, owner: object) -> Any:
        return self if client is None else _bound(self._program, client, client._answer)


class streams(Generic[P, T]):
    """A method that gives one thing after another."""

    def __init__(self, stream: Callable[Concatenate[Any, P], Stream[T]]) -> None:
        self._stream = stream
        self.__doc__ = stream.__doc__

    @overload
    def __get__(self, client: None, owner: object) -> streams[P, T]: ...
    @overload
    def __get__(self, client: Called, owner: object) -> Callable[P, Generator[T, None, None]]: ...
    @overload
    def __get__(self, client: Awaited, owner: object) -> Callable[P, AsyncGenerator[T, None]]: ...
    def __get__(self, client: Any, owner: object) -> Any:
        return self if client is None else _bound(self._stream, client, client._items)


def _bound(program: Callable[..., Any], client: object, carry_out: Callable[[Any], Any]) -> Callable[..., Any]:
    bound = program.__get__(client)

    @wraps(bound)
    def call(*args: Any, **kwargs: Any) -> Any:
        return carry_out(bound(*args, **kwargs))

    return call


class Api:
    """What both clients can do."""

    _retry: Retry

    def _ask(
        self, operation: Operation[T], names: Mapping[str, str | int] | None = None, **how: Any
    ) -> Program[T]:
        response = yield from send(operation.request(names, **how), self._retry)
        # Types are not checked at run time: the API's tests hold it to its description.
        return cast(T, response.json() if response.content else None)

    def _lines(self, operation: Operation[T], names: Mapping[str, str | int]) -> Stream[T]:
        yield from opened(operation.request(names), self._retry)
        lines = Lines(_RESULT_MAX)
        while (piece := (yield Chunk())) is not None:
            if isinstance(piece, httpx.TransportError):
                # What came so far is no whole; which of it came would come again.
                raise UnreachableError(f"the lines break off: {piece}") from piece
            for found in lines.feed(piece):
                if found:
                    yield Item(json.loads(found))
        if lines.last():
            yield Item(json.loads(lines.last()))

    # Runs

    @answers
    def submit_run(
        self, task: Task, *, idempotency_key: str | None = None
    ) -> Program[t.Accepted]:
        """Submits a task, or a goal as text.

        The same key and task are the same run. One is made up unless it is given, so that
        this call's own retries submit once.
        """
        return (yield from self._ask(op.SUBMIT_RUN, json=_task(task), **_named(idempotency_key)))

    @answers
    def run(
        self, task: Task, *, timeout: float = 3600, idempotency_key: str | None = None
    ) -> Program[t.RunDocument]:
        """Submits a task, waits for its end and gives its document, whatever the end is.

        `WaitTimeoutError` after `timeout` seconds; the run goes on.
        """
        until = time.monotonic() + timeout
        query, patience = _waiting(timeout)
        named = _named(idempotency_key)
        request = op.SUBMIT_RUN.request(query=query, json=_task(task), beyond=patience, **named)
        response = yield from send(request, self._retry)
        return (yield from self._ended(response, until))

    @answers
    def retry_run(self, run_id: str, *, idempotency_key: str | None = None) -> Program[t.Accepted]:
        """Runs again, from where it stopped, what did not succeed: a new run."""
        return (yield from self._ask(op.RETRY_RUN, {"id": run_id}, **_named(idempotency_key)))

    @answers
    def get_run(self, run_id: str) -> Program[t.RunDocument]:
        """The document of a run, ended or not."""
        return (yield from self._ask(op.GET_RUN, {"id": run_id}))

    @answers
    def wait_run(self, run_id: str, *, timeout: float = 3600) -> Program[t.RunDocument]:
        """Waits for the end of a run; `WaitTimeoutError` after `timeout` seconds."""
        return (yield from self._wait(run_id, time.monotonic() + timeout))

    def _ended(self, response: httpx.Response, until: float) -> Program[t.RunDocument]:
        answer = response.json()
        if response.status_code == httpx.codes.OK:
            return cast(t.RunDocument, answer)
        return (yield from self._wait(answer["run_id"], until))

    def _wait(self, run_id: str, until: float) -> Program[t.RunDocument]:
        while True:
            left = until - time.monotonic()
            query, patience = _waiting(left)
            document = yield from self._ask(op.GET_RUN, {"id": run_id}, query=query, beyond=patience)
            if document["ended_at"] is not None:
                return document
            if time.monotonic() >= until:
                raise WaitTimeoutError(f"run {run_id} is {document['state']}")
            # An API that is stopping holds nothing back.
            yield Sleep(0.1)

    @answers
    def get_step(self, run_id: str, step: int | str) -> Program[t.StepDetail]:
        """A step of a run: `3`, or `"3[0]"` for an item of a `for_each`."""
        return (yield from self._ask(op.GET_STEP, {"id": run_id, "step": step}))

    @streams
    def list_runs(
        self, which: t.RunFilter = {}, *, order: Order = "newest", page: int = 100
    ) -> Stream[t.Summary]:
        """All runs that fit a filter, active and ended, page by page."""
        cursor = None
        while True:
            query = {**which, "order": order, "limit": page, "cursor": cursor}
            found = yield from self._ask(op.LIST_RUNS, query=query)
            for run in found["runs"]:
                yield Item(run)
            cursor = found["next_cursor"]
            if cursor is None:
                return

    @answers
    def list_runs_page(
        self, which: t.RunFilter = {}, *, order: Order = "newest", limit: int = 50, cursor: str | None = None
    ) -> Program[t.RunPage]:
        """One page, with what it lacks (`gaps`) and the cursor of the next."""
        query = {**which, "order": order, "limit": limit, "cursor": cursor}
        return (yield from self._ask(op.LIST_RUNS, query=query))

    @answers
    def count_runs(self, which: t.RunFilter = {}) -> Program[t.RunCounts]:
        """How many runs fit a filter, by their state, and what they have cost."""
        return (yield from self._ask(op.COUNT_RUNS, query=which))

    @streams
    def watch_run(self, run_id: str, *, after: int = 0, timeout: float = 3600) -> Stream[t.RunEvent]:
        """What happens to a run, from the log's position `after` on, until it has ended.

        A connection that is lost is made again and goes on after the last position that was
        seen. `WaitTimeoutError` after `timeout` seconds.
        """
        until = time.monotonic() + timeout
        tries = Tries(self._retry, repeatable=True)
        seen = after
        while True:
            request = op.WATCH_RUN.request({"id": run_id}).with_header("Accept", "text/event-stream")
            if seen:
                request = request.with_header("Last-Event-ID", str(seen))
            outcome = yield Open(request)
            if not (isinstance(outcome, httpx.Response) and outcome.is_success):
                yield tries.failed(outcome)
                continue
            messages = Messages()
            while isinstance(piece := (yield Chunk()), bytes):
                # A quiet run's stream is as well as a busy one's.
                tries.succeeded()
                for message in messages.feed(piece):
                    if message.kind != "message":
                        continue
                    seen = int(message.id) if message.id else seen
                    event: t.RunEvent = json.loads(message.data)
                    yield Item(event)
                    if event["kind"] == "RunFinished":
                        return
                # Signs of life come every few seconds, whatever the run does.
                if time.monotonic() >= until:
                    raise WaitTimeoutError(f"run {run_id} goes on")
            if time.monotonic() >= until:
                raise WaitTimeoutError(f"run {run_id} goes on")
            yield tries.again(UnreachableError(f"the events of run {run_id} break off: {piece or 'closed'}"))

    @answers
    def list_events(self, run_id: str, *, after: int = 0) -> Program[t.Events]:
        """What has happened to a run so far, as far as the log still tells."""
        headers = {"Last-Event-ID": str(after)} if after else None
        return (yield from self._ask(op.WATCH_RUN, {"id": run_id}, headers=headers))

    @answers
    def cancel_run(self, run_id: str, *, reason: str | None = None) -> Program[t.Accepted]:
        """Asks for the end of a run."""
        return (yield from self._ask(op.CANCEL_RUN, {"id": run_id}, json=_said(reason=reason)))

    @answers
    def pause_run(self, run_id: str, *, reason: str | None = None) -> Program[t.Accepted]:
        """Asks for a run to start nothing new."""
        return (yield from self._ask(op.PAUSE_RUN, {"id": run_id}, json=_said(reason=reason)))

    @answers
    def resume_run(self, run_id: str) -> Program[t.Accepted]:
        """Asks for a paused run to go on."""
        return (yield from self._ask(op.RESUME_RUN, {"id": run_id}))

    @answers
    def approve_run(
        self, run_id: str, *, revision: int | None = None, step: int | None = None, reason: str | None = None
    ) -> Program[t.Decided]:
        """Says yes to a revision of the plan, to a step, or to all that waits."""
        decision = _decision(revision, step, reason)
        return (yield from self._ask(op.APPROVE_RUN, {"id": run_id}, json=decision))

    @answers
    def reject_run(
        self, run_id: str, reason: str, *, revision: int | None = None, step: int | None = None
    ) -> Program[t.Decided]:
        """Says no, likewise, and why."""
        decision = _decision(revision, step, reason)
        return (yield from self._ask(op.REJECT_RUN, {"id": run_id}, json=decision))

    @answers
    def cancel_runs(
        self,
        which: t.ManyFilter,
        *,
        at_most: int | None = None,
        dry_run: bool = False,
        reason: str | None = None,
    ) -> Program[t.RunsCancelled]:
        """Asks for the end of all active runs that fit; where more than `at_most` do, of none."""
        asked = {**which, **(_said(at_most=at_most, dry_run=dry_run, reason=reason) or {})}
        return (yield from self._ask(op.CANCEL_RUNS, json=asked, beyond=_WAIT_MAX))

    @answers
    def retry_runs(
        self, which: t.ManyFilter, *, at_most: int | None = None, dry_run: bool = False
    ) -> Program[t.RunsRetried]:
        """Runs again all that fit and have ended without success; likewise."""
        asked = {**which, **(_said(at_most=at_most, dry_run=dry_run) or {})}
        return (yield from self._ask(op.RETRY_RUNS, json=asked, beyond=_WAIT_MAX))

    @answers
    def preview_plan(self, task: Task) -> Program[t.PlanPreview]:
        """What a task would be planned as. A goal without a plan asks the planner's model."""
        # Models take their time.
        return (yield from self._ask(op.PREVIEW_PLAN, json={"task": _task(task)}, beyond=_WAIT_MAX))

    # Batches

    @answers
    def submit_batch(
        self,
        tasks: Iterable[Mapping[str, object]] | str | os.PathLike[str],
        *,
        batch_id: str | None = None,
        name: str | None = None,
        tenant: str | None = None,
        budget_usd: float | None = None,
        budget_tokens: int | None = None,
    ) -> Program[t.BatchAccepted]:
        """Submits tasks, or a file with one in each line, as they are read.

        Submitting again under the same id goes on where it stopped. An id is made up unless
        it is given, so that a file or a list is tried again by itself; what can be iterated
        over only once is not. What is raised says the id (`batch_id`), to go on with.
        """
        batch_id = batch_id or uuid.uuid4().hex
        again = isinstance(tasks, (str, os.PathLike, Sequence))
        query: dict[str, object] = {"id": batch_id, "name": name, "tenant": tenant}
        query |= {"budget_usd": budget_usd, "budget_tokens": budget_tokens}
        try:
            return (
                yield from self._ask(
                    op.SUBMIT_BATCH,
                    query=query,
                    body=lambda: _pieces(tasks),
                    content_type="application/jsonl",
                    beyond=_BATCH_S,
                    repeatable=again,
                )
            )
        except PlanfleetError as error:
            error.batch_id = batch_id
            raise

    @answers
    def list_batches(self, *, limit: int = 50) -> Program[t.Batches]:
        """Batches, the newest first."""
        return (yield from self._ask(op.LIST_BATCHES, query={"limit": limit}))

    @answers
    def get_batch(self, batch_id: str) -> Program[t.Batch]:
        """How a batch stands."""
        return (yield from self._ask(op.GET_BATCH, {"id": batch_id}))

    @answers
    def wait_batch(self, batch_id: str, *, timeout: float = 3600) -> Program[t.Batch]:
        """Waits until no run of a batch is active; `WaitTimeoutError` after `timeout` seconds."""
        until = time.monotonic() + timeout
        pause, longest = _LOOK_S
        while True:
            batch = yield from self._ask(op.GET_BATCH, {"id": batch_id})
            if batch["state"] in ("completed", "cancelled"):
                return batch
            left = until - time.monotonic()
            if left <= 0:
                raise WaitTimeoutError(f"batch {batch_id} is {batch['state']}: {batch['active']} runs are active")
            yield Sleep(min(pause, left))
            pause = min(2 * pause, longest)

    @streams
    def list_batch_results(self, batch_id: str) -> Stream[t.RunDocument]:
        """The documents of a batch's ended runs, one by one as they come, in any order."""
        yield from self._lines(op.LIST_BATCH_RESULTS, {"id": batch_id})

    @streams
    def list_batch_errors(self, batch_id: str) -> Stream[dict[str, Any]]:
        """What went wrong with a batch: refused lines, and runs that did not succeed."""
        yield from self._lines(op.LIST_BATCH_ERRORS, {"id": batch_id})

    @answers
    def cancel_batch(self, batch_id: str, *, reason: str | None = None) -> Program[t.BatchCancelled]:
        """Cancels a batch: nothing more is submitted, and its active runs are asked to end."""
        return (yield from self._ask(op.CANCEL_BATCH, {"id": batch_id}, json=_said(reason=reason)))

    @answers
    def retry_batch(self, batch_id: str) -> Program[t.BatchRetried]:
        """Runs again what of a batch did not succeed."""
        return (yield from self._ask(op.RETRY_BATCH, {"id": batch_id}, beyond=_BATCH_S))

    # Templates and the plan cache

    @answers
    def list_templates(self) -> Program[t.Templates]:
        """Templates by name, the newest version of each first."""
        return (yield from self._ask(op.LIST_TEMPLATES))

    @answers
    def get_template(self, name: str) -> Program[t.TemplateView]:
        """A template: the latest of a name, or one version as `name@0123456789ab`."""
        return (yield from self._ask(op.GET_TEMPLATE, {"name": name}))

    @answers
    def put_template(self, name: str, template: Mapping[str, object] | str) -> Program[t.TemplateAdded]:
        """Adds a version of a template: as an object, or as text in YAML."""
        if isinstance(template, str):
            text = template.encode()
            how: dict[str, Any] = {"body": lambda: text, "content_type": "application/yaml"}
        else:
            how = {"json": template}
        return (yield from self._ask(op.PUT_TEMPLATE, {"name": name}, **how))

    @answers
    def remove_template(self, name: str) -> Program[t.TemplateRemoved]:
        """Removes a version of a template, or all of a name."""
        return (yield from self._ask(op.REMOVE_TEMPLATE, {"name": name}))

    @answers
    def list_cached_plans(self, *, task_class: str | None = None) -> Program[t.CacheList]:
        """The plan cache, and what it has saved."""
        return (yield from self._ask(op.LIST_CACHED_PLANS, query={"class": task_class}))

    @answers
    def get_cached_plan(self, key: str) -> Program[t.CacheDetail]:
        """A cached plan, whole."""
        return (yield from self._ask(op.GET_CACHED_PLAN, {"key": key}))

    @answers
    def pin_cached_plan(self, key: str, *, off: bool = False) -> Program[t.CacheEntry]:
        """Keeps a cached plan whatever becomes of its runs, or no longer."""
        return (yield from self._ask(op.PIN_CACHED_PLAN, {"key": key}, query={"off": off or None}))

    @answers
    def forget_cached_plan(self, key: str) -> Program[None]:
        """Forgets a cached plan: the next such task is planned."""
        yield from self._ask(op.FORGET_CACHED_PLAN, {"key": key})

    # The fleet

    @answers
    def whoami(self) -> Program[t.WhoAmI]:
        """Who the API takes the caller for."""
        return (yield from self._ask(op.WHOAMI))

    @answers
    def list_tools(self) -> Program[t.Tools]:
        """The tools that plans may use."""
        return (yield from self._ask(op.LIST_TOOLS))

    @answers
    def list_models(self) -> Program[t.Models]:
        """The models of the settings, and what the fleet knows of each."""
        return (yield from self._ask(op.LIST_MODELS))

    @answers
    def list_queues(self) -> Program[t.Queues]:
        """What waits for workers, and which models are paused."""
        return (yield from self._ask(op.LIST_QUEUES))

    @answers
    def pause_queue(
        self,
        *,
        pool: str | None = None,
        tenant: str | None = None,
        task_class: str | None = None,
        reason: str | None = None,
    ) -> Program[t.QueuePause]:
        """Holds back the work of a pool, a tenant or a class: nothing new of it is let go."""
        asked = {"pool": pool, "tenant": tenant, "class": task_class, "reason": reason}
        return (yield from self._ask(op.PAUSE_QUEUE, json=_said(**asked) or {}))

    @answers
    def resume_queue(
        self, *, pool: str | None = None, tenant: str | None = None, task_class: str | None = None
    ) -> Program[t.QueueResumed]:
        """Holds back the work of a pool, a tenant or a class no longer."""
        asked = {"pool": pool, "tenant": tenant, "class": task_class}
        return (yield from self._ask(op.RESUME_QUEUE, json=_said(**asked) or {}))

    @answers
    def list_workers(self) -> Program[t.Workers]:
        """The processes that give signs of life."""
        return (yield from self._ask(op.LIST_WORKERS))

    @answers
    def get_costs(
        self,
        *,
        by: Literal["class", "model", "run", "batch", "role", "day"] = "class",
        since: str | None = None,
        tenant: str | None = None,
        task_class: str | None = None,
        batch: str | None = None,
    ) -> Program[t.Costs]:
        """What ended runs have cost."""
        query = {"by": by, "since": since, "tenant": tenant, "class": task_class, "batch": batch}
        return (yield from self._ask(op.GET_COSTS, query=query))

    @answers
    def list_dead_letters(self, *, limit: int = 50) -> Program[t.DeadLetters]:
        """Messages that nobody could read or deliver, the newest last."""
        return (yield from self._ask(op.LIST_DEAD_LETTERS, query={"limit": limit}))

    @answers
    def get_dead_letter(self, seq: int) -> Program[t.DeadLetterDetail]:
        """A dead letter, whole."""
        return (yield from self._ask(op.GET_DEAD_LETTER, {"seq": seq}))

    @answers
    def replay_dead_letter(self, seq: int) -> Program[t.Replayed]:
        """Sends a dead message again to where it came from."""
        return (yield from self._ask(op.REPLAY_DEAD_LETTER, {"seq": seq}))

    @answers
    def discard_dead_letter(self, seq: int) -> Program[None]:
        """Drops a dead letter."""
        yield from self._ask(op.DISCARD_DEAD_LETTER, {"seq": seq})


Task = Union[t.Task, Mapping[str, object], str]
Order = Literal["newest", "oldest", "cost", "duration"]


def _task(task: Task) -> object:
    return {"goal": task} if isinstance(task, str) else task


def _named(key: str | None) -> dict[str, Any]:
    """How a request is sent that is done once, however often it is sent."""
    return {"headers": {"Idempotency-Key": key or uuid.uuid4().hex}, "repeatable": True}


def _waiting(left: float) -> tuple[dict[str, int], float]:
    """How long the API shall hold a request back, as a query and in seconds."""
    wait = math.ceil(min(max(left, 0), _WAIT_MAX))
    return {"wait": wait}, wait


def _said(**what: object) -> dict[str, object] | None:
    said = {name: value for name, value in what.items() if value is not None}
    return said or None


def _decision(revision: int | None, step: int | None, reason: str | None) -> dict[str, object] | None:
    if revision is not None and step is not None:
        raise ValueError("revision, step: one decision is about one of them, or all that waits")
    gate = "plan" if revision is not None else "step" if step is not None else None
    return _said(gate=gate, revision=revision, step=step, reason=reason)


def _pieces(tasks: Iterable[Mapping[str, object]] | str | os.PathLike[str]) -> Iterator[bytes]:
    if isinstance(tasks, (str, os.PathLike)):
        with open(tasks, "rb") as file:
            while piece := file.read(_PIECE):
                yield piece
        return
    gathered = bytearray()
    for task in tasks:
        gathered += line(task)
        if len(gathered) >= _PIECE:
            yield bytes(gathered)
            gathered.clear()
    if gathered:
        yield bytes(gathered)
