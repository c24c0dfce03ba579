import { expect, test } from "vitest";
import { draw } from "../src/model/group";
import { BOX_H, BOX_W, layout } from "../src/model/layout";
import { depths, plan, reach } from "../src/model/plan";
import { HEALED, lines, step } from "./plans";

function overlaps(places: { x: number; y: number }[]): number {
  const cells = new Map<string, { x: number; y: number }[]>();
  let found = 0;
  for (const place of places) {
    const [cx, cy] = [Math.floor(place.x / BOX_W), Math.floor(place.y / BOX_H)];
    for (let x = cx - 1; x <= cx + 1; x++) {
      for (let y = cy - 1; y <= cy + 1; y++) {
        for (const other of cells.get(`${x},${y}`) ?? []) {
          if (Math.abs(other.x - place.x) < BOX_W && Math.abs(other.y - place.y) < BOX_H) found++;
        }
      }
    }
    const key = `${cx},${cy}`;
    cells.set(key, [...(cells.get(key) ?? []), place]);
  }
  return found;
}

test.each([
  ["by dagre", plan(HEALED), false],
  ["of groups", plan({ steps: lines(1_000, 5) }), false],
  ["of 5,002 steps, each by itself", plan({ steps: lines(1_000, 5) }), true],
])("a layout %s stands in the order of work, and nothing lies on something else", (_, nodes, all) => {
  const drawn = draw(nodes, new Set(), all);
  const { places, edges, w, h } = layout(drawn);
  expect(places.size).toBe(drawn.boxes.size);
  for (const box of drawn.boxes.values()) {
    for (const from of box.before) expect(places.get(from)!.x + BOX_W).toBeLessThanOrEqual(places.get(box.key)!.x);
  }
  expect(overlaps([...places.values()])).toBe(0);
  expect(edges.length).toBe([...drawn.boxes.values()].reduce((sum, box) => sum + box.before.length, 0));
  for (const { x, y } of places.values()) {
    expect(x >= 0 && y >= 0 && x + BOX_W <= w && y + BOX_H <= h).toBe(true);
  }
});

test("groups that depend on each other both ways are laid out", () => {
  const boxes = new Map(
    ["a", "b"].map((key, at) => [key, { key, ids: [at], counts: {} as never, size: 1, before: [key === "a" ? "b" : "a"] }]),
  );
  expect(layout({ boxes, of: new Map(), grouped: true }).places.size).toBe(2);
});

test("the depth of a step is the longest way to it", () => {
  const nodes = plan({ steps: [step(1), step(2, [1]), step(3, [1, 2]), step(4, [1, 3])] });
  expect([...depths(nodes).values()]).toEqual([0, 1, 2, 3]);
  expect([...reach(4, (id) => nodes.get(id)!.before)].sort()).toEqual([1, 2, 3]);
});
