"""What the API answers with, as it is described in openapi.json, and what it is asked.

Answers are plain dictionaries; these types say what is in them. All times are RFC 3339,
in UTC. `usd` is null where a price is not known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

_TaskClass = TypedDict("_TaskClass", {"class": str}, total=False)


class Task(_TaskClass, total=False):
    """A task. One of `goal`, `plan` and `template` is enough."""

    goal: str
    inputs: dict[str, Any]
    custom_id: str
    plan: dict[str, Any]
    template: str
    mode: Literal["auto", "plan", "direct"]
    tools: list[str]
    budget: Budget
    deadline_s: int
    max_replans: int
    review: Literal["on_failure", "after_each_step", "never"]
    approval: Approval
    step_timeout_s: int
    priority: Priority
    tenant: str
    labels: dict[str, str]


class Budget(TypedDict, total=False):
    """What may be spent."""

    usd: float
    tokens: int


class Approval(TypedDict, total=False):
    """What waits for a person: the plan, and steps with these tools."""

    plan: bool
    tools: list[str]


_FilterClass = TypedDict("_FilterClass", {"class": str}, total=False)


class RunFilter(_FilterClass, total=False):
    """Which runs: those that fit all that is said."""

    state: RunState | Sequence[RunState]
    tenant: str
    batch: str
    template: str
    label: Mapping[str, str]
    #: Words, all of which are in the goal, the reason, a name or a label.
    q: str
    #: Ended at or after: RFC 3339, or a duration before now such as `24h`.
    since: str
    until: str


class ManyFilter(_FilterClass, total=False):
    """Which runs are cancelled or run again together: those that fit all that is said."""

    state: list[RunState]
    tenant: str
    batch: str
    template: str
    labels: dict[str, str]
    #: Submitted at or after: RFC 3339, or a duration before now such as `24h`.
    since: str
    before: str


class RunsCancelled(TypedDict):
    """Active runs that a filter has found."""

    found: int
    cancelled: int
    run_ids: list[str]
    shards_left_out: int


class RunsRetried(TypedDict):
    """Runs without success that a filter has found."""

    found: int
    run_ids: list[str]
    runs: list[Rerun]
    refused: list[NotRerun]


class Accepted(TypedDict):
    """A run that was taken."""

    run_id: str


class ModelUsage(TypedDict):
    """What was used of one model for one role."""

    cached_tokens: int
    calls: int
    input_tokens: int
    model: str
    output_tokens: int
    role: str
    usd: float | None


class ToolCallMade(TypedDict):
    """A call of a tool by a step's model."""

    arguments: str
    ended_at: str
    error_class: str | None
    result: str
    started_at: str
    tool: str


class AttemptMade(TypedDict):
    """One attempt of a step."""

    attempt: int
    ended_at: str
    error: dict[str, Any] | None
    model: str | None
    started_at: str
    state: str
    tool_calls: list[ToolCallMade]
    usage: list[ModelUsage]


class BudgetView(TypedDict):
    """What may be spent; null is without limit."""

    tokens: int | None
    usd: float | None


class Batch(TypedDict):
    """A batch: what is kept of it, and how its runs stand."""

    active: int
    batch_id: str
    budget: BudgetView
    cancelled: int
    created_at: str
    eta_s: int | None
    expired: int
    failed: int
    labels: dict[str, str]
    rate_per_s: float | None
    reason: str | None
    rejected: int
    retried: int
    shards_silent: int
    state: str
    submitted: int
    succeeded: int
    tenant: str
    tokens: int
    total: int | None
    unpriced: int
    updated_at: str
    usd: float | None


class RejectedLine(TypedDict):
    """A line that was refused."""

    custom_id: str | None
    line: int
    message: str


class BatchAccepted(TypedDict):
    """A batch that is taken."""

    batch_id: str
    new: int
    rejected: int
    rejections: list[RejectedLine]
    submitted: int


class BatchCancelled(TypedDict):
    """A cancelled batch."""

    batch_id: str
    cancelled_runs: int


class BatchListed(TypedDict):
    """A batch in a list: what is kept of it, without a look at its runs."""

    batch_id: str
    budget: BudgetView
    cancelled: str | None
    created_at: str
    labels: dict[str, str]
    rejected: int
    submitted: int
    tenant: str
    total: int | None
    updated_at: str


class Rerun(TypedDict):
    """A new run and the one that it goes on from."""

    rerun_of: str
    run_id: str


class NotRerun(TypedDict):
    """A run that cannot be tried again."""

    message: str
    run_id: str


class BatchRetried(TypedDict):
    """What of a batch is tried again."""

    batch_id: str
    refused: list[NotRerun]
    runs: list[Rerun]


class Batches(TypedDict):
    """Batches, the newest first."""

    batches: list[BatchListed]


