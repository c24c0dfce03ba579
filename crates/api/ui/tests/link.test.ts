import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { after, backoff, lostSince, notReached, reached, wakeAll } from "../src/api/link";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  reached();
  vi.useRealTimers();
});

test("waits grow from try to try, and end at half a minute", () => {
  const waits = [1, 2, 3, 4, 5, 6, 7, 50].map(backoff);
  for (const [at, wait] of waits.entries()) {
    const whole = Math.min(1_000 * 2 ** at, 30_000);
    expect(wait).toBeGreaterThanOrEqual(whole * 0.75);
    expect(wait).toBeLessThanOrEqual(whole);
  }
});

test("who waits is woken once: by time, or as soon as anybody has reached the server", () => {
  const woken: string[] = [];
  after(1_000, () => woken.push("soon"));
  after(30_000, () => woken.push("late"));
  const forget = after(30_000, () => woken.push("gone"));
  forget();
  notReached();
  const since = lostSince.value;
  vi.advanceTimersByTime(2_000);
  notReached();
  expect([woken, lostSince.value]).toEqual([["soon"], since]);
  reached();
  expect([woken, lostSince.value]).toEqual([["soon", "late"], null]);
  vi.advanceTimersByTime(60_000);
  wakeAll();
  expect(woken).toEqual(["soon", "late"]);
});

test("an answer while the server is there wakes nobody", () => {
  const woken = vi.fn();
  after(5_000, woken);
  reached();
  expect(woken).not.toHaveBeenCalled();
});
