/** What the API answers, as far as the dashboard reads it; /openapi.json has all of it. */

export type RunState =
  | "planning" | "awaiting_approval" | "executing" | "replanning" | "paused"
  | "succeeded" | "failed" | "cancelled" | "expired";

export const ACTIVE_STATES: RunState[] = ["planning", "awaiting_approval", "executing", "replanning", "paused"];
export const END_STATES: RunState[] = ["succeeded", "failed", "cancelled", "expired"];

export type StepState = "waiting" | "running" | "succeeded" | "failed" | "dropped" | "cancelled";

/** `3`, or `"3[0]"` for an item of step 3. */
export type StepId = number | string;

export interface Usage {
  calls: number;
  input_tokens: number;
  output_tokens: number;
  cached_tokens: number;
  /** Dollars; null where a price is unknown. */
  usd: number | null;
}

export interface Wait {
  code: string;
  steps?: number[];
  at?: string;
}

export interface Failure {
  class: string;
  message: string;
}

export interface Step {
  id: StepId;
  revision: number;
  state: StepState;
  needs_approval: boolean;
  waits_for: Wait | null;
  description: string;
  tools: string[];
  /** Documents that an older coordinator has written have none. */
  inputs?: PlannedInput[];
  success_criteria?: { kind: string; arg: string }[];
  depends_on: number[];
  attempts: number;
  pool: string;
  model: string | null;
  /** The run that does it. */
  child?: string | null;
  output: unknown;
  error: Failure | null;
  usage: Usage;
  started_at: string | null;
  ended_at: string | null;
}

/** As planned: a literal, or what a step brings; step 0 is the task. */
export interface PlannedInput {
  name: string;
  value?: unknown;
  from_step?: number | null;
  path?: string | null;
}

export interface Cause {
  code: string;
  steps?: number[];
  run?: string;
  reason?: string;
}

export interface Revision {
  revision: number;
  cause: Cause;
  reason: string;
  added: number[];
  dropped: number[];
  model: string | null;
  usd: number | null;
}

export interface Gate {
  gate: "plan" | "step";
  revision?: number;
  step?: number;
}

export interface ModelUsage extends Usage {
  model: string;
  role: string;
}

export interface Run {
  run_id: string;
  custom_id: string | null;
  batch_id: string | null;
  tenant: string;
  class: string | null;
  goal?: string | null;
  inputs?: Record<string, unknown>;
  rerun_of: string | null;
  /** The step of another run that it does. */
  parent?: { run_id: string; step: StepId } | null;
  state: RunState;
  answer: unknown;
  partial: boolean;
  reason: string | null;
  end: { code: string; step: number | null; class: string | null; message: string } | null;
  paused: string | null;
  approvals: Gate[];
  planning: { revision: number; attempt: number; cause: Cause; retry_at: string | null } | null;
  revisions: Revision[];
  final: number | null;
  steps: Step[];
  usage: Record<string, Usage>;
  models: ModelUsage[];
  usd: number | null;
  cache: {
    class: string; hit: boolean; key: string;
    saved_usd: number | null; saved_tokens: number | null; saved_ms: number | null;
  } | null;
  timings: { queued_ms: number; planning_ms: number; executing_ms: number; total_ms: number };
  /** Outputs are left out, as the run goes on and is too large for one message; maybe items and steps, too. */
  trimmed?: boolean;
}

/** A run in a list. */
export interface Summary {
  run_id: string;
  custom_id: string | null;
  goal: string | null;
  state: RunState;
  partial: boolean;
  reason: string | null;
  class: string | null;
  template: string | null;
  batch_id: string | null;
  tenant: string;
  priority: string;
  labels: Record<string, string>;
  usd: number | null;
  created_at: string;
  ended_at: string | null;
  total_ms: number;
  steps: { total: number; done: number; failed: number; active: number };
  revisions: number;
}

/** What an answer about runs lacks. */
export interface Gaps {
  indexing: boolean;
  active_left_out: number;
  shards_left_out: number;
}

export interface RunPage {
  runs: Summary[];
  next_cursor: string | null;
  gaps?: Gaps;
}

