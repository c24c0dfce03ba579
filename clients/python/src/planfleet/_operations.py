"""The operations of openapi.json, each named as its `operationId`; a test holds them to it."""

from __future__ import annotations

from typing import Any

from . import types as t
from ._program import Operation

_WHICH = ("state", "tenant", "class", "batch", "template", "label", "q", "since", "until")

WHOAMI = Operation("GET", "/v1/whoami", t.WhoAmI, repeatable=True)

SUBMIT_RUN = Operation("POST", "/v1/runs", t.Accepted, ("wait",))
LIST_RUNS = Operation("GET", "/v1/runs", t.RunPage, (*_WHICH, "order", "cursor", "limit"), repeatable=True)
COUNT_RUNS = Operation("GET", "/v1/runs:counts", t.RunCounts, _WHICH, repeatable=True)
GET_RUN = Operation("GET", "/v1/runs/{id}", t.RunDocument, ("wait",), repeatable=True)
GET_STEP = Operation("GET", "/v1/runs/{id}/steps/{step}", t.StepDetail, repeatable=True)
WATCH_RUN = Operation("GET", "/v1/runs/{id}/events", t.Events, repeatable=True)
# Asked for twice, a run is cancelled, paused or resumed once.
CANCEL_RUN = Operation("POST", "/v1/runs/{id}/cancel", t.Accepted, repeatable=True)
PAUSE_RUN = Operation("POST", "/v1/runs/{id}/pause", t.Accepted, repeatable=True)
RESUME_RUN = Operation("POST", "/v1/runs/{id}/resume", t.Accepted, repeatable=True)
APPROVE_RUN = Operation("POST", "/v1/runs/{id}/approve", t.Decided)
REJECT_RUN = Operation("POST", "/v1/runs/{id}/reject", t.Decided)
# Asked for again, a cancel goes on where it has stopped; a retry runs again what has failed meanwhile.
CANCEL_RUNS = Operation("POST", "/v1/runs:cancel", t.RunsCancelled, repeatable=True)
RETRY_RUNS = Operation("POST", "/v1/runs:retry", t.RunsRetried)
RETRY_RUN = Operation("POST", "/v1/runs/{id}/retry", t.Accepted, ("wait",))

PREVIEW_PLAN = Operation("POST", "/v1/plans:preview", t.PlanPreview)

SUBMIT_BATCH = Operation(
    "POST", "/v1/batches", t.BatchAccepted, ("id", "name", "tenant", "budget_usd", "budget_tokens")
)
LIST_BATCHES = Operation("GET", "/v1/batches", t.Batches, ("limit",), repeatable=True)
GET_BATCH = Operation("GET", "/v1/batches/{id}", t.Batch, repeatable=True)
LIST_BATCH_RESULTS = Operation("GET", "/v1/batches/{id}/results", t.RunDocument, repeatable=True)
LIST_BATCH_ERRORS = Operation("GET", "/v1/batches/{id}/errors", dict[str, Any], repeatable=True)
CANCEL_BATCH = Operation("POST", "/v1/batches/{id}/cancel", t.BatchCancelled, repeatable=True)
RETRY_BATCH = Operation("POST", "/v1/batches/{id}/retry-failed", t.BatchRetried)

LIST_TEMPLATES = Operation("GET", "/v1/templates", t.Templates, repeatable=True)
GET_TEMPLATE = Operation("GET", "/v1/templates/{name}", t.TemplateView, repeatable=True)
PUT_TEMPLATE = Operation("PUT", "/v1/templates/{name}", t.TemplateAdded, repeatable=True)
REMOVE_TEMPLATE = Operation("DELETE", "/v1/templates/{name}", t.TemplateRemoved)

LIST_CACHED_PLANS = Operation("GET", "/v1/cache", t.CacheList, ("class",), repeatable=True)
GET_CACHED_PLAN = Operation("GET", "/v1/cache/{key}", t.CacheDetail, repeatable=True)
PIN_CACHED_PLAN = Operation("POST", "/v1/cache/{key}/pin", t.CacheEntry, ("off",), repeatable=True)
FORGET_CACHED_PLAN = Operation("DELETE", "/v1/cache/{key}", type(None))

LIST_TOOLS = Operation("GET", "/v1/tools", t.Tools, repeatable=True)
LIST_MODELS = Operation("GET", "/v1/models", t.Models, repeatable=True)
LIST_QUEUES = Operation("GET", "/v1/queues", t.Queues, repeatable=True)
PAUSE_QUEUE = Operation("POST", "/v1/queues:pause", t.QueuePause, repeatable=True)
RESUME_QUEUE = Operation("POST", "/v1/queues:resume", t.QueueResumed)
LIST_WORKERS = Operation("GET", "/v1/workers", t.Workers, repeatable=True)
GET_COSTS = Operation("GET", "/v1/costs", t.Costs, ("by", "since", "tenant", "class", "batch"), repeatable=True)

LIST_DEAD_LETTERS = Operation("GET", "/v1/dead-letters", t.DeadLetters, ("limit",), repeatable=True)
GET_DEAD_LETTER = Operation("GET", "/v1/dead-letters/{seq}", t.DeadLetterDetail, repeatable=True)
REPLAY_DEAD_LETTER = Operation("POST", "/v1/dead-letters/{seq}/replay", t.Replayed)
DISCARD_DEAD_LETTER = Operation("DELETE", "/v1/dead-letters/{seq}", type(None))

OPERATIONS: dict[str, Operation[Any]] = {
    name.lower(): value for name, value in vars().copy().items() if isinstance(value, Operation)
}
