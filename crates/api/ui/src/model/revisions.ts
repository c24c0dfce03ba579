/** A plan revision beside the one before: what is kept, dropped and new. */

import type { Revision, Run, Step } from "../api/types";

export interface Change {
  kind: "kept" | "dropped" | "new";
  step: Step;
}

export interface Diff {
  note: Revision;
  changes: Change[];
  kept: number;
  dropped: number;
  added: number;
}

/** One difference for each revision, the newest last. */
export function diffs(run: Pick<Run, "revisions" | "steps">): Diff[] {
  const steps = run.steps.filter((step): step is Step & { id: number } => typeof step.id === "number");
  const droppedBy = new Map<number, number>();
  for (const note of run.revisions) {
    for (const id of note.dropped) if (!droppedBy.has(id)) droppedBy.set(id, note.revision);
  }
  return run.revisions.map((note) => {
    const changes: Change[] = [];
    for (const step of steps) {
      const gone = droppedBy.get(step.id) ?? Number.POSITIVE_INFINITY;
      if (step.revision === note.revision) changes.push({ kind: "new", step });
      else if (step.revision < note.revision && gone === note.revision) changes.push({ kind: "dropped", step });
      else if (step.revision < note.revision && gone > note.revision) changes.push({ kind: "kept", step });
    }
    const order = { kept: 0, dropped: 1, new: 2 };
    changes.sort((a, b) => order[a.kind] - order[b.kind] || Number(a.step.id) - Number(b.step.id));
    const number = (kind: Change["kind"]) => changes.filter((change) => change.kind === kind).length;
    return { note, changes, kept: number("kept"), dropped: number("dropped"), added: number("new") };
  });
}
