/** A run's steps with what belongs together: items under their step, edges both ways. */

import type { Run, Step, StepState } from "../api/types";

/** How many steps or items are in each state. */
export type Tally = Record<StepState, number>;

export interface Node {
  step: Step;
  id: number;
  /** Items of a `for_each`, in order. */
  items: Step[];
  before: number[];
  after: number[];
}

export type Plan = Map<number, Node>;

export function noTally(): Tally {
  return { waiting: 0, running: 0, succeeded: 0, failed: 0, dropped: 0, cancelled: 0 };
}

export function tally(steps: Iterable<Step>): Tally {
  const counted = noTally();
  for (const step of steps) counted[step.state] = (counted[step.state] ?? 0) + 1;
  return counted;
}

/** The plan as it stands; `dropped` steps only when asked for, as they are no part of it. */
export function plan(run: Pick<Run, "steps">, dropped = true): Plan {
  const nodes: Plan = new Map();
  const items: Step[] = [];
  for (const step of run.steps) {
    if (typeof step.id === "number") {
      if (dropped || step.state !== "dropped") {
        nodes.set(step.id, { step, id: step.id, items: [], before: [], after: [] });
      }
    } else {
      items.push(step);
    }
  }
  for (const item of items) nodes.get(Number.parseInt(String(item.id), 10))?.items.push(item);
  for (const node of nodes.values()) {
    node.before = [...new Set(node.step.depends_on)].filter((id) => id !== node.id && nodes.has(id));
    for (const id of node.before) nodes.get(id)?.after.push(node.id);
  }
  return nodes;
}

/** The longest way from a beginning to each step; steps of a cycle, which no sound plan has, end up at 0. */
export function depths(nodes: Plan): Map<number, number> {
  const open = new Map([...nodes.values()].map((node) => [node.id, node.before.length]));
  const depth = new Map([...nodes.keys()].map((id) => [id, 0]));
  const ready = [...nodes.values()].filter((node) => node.before.length === 0).map((node) => node.id);
  for (let at = 0; at < ready.length; at++) {
    const id = ready[at]!;
    for (const next of nodes.get(id)!.after) {
      depth.set(next, Math.max(depth.get(next)!, depth.get(id)! + 1));
      const left = open.get(next)! - 1;
      open.set(next, left);
      if (left === 0) ready.push(next);
    }
  }
  return depth;
}

/** What a node leads to, or comes from, on any way. */
export function reach<Id>(from: Id, next: (id: Id) => readonly Id[]): Set<Id> {
  const seen = new Set<Id>();
  const open = [from];
  while (open.length > 0) {
    for (const id of next(open.pop()!)) {
      if (!seen.has(id)) {
        seen.add(id);
        open.push(id);
      }
    }
  }
  return seen;
}

/** The state that a number of steps has together: at work as long as one is, and else what needs an eye first. */
export function together(counted: Tally): StepState {
  const order: StepState[] = ["running", "failed", "waiting", "cancelled", "succeeded", "dropped"];
  return order.find((state) => counted[state] > 0) ?? "waiting";
}
