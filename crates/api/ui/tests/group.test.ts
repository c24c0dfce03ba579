import { expect, test } from "vitest";
import { BOXES_MAX, draw } from "../src/model/group";
import { plan } from "../src/model/plan";
import { HEALED, lines, step } from "./plans";

const drawn = (steps: ReturnType<typeof lines>, ...more: [ReadonlySet<string>?, boolean?]) => draw(plan({ steps }), ...more);

/** Every step is in exactly one box, and every edge between two boxes is an edge between two of their steps. */
function sound(steps: ReturnType<typeof lines>, { boxes, of }: ReturnType<typeof draw>) {
  expect([...boxes.values()].flatMap((box) => box.ids).sort((a, b) => a - b)).toEqual(steps.map((one) => one.id));
  const edges = new Set(steps.flatMap((one) => one.depends_on.map((from) => `${of.get(from)}>${of.get(Number(one.id))}`)));
  for (const box of boxes.values()) {
    for (const from of box.before) expect(edges.has(`${from}>${box.key}`)).toBe(true);
    expect(box.before).not.toContain(box.key);
  }
}

test("a small plan is drawn as it is", () => {
  const { boxes, grouped } = draw(plan(HEALED));
  expect(grouped).toBe(false);
  expect([...boxes.keys()]).toEqual(["s1", "s2", "s3", "s4", "s5", "s6"]);
  expect(boxes.get("s6")!.before).toEqual(["s1", "s5"]);
});

test("a fan-out becomes one box with counts", () => {
  const steps = lines(400, 1);
  for (const one of steps.slice(1, 4)) one.state = "failed";
  for (const one of steps.slice(4, 401)) one.state = "succeeded";
  const found = drawn(steps);
  expect(found.boxes.size).toBe(3);
  const [group] = [...found.boxes.values()].filter((box) => box.ids.length > 1);
  expect(group!.counts).toMatchObject({ succeeded: 397, failed: 3 });
  expect([group!.size, group!.before]).toEqual([400, ["s1"]]);
  sound(steps, found);
});

test("lines side by side become their stages", () => {
  const steps = lines(1_000, 5);
  const found = drawn(steps);
  expect(steps.length).toBe(5_002);
  expect(found.boxes.size).toBe(7);
  sound(steps, found);
});

test("a long line is folded", () => {
  const steps = Array.from({ length: 3_000 }, (_, at) => step(at + 1, at === 0 ? [] : [at]));
  const found = drawn(steps);
  expect(found.boxes.size).toBe(1);
  sound(steps, found);
});

test("whatever the plan, there are no more boxes than can be read", () => {
  // Two steps at each depth, of different kinds, tied across: nothing is alike, and nothing is a line.
  const steps = [step(1), step(2, [], { tools: ["a"] })];
  for (let id = 3; id < 4_000; id += 2) {
    steps.push(step(id, [id - 2, id - 1]), step(id + 1, [id - 1, id - 2], { tools: ["a"] }));
  }
  const found = drawn(steps);
  expect(found.boxes.size).toBeLessThanOrEqual(BOXES_MAX);
  sound(steps, found);
});

test("a group can be drawn one by one, and all of them can", () => {
  const steps = lines(400, 1);
  const [key] = [...drawn(steps).boxes.keys()].filter((one) => one.startsWith("g"));
  expect(drawn(steps, new Set([key!])).boxes.size).toBe(402);
  expect(drawn(steps, undefined, true).boxes.size).toBe(402);
});

test("a group keeps its name when states change and steps join it", () => {
  const [before, after] = [drawn(lines(200, 1)), drawn(lines(300, 1))];
  expect([...before.boxes.keys()].filter((key) => key.startsWith("g"))).toEqual([...after.boxes.keys()].filter((key) => key.startsWith("g")));
});

test("items are counted in their step", () => {
  const items = Array.from({ length: 64 }, (_, at) => step(`2[${at}]`, [1], { state: at < 40 ? "succeeded" : "running" }));
  const { boxes } = draw(plan({ steps: [step(1), step(2, [1]), ...items] }));
  expect(boxes.size).toBe(2);
  expect(boxes.get("s2")).toMatchObject({ size: 64, counts: { succeeded: 40, running: 24 } });
});
