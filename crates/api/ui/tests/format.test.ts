import { expect, test } from "vitest";
import { duration, short, usd } from "../src/model/format";
import { cause, steps, wait } from "../src/model/words";
import { clip } from "../src/parts/text";

test("an unknown price is not nothing", () => {
  expect([usd(null), usd(0), usd(0.00001), usd(0.0213), usd(0.5), usd(1234.5)]).toEqual(["unknown", "$0", "<$0.0001", "$0.0213", "$0.500", "$1,234.50"]);
});

test("durations have the unit that fits", () => {
  expect([420, 4_327, 125_000, 11_400_000, 200_000_000].map(duration)).toEqual(["420 ms", "4.3 s", "2 min 5 s", "3 h 10 min", "2 d 7 h"]);
});

test("large figures are short", () => {
  expect([950, 12_345, 4_120_331].map(short)).toEqual(["950", "12.3k", "4.12M"]);
});

test("reasons are said in words", () => {
  expect(wait({ code: "steps", steps: [3, 4] })).toBe("waits for steps 3, 4");
  expect(cause({ code: "failed", steps: [2] })).toBe("step 2 failed");
  expect(steps([1, 2, 3, 4, 5, 6, 7, 8])).toBe("steps 1, 2, 3, 4, 5, 6 and 2 more");
  expect(wait({ code: "something_new" })).toBe("waits: something_new");
});

test("a text is not cut within a character", () => {
  expect(clip("ab😀cd", 3)).toBe("ab…");
  expect(clip("abc", 3)).toBe("abc");
});
