/** All runs: found by filters that are part of the address, counted, and kept up to date. */

import { useSignal } from "@preact/signals";
import { useLocation } from "preact-iso";
import { useEffect, useRef } from "preact/hooks";
import { get, withQuery } from "../api/client";
import { useLive } from "../api/live";
import { ACTIVE_STATES, type Counts, END_STATES, type Gaps, type RunPage, type RunState, type Summary } from "../api/types";
import { ago, count, duration, plural, stamp, tail, usd } from "../model/format";
import { word } from "../model/words";
import { act } from "../parts/confirm";
import { Meter } from "../parts/meter";
import { Glyph, State } from "../parts/state";
import { Text } from "../parts/text";
import { useTitle } from "../parts/title";
import { Empty, Trouble } from "../parts/trouble";

const PAGE = 50;
const FRESH_MS = 2_000;
const COUNTED_MS = 4_000;

type Query = Record<string, string>;

/** The words of the address that narrow the list. */
const FILTERS = ["q", "state", "class", "batch", "template", "tenant", "label", "since"] as const;

export function Runs() {
  useTitle("Runs");
  const { query, route } = useLocation();
  const narrowed = Object.fromEntries(FILTERS.map((name) => [name, query[name] ?? ""]));
  const order = query["order"] ?? "newest";
  const runs = useLive<RunPage>(withQuery("/v1/runs", { ...narrowed, order, limit: PAGE }), () => FRESH_MS);
  const counts = useLive<Counts>(withQuery("/v1/runs:counts", { ...narrowed, state: "" }), () => COUNTED_MS);
  const narrow = (changed: Query) => route(withQuery("/runs", { ...query, ...changed }), true);
  return (
    <div class="page">
      <div class="page-head">
        <h1>Runs</h1>
        <Totals counts={counts.data.value} />
      </div>
      <Filters query={query} narrow={narrow} />
      <States counts={counts.data.value} chosen={query["state"] ?? ""} choose={(state) => narrow({ state })} />
      <Trouble live={runs} what="The runs" />
      <Lacking gaps={runs.data.value?.gaps} />
      {runs.data.value && (
        <Found key={JSON.stringify([narrowed, order])} listed={runs.data.value} query={{ ...narrowed, order }} />
      )}
    </div>
  );
}

/** A list that is not whole says so. */
function Lacking({ gaps }: { gaps: Gaps | undefined }) {
  if (!gaps) return null;
  const said = [
    gaps.indexing && "older runs are still being read into the index",
    gaps.active_left_out > 0 && `${count(gaps.active_left_out)} active runs are left out`,
    gaps.shards_left_out > 0 && `nobody answers for the active runs of ${plural(gaps.shards_left_out, "shard")} just now`,
  ].filter(Boolean);
  if (said.length === 0) return null;
  return <p class="why-line is-paused">Not everything is here: {said.join("; ")}.</p>;
}

function Totals({ counts }: { counts: Counts | null }) {
  if (!counts) return null;
  return (
    <p class="totals">
      {count(counts.total)} in all · {counts.usd_unknown > 0 ? `over ${usd(counts.usd)}` : usd(counts.usd)}
    </p>
  );
}

/** Only runs of that time. */
const SPANS: [since: string, name: string][] = [
  ["", "Any time"],
  ["1h", "Last hour"],
  ["24h", "Last day"],
  ["168h", "Last week"],
];

function Filters({ query, narrow }: { query: Query; narrow: (changed: Query) => void }) {
  const form = useRef<HTMLFormElement>(null);
  // What the address says is in the fields, also when it was changed elsewhere; who types keeps the focus.
  useEffect(() => {
    for (const field of form.current!.elements) {
      if (field instanceof HTMLInputElement) field.value = query[field.name] ?? "";
    }
  }, [JSON.stringify(query)]);
  const submit = (event: Event) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const written = (name: string) => String(form.get(name) ?? "").trim();
    narrow({ q: written("q"), class: written("class"), batch: written("batch"), label: written("label"), since: written("since"), order: written("order") });
  };
  const active = FILTERS.some((name) => query[name]);
  return (
    <form class="filters" role="search" onSubmit={submit} ref={form}>
      <input class="grow" type="search" name="q" placeholder="Search goals, answers, ids" aria-label="Search" />
      <input name="class" placeholder="Class" aria-label="Class" />
      <input name="batch" placeholder="Batch" aria-label="Batch" />
      <input name="label" placeholder="Label key:value" aria-label="Label" />
      <select name="since" aria-label="Time" onChange={(event) => event.currentTarget.form?.requestSubmit()}>
        {SPANS.map(([since, name]) => (
          <option key={since} value={since} selected={since === (query["since"] ?? "")}>
            {name}
          </option>
        ))}
        {!SPANS.some(([since]) => since === (query["since"] ?? "")) && (
          <option value={query["since"]} selected>
            Since {query["since"]}
          </option>
        )}
      </select>
      <select name="order" aria-label="Order" onChange={(event) => event.currentTarget.form?.requestSubmit()}>
        {["newest", "oldest", "cost", "duration"].map((order) => (
          <option key={order} value={order} selected={order === (query["order"] ?? "newest")}>
            {{ newest: "Newest first", oldest: "Oldest first", cost: "Most expensive", duration: "Longest" }[order]}
          </option>
        ))}
      </select>
      <button type="submit">Find</button>
      {active && (
        <a class="button quiet" href="/runs">
          Clear
        </a>
      )}
    </form>
  );
}

