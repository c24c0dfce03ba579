/**
 * What is drawn of a plan: boxes, each a step or a group of steps, and the edges between them. Small
 * plans are drawn as they are; of large ones, steps that look the same become one box with counts.
 */

import { depths, noTally, type Plan, tally, type Tally } from "./plan";

/** More boxes than this can neither be read nor laid out while the run goes on. */
export const BOXES_MAX = 150;

/** Fewer steps than this are not worth a group. */
const GROUP_MIN = 3;

export interface Box {
  /** `s12` for step 12, `g…` for a group; stays the same from one drawing to the next. */
  key: string;
  ids: number[];
  /** Of the steps; of a lone step with items, of those. */
  counts: Tally;
  /** Steps or items in it. */
  size: number;
  before: string[];
}

export interface Drawn {
  boxes: Map<string, Box>;
  /** Box of each step. */
  of: Map<number, string>;
  /** Whether steps were put together. */
  grouped: boolean;
}

/** Boxes for the plan. `open` names groups that are drawn step by step; `all` draws every step. */
export function draw(nodes: Plan, open: ReadonlySet<string> = new Set(), all = false): Drawn {
  let keys = new Map([...nodes.keys()].map((id) => [id, `s${id}`]));
  let grouped = false;
  if (!all && nodes.size > BOXES_MAX) {
    for (const way of [alike, sameDepth, chained, spans]) {
      const next = way(nodes, keys);
      if (next.size < new Set(keys.values()).size) {
        keys = assign(next);
        grouped = true;
      }
      if (new Set(keys.values()).size <= BOXES_MAX) break;
    }
    for (const [id, key] of keys) if (open.has(key)) keys.set(id, `s${id}`);
  }
  return { ...boxes(nodes, keys), grouped };
}

type Groups = Map<string, number[]>;

function assign(groups: Groups): Map<number, string> {
  const keys = new Map<number, string>();
  for (const [key, ids] of groups) for (const id of ids) keys.set(id, key);
  return keys;
}

/** Puts steps with the same name into one group, named after its first step; small groups are left alone. */
function by(nodes: Plan, letter: string, name: (id: number) => string): Groups {
  const named = new Map<string, number[]>();
  for (const id of nodes.keys()) {
    const of = name(id);
    const ids = named.get(of);
    if (ids) ids.push(id);
    else named.set(of, [id]);
  }
  const groups: Groups = new Map();
  for (const ids of named.values()) {
    if (ids.length >= GROUP_MIN) groups.set(`g${letter}${ids[0]}`, ids);
    else for (const id of ids) groups.set(`s${id}`, [id]);
  }
  return groups;
}

/** The same tool or model, after the same steps and before the same steps: a fan-out. */
function alike(nodes: Plan): Groups {
  return by(nodes, "a", (id) => {
    const node = nodes.get(id)!;
    return [node.step.tools.join(","), node.before.join(","), node.after.join(",")].join("|");
  });
}

/** The same tool or model, equally far from the beginning: the stages of many lines side by side. */
function sameDepth(nodes: Plan): Groups {
  const depth = depths(nodes);
  return by(nodes, "d", (id) => `${depth.get(id)}|${nodes.get(id)!.step.tools.join(",")}`);
}

/** One after the other, with nothing beside: a long line. */
function chained(nodes: Plan, keys: Map<number, string>): Groups {
  const { boxes: before } = boxes(nodes, keys);
  const after = new Map<string, string[]>([...before.keys()].map((key) => [key, []]));
  for (const box of before.values()) for (const key of box.before) after.get(key)!.push(box.key);
  const first = new Map<string, string>();
  const depth = depths(nodes);
  const order = [...before.values()].sort((a, b) => depth.get(a.ids[0]!)! - depth.get(b.ids[0]!)!);
  for (const box of order) {
    const only = box.before.length === 1 ? box.before[0]! : null;
    const inLine = only !== null && after.get(only)!.length === 1;
    first.set(box.key, inLine ? (first.get(only) ?? only) : box.key);
  }
  return by(nodes, "c", (id) => first.get(keys.get(id)!)!);
}

/** Whatever is left: as many depths together as it takes. */
function spans(nodes: Plan): Groups {
  const depth = depths(nodes);
  const deepest = Math.max(...depth.values());
  const each = Math.ceil((deepest + 1) / BOXES_MAX);
  return by(nodes, "p", (id) => String(Math.floor(depth.get(id)! / each)));
}

function boxes(nodes: Plan, keys: Map<number, string>): Omit<Drawn, "grouped"> {
  const made = new Map<string, Box>();
  const before = new Map<string, Set<string>>();
  for (const [id, key] of keys) {
    const node = nodes.get(id)!;
    let box = made.get(key);
    if (!box) {
      box = { key, ids: [], counts: noTally(), size: 0, before: [] };
      made.set(key, box);
      before.set(key, new Set());
    }
    box.ids.push(id);
    const counted = tally(node.items.length > 0 ? node.items : [node.step]);
    for (const state of Object.keys(counted) as (keyof Tally)[]) box.counts[state] += counted[state];
    box.size += Math.max(1, node.items.length);
    for (const from of node.before) {
      const other = keys.get(from)!;
      if (other !== key) before.get(key)!.add(other);
    }
  }
  for (const [key, from] of before) made.get(key)!.before = [...from];
  return { boxes: made, of: keys };
}
