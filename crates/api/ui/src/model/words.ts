/** Reasons in words: what a step waits for, why a plan was revised. The same as the command line says. */

import type { Cause, Gate, Step, Wait } from "../api/types";

/** Numbers that are named one by one. */
const NAMED_MAX = 6;

export function steps(numbers: number[] | undefined): string {
  const all = numbers ?? [];
  const named = all.slice(0, NAMED_MAX).join(", ");
  const more = all.length > NAMED_MAX ? ` and ${all.length - NAMED_MAX} more` : "";
  return `step${all.length === 1 ? "" : "s"} ${named}${more}`;
}

export function wait(waits: Wait | null): string | null {
  if (!waits) return null;
  switch (waits.code) {
    case "steps": return `waits for ${steps(waits.steps)}`;
    case "plan": return "waits for its plan to be whole";
    case "plan_approval": return "waits for its plan to be approved";
    case "step_approval": return "waits to be approved";
    case "review": return "waits for the planner's review";
    case "pause": return "waits for the run to be resumed";
    case "retry": return "waits for its next attempt";
    default: return `waits: ${waits.code}`;
  }
}

export function cause(why: Cause): string {
  switch (why.code) {
    case "planned": return "the task needed a plan";
    case "given": return "the task brought its plan";
    case "rerun": return `rerun of ${why.run ?? "another run"}`;
    case "failed": return `${steps(why.steps)} failed`;
    case "reviewed": return `review after ${steps(why.steps)}`;
    case "rejected": return "a person rejected the plan";
    default: return why.code;
  }
}

export function gate(waiting: Gate): string {
  return waiting.gate === "plan" ? `plan ${waiting.revision}` : `step ${waiting.step}`;
}

/** `awaiting_approval` is `awaiting approval` to people. */
export function word(code: string): string {
  return code.replaceAll("_", " ");
}

/** What does a step: its tools, its model, or what it will be. */
export function by(step: Pick<Step, "tools" | "model">): string {
  if (step.tools.length > 0 && !step.model) return step.tools.join(", ");
  return [step.model ?? "model", ...step.tools].join(" + ");
}
