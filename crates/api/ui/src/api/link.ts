/**
 * Whether the server can be reached. Whoever waits to ask it again is woken as soon as anybody has
 * reached it, so that a page catches up at once and without being loaded again.
 */

import { signal } from "@preact/signals";

/** Since when nobody has reached the server; null while it answers. */
export const lostSince = signal<number | null>(null);

const FIRST_WAIT_MS = 1_000;
/** A server that is away for long is looked for this often. */
const WAIT_MAX_MS = 30_000;

/** What only people change, such as a key that is given, which wakes all: as long as a timer lasts. */
export const FOR_PEOPLE_MS = 2 ** 31 - 1;

const sleepers = new Set<() => void>();

export function reached() {
  if (lostSince.value === null) return;
  lostSince.value = null;
  wakeAll();
}

export function notReached() {
  lostSince.value ??= Date.now();
}

/** Everybody who waits asks now. */
export function wakeAll() {
  for (const wake of [...sleepers]) wake();
}

/** How long to wait before the next try, after so many have failed: it grows, and is no one else's. */
export function backoff(failed: number): number {
  const wait = Math.min(FIRST_WAIT_MS * 2 ** Math.max(0, failed - 1), WAIT_MAX_MS);
  return wait * (0.75 + Math.random() / 4);
}

/** Calls `done` once: after that time, or when everybody is woken. Gives what takes it back. */
export function after(ms: number, done: () => void): () => void {
  const wake = () => {
    forget();
    done();
  };
  const timer = setTimeout(wake, ms);
  const forget = () => {
    clearTimeout(timer);
    sleepers.delete(wake);
  };
  sleepers.add(wake);
  return forget;
}
