/** The plan as it is carried out: every step, started or not, and what it waits for. */

import { useSignal } from "@preact/signals";
import { useMemo, useRef } from "preact/hooks";
import type { Run } from "../../api/types";
import { draw, type Drawn } from "../../model/group";
import { layout } from "../../model/layout";
import { plan, reach } from "../../model/plan";
import { count, plural } from "../../model/format";
import { Empty } from "../../parts/trouble";
import { BoxView, MapView } from "./box";
import { GroupPanel } from "./group-panel";
import { Edges } from "./edges";
import { useView } from "./view";

interface Props {
  run: Run;
  chosen: string | null;
  choose: (step: string | null) => void;
}

/** More boxes in sight than this are drawn as a map: they could not be read, and each is some elements. */
const READABLE_MAX = 180;
/** Below this scale nothing can be read either. */
const READABLE_SCALE = 0.34;

/** Why there is nothing to draw. */
function nothing(run: Run): string {
  if (run.trimmed) return "Its steps are too many to be shown while it goes on; Events tells of each.";
  if (run.planning || run.state === "planning") return "The plan is being written; each step appears as soon as it is whole.";
  return "This run has no plan.";
}

export function GraphView({ run, chosen, choose }: Props) {
  const open = useSignal<ReadonlySet<string>>(new Set());
  const everything = useSignal(false);
  const withDropped = useSignal(true);
  const hover = useSignal<string | null>(null);
  const group = useSignal<string | null>(null);
  const nodes = useMemo(() => plan(run, withDropped.value), [run, withDropped.value]);
  const drawn = useMemo(() => draw(nodes, open.value, everything.value), [nodes, open.value, everything.value]);
  const placed = useLayout(drawn);
  const view = useView(placed.layout, placed.shape);
  const lit = useMemo(() => related(drawn, hover.value), [drawn, hover.value]);
  const dropped = run.steps.filter((step) => step.state === "dropped" && typeof step.id === "number").length;

  if (nodes.size === 0) {
    return <Empty>{nothing(run)}</Empty>;
  }
  const seen = view.seen();
  const boxes = [...placed.layout.places.values()].filter(seen.box);
  const asMap = boxes.length > READABLE_MAX || view.at.value.k < READABLE_SCALE;
  const pick = (key: string) => {
    const box = drawn.boxes.get(key)!;
    if (key.startsWith("g")) {
      group.value = key;
    } else {
      choose(String(box.ids[0]));
    }
  };
  const chosenKey = drawn.of.get(Number.parseInt(chosen ?? "", 10)) ?? null;
  const roving = chosenKey ?? placed.layout.places.keys().next().value ?? null;
  return (
    <div class="graph">
      <div class="graph-bar">
        <span class="soft">
          {plural(nodes.size, "step")}
          {drawn.grouped && ` in ${count(drawn.boxes.size)} boxes`}
        </span>
        {dropped > 0 && (
          <label>
            <input type="checkbox" checked={withDropped.value} onChange={() => (withDropped.value = !withDropped.value)} />
            {count(dropped)} dropped
          </label>
        )}
        {(drawn.grouped || everything.value) && (
          <label>
            <input type="checkbox" checked={everything.value} onChange={() => (everything.value = !everything.value)} />
            every step by itself
          </label>
        )}
        {open.value.size > 0 && (
          <button type="button" class="quiet" onClick={() => (open.value = new Set())}>
            Group again
          </button>
        )}
        <span class="grow" />
        <button type="button" class="quiet" aria-label="Zoom out" onClick={() => view.zoom(1 / 1.3)}>
          −
        </button>
        <button type="button" class="quiet" aria-label="Zoom in" onClick={() => view.zoom(1.3)}>
          +
        </button>
        <button type="button" class="quiet" onClick={view.fit}>
          Show all
        </button>
      </div>
      <div class="canvas" ref={view.element} {...view.handlers} role="group" aria-label="Graph of the plan" onPointerLeave={() => (hover.value = null)}>
        <div class="world" style={view.style()}>
          <Edges layout={placed.layout} seen={seen.edge} lit={lit} drawn={drawn} thin={asMap} />
          {asMap ? (
            <MapView layout={placed.layout} drawn={drawn} pick={pick} />
          ) : (
            boxes.map((place) => (
              <BoxView
                key={place.key}
                place={place}
                box={drawn.boxes.get(place.key)!}
                nodes={nodes}
                chosen={place.key === chosenKey || place.key === group.value}
                dim={lit !== null && !lit.has(place.key)}
                reachable={place.key === roving}
                final={run.final !== null && drawn.of.get(run.final) === place.key}
                hover={(key) => (hover.value = key)}
                pick={pick}
                walk={(key, to) => view.walk(drawn, key, to)}
              />
            ))
          )}
        </div>
      </div>
      {group.value && drawn.boxes.has(group.value) && (
        <GroupPanel
          box={drawn.boxes.get(group.value)!}
          nodes={nodes}
          choose={choose}
          close={() => (group.value = null)}
          open={(key) => {
            open.value = new Set([...open.value, key]);
            group.value = null;
          }}
        />
      )}
    </div>
  );
}

/** A new layout only where boxes or edges have changed: states change all the time. */
function useLayout(drawn: Drawn) {
  const shape = useMemo(() => [...drawn.boxes.values()].map((box) => `${box.key}<${box.before.join()}`).join(" "), [drawn]);
  const latest = useRef(drawn);
  latest.current = drawn;
  const made = useMemo(() => layout(latest.current), [shape]);
  return { layout: made, shape };
}

/** What comes before and after a box on any way, and itself. */
function related(drawn: Drawn, key: string | null): Set<string> | null {
  if (key === null || !drawn.boxes.has(key)) return null;
  const after = new Map<string, string[]>();
  for (const box of drawn.boxes.values()) {
    for (const from of box.before) {
      const list = after.get(from);
      if (list) list.push(box.key);
      else after.set(from, [box.key]);
    }
  }
  const before = reach(key, (id) => drawn.boxes.get(id)?.before ?? []);
  return new Set([key, ...before, ...reach(key, (id) => after.get(id) ?? [])]);
}
