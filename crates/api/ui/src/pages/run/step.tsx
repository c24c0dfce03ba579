/** One step beside the graph: what went in, what came out, and every attempt at it. */

import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { useLive } from "../../api/live";
import { END_STATES, type AttemptMade, type PlannedInput, type ResolvedInput, type Run, type Step, type StepDetail, type ToolCall } from "../../api/types";
import { clock, count, duration, plural, stamp, tail, usd } from "../../model/format";
import { tally } from "../../model/plan";
import { by, wait, word } from "../../model/words";
import { Meter } from "../../parts/meter";
import { Rows } from "../../parts/rows";
import { State } from "../../parts/state";
import { Text, Value } from "../../parts/text";
import { Trouble } from "../../parts/trouble";

interface Props {
  run: Run;
  id: string;
  choose: (step: string | null) => void;
  refresh: () => void;
}

export function StepDrawer({ run, id, choose }: Props) {
  const step = run.steps.find((one) => String(one.id) === id);
  const over = !step || !["running", "waiting"].includes(step.state) || END_STATES.includes(run.state);
  const detail = useLive<StepDetail>(
    `/v1/runs/${encodeURIComponent(run.run_id)}/steps/${encodeURIComponent(id)}`,
    () => (over ? 0 : 2_000),
  );
  // What it ended with is read once more, whatever was read before.
  const first = useRef(true);
  useEffect(() => {
    if (!first.current) detail.refresh();
    first.current = false;
  }, [step?.state, step?.attempts]);
  const element = useRef<HTMLElement>(null);
  const before = useRef(document.activeElement as HTMLElement | null);
  useEffect(() => {
    element.current?.focus({ preventScroll: true });
    return () => before.current?.focus({ preventScroll: true });
  }, []);
  const close = () => choose(null);
  return (
    <aside class="drawer" ref={element} tabIndex={-1} aria-label={`Step ${id}`} onKeyDown={(event) => event.key === "Escape" && close()}>
      <header>
        <h2>{String(id).includes("[") ? `Item ${id}` : `Step ${id}`}</h2>
        {step && <State state={step.state} />}
        <span class="grow" />
        <button type="button" class="quiet" aria-label="Close the step" onClick={close}>
          ×
        </button>
      </header>
      {detail.problem.value && <Trouble live={detail} what="What is known beside the plan" />}
      {step ? <Inside run={run} step={step} detail={detail.data.value} choose={choose} /> : <p class="empty">This run has no step {id}.</p>}
    </aside>
  );
}

interface InsideProps {
  run: Run;
  step: Step;
  detail: StepDetail | null;
  choose: (step: string) => void;
}