class Outcomes(TypedDict):
    """How runs of a kind have ended."""

    failed: int
    succeeded: int


_CacheEntryClass = TypedDict("_CacheEntryClass", {"class": str})


class CacheEntry(_CacheEntryClass):
    """An entry of the plan cache, without its plan."""

    failed: int
    fresh: Outcomes
    key: str
    made_at: str
    model: str
    pinned: bool
    proven: bool
    saved_ms: int
    saved_tokens: int
    saved_usd: float | None
    slots: list[str]
    tenant: str
    used: int
    way: str


class CacheDetail(CacheEntry):
    """An entry of the plan cache, whole."""

    goal: str
    plan: dict[str, Any] | None


class Savings(TypedDict):
    """What the entries shown have saved together."""

    saved_ms: int
    saved_tokens: int
    saved_usd: float | None
    used: int


class CacheList(TypedDict):
    """The plan cache and what it has saved."""

    entries: list[CacheEntry]
    savings: Savings


class CostRow(TypedDict):
    """One row."""

    cached_tokens: int
    calls: int
    input_tokens: int
    key: str | None
    known_usd: float
    output_tokens: int
    runs: int
    usd: float | None


class Costs(TypedDict):
    """What ended runs have cost."""

    indexing: bool
    rows: list[CostRow]


class DeadLetter(TypedDict):
    """One of them, without its body."""

    attempt: int | None
    bytes: int
    planning: int | None
    reason: str
    run_id: str | None
    seq: int
    set_aside_at: str
    step: Any
    stream: str | None
    stream_seq: int | None
    subject: str | None


class DeadLetterDetail(DeadLetter):
    """One of them, whole."""

    decoded: dict[str, Any] | None
    headers: dict[str, str]
    not_decoded: str | None
    payload_hex: str | None


class DeadLetters(TypedDict):
    """Messages that nobody could read or deliver, the newest last."""

    dead_letters: list[DeadLetter]


class Decided(TypedDict):
    """What was decided about."""

    decided: list[Any]
    run_id: str


class RunEvent(TypedDict):
    """Something that has happened to a run."""

    at: str
    attempt: int | None
    detail: str | None
    kind: str
    model: str | None
    revision: int | None
    seq: int | None
    step: Any


class Events(TypedDict):
    """The events of a run that the log still has."""

    events: list[RunEvent]
    incomplete: bool


class Gaps(TypedDict):
    """What an answer about runs lacks."""

    active_left_out: int
    indexing: bool
    shards_left_out: int


class Models(TypedDict):
    """The models of the settings, and what the fleet knows of each."""

    models: list[dict[str, Any]]


class Parent(TypedDict):
    """A step of another run, which a run does."""

    run_id: str
    step: Any


class PausedModel(TypedDict):
    """A model that nobody calls just now."""

    model: str
    reason: str | None
    until: str | None


class PreviewUsage(TypedDict):
    """What a preview has used of the planner's model."""

    input_tokens: int
    model: str
    output_tokens: int
    usd: float | None


class ProblemAt(TypedDict):
    """One mistake."""

    message: str
    path: str


class PlanPreview(TypedDict):
    """A plan that no run was made of."""

    faults: list[ProblemAt]
    plan: dict[str, Any] | None
    source: str | None
    usage: PreviewUsage | None


class PoolQueue(TypedDict):
    """The queue of one pool."""

    in_flight: int
    pool: str
    ready_backlog: int | None
    slots: int
    waiting: int


Priority = Literal["high", "normal", "low"]
"""A run's place in line."""


class _ProblemDetailsMaybe(TypedDict, total=False):
    errors: list[ProblemAt]


class ProblemDetails(_ProblemDetailsMaybe):
    """What went wrong with a request: RFC 9457 problem details."""

    code: str
    detail: str
    status: int
    title: str | None
    type: str


class QueuePause(TypedDict):
    """Whose work is held back: nothing new of it is let go."""

    name: str
    reason: str
    since: str
    what: str


class QueueResumed(TypedDict):
    """Whose work is held back no longer."""

    name: str
    was_paused: bool
    what: str


class Queues(TypedDict):
    """What waits for workers."""

    backlog: int
    paused: list[PausedModel]
    pauses: list[QueuePause]
    pools: list[PoolQueue]


class Replayed(TypedDict):
    """What became of a replay."""

    detail: str
    run_id: str | None
    seq: int


class ResolvedInput(TypedDict):
    """One input of a step."""

    from_step: int | None
    known: bool
    name: str
    path: str | None
    value: Any


class Revision(TypedDict):
    """A revision of a plan."""

    added: list[int]
    cause: Any
    dropped: list[int]
    model: str | None
    reason: str
    revision: int
    usd: float | None


