// Run documents as the API gives them, made to order: large plans, and what models say at their worst.

import { readFileSync } from "node:fs";

const NONE = { calls: 0, input_tokens: 0, output_tokens: 0, cached_tokens: 0, usd: 0 };
const START = Date.UTC(2026, 10, 23, 6, 50, 0);
const at = (ms) => new Date(START + ms).toISOString();

/** A step as it stands; `more` is what differs from a tool step that has succeeded. */
export function step(id, description, more = {}) {
  return {
    id, description, revision: 1, state: "succeeded", needs_approval: false, waits_for: null, kind: "tool",
    tools: ["http_fetch"], inputs: [], for_each: null, success_criteria: [], depends_on: [], attempts: 1,
    pool: "default", model: null, output: { ok: true }, error: null, usage: NONE,
    started_at: at(1_000), ended_at: at(1_800), ...more,
  };
}

/** A run that goes on; `more` is what differs. */
export function run(run_id, steps, more = {}) {
  return {
    run_id, custom_id: null, batch_id: null, tenant: "default", class: null, goal: "A run made for a test",
    inputs: {}, template: null, priority: "normal", labels: {}, created_at: at(0), ended_at: null,
    rerun_of: null, state: "executing", answer: null, partial: true, reason: null, end: null, paused: null,
    approvals: [], planning: null, final: steps.at(-1)?.id ?? null, steps,
    revisions: [{
      revision: 1, cause: { code: "planned" }, reason: "planned", model: "modelsim", usd: 0.0098, dropped: [],
      added: steps.map((one) => one.id).filter(Number.isInteger),
    }],
    usage: { planner: NONE, executor: NONE, judge: NONE, triage: NONE }, models: [], usd: 0.0213, cache: null,
    timings: { queued_ms: 3, planning_ms: 3349, executing_ms: 3127, total_ms: 4327 }, ...more,
  };
}

/** `lines` lines of `length` steps each, between one first and one last step: lines × length + 2 in all. */
export function wide(lines, length) {
  const steps = [step(1, "List the documents of the archive")];
  const ends = [];
  for (let line = 0; line < lines; line++) {
    for (let place = 0; place < length; place++) {
      const id = steps.length + 1;
      const state = line % 97 === 13 && place === 1 ? "failed" : place > 2 && line % 3 === 0 ? "running" : place > 2 ? "waiting" : "succeeded";
      const began = 1_000 + place * 4_000 + (line % 50) * 60;
      steps.push(step(id, `${["Fetch", "Read", "Extract the dates of", "Check", "Summarise"][place % 5]} document ${line + 1}`, {
        state,
        depends_on: [place === 0 ? 1 : id - 1],
        tools: place % 2 === 0 ? ["http_fetch"] : [],
        model: place % 2 === 0 || state === "waiting" ? null : "small",
        attempts: state === "waiting" ? 0 : line % 40 === 7 ? 2 : 1,
        waits_for: state === "waiting" ? { code: "steps", steps: [id - 1] } : null,
        error: state === "failed" ? { class: "invalid_output", message: "the date is no date" } : null,
        output: null,
        started_at: state === "waiting" ? null : at(began),
        ended_at: state === "waiting" || state === "running" ? null : at(began + 900 + (line % 9) * 300),
      }));
    }
    ends.push(steps.length);
  }
  const waits = { state: "waiting", waits_for: { code: "steps", steps: ends.slice(0, 10) }, output: null, started_at: null, ended_at: null };
  steps.push(step(steps.length + 1, "Write the report", { ...waits, tools: [], depends_on: ends, attempts: 0 }));
  return run("00-wide", steps);
}

/** What a page must never do anything about: the text that the provider of the tests answers with, too. */
export const HOSTILE = JSON.parse(readFileSync(new URL("hostile.json", import.meta.url), "utf8"));

/** One line of ten million characters. */
export const LONG_LINE = "0123456789".repeat(1_000_000);

/** A run with that in every field. */
export function hostile() {
  const inputs = [{ name: HOSTILE, value: HOSTILE }];
  const usage = { ...NONE, calls: 2, usd: null };
  const steps = [
    step(1, HOSTILE, { output: HOSTILE, inputs, tools: [HOSTILE] }),
    step(2, HOSTILE, { output: { [HOSTILE]: [HOSTILE] }, depends_on: [1], model: HOSTILE, tools: [], usage }),
    step(3, HOSTILE, { state: "failed", error: { class: "tool_error", message: HOSTILE }, depends_on: [2], output: null }),
  ];
  const more = {
    goal: HOSTILE, custom_id: HOSTILE.slice(0, 60), class: HOSTILE, reason: HOSTILE, state: "failed", answer: HOSTILE,
    end: { code: "gave_up", step: 3, class: "tool_error", message: HOSTILE },
    models: [{ ...usage, model: HOSTILE, role: "executor" }],
    revisions: [
      { revision: 1, cause: { code: "rejected", reason: HOSTILE }, reason: HOSTILE, added: [1, 2, 3], dropped: [], model: HOSTILE, usd: null },
    ],
  };
  return run("00-hostile", steps, more);
}

export function longLine() {
  return run("00-long", [step(1, "A line of ten million characters", { output: LONG_LINE })]);
}