/** States as buttons with their counts; several can be chosen. */
function States({ counts, chosen, choose }: { counts: Counts | null; chosen: string; choose: (states: string) => void }) {
  const on = new Set(chosen.split(",").filter(Boolean));
  const toggle = (state: RunState) => {
    if (on.has(state)) on.delete(state);
    else on.add(state);
    choose([...on].join(","));
  };
  return (
    <div class="chips" role="group" aria-label="States">
      {[...ACTIVE_STATES, ...END_STATES].map((state) => (
        <button key={state} type="button" class={`chip is-${state}`} aria-pressed={on.has(state)} onClick={() => toggle(state)}>
          <Glyph state={state} />
          {word(state)}
          {counts && <span class="number">{count(counts.by_state[state] ?? 0)}</span>}
        </button>
      ))}
    </div>
  );
}

/** The newest page stays fresh; older ones are added below when asked for. */
function Found({ listed, query }: { listed: RunPage; query: Query }) {
  const older = useSignal<Summary[]>([]);
  const cursor = useSignal<string | null | undefined>(undefined);
  const next = cursor.value === undefined ? listed.next_cursor : cursor.value;
  const more = () =>
    act(async () => {
      const page = await get<RunPage>(withQuery("/v1/runs", { ...query, limit: PAGE, cursor: next }));
      older.value = [...older.value, ...page.runs];
      cursor.value = page.next_cursor;
    }, "More runs are below");
  const fresh = new Set(listed.runs.map((run) => run.run_id));
  const all = [...listed.runs, ...older.value.filter((run) => !fresh.has(run.run_id))];
  if (all.length === 0) {
    const narrowed = FILTERS.some((name) => query[name]);
    return <Empty>{narrowed ? "No run is like that." : <>No run yet. Start one as a <a href="/new">new task</a>.</>}</Empty>;
  }
  return (
    <>
      <Table runs={all} />
      {next && (
        <button type="button" class="more" onClick={more}>
          Show older runs
        </button>
      )}
    </>
  );
}

/** Runs as rows; batches show theirs so too. */
export function Table({ runs }: { runs: Summary[] }) {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Runs">
      <table class="list cards">
        <thead>
          <tr>
            <th>State</th>
            <th class="wide">Task</th>
            <th>Steps</th>
            <th class="figure">Plans</th>
            <th class="figure">Cost</th>
            <th class="figure">Took</th>
            <th class="figure">Started</th>
          </tr>
        </thead>
        <tbody>
          {runs.map((run) => (
            <Row key={run.run_id} run={run} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Row({ run }: { run: Summary }) {
  const about = [run.class, run.template, run.batch_id && `batch ${run.batch_id}`, run.tenant !== "default" && run.tenant];
  const steps = run.steps;
  return (
    <tr>
      <td>
        <State state={run.state} />
      </td>
      <td class="wide">
        <a class="row-link" href={`/runs/${run.run_id}`}>
          <Text value={run.goal || run.custom_id || run.template || tail(run.run_id)} />
        </a>
        <div class="under">
          <code title={run.run_id}>{run.custom_id ?? tail(run.run_id)}</code>
          {about.filter(Boolean).map((one) => (
            <Text key={String(one)} value={String(one)} />
          ))}
          {run.reason && <Text class="why" value={run.reason} />}
        </div>
      </td>
      <td>
        <Meter
          label={`${steps.done} of ${steps.total} steps done`}
          total={steps.total}
          parts={[["succeeded", steps.done], ["failed", steps.failed], ["running", steps.active]]}
        />
      </td>
      <td class="figure" data-name="plans">{run.revisions}</td>
      <td class="figure" data-name="cost">{usd(run.usd)}</td>
      <td class="figure" data-name="took">{duration(run.total_ms)}</td>
      <td class="figure" title={stamp(run.created_at)}>
        {ago(run.created_at, Date.now())}
      </td>
    </tr>
  );
}
