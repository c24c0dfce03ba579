import { expect, test } from "vitest";
import { diffs } from "../src/model/revisions";
import { HEALED } from "./plans";

const lines = (at: number) => diffs(HEALED)[at]!.changes.map(({ kind, step }) => `${kind} ${step.id}`);

test("the first revision is all new", () => {
  expect(lines(0)).toEqual(["new 1", "new 2", "new 3", "new 4"]);
});

test("the next one says what is kept, dropped and new", () => {
  expect(lines(1)).toEqual(["kept 1", "kept 4", "dropped 2", "dropped 3", "new 5", "new 6"]);
  expect(diffs(HEALED)[1]).toMatchObject({ kept: 2, dropped: 2, added: 2, note: { cause: { code: "failed", steps: [2] } } });
});

test("what is gone is not kept, and not dropped twice", () => {
  const third = { ...HEALED.revisions[1]!, revision: 3, added: [], dropped: [5] };
  const after = diffs({ ...HEALED, revisions: [...HEALED.revisions, third] })[2]!;
  expect(after.changes.map(({ kind, step }) => `${kind} ${step.id}`)).toEqual(["kept 1", "kept 4", "kept 6", "dropped 5"]);
});
