/** Each revision of the plan beside the one before: why, by whom, for how much, and what changed. */

import { useSignal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import type { Run } from "../../api/types";
import { count, plural, usd } from "../../model/format";
import { type Change, type Diff, diffs } from "../../model/revisions";
import { cause, word } from "../../model/words";
import { State } from "../../parts/state";
import { Text } from "../../parts/text";
import { Empty } from "../../parts/trouble";

interface Props {
  run: Run;
  choose: (step: string) => void;
}

/** Changes shown at first; kept steps only where there are few. */
const SHOWN_MAX = 40;
const KEPT_MAX = 12;

export function RevisionsView({ run, choose }: Props) {
  const all = useMemo(() => diffs(run).reverse(), [run]);
  if (all.length === 0) return <Empty>No revision of the plan is there yet.</Empty>;
  return (
    <ol class="revisions">
      {all.map((diff) => (
        <RevisionView key={diff.note.revision} diff={diff} choose={choose} />
      ))}
    </ol>
  );
}

function RevisionView({ diff, choose }: { diff: Diff; choose: (step: string) => void }) {
  const { note } = diff;
  const withKept = useSignal(diff.kept <= KEPT_MAX);
  const shown = useSignal(SHOWN_MAX);
  const changes = diff.changes.filter((change) => change.kind !== "kept" || withKept.value);
  const words = note.reason && note.reason !== note.cause.code ? note.reason : note.cause.reason;
  return (
    <li class="revision">
      <header>
        <h2>Revision {note.revision}</h2>
        <span>
          because <Text value={cause(note.cause)} />
        </span>
        <span class="grow" />
        {note.model && <Text class="soft" value={note.model} />}
        <b>{note.model ? usd(note.usd) : "no model call"}</b>
      </header>
      {words && (
        <blockquote dir="auto">
          <Text value={words} />
        </blockquote>
      )}
      <p class="soft">
        {[diff.added && `${count(diff.added)} new`, diff.dropped && `${count(diff.dropped)} dropped`, diff.kept && `${count(diff.kept)} kept`].filter(Boolean).join(" · ")}
        {diff.kept > KEPT_MAX && (
          <button type="button" class="quiet" onClick={() => (withKept.value = !withKept.value)}>
            {withKept.value ? "hide" : "show"} what is kept
          </button>
        )}
      </p>
      <ul class="diff">
        {changes.slice(0, shown.value).map((change) => (
          <Line key={`${change.kind}${change.step.id}`} change={change} choose={choose} />
        ))}
      </ul>
      {changes.length > shown.value && (
        <button type="button" onClick={() => (shown.value += 400)}>
          Show {plural(Math.min(400, changes.length - shown.value), "more step")}
        </button>
      )}
    </li>
  );
}

const SIGNS = { new: "+", dropped: "−", kept: " " };

function Line({ change: { kind, step }, choose }: { change: Change; choose: (step: string) => void }) {
  return (
    <li class={`diff-${kind}`}>
      <span class="sign" aria-hidden="true">
        {SIGNS[kind]}
      </span>
      <span class="diff-word">{kind}</span>
      <button type="button" class="quiet number" aria-label={`Step ${step.id}`} onClick={() => choose(String(step.id))}>
        {step.id}
      </button>
      <span class="grow">
        <Text value={step.description} />{" "}
        <span class="soft">
          {step.tools.length > 0 && <Text value={step.tools.join(", ")} />}
          {step.depends_on.length > 0 && ` after ${step.depends_on.slice(0, 8).join(", ")}${step.depends_on.length > 8 ? "…" : ""}`}
        </span>
      </span>
      {kind !== "dropped" && <State state={step.state} />}
      {kind === "dropped" && step.error && <Text class="is-failed cut" value={word(step.error.class)} />}
    </li>
  );
}
