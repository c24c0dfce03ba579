import { useMemo } from "preact/hooks";
import type { Drawn } from "../../model/group";
import type { Edge, Layout } from "../../model/layout";

/** More lines than this are a grey area, and cost as much as all else. */
const EDGES_MAX = 3_000;

/** More than this are one shape: each would be an element. */
const SINGLE_MAX = 400;

interface Props {
  layout: Layout;
  seen: (edge: Edge) => boolean;
  lit: ReadonlySet<string> | null;
  drawn: Drawn;
  thin: boolean;
}

export function Edges({ layout, seen, lit, drawn, thin }: Props) {
  const whole = useMemo(() => layout.edges.slice(0, EDGES_MAX).map((edge) => edge.path).join(""), [layout]);
  const edges = thin ? [] : layout.edges.filter(seen).slice(0, EDGES_MAX);
  const done = (key: string) => {
    const box = drawn.boxes.get(key);
    return box !== undefined && box.counts.succeeded === box.size;
  };
  const off = (edge: Edge) => (drawn.boxes.get(edge.from)?.counts.dropped ?? 0) + (drawn.boxes.get(edge.to)?.counts.dropped ?? 0) > 0;
  const kind = (edge: Edge) => {
    const on = lit?.has(edge.from) && lit.has(edge.to);
    return `edge${off(edge) ? " off" : done(edge.from) ? " done" : ""}${lit ? (on ? " lit" : " dim") : ""}`;
  };
  const one = thin || edges.length > SINGLE_MAX;
  const single = one ? edges.filter((edge) => lit?.has(edge.from) && lit.has(edge.to)).slice(0, SINGLE_MAX) : edges;
  return (
    <svg class={thin ? "edges thin" : "edges"} width={layout.w} height={layout.h} aria-hidden="true">
      {one && <path class={lit ? "edge dim" : "edge"} d={thin ? whole : edges.map((edge) => edge.path).join("")} />}
      {single.map((edge) => (
        <path key={edge.key} class={kind(edge)} d={edge.path} />
      ))}
    </svg>
  );
}
