/** One box of the graph: a step with its attempts inside it, or a group with its counts. */

import { useMemo } from "preact/hooks";
import type { Step } from "../../api/types";
import { count, duration, usd } from "../../model/format";
import type { Box, Drawn } from "../../model/group";
import { BOX_H, BOX_W, type Layout, type Place } from "../../model/layout";
import { type Plan, together } from "../../model/plan";
import { by, word } from "../../model/words";
import { Glyph } from "../../parts/state";
import { clip } from "../../parts/text";
import { Meter } from "../../parts/meter";
import type { Direction } from "./view";

interface Props {
  place: Place;
  box: Box;
  nodes: Plan;
  chosen: boolean;
  dim: boolean;
  /** Whether Tab stops here: at one box, from which arrows go on. */
  reachable: boolean;
  final: boolean;
  hover: (key: string | null) => void;
  pick: (key: string) => void;
  walk: (key: string, to: Direction) => void;
}

const DIRECTIONS: Record<string, Direction> = {
  ArrowLeft: "before", ArrowRight: "after", ArrowUp: "up", ArrowDown: "down",
};

export function BoxView({ place, box, nodes, chosen, dim, reachable, final, hover, pick, walk }: Props) {
  const node = nodes.get(box.ids[0]!)!;
  const many = box.size > 1;
  const state = box.ids.length > 1 ? together(box.counts) : node.step.state;
  const press = (event: KeyboardEvent) => {
    const to = DIRECTIONS[event.key];
    if (!to) return;
    event.preventDefault();
    walk(box.key, to);
  };
  const name = clip(node.step.description, 160);
  const kind = ["box", `is-${state}`, chosen && "chosen", dim && "dim", box.ids.length > 1 && "many", final && "final"];
  return (
    <button
      type="button"
      data-key={box.key}
      class={kind.filter(Boolean).join(" ")}
      style={{ left: `${place.x}px`, top: `${place.y}px`, width: `${BOX_W}px`, height: `${BOX_H}px` }}
      tabIndex={reachable ? 0 : -1}
      aria-pressed={chosen}
      title={name}
      onPointerEnter={() => hover(box.key)}
      onPointerLeave={() => hover(null)}
      onFocus={() => hover(box.key)}
      onBlur={() => hover(null)}
      onKeyDown={press}
      onClick={() => pick(box.key)}
    >
      <span class="box-top">
        <span class="box-state">
          <Glyph state={state} />
          {node.step.needs_approval && !many ? "needs approval" : word(state)}
        </span>
        <bdi class="box-by">{by(node.step)}</bdi>
        {box.ids.length === 1 && <span class="box-id">{final ? `${box.ids[0]} · final` : box.ids[0]}</span>}
      </span>
      <bdi class="box-name">{box.ids.length > 1 ? `${count(box.ids.length)} steps: ${name}` : name}</bdi>
      <span class="box-foot">{many ? <Counts box={box} /> : figures(node.step)}</span>
    </button>
  );
}

function Counts({ box }: { box: Box }) {
  const { counts, size } = box;
  const said = [`${count(counts.succeeded)} of ${count(size)} done`];
  if (counts.failed > 0) said.push(`${count(counts.failed)} failed`);
  if (counts.running > 0) said.push(`${count(counts.running)} running`);
  return (
    <>
      <Meter bare total={size} label={said.join(", ")} parts={[["succeeded", counts.succeeded], ["failed", counts.failed], ["running", counts.running]]} />
      <span>
        {count(counts.succeeded)}/{count(size)}
        {counts.failed > 0 && <b class="is-failed"> {count(counts.failed)} failed</b>}
      </span>
    </>
  );
}

/** Attempts, time and cost: what there is of them. */
function figures(step: Step): string {
  const said: string[] = [];
  if (step.attempts > 1) said.push(`${step.attempts} attempts`);
  const from = Date.parse(step.started_at ?? "");
  const to = Date.parse(step.ended_at ?? "");
  if (!Number.isNaN(from) && !Number.isNaN(to)) said.push(duration(to - from));
  if (step.usage.calls > 0) said.push(usd(step.usage.usd));
  if (said.length === 0 && step.waits_for?.code === "steps") said.push(`after ${step.depends_on.slice(0, 6).join(", ")}`);
  return said.join(" · ");
}

/** All boxes at once: one shape for each state, found by where it is pressed. Moving about draws nothing anew. */
export function MapView({ layout, drawn, pick }: { layout: Layout; drawn: Drawn; pick: (key: string) => void }) {
  const shapes = useMemo(() => {
    const found = new Map<string, string[]>();
    for (const { key, x, y } of layout.places.values()) {
      const state = together(drawn.boxes.get(key)!.counts);
      const paths = found.get(state) ?? [];
      paths.push(`M${Math.round(x)} ${Math.round(y)}h${BOX_W}v${BOX_H}h-${BOX_W}z`);
      found.set(state, paths);
    }
    return [...found].map(([state, paths]) => ({ state, n: paths.length, path: paths.join("") }));
  }, [layout, drawn]);
  const press = (event: MouseEvent) => {
    const svg = event.currentTarget as SVGSVGElement;
    const rect = svg.getBoundingClientRect();
    const scale = rect.width / layout.w;
    const [px, py] = [(event.clientX - rect.left) / scale, (event.clientY - rect.top) / scale];
    const hit = [...layout.places.values()].find(({ x, y }) => px >= x && px <= x + BOX_W && py >= y && py <= y + BOX_H);
    if (hit) pick(hit.key);
  };
  const said = shapes.map(({ state, n }) => `${count(n)} ${word(state)}`).join(", ");
  return (
    <svg class="map" width={layout.w} height={layout.h} role="img" aria-label={`Map of ${said}. Zoom in to see each.`} onClick={press}>
      {shapes.map(({ state, path }) => (
        <path key={state} class={`fill-${state}`} d={path} />
      ))}
    </svg>
  );
}
