"""Drives a fleet with the Python client: `python_client.py SETUP.json`.

The same story is told to `Client` and, through `Awaiting`, to `AsyncClient`. What it expects
it asserts; it prints what it has seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import sys
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import closing
from typing import Any, cast

import httpx

import planfleet
from planfleet import AsyncClient, Client, Retry
from planfleet._operations import OPERATIONS
from planfleet.types import RunDocument, Task

PATIENCE = 60.0
HELLO: Task = {"plan": {"steps": [{"id": 1, "description": "Say hello."}], "final": 1}, "class": "greeting"}
SLOW: Task = {"plan": {"steps": [{"id": 1, "description": "Take your time."}], "final": 1}}


class Awaiting:
    """An `AsyncClient` that is called."""

    def __init__(self, client: AsyncClient, loop: asyncio.AbstractEventLoop) -> None:
        self._client = client
        self._loop = loop

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            coming = method(*args, **kwargs)
            if isinstance(coming, AsyncGenerator):
                return self._iterated(coming)
            return self._loop.run_until_complete(coming)

        return call

    def _iterated(self, coming: AsyncGenerator[Any, None]) -> Iterator[Any]:
        try:
            while True:
                try:
                    yield self._loop.run_until_complete(anext(coming))
                except StopAsyncIteration:
                    return
        finally:
            self._loop.run_until_complete(coming.aclose())


class Cutter:
    """A way to the API that is cut as soon as that many bytes have come back on a connection."""

    def __init__(self, port: int, after: list[int]) -> None:
        self._port = port
        self._after = after
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            near, _ = self._listener.accept()
            far = socket.create_connection(("127.0.0.1", self._port))
            left = self._after[self.connections] if self.connections < len(self._after) else None
            self.connections += 1
            threading.Thread(target=self._carry, args=(near, far, None), daemon=True).start()
            threading.Thread(target=self._carry, args=(far, near, left), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, left: int | None) -> None:
        try:
            while piece := source.recv(65_536):
                target.sendall(piece if left is None else piece[:left])
                if left is not None and (left := left - len(piece)) <= 0:
                    break
        except OSError:
            pass  # The other direction has ended.
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def refused(kind: type[planfleet.ApiError], code: str, call: Callable[[], object]) -> planfleet.ApiError:
    try:
        answer = call()
    except kind as error:
        assert error.code == code, error
        return error
    raise AssertionError(f"not refused with {code}: {answer}")


def runs(fleet: Any) -> str:
    """A run that ends well, seen from all sides."""
    key = f"key-{id(fleet)}"
    first = fleet.submit_run({**HELLO, "labels": {"team": "a"}}, idempotency_key=key)
    again = fleet.submit_run({**HELLO, "labels": {"team": "a"}}, idempotency_key=key)
    assert first == again, (first, again)
    refused(planfleet.ConflictError, "idempotency_key_reused", lambda: fleet.submit_run("x", idempotency_key=key))
    run = str(first["run_id"])
    events = list(fleet.watch_run(run, timeout=PATIENCE))
    kinds = [event["kind"] for event in events]
    assert kinds[0] == "TaskSubmitted" and kinds[-1] == "RunFinished" and "StepSucceeded" in kinds, kinds
    positions = [event["seq"] for event in events if event["seq"]]
    assert positions == sorted(set(positions)), positions
    document = fleet.wait_run(run, timeout=PATIENCE)
    assert (document["state"], document["answer"]) == ("succeeded", "hello\u2028there"), document
    assert fleet.get_run(run) == document
    assert fleet.get_step(run, 1)["output"] == document["answer"]
    told = fleet.list_events(run, after=positions[0])
    assert [event["seq"] for event in told["events"] if event["seq"]] == positions[1:], told
    return run


def lists(fleet: Any, ended: str) -> None:
    """Pages, counts and costs, once what has ended is indexed."""
    which = {"state": ["succeeded", "failed"], "class": "greeting", "label": {"team": "a"}}
    while ended not in [run["run_id"] for run in fleet.list_runs(which)]:
        time.sleep(0.05)
    # What has just ended is in the list a moment later.
    until = time.monotonic() + PATIENCE
    while True:
        every = [run["run_id"] for run in fleet.list_runs()]
        one_by_one = [run["run_id"] for run in fleet.list_runs(page=1)]
        if every and sorted(every) == sorted(one_by_one):
            break
        assert time.monotonic() < until, (every, one_by_one)
        time.sleep(0.2)
    page = fleet.list_runs_page(limit=1, order="cost")
    assert len(page["runs"]) == 1 and not page["gaps"]["indexing"], page
    assert fleet.count_runs(which)["by_state"]["succeeded"] >= 1
    assert [row["key"] for row in fleet.get_costs(by="class")["rows"] if row["key"] == "greeting"]


def healing(fleet: Any) -> None:
    document = fleet.run({"goal": "How long is the Rhine?", "mode": "plan", "class": f"rhine-{id(fleet)}"},
                         timeout=PATIENCE)
    assert (document["state"], document["answer"]) == ("succeeded", "1233 km"), document
    assert len(document["revisions"]) == 2 and document["revisions"][1]["dropped"] == [2], document["revisions"]


def steering(fleet: Any) -> None:
    run = fleet.submit_run(SLOW)["run_id"]
    fleet.pause_run(run, reason="lunch")
    fleet.resume_run(run)
    try:
        fleet.wait_run(run, timeout=0.2)
        raise AssertionError("it takes longer")
    except planfleet.WaitTimeoutError as error:
        assert run in str(error), error
    fleet.cancel_run(run, reason="enough")
    assert fleet.wait_run(run, timeout=PATIENCE)["state"] == "cancelled"
    refused(planfleet.ConflictError, "run_ended", lambda: fleet.cancel_run(run))
    retried = fleet.retry_run(run)["run_id"]
    assert retried != run
    fleet.cancel_run(retried)
    assert fleet.wait_run(retried, timeout=PATIENCE)["rerun_of"] == run

    many = [fleet.submit_run({**SLOW, "class": "many"})["run_id"] for _ in range(3)]
    # What was just submitted may be on its way to its owner.
    while len(fleet.cancel_runs({"class": "many"}, dry_run=True)["run_ids"]) < 3:
        time.sleep(0.05)
    refused(planfleet.ConflictError, "more_than_meant", lambda: fleet.cancel_runs({"class": "many"}, at_most=2))
    refused(planfleet.InvalidRequestError, "bulk_invalid", lambda: fleet.cancel_runs({"class": "many"}))
    assert fleet.cancel_runs({"class": "many"}, at_most=3)["cancelled"] == 3
    for one in many:
        assert fleet.wait_run(one, timeout=PATIENCE)["state"] == "cancelled"
    again = fleet.retry_runs({"class": "many", "state": ["cancelled"]}, at_most=100)
    assert {run["rerun_of"] for run in again["runs"]} >= set(many), again
    fleet.cancel_runs({"class": "many"}, at_most=100)
    for one in again["runs"]:
        fleet.cancel_run(one["run_id"]) if fleet.get_run(one["run_id"])["ended_at"] is None else None
        assert fleet.wait_run(one["run_id"], timeout=PATIENCE)["state"] == "cancelled"

    run = fleet.submit_run({**HELLO, "approval": {"plan": True}})["run_id"]
    waits_for_approval(fleet, run)
    refused(planfleet.ConflictError, "not_awaiting_approval", lambda: fleet.approve_run(run, step=1))
    assert fleet.approve_run(run, revision=1)["decided"] == [{"gate": "plan", "revision": 1}]
    assert fleet.wait_run(run, timeout=PATIENCE)["state"] == "succeeded"

    run = fleet.submit_run({**HELLO, "approval": {"plan": True}, "max_replans": 0})["run_id"]
    waits_for_approval(fleet, run)
    assert fleet.reject_run(run, "not today")["decided"] == [{"gate": "plan", "revision": 1}]
    assert fleet.wait_run(run, timeout=PATIENCE)["state"] == "failed"


def waits_for_approval(fleet: Any, run: str) -> None:
    with closing(fleet.watch_run(run, timeout=PATIENCE)) as events:
        for _ in events:
            if fleet.get_run(run)["approvals"]:
                return
    raise AssertionError("nothing waits")


def batches(fleet: Any, folder: str) -> None:
    name = f"batch-{id(fleet)}"
    tasks = [{**HELLO, "custom_id": f"c-{number}"} for number in range(20)]
    accepted = fleet.submit_batch(({"goal": 3} if task is tasks[3] else task for task in tasks), batch_id=name)
    assert (accepted["submitted"], accepted["rejected"]) == (19, 1), accepted
    assert accepted["rejections"][0]["line"] == 4, accepted
    assert fleet.wait_batch(name, timeout=PATIENCE)["succeeded"] == 19
    results = {document["custom_id"]: document["answer"] for document in fleet.list_batch_results(name)}
    assert len(results) == 19 and set(results.values()) == {"hello\u2028there"}, results
    assert [error["line"] for error in fleet.list_batch_errors(name)] == [4]
    assert fleet.retry_batch(name)["runs"] == []

    file = f"{folder}/slow.jsonl"
    with open(file, "w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(SLOW) + "\n" for _ in range(3))
    accepted = fleet.submit_batch(file, budget_usd=5, name="slow")
    assert accepted["new"] == 3, accepted
    assert fleet.list_batches(limit=1)["batches"][0]["batch_id"] == accepted["batch_id"]
    fleet.cancel_batch(accepted["batch_id"], reason="enough")
    batch = fleet.wait_batch(accepted["batch_id"], timeout=PATIENCE)
    assert (batch["state"], batch["cancelled"], batch["budget"]["usd"]) == ("cancelled", 3, 5), batch


def plans(fleet: Any, admin: Any) -> None:
    preview = fleet.preview_plan(HELLO)
    assert (preview["source"], preview["faults"]) == ("task", []), preview
    assert fleet.preview_plan({"goal": "x", "tools": ["nope"]})["faults"][0]["path"] == "tools"
    template = {"name": "greet", "slots": {"properties": {}}, "plan": HELLO["plan"]}
    added = admin.put_template("greet", template)
    assert admin.put_template("greet", json.dumps(template))["version"] == added["version"]
    assert "greet" in [one["name"] for one in fleet.list_templates()["templates"]]
    assert fleet.get_template(added["template"])["plan"]["final"] == 1
    assert fleet.run({"template": "greet"}, timeout=PATIENCE)["state"] == "succeeded"
    forbidden = refused(planfleet.PermissionDeniedError, "role_insufficient", lambda: fleet.remove_template("greet"))
    assert "admin" in forbidden.detail, forbidden
    assert admin.remove_template("greet")["removed"] == [added["version"][:12]]
    cached = fleet.list_cached_plans()["entries"]
    key = cached[0]["key"]
    assert fleet.get_cached_plan(key)["plan"] is not None
    assert fleet.pin_cached_plan(key)["pinned"] and not fleet.pin_cached_plan(key, off=True)["pinned"]
    assert fleet.forget_cached_plan(key) is None
    refused(planfleet.NotFoundError, "cached_plan_unknown", lambda: fleet.get_cached_plan(key))


def the_fleet(fleet: Any, admin: Any) -> None:
    who = fleet.whoami()
    assert (who["tenant"], who["role"], who["auth"]) == ("acme", "operator", "key"), who
    assert "math_eval" in [tool["name"] for tool in fleet.list_tools()["tools"]]
    assert {model["name"] for model in fleet.list_models()["models"]} >= {"brain", "hands"}
    assert "default" in [pool["pool"] for pool in fleet.list_queues()["pools"]]
    assert all(pool["ready_backlog"] == 0 for pool in fleet.list_queues()["pools"])
    assert admin.pause_queue(task_class="idle", reason="lunch")["what"] == "class"
    assert [pause["reason"] for pause in admin.list_queues()["pauses"]] == ["lunch"]
    assert admin.resume_queue(task_class="idle")["was_paused"]
    workers = {worker["role"]: worker for worker in fleet.list_workers()["workers"]}
    assert workers.keys() == {"coordinator", "planner", "executor"}, workers
    assert workers["coordinator"]["shards"] == [0] and workers["executor"]["slots"]["default"] > 0, workers
    assert fleet.list_dead_letters()["dead_letters"] == []
    letters = admin.list_dead_letters()["dead_letters"]
    letter = admin.get_dead_letter(letters[0]["seq"])
    assert letter["payload_hex"] == b"\xffno record".hex(), letter
    assert admin.replay_dead_letter(letter["seq"])["seq"] == letter["seq"]
    # It comes back, as it is still no record.
    while (back := admin.list_dead_letters()["dead_letters"])[-1]["seq"] <= letters[-1]["seq"]:
        time.sleep(0.05)
    refused(planfleet.NotFoundError, "dead_letter_unknown", lambda: admin.get_dead_letter(10_000))
    assert admin.discard_dead_letter(back[0]["seq"]) is None
    refused(planfleet.NotFoundError, "dead_letter_unknown", lambda: admin.get_dead_letter(back[0]["seq"]))


def errors(fleet: Any, other: Any, nobody: Any, run: str) -> None:
    refused(planfleet.NotFoundError, "run_unknown", lambda: fleet.get_run("00-nobody"))
    refused(planfleet.NotFoundError, "run_unknown", lambda: list(fleet.watch_run("00-nobody")))
    bad = refused(planfleet.InvalidRequestError, "task_invalid", lambda: fleet.submit_run({"goal": 3, "colour": 1}))
    assert bad.status == 422 and [error["path"] for error in bad.errors] == ["goal", "colour"], bad
    assert bad.request_id and "colour" in str(bad), bad
    assert refused(planfleet.AuthenticationError, "unauthenticated", lambda: nobody.whoami()).status == 401
    for call in (other.get_run, other.cancel_run, other.retry_run, other.list_events):
        refused(planfleet.NotFoundError, "run_unknown", lambda: call(run))
    refused(planfleet.InvalidRequestError, "query_invalid", lambda: fleet.list_runs_page(limit=501))
    for wrong in ("", ".."):
        try:
            fleet.get_run(wrong)
            raise AssertionError("that is another path")
        except ValueError as error:
            assert "id" in str(error), error


def cut(connect: Callable[[str], Any], port: int) -> int:
    """Events go on where a connection was lost, and no other call than a safe one is repeated."""
    cutter = Cutter(port, [900, 700, 1_200])
    fleet = connect(cutter.url)
    # A connection of its own for the submit would be cut too; by its key it is one run.
    run = fleet.submit_run({"plan": {"steps": [
        {"id": number, "description": "Say hello.", "depends_on": [number - 1] if number > 1 else []}
        for number in range(1, 9)], "final": 8}})["run_id"]
    events = list(fleet.watch_run(run, timeout=PATIENCE))
    positions = [event["seq"] for event in events if event["seq"]]
    whole = [event["seq"] for event in fleet.list_events(run)["events"] if event["seq"]]
    assert positions == whole and len(whole) == 9, (positions, whole)
    assert cutter.connections >= 3, cutter.connections
    # A lost answer to what may cost twice is told, and not asked for again.
    cutter = Cutter(port, [20])
    try:
        connect(cutter.url).preview_plan(HELLO)
        raise AssertionError("there was no answer")
    except planfleet.UnreachableError:
        assert cutter.connections == 1
    return len(events)


def examples(readme: str, base: str, key: str) -> int:
    """Runs the examples of a document as they stand, on this fleet."""
    with open(readme, encoding="utf-8") as file:
        blocks = re.findall(r"```python\n(.*?)```", file.read(), re.DOTALL)
    for block in blocks:
        assert "http://127.0.0.1:8460" in block and '"pfk_..."' in block, block
        block = block.replace("http://127.0.0.1:8460", base).replace("pfk_...", key)
        with contextlib.redirect_stdout(sys.stderr):
            exec(compile(block, readme, "exec"), {"__name__": "example"})
    return len(blocks)


def typed(client: Client) -> RunDocument:
    """What type checkers see of each kind of method: checked, not run."""
    for run in client.list_runs({"state": "failed"}):
        ended: str | None = run["ended_at"]
        print(ended)
    return client.run(HELLO)


async def typed_async(client: AsyncClient) -> RunDocument:
    waited: Awaitable[RunDocument] = client.run("x")
    async for event in client.watch_run("x"):
        position: int | None = event["seq"]
        print(position)
    return await waited


def told(make: Callable[[str, str | None], Any], setup: dict[str, Any]) -> dict[str, Any]:
    base, keys = setup["base"], setup["keys"]
    fleet, admin = make(base, keys["operator"]), make(base, keys["admin"])
    run = runs(fleet)
    healing(fleet)
    steering(fleet)
    lists(fleet, run)
    batches(fleet, setup["folder"])
    plans(fleet, admin)
    the_fleet(fleet, admin)
    errors(fleet, make(base, keys["other"]), make(base, None), run)
    port = int(base.rsplit(":", 1)[1])
    return {"cut": cut(lambda url: make(url, keys["operator"]), port)}


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        setup = json.load(file)
    asked: set[str] = set()
    templates = {
        (operation.method, re.compile(re.sub(r"\{\w+\}", "[^/]+", operation.path))): name
        for name, operation in OPERATIONS.items()
    }

    def note(request: httpx.Request) -> None:
        path = request.url.raw_path.decode().split("?")[0]
        [name] = [name for (method, form), name in templates.items()
                  if method == request.method and form.fullmatch(path)]
        asked.add(name)

    async def note_async(request: httpx.Request) -> None:
        note(request)

    quick = Retry(first_pause=0.05)
    loop = asyncio.new_event_loop()

    def called(base: str, key: str | None) -> Any:
        return Client(base, api_key=key, retry=quick, http=httpx.Client(event_hooks={"request": [note]}))

    def awaited(base: str, key: str | None) -> Any:
        http = httpx.AsyncClient(event_hooks={"request": [note_async]})
        return Awaiting(AsyncClient(base, api_key=key, retry=quick, http=http), loop)

    seen: dict[str, Any] = {}
    for name, make in {"called": called, "awaited": awaited}.items():
        asked.clear()
        seen[name] = told(cast(Callable[[str, "str | None"], Any], make), setup)
        seen[name]["operations"] = len(asked)
        assert asked == set(OPERATIONS), sorted(set(OPERATIONS) - asked)
    seen["examples"] = examples(setup["readme"], setup["base"], setup["keys"]["operator"])
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
