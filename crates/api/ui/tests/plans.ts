import type { Run, Step } from "../src/api/types";
import healed from "./healed.json";

/** A run that really took place: two steps dropped by a revision after a failure. */
export const HEALED = healed as unknown as Run;

const USAGE = { calls: 0, input_tokens: 0, output_tokens: 0, cached_tokens: 0, usd: 0 };

export function step(id: number | string, depends_on: number[] = [], more: Partial<Step> = {}): Step {
  return {
    id, depends_on, revision: 1, state: "waiting", needs_approval: false, waits_for: null, description: `Step ${id}`,
    tools: [], attempts: 0, pool: "default", model: null, output: null, error: null, usage: USAGE,
    started_at: null, ended_at: null, ...more,
  };
}

/** One step, `n` lines of `length` steps, and a last one that gathers them. */
export function lines(n: number, length: number): Step[] {
  const steps = [step(1)];
  const ends: number[] = [];
  for (let line = 0; line < n; line++) {
    for (let place = 0; place < length; place++) {
      const id = steps.length + 1;
      steps.push(step(id, [place === 0 ? 1 : id - 1], { tools: place % 2 === 0 ? ["http_fetch"] : [] }));
    }
    ends.push(steps.length);
  }
  return [...steps, step(steps.length + 1, ends)];
}