function Inside({ run, step, detail, choose }: InsideProps) {
  const parent = Number.parseInt(String(step.id), 10);
  const items = typeof step.id === "number" ? run.steps.filter((one) => typeof one.id === "string" && Number.parseInt(one.id, 10) === step.id) : [];
  const description = step.description || detail?.description || run.steps.find((one) => one.id === parent)?.description;
  const took = step.started_at && step.ended_at ? Date.parse(step.ended_at) - Date.parse(step.started_at) : null;
  const attempts = detail?.attempts_made ?? [];
  const trace = detail?.trace_id;
  return (
    <div class="drawer-body">
      <p class="description" dir="auto">
        {description}
      </p>
      {step.waits_for && (
        <p class="why-line">
          It {wait(step.waits_for)}
          {step.waits_for.at && ` at ${stamp(step.waits_for.at)}`}
        </p>
      )}
      <dl class="facts">
        <Fact name="By">
          <Text value={by(step)} />
        </Fact>
        <Fact name="Attempts">{count(step.attempts)}</Fact>
        <Fact name="Took">{duration(took)}</Fact>
        <Fact name="Cost">{step.usage.calls > 0 ? usd(step.usage.usd) : "no model call"}</Fact>
        {step.usage.calls > 0 && (
          <Fact name="Tokens">
            {count(step.usage.input_tokens)} in, {count(step.usage.output_tokens)} out
          </Fact>
        )}
        <Fact name="Pool">
          <Text value={step.pool} />
        </Fact>
        <Fact name="Revision">{step.revision}</Fact>
        {step.child && (
          <Fact name="Done by the run">
            <a href={`/runs/${encodeURIComponent(step.child)}`}>
              <code class="id">{tail(step.child)}</code>
            </a>
          </Fact>
        )}
      </dl>
      <Joined run={run} step={step} choose={choose} />
      {step.error && (
        <section class="error">
          <h3>{step.state === "failed" || step.state === "dropped" ? "Why it failed" : "What went wrong last"}</h3>
          <p>
            <b>{word(step.error.class)}</b>
          </p>
          <Value value={step.error.message} label="the error" />
        </section>
      )}
      <Inputs planned={step.inputs ?? []} resolved={detail?.resolved ?? []} choose={choose} />
      {items.length > 0 ? (
        <Items items={items} choose={choose} />
      ) : (
        (step.output ?? detail?.output) != null && (
          <section>
            <h3>Output</h3>
            <Value value={step.output ?? detail?.output} label="the output" />
          </section>
        )
      )}
      {items.length > 0 && step.output != null && (
        <Fold title="Output">
          <Value value={step.output} label="the output" />
        </Fold>
      )}
      {attempts.length > 0 && (
        <section>
          <h3>{plural(attempts.length, "attempt")}</h3>
          {attempts.map((attempt, at) => (
            <Attempt key={attempt.attempt} attempt={attempt} last={at === attempts.length - 1} />
          ))}
          {step.model && (
            <p class="soft">
              Its model is told the description and the inputs above, and the results of its calls. Whole messages are in traces alone, where{" "}
              <code>telemetry.capture_content</code> is on.
            </p>
          )}
        </section>
      )}
      {detail && items.length === 0 && attempts.length === 0 && step.attempts > 0 && ["succeeded", "failed", "dropped"].includes(step.state) && (
        <p class="soft">Its attempts are not in the log any more: what is kept for longer is the run's document.</p>
      )}
      {step.success_criteria && step.success_criteria.length > 0 && (
        <Fold title={`Success criteria (${step.success_criteria.length})`}>
          <Value value={step.success_criteria} label="the criteria" />
        </Fold>
      )}
      {trace && (
        <p class="soft">
          Trace{" "}
          {/^https?:\/\//.test(detail?.trace_url ?? "") ? (
            <a href={detail!.trace_url!} target="_blank" rel="noopener noreferrer">
              <code class="id">{trace}</code>
            </a>
          ) : (
            <code class="id">{trace}</code>
          )}
        </p>
      )}
    </div>
  );
}

