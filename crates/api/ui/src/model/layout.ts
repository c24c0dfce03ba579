/** Where boxes stand, from left to right in the order of work. */

import dagre from "@dagrejs/dagre";
import type { Drawn } from "./group";

export const BOX_W = 232;
export const BOX_H = 78;
const GAP_X = 56;
const GAP_Y = 18;

/** dagre's cost grows with boxes times edges; above these the plain layout is used, in linear time. */
const DAGRE_BOXES_MAX = 200;
const DAGRE_EDGES_MAX = 800;

export interface Place {
  key: string;
  x: number;
  y: number;
}

export interface Edge {
  key: string;
  from: string;
  to: string;
  path: string;
  /** Bounds, for culling. */
  x0: number;
  x1: number;
  y0: number;
  y1: number;
}

export interface Layout {
  places: Map<string, Place>;
  edges: Edge[];
  w: number;
  h: number;
}

export function layout(drawn: Drawn): Layout {
  const edges = [...drawn.boxes.values()].reduce((sum, box) => sum + box.before.length, 0);
  const small = drawn.boxes.size <= DAGRE_BOXES_MAX && edges <= DAGRE_EDGES_MAX;
  return small ? byDagre(drawn) : plain(drawn);
}

type Point = { x: number; y: number };

function byDagre(drawn: Drawn): Layout {
  const graph = new dagre.graphlib.Graph();
  graph.setGraph({ rankdir: "LR", nodesep: GAP_Y, ranksep: GAP_X, marginx: 16, marginy: 16 });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const box of drawn.boxes.values()) graph.setNode(box.key, { width: BOX_W, height: BOX_H });
  for (const box of drawn.boxes.values()) for (const from of box.before) graph.setEdge(from, box.key);
  dagre.layout(graph);
  const places = new Map<string, Place>();
  for (const key of graph.nodes()) {
    const at = graph.node(key) as Point;
    places.set(key, { key, x: at.x - BOX_W / 2, y: at.y - BOX_H / 2 });
  }
  const edges = graph.edges().map(({ v, w }) => {
    const { points } = graph.edge(v, w) as { points: Point[] };
    const ends = [right(places.get(v)!), ...points.slice(1, -1), left(places.get(w)!)];
    return edge(v, w, ends);
  });
  return sized(places, edges);
}

/** Ranks by the longest way, rows by the mean of what comes before; long ranks are folded into columns. */
function plain(drawn: Drawn): Layout {
  const rank = ranks(drawn);
  const columns: string[][] = [];
  for (const [key, at] of rank) (columns[at] ??= []).push(key);
  const row = new Map<string, number>();
  const places = new Map<string, Place>();
  // About as high as wide: what is far higher than a screen is only found by scrolling.
  const fold = Math.max(12, Math.ceil(Math.sqrt(drawn.boxes.size * 3)));
  let x = 16;
  for (const column of columns) {
    const wish = new Map(column.map((key) => [key, mean(drawn.boxes.get(key)!.before.map((from) => row.get(from) ?? 0))]));
    column.sort((a, b) => wish.get(a)! - wish.get(b)!);
    column.forEach((key, at) => {
      row.set(key, at % fold);
      places.set(key, {
        key,
        x: x + Math.floor(at / fold) * (BOX_W + GAP_Y),
        y: 16 + (at % fold) * (BOX_H + GAP_Y),
      });
    });
    x += Math.ceil(column.length / fold) * (BOX_W + GAP_Y) - GAP_Y + GAP_X;
  }
  const edges = [...drawn.boxes.values()].flatMap((box) =>
    box.before.map((from) => edge(from, box.key, [right(places.get(from)!), left(places.get(box.key)!)])),
  );
  return sized(places, edges);
}

function ranks(drawn: Drawn): Map<string, number> {
  const rank = new Map<string, number>();
  const open = new Map([...drawn.boxes.values()].map((box) => [box.key, box.before.length]));
  const after = new Map<string, string[]>();
  for (const box of drawn.boxes.values()) {
    for (const from of box.before) {
      const list = after.get(from);
      if (list) list.push(box.key);
      else after.set(from, [box.key]);
    }
  }
  const ready = [...open].filter(([, left]) => left === 0).map(([key]) => key);
  for (const key of ready) rank.set(key, 0);
  for (let at = 0; at < ready.length; at++) {
    const key = ready[at]!;
    for (const next of after.get(key) ?? []) {
      rank.set(next, Math.max(rank.get(next) ?? 0, rank.get(key)! + 1));
      const left = open.get(next)! - 1;
      open.set(next, left);
      if (left === 0) ready.push(next);
    }
  }
  // Groups may depend on each other both ways; such boxes stand behind what they wait for as far as is known.
  for (const key of drawn.boxes.keys()) if (!rank.has(key)) rank.set(key, 0);
  return rank;
}

const mean = (values: number[]) => (values.length === 0 ? 0 : values.reduce((a, b) => a + b, 0) / values.length);
const right = (place: Place): Point => ({ x: place.x + BOX_W, y: place.y + BOX_H / 2 });
const left = (place: Place): Point => ({ x: place.x, y: place.y + BOX_H / 2 });

/** Curves that leave to the right and arrive from the left. */
function edge(from: string, to: string, points: Point[]): Edge {
  let path = `M${round(points[0]!)}`;
  for (let at = 1; at < points.length; at++) {
    const [a, b] = [points[at - 1]!, points[at]!];
    const bend = Math.max(16, Math.abs(b.x - a.x) / 2);
    path += `C${round({ x: a.x + bend, y: a.y })} ${round({ x: b.x - bend, y: b.y })} ${round(b)}`;
  }
  const xs = points.map((point) => point.x);
  const ys = points.map((point) => point.y);
  return {
    key: `${from}>${to}`, from, to, path,
    x0: Math.min(...xs), x1: Math.max(...xs), y0: Math.min(...ys), y1: Math.max(...ys),
  };
}

const round = ({ x, y }: Point) => `${Math.round(x)} ${Math.round(y)}`;

function sized(places: Map<string, Place>, edges: Edge[]): Layout {
  let [w, h] = [0, 0];
  for (const place of places.values()) {
    w = Math.max(w, place.x + BOX_W + 16);
    h = Math.max(h, place.y + BOX_H + 16);
  }
  return { places, edges, w, h };
}