export interface Counts {
  total: number;
  by_state: Partial<Record<RunState, number>>;
  /** Of the runs whose cost is known. */
  usd: number;
  usd_unknown: number;
}

export interface RunEvent {
  /** Its position in the log; null for what is not in the log. */
  seq: number | null;
  at: string;
  /** The name of the record, such as `StepSucceeded`. */
  kind: string;
  step: StepId | null;
  attempt: number | null;
  revision: number | null;
  model: string | null;
  detail: string | null;
}

export interface ResolvedInput {
  name: string;
  from_step: number | null;
  path: string | null;
  value: unknown;
  known: boolean;
}

export interface AttemptMade {
  attempt: number;
  state: string;
  model: string | null;
  error: Failure | null;
  started_at: string;
  ended_at: string;
  usage: ModelUsage[];
  /** What its model has called. */
  tool_calls?: ToolCall[];
}

export interface ToolCall {
  tool: string;
  /** As the model wrote them. */
  arguments: string;
  result: string;
  /** Null for a call that succeeded. */
  error_class: string | null;
  started_at: string;
  ended_at: string;
}

export interface StepDetail extends Step {
  resolved: ResolvedInput[];
  attempts_made: AttemptMade[];
  trace_id: string | null;
  trace_url?: string | null;
}

export interface Budget {
  usd: number | null;
  tokens: number | null;
}

/** A batch in a list, without a look at its runs. */
export interface BatchListed {
  batch_id: string;
  tenant: string;
  created_at: string;
  total: number | null;
  submitted: number;
  rejected: number;
  budget: Budget;
  cancelled: string | null;
}

export interface Batch extends Omit<BatchListed, "cancelled"> {
  /** `submitting`, `running`, `completed`, `cancelling` or `cancelled`. */
  state: string;
  active: number;
  succeeded: number;
  failed: number;
  cancelled: number;
  expired: number;
  retried: number;
  usd: number | null;
  unpriced: number;
  tokens: number;
  rate_per_s: number | null;
  eta_s: number | null;
  reason: string | null;
  shards_silent: number;
}

export interface Pool {
  pool: string;
  slots: number;
  waiting: number;
  in_flight: number;
  ready_backlog: number | null;
}

/** Whose work is held back before it begins. */
export interface QueuePause {
  what: "pool" | "tenant" | "class";
  name: string;
  reason: string;
  since: string;
}

export interface Queued {
  pools: Pool[];
  pauses?: QueuePause[];
  paused: { model: string; reason: string | null; until: string | null }[];
  backlog: number;
}

/** A model of the settings, and what the fleet knows of it. */
export interface Model {
  name: string;
  model: string;
  roles: string[];
  limits: { max_concurrency: number | null; requests_per_minute: number | null; tokens_per_minute: number | null } | null;
  fleet: {
    in_flight: number;
    concurrency: number;
    processes: number;
    asked_until: string | null;
    paused: { reason: string | null; until: string | null } | null;
  } | null;
}

export interface Worker {
  name: string;
  role: string;
  shards: number[];
  /** By pool, how much it does at once. */
  slots?: Record<string, number>;
}

export interface DeadLetter {
  seq: number;
  set_aside_at: string;
  stream: string | null;
  reason: string;
  run_id: string | null;
  step: StepId | null;
  planning: number | null;
  attempt: number | null;
  bytes: number;
}

export interface CacheEntry {
  key: string;
  class: string;
  slots: string[];
  way: string;
  proven: boolean;
  pinned: boolean;
  model: string;
  made_at: string;
  used: number;
  failed: number;
  saved_tokens: number;
  saved_usd: number | null;
  saved_ms: number;
}

export interface Cached {
  entries: CacheEntry[];
  savings: { used: number; saved_tokens: number; saved_usd: number | null; saved_ms: number };
}

export interface CostRow {
  /** The class, model, run, batch, role or day; null for runs that have none. */
  key: string | null;
  runs: number;
  calls: number;
  input_tokens: number;
  cached_tokens: number;
  output_tokens: number;
  usd: number | null;
  known_usd: number;
}

export interface PlanPreview {
  plan: unknown;
  faults: { path: string; message: string }[];
  source: string | null;
  usage: { model: string; usd: number | null } | null;
}