function Fact({ name, children }: { name: string; children: preact.ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

/** What it follows and what follows it. */
function Joined({ run, step, choose }: Omit<InsideProps, "detail">) {
  const after = run.steps.filter((one) => typeof one.id === "number" && one.depends_on.includes(Number(step.id)) && typeof step.id === "number");
  const lists: [string, number[]][] = [
    ["After", step.depends_on],
    ["Before", after.map((one) => Number(one.id))],
  ];
  return (
    <p class="joined">
      {lists
        .filter(([, ids]) => ids.length > 0)
        .map(([name, ids]) => (
          <span key={name}>
            {name}{" "}
            {ids.slice(0, 12).map((id) => (
              <button key={id} type="button" class="quiet number" aria-label={`Step ${id}`} onClick={() => choose(String(id))}>
                {id}
              </button>
            ))}
            {ids.length > 12 && ` and ${ids.length - 12} more`}
          </span>
        ))}
    </p>
  );
}

function Items({ items, choose }: { items: Step[]; choose: (step: string) => void }) {
  const only = useSignal(false);
  const counted = tally(items);
  const shown = only.value ? items.filter((item) => item.state === "failed" || item.error) : items;
  return (
    <section>
      <h3>{plural(items.length, "item")}</h3>
      <p class="items-sum">
        <Meter bare total={items.length} label={`${counted.succeeded} of ${items.length} done`} parts={[["succeeded", counted.succeeded], ["failed", counted.failed], ["running", counted.running]]} />
        {Object.entries(counted)
          .filter(([, n]) => n > 0)
          .map(([state, n]) => `${count(n)} ${word(state)}`)
          .join(" · ")}
      </p>
      {counted.failed > 0 && (
        <label>
          <input type="checkbox" checked={only.value} onChange={() => (only.value = !only.value)} /> only what failed
        </label>
      )}
      <div class="items">
        <Rows
          rows={shown}
          height={26}
          label="Items"
          row={(item) => (
            <button key={item.id} type="button" class="row" onClick={() => choose(String(item.id))}>
              <State state={item.state} />
              <span class="number">{item.id}</span>
              <Text class="grow cut" value={item.error?.message ?? (typeof item.output === "string" ? item.output : item.output == null ? "" : JSON.stringify(item.output))} />
            </button>
          )}
        />
      </div>
    </section>
  );
}

function Attempt({ attempt, last }: { attempt: AttemptMade; last: boolean }) {
  const took = Date.parse(attempt.ended_at) - Date.parse(attempt.started_at);
  return (
    <details open={last}>
      <summary>
        Attempt {attempt.attempt} <State state={attempt.state} />{" "}
        <span class="soft">
          {duration(took)}, began {clock(attempt.started_at)}
        </span>
      </summary>
      {attempt.usage.map((used) => (
        <p key={`${used.role} ${used.model}`} class="soft">
          <Text value={used.model} /> as {used.role}: {plural(used.calls, "call")}, {count(used.input_tokens)} in, {count(used.output_tokens)} out, {usd(used.usd)}
        </p>
      ))}
      {attempt.tool_calls && attempt.tool_calls.length > 0 && <Calls calls={attempt.tool_calls} />}
      {attempt.error && <Value value={`${word(attempt.error.class)}: ${attempt.error.message}`} label="the attempt's error" />}
    </details>
  );
}

/** What the model has called, in order: each with its arguments and what came of it. */
function Calls({ calls }: { calls: ToolCall[] }) {
  return (
    <ol class="calls" aria-label="Tool calls">
      {calls.map((call, at) => (
        <li key={at}>
          <details>
            <summary>
              <State state={call.error_class ? "failed" : "succeeded"} />{" "}
              <code>
                <Text value={call.tool} />
              </code>{" "}
              <span class="soft number">{duration(Date.parse(call.ended_at) - Date.parse(call.started_at))}</span>
              {call.error_class && <span class="soft"> {word(call.error_class)}</span>}
            </summary>
            <Value value={parsed(call.arguments)} label={`arguments of call ${at + 1}`} />
            <Value value={parsed(call.result)} label={`result of call ${at + 1}`} />
          </details>
        </li>
      ))}
    </ol>
  );
}

/** JSON as its value; what is cut or was never JSON as the text that it is. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** What goes in: as planned, with the values where they are known. */
function Inputs({ planned, resolved, choose }: { planned: PlannedInput[]; resolved: ResolvedInput[]; choose: (step: string) => void }) {
  const known = new Map(resolved.map((one) => [one.name, one]));
  const all = planned.length > 0 ? planned : resolved;
  if (all.length === 0) return null;
  return (
    <section>
      <h3>Inputs</h3>
      {all.map((input) => {
        const value = known.get(input.name)?.known ? known.get(input.name)!.value : input.value;
        return (
          <div key={input.name} class="input">
            <p>
              <code>
                <Text value={input.name} />
              </code>{" "}
              <From input={input} choose={choose} />
            </p>
            {value != null && <Value value={value} label={`input ${input.name}`} />}
          </div>
        );
      })}
    </section>
  );
}

function From({ input: { from_step: from, path }, choose }: { input: PlannedInput; choose: (step: string) => void }) {
  if (from === null || from === undefined) return null;
  return (
    <span class="soft">
      from{" "}
      {from === 0 ? (
        "the task"
      ) : (
        <button type="button" class="quiet" onClick={() => choose(String(from))}>
          step {from}
        </button>
      )}
      {path && (
        <>
          {" "}
          at <Text value={path} />
        </>
      )}
    </span>
  );
}

/** Shown when it is asked for: what is long and seldom looked at. */
function Fold({ title, children }: { title: string; children: preact.ComponentChildren }) {
  return (
    <details>
      <summary>{title}</summary>
      {children}
    </details>
  );
}
