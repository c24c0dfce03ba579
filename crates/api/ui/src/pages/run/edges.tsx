import type { Drawn } from "../../model/group";
import type { Edge, Layout } from "../../model/layout";

/** More lines than this are a grey area, and cost as much as all else. */
const EDGES_MAX = 3_000;

interface Props {
  layout: Layout;
  seen: (edge: Edge) => boolean;
  lit: ReadonlySet<string> | null;
  drawn: Drawn;
  thin: boolean;
}

export function Edges({ layout, seen, lit, drawn, thin }: Props) {
  const edges = layout.edges.filter(seen).slice(0, EDGES_MAX);
  const done = (key: string) => {
    const box = drawn.boxes.get(key);
    return box !== undefined && box.counts.succeeded === box.size;
  };
  const off = (edge: Edge) => (drawn.boxes.get(edge.from)?.counts.dropped ?? 0) + (drawn.boxes.get(edge.to)?.counts.dropped ?? 0) > 0;
  const kind = (edge: Edge) => {
    const on = lit?.has(edge.from) && lit.has(edge.to);
    return `edge${off(edge) ? " off" : done(edge.from) ? " done" : ""}${lit ? (on ? " lit" : " dim") : ""}`;
  };
  return (
    <svg class={thin ? "edges thin" : "edges"} width={layout.w} height={layout.h} aria-hidden="true">
      {thin ? (
        <path class="edge" d={edges.map((edge) => edge.path).join("")} />
      ) : (
        edges.map((edge) => <path key={edge.key} class={kind(edge)} d={edge.path} />)
      )}
    </svg>
  );
}