/** A run in a list. */
export function summary(run_id, goal, state, more = {}) {
  return {
    run_id, custom_id: null, goal, state, partial: state !== "succeeded", reason: null, class: null, template: null, batch_id: null,
    tenant: "default", priority: "normal", labels: {}, usd: 0.0213, created_at: at(0), ended_at: null, total_ms: 4_327,
    steps: { total: 6, done: 4, failed: 0, active: 1 }, revisions: 1, ...more,
  };
}

/** What the pages beside the runs show; a fresh fleet has little of it. */
export function fleet() {
  const batch = {
    batch_id: "nightly-2026-11-23", tenant: "default", state: "running", created_at: at(-600_000), updated_at: at(0), total: 2_000,
    submitted: 2_000, rejected: 3, active: 112, succeeded: 1_204, failed: 21, cancelled: 0, expired: 2, retried: 0, usd: 14.2,
    unpriced: 0, tokens: 4_120_331, budget: { usd: 40, tokens: null }, rate_per_s: 4.1, eta_s: 163, reason: null, labels: {}, shards_silent: 0,
  };
  const done = { ...batch, batch_id: "nightly-2026-11-22", state: "completed", active: 0, succeeded: 1_990, failed: 7, expired: 0, eta_s: null, rate_per_s: null };
  const listed = ({ batch_id, tenant, created_at, updated_at, total, submitted, rejected, budget, labels }) =>
    ({ batch_id, tenant, created_at, updated_at, total, submitted, rejected, budget, labels, cancelled: null });
  const entry = {
    key: "5f1d3c0a9be2", tenant: "default", class: "invoice extraction", slots: ["invoice", "currency"], way: "a plan of 5 steps", proven: true,
    pinned: false, model: "large", made_at: at(-86_400_000), used: 412, failed: 3, fresh: { succeeded: 9, failed: 0 },
    saved_tokens: 1_502_331, saved_usd: 18.4, saved_ms: 1_903_000,
  };
  const letter = {
    seq: 41, set_aside_at: at(-7_200_000), stream: "PF_STEPS_0", stream_seq: 1_893, subject: "pf.steps.default.1.default.r.3.1",
    reason: "no field 19 is known: the message was written by a newer version", run_id: "03-01a2072b7d6c7502aaff0a05afc49746",
    step: 3, planning: null, attempt: 1, bytes: 812,
  };
  const row = (key, usd, runs) => ({ key, runs, calls: runs * 9, input_tokens: runs * 8_120, cached_tokens: runs * 2_010, output_tokens: runs * 611, usd, known_usd: usd ?? 0.4 });
  return {
    "/v1/batches": { batches: [listed(batch), listed(done)] },
    [`/v1/batches/${batch.batch_id}`]: batch,
    [`/v1/batches/${done.batch_id}`]: done,
    "/v1/queues": {
      backlog: 61,
      pools: [
        { pool: "plan", slots: 4, waiting: 0, in_flight: 2, ready_backlog: 0 },
        { pool: "default", slots: 16, waiting: 12, in_flight: 32, ready_backlog: 871 },
        { pool: "strong", slots: 4, waiting: 15, in_flight: 0, ready_backlog: null },
      ],
      pauses: [{ what: "class", name: "letters", reason: "the printer is out of ink", since: at(-300_000) }],
      paused: [{ model: "large", reason: "insufficient_quota: you exceeded your current quota", until: at(900_000) }],
    },
    "/v1/workers": { workers: [{ name: "host-1-4711", role: "coordinator", shards: [0, 2], slots: {} }, { name: "host-2-4712", role: "coordinator", shards: [1, 3], slots: {} }, { name: "host-3-4713", role: "executor", shards: [], slots: { default: 16, strong: 4 } }] },
    "/v1/whoami": { tenant: null, role: "admin", auth: "key", name: "ops" },
    "/v1/models": {
      models: [
        { name: "large", model: "vendor/large-2026", roles: ["planner"], limits: { max_concurrency: 16, requests_per_minute: 500, tokens_per_minute: 400_000 },
          fleet: { in_flight: 0, concurrency: 16, processes: 2, asked_until: null, paused: { reason: "insufficient_quota: you exceeded your current quota", until: at(900_000) } } },
        { name: "small", model: "small", roles: ["executor", "triage"], limits: null, fleet: { in_flight: 31, concurrency: 64, processes: 2, asked_until: null, paused: null } },
        { name: "spare", model: "spare", roles: [], limits: null, fleet: null },
      ],
    },
    "/v1/dead-letters": { dead_letters: [letter, { ...letter, seq: 42, stream: "PF_EV_03", step: null, attempt: null, run_id: null, reason: "the record is cut off after 40 bytes" }] },
    "/v1/dead-letters/41": { ...letter, headers: { "Nats-Msg-Id": "r.3.1" }, payload_hex: "0a24", decoded: null, not_decoded: "field 19" },
    "/v1/cache": {
      entries: [entry, { ...entry, key: "99e2aa01d7", class: "country facts", slots: ["country"], way: "one step, no plan, pinned", pinned: true, used: 96, failed: 0, saved_usd: 0.31 }],
      savings: { used: 508, saved_tokens: 1_702_004, saved_usd: 18.71, saved_ms: 2_003_000 },
    },
    "/v1/cache/5f1d3c0a9be2": { ...entry, goal: "Extract the total of the invoice", plan: { steps: [] } },
    "/v1/costs": { rows: [row("invoice extraction", 14.2, 1_204), row("country facts", 0.92, 96), row("research", null, 8), row(null, 0.2, 31)], indexing: false },
  };
}