Role = Literal["reader", "operator", "admin"]
"""What somebody may do. Each role may what those before it may."""


class RunCounts(TypedDict):
    """How many runs there are."""

    by_state: dict[str, int]
    capped: bool
    gaps: Gaps
    total: int
    usd: float
    usd_unknown: int


class Usage(TypedDict):
    """What was used."""

    cached_tokens: int
    calls: int
    input_tokens: int
    output_tokens: int
    usd: float | None


class UsageByRole(TypedDict):
    """What was used for what."""

    executor: Usage
    judge: Usage
    planner: Usage
    triage: Usage


RunState = Literal[
    "planning",
    "awaiting_approval",
    "executing",
    "replanning",
    "paused",
    "succeeded",
    "failed",
    "cancelled",
    "expired",
]
"""Where a run stands, or how it ended."""


class Timings(TypedDict):
    """Where the time went, in milliseconds."""

    executing_ms: int
    planning_ms: int
    queued_ms: int
    total_ms: int


class Step(TypedDict):
    """A step or an item of one."""

    attempts: int
    child: str | None
    depends_on: list[int]
    description: str
    ended_at: str | None
    error: dict[str, Any] | None
    for_each: dict[str, Any] | None
    id: Any
    inputs: list[dict[str, Any]]
    kind: str
    model: str | None
    needs_approval: bool
    output: Any
    pool: str
    revision: int
    started_at: str | None
    state: str
    success_criteria: list[dict[str, Any]]
    tools: list[str]
    usage: Usage
    waits_for: Any


_RunDocumentClass = TypedDict("_RunDocumentClass", {"class": str | None})


class _RunDocumentMaybe(TypedDict, total=False):
    trimmed: bool


class RunDocument(_RunDocumentClass, _RunDocumentMaybe):
    """A run, whole."""

    answer: Any
    approvals: list[dict[str, Any]]
    batch_id: str | None
    cache: dict[str, Any] | None
    created_at: str
    custom_id: str | None
    end: dict[str, Any] | None
    ended_at: str | None
    final: int | None
    goal: str | None
    inputs: dict[str, Any]
    labels: dict[str, str]
    models: list[ModelUsage]
    parent: Parent | None
    partial: bool
    paused: str | None
    planning: dict[str, Any] | None
    priority: Priority
    reason: str | None
    rerun_of: str | None
    revisions: list[Revision]
    run_id: str
    state: RunState
    steps: list[Step]
    template: str | None
    tenant: str
    timings: Timings
    usage: UsageByRole
    usd: float | None


class StepCounts(TypedDict):
    """How many steps of a run stand where; the items of a `for_each` are none of their own."""

    active: int
    done: int
    failed: int
    total: int


_SummaryClass = TypedDict("_SummaryClass", {"class": str | None})


class Summary(_SummaryClass):
    """A run in a list."""

    batch_id: str | None
    created_at: str
    custom_id: str | None
    ended_at: str | None
    goal: str | None
    labels: dict[str, str]
    partial: bool
    priority: Priority
    reason: str | None
    revisions: int
    run_id: str
    state: RunState
    steps: StepCounts
    template: str | None
    tenant: str
    total_ms: int
    usd: float | None


class RunPage(TypedDict):
    """A page of runs."""

    gaps: Gaps
    next_cursor: str | None
    runs: list[Summary]


class StepDetail(Step):
    """A step with all that is known of it."""

    attempts_made: list[AttemptMade]
    resolved: list[ResolvedInput]
    run_id: str
    trace_id: str | None
    trace_url: str | None


class TemplateAdded(TypedDict):
    """A template that was added."""

    new: bool
    template: str
    version: str


class TemplateListed(TypedDict):
    """A version of a template in a list."""

    added_at: str | None
    latest: bool
    name: str
    origin: str
    version: str


class TemplateRemoved(TypedDict):
    """Versions that are gone."""

    name: str
    removed: list[str]


class TemplateView(TypedDict):
    """A template, whole."""

    description: str
    name: str | None
    plan: dict[str, Any]
    slots: Any
    version: str


class Templates(TypedDict):
    """Templates by name, the newest version of each first."""

    templates: list[TemplateListed]


class Tool(TypedDict):
    """One tool."""

    arguments: Any
    description: str
    effect: str
    idempotent: bool
    name: str
    output: Any


class Tools(TypedDict):
    """What plans may use."""

    tools: list[Tool]


class WhoAmI(TypedDict):
    """Who asks."""

    auth: str
    name: str | None
    role: Role
    tenant: str | None


class Worker(TypedDict):
    """One process that gives signs of life."""

    name: str
    role: str
    shards: list[int]
    slots: dict[str, int]


class Workers(TypedDict):
    """Who looks after the fleet's shards."""

    workers: list[Worker]
