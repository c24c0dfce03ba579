/** What a run is and what can be done about it. */

import { useLocation } from "preact-iso";
import { send } from "../../api/client";
import { type Gate, type Run, END_STATES } from "../../api/types";
import { count, duration, short, tail, usd } from "../../model/format";
import { cause, gate, word } from "../../model/words";
import { act, confirm } from "../../parts/confirm";
import { For } from "../../parts/may";
import { State } from "../../parts/state";
import { Text } from "../../parts/text";

/** Gates that are named one by one: nobody approves a hundred by hand. */
const GATES_SHOWN_MAX = 8;

interface Props {
  run: Run;
  refresh: () => void;
  choose: (step: string) => void;
}

export function Header({ run, refresh, choose }: Props) {
  const tokens = Object.values(run.usage).reduce((sum, one) => sum + one.input_tokens + one.output_tokens, 0);
  const steps = run.steps.filter((step) => typeof step.id === "number" && step.state !== "dropped");
  const done = steps.filter((step) => step.state === "succeeded").length;
  return (
    <header class="run-head">
      <div class="run-title">
        <State state={run.state} />
        <h1>
          <Text value={run.goal || run.custom_id || `Run ${run.run_id}`} />
        </h1>
        <Actions run={run} refresh={refresh} />
      </div>
      <dl class="facts">
        <Fact name="Cost">{usd(run.usd)}</Fact>
        <Fact name="Tokens">
          <span title={count(tokens)}>{short(tokens)}</span>
        </Fact>
        <Fact name={END_STATES.includes(run.state) ? "Took" : "So far"}>{duration(run.timings.total_ms)}</Fact>
        <Fact name="Steps">
          {count(done)} of {count(steps.length)} done
        </Fact>
        <Fact name="Plan">{run.revisions.length === 0 ? "none yet" : `revision ${run.revisions.length}`}</Fact>
        {run.class && (
          <Fact name="Class">
            <Text value={run.class} />
          </Fact>
        )}
        {run.batch_id && (
          <Fact name="Batch">
            <a href={`/batches/${encodeURIComponent(run.batch_id)}`}>
              <Text value={run.batch_id} />
            </a>
          </Fact>
        )}
        {run.parent && (
          <Fact name="Part of">
            <a href={`/runs/${encodeURIComponent(run.parent.run_id)}?step=${encodeURIComponent(run.parent.step)}`}>
              step {run.parent.step} of <code class="id">{tail(run.parent.run_id)}</code>
            </a>
          </Fact>
        )}
        {run.rerun_of && (
          <Fact name="Rerun of">
            <a href={`/runs/${encodeURIComponent(run.rerun_of)}`}>
              <code class="id">{tail(run.rerun_of)}</code>
            </a>
          </Fact>
        )}
        {run.cache?.hit && <Fact name="Cached plan">saved {usd(run.cache.saved_usd)}</Fact>}
        <Fact name="Run">
          <code class="id">{run.run_id}</code>
        </Fact>
      </dl>
      <Why run={run} />
      {run.trimmed && (
        <p class="why-line is-paused">
          This run is too large to be shown whole while it goes on: outputs, and where that is not enough items or steps, are left out. All of it
          is here when it has ended.
        </p>
      )}
      <Approvals run={run} refresh={refresh} choose={choose} />
    </header>
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

/** Why it stands as it does, where that is not plain. */
function Why({ run }: { run: Run }) {
  if (run.paused !== null) {
    return (
      <p class="why-line is-paused">
        Paused: <Text value={run.paused} />. What is in flight goes on; nothing new starts.
      </p>
    );
  }
  if (run.planning) {
    const { revision, attempt, cause: because } = run.planning;
    return (
      <p class="why-line is-replanning" aria-live="polite">
        Revision {revision} of the plan is being written, because {cause(because)}
        {because.reason && (
          <>
            : <Text value={because.reason} />
          </>
        )}
        {attempt > 1 && ` (try ${attempt})`}
      </p>
    );
  }
  if (!run.reason) return null;
  return (
    <p class={`why-line is-${run.state}`}>
      {run.end && <b>{word(run.end.code)}: </b>}
      <Text value={run.reason} />
      {run.partial && run.answer != null && " What there is of an answer is under Result."}
    </p>
  );
}

function Actions({ run, refresh }: Omit<Props, "choose">) {
  const { route } = useLocation();
  const path = `/v1/runs/${encodeURIComponent(run.run_id)}`;
  const steer = async (verb: string, reason?: string) => {
    await send("POST", `${path}/${verb}`, reason ? { reason } : undefined);
    refresh();
  };
  if (END_STATES.includes(run.state)) {
    if (run.state === "succeeded") return null;
    const rerun = async () => {
      const begun = await send<{ run_id: string }>("POST", `${path}/retry`);
      if (begun) route(`/runs/${begun.run_id}`);
    };
    return (
      <div class="buttons">
        <For role="operator" silent>
          <button type="button" onClick={() => act(rerun, "A new run goes on with what is done")}>
            Retry
          </button>
        </For>
      </div>
    );
  }
  const cancel = () =>
    confirm({
      title: "Cancel this run?",
      detail: "It ends now, with what there is of a result. A retry starts a new run that keeps finished steps.",
      verb: "Cancel the run",
      danger: true,
      reason: "wanted",
      act: (reason) => steer("cancel", reason),
      done: "Cancelling",
    });
  return (
    <div class="buttons">
      <For role="operator" what="Steering a run">
        {run.state === "paused" ? (
          <button type="button" onClick={() => act(() => steer("resume"), "Resumed")}>
            Resume
          </button>
        ) : (
          <button type="button" onClick={() => act(() => steer("pause"), "Paused")}>
            Pause
          </button>
        )}
        <button type="button" class="danger" onClick={cancel}>
          Cancel
        </button>
      </For>
    </div>
  );
}

function Approvals({ run, refresh, choose }: Props) {
  if (run.approvals.length === 0) return null;
  return (
    <section class="approvals" aria-label="Waiting for approval">
      {run.approvals.slice(0, GATES_SHOWN_MAX).map((waiting) => (
        <Approval key={gate(waiting)} waiting={waiting} run={run} refresh={refresh} choose={choose} />
      ))}
      {run.approvals.length > GATES_SHOWN_MAX && (
        <p>
          {run.approvals.length - GATES_SHOWN_MAX} more wait.{" "}
          <For role="operator" silent>
            <button type="button" onClick={() => act(() => decide(run, "approve", null, "").then(refresh), "All are approved")}>
              Approve all {run.approvals.length}
            </button>
          </For>
        </p>
      )}
    </section>
  );
}

function Approval({ waiting, run, refresh, choose }: Props & { waiting: Gate }) {
  const step = run.steps.find((one) => one.id === waiting.step);
  const name = gate(waiting);
  const reject = () =>
    confirm({
      title: `Reject ${name}?`,
      detail: "The planner is told the reason and may write another plan, as long as replans are left.",
      verb: "Reject",
      danger: true,
      reason: "needed",
      act: (reason) => decide(run, "reject", waiting, reason).then(refresh),
      done: `Rejected ${name}`,
    });
  return (
    <p class="approval">
      <State state="awaiting_approval" />
      <span class="grow">
        {waiting.gate === "plan" ? `Revision ${waiting.revision} of the plan` : `Step ${waiting.step}`}
        {step && (
          <>
            : <Text value={step.description} />
          </>
        )}
      </span>
      {step && (
        <button type="button" class="quiet" onClick={() => choose(String(step.id))}>
          Look at it
        </button>
      )}
      <For role="operator" what="Approving and rejecting">
        <button type="button" class="primary" onClick={() => act(() => decide(run, "approve", waiting, "").then(refresh), `Approved ${name}`)}>
          Approve {name}
        </button>
        <button type="button" onClick={reject}>
          Reject
        </button>
      </For>
    </p>
  );
}

function decide(run: Run, verb: "approve" | "reject", waiting: Gate | null, reason: string): Promise<unknown> {
  const body = { ...waiting, ...(reason && { reason }) };
  return send("POST", `/v1/runs/${encodeURIComponent(run.run_id)}/${verb}`, body);
}
