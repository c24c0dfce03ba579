import { expect, test } from "vitest";
import { timeline } from "../src/model/timeline";
import { step } from "./plans";

const at = (s: number) => new Date(s * 1000).toISOString();
const ran = (id: number, from: number, to: number | null) => step(id, [], { started_at: at(from), ended_at: to === null ? null : at(to) });

test("bars stand in the order of their beginnings, and steps that have not begun have none", () => {
  const { bars } = timeline([ran(2, 5, 6), step(3), ran(1, 1, 9)], 0);
  expect(bars.map((bar) => bar.step.id)).toEqual([1, 2]);
});

test("an hour of waiting takes little room, and says that it was an hour", () => {
  const { gaps, place } = timeline([ran(1, 0, 10), ran(2, 3_610, 3_620)], 0);
  expect(gaps.map((gap) => gap.ms)).toEqual([3_600_000]);
  expect(place(10_000)).toBeGreaterThan(0.45);
  expect(place(3_610_000) - place(10_000)).toBeLessThan(0.05);
  expect([place(0), place(3_620_000)]).toEqual([0, 1]);
});

test("short gaps are as long as they were", () => {
  const { gaps, place } = timeline([ran(1, 0, 4), ran(2, 5, 10)], 0);
  expect(gaps).toEqual([]);
  expect(place(5_000)).toBeCloseTo(0.5);
});

test("what is going on reaches to now", () => {
  const { bars, to } = timeline([ran(1, 0, null)], 7_000);
  expect([bars[0]!.going, to]).toEqual([true, 7_000]);
});

test("items stand below their step, in their order", () => {
  const item = (id: string, from: number) => ({ ...ran(2, from, 9), id });
  const { bars } = timeline([item("2[10]", 4), ran(3, 5, 6), item("2[2]", 7), ran(2, 4, 9), ran(1, 1, 3)], 0);
  expect(bars.map((bar) => bar.step.id)).toEqual([1, 2, "2[2]", "2[10]", 3]);
});
