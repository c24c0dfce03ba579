/** What a page shows and keeps up to date: asked for again while somebody looks. */

import { useEffect, useRef } from "preact/hooks";
import { useSignal, type Signal } from "@preact/signals";
import { ask, Problem } from "./client";
import { after, backoff, FOR_PEOPLE_MS } from "./link";

export interface Live<T> {
  data: Signal<T | null>;
  problem: Signal<Problem | null>;
  /** Asks again now. */
  refresh: () => void;
}

/** A slow answer is asked for less often: at most a quarter of the time is spent on asking. */
const REST = 3;

/** A server that has been away, or a person who was asked for a key, is not made up for by silence. */
const REST_MAX_MS = 5_000;

/** Between two answers, whatever happens: people do not read faster. */
const REST_MIN_MS = 400;

/** Asking again changes nothing about these, other than by what people do: another key, another role. */
const FINAL = [401, 403];

/**
 * Keeps the answer of `path` fresh. `every` says after how many milliseconds it is asked for again,
 * and 0 that it will not change. Hidden tabs ask nothing; an answer that has not changed (ETag) costs
 * no parsing and no drawing. `null` asks nothing.
 */
export function useLive<T>(path: string | null, every: (data: T | null) => number): Live<T> {
  const data = useSignal<T | null>(null);
  const problem = useSignal<Problem | null>(null);
  const wake = useRef<() => void>(() => {});
  useEffect(() => {
    data.value = null;
    problem.value = null;
    if (path === null) return;
    const stop = new AbortController();
    let forget = () => {};
    let busy = false;
    let again = false;
    let etag = "";
    let failed = 0;
    let rested = 0;
    const turn = async () => {
      forget();
      if (busy) {
        again = true;
        return;
      }
      busy = true;
      again = false;
      const began = performance.now();
      try {
        const headers: Record<string, string> = { accept: "application/json" };
        if (etag) headers["if-none-match"] = etag;
        const response = await ask(path, { headers, signal: stop.signal });
        if (response.status !== 304) {
          data.value = (await response.json()) as T;
          etag = response.headers.get("etag") ?? "";
        }
        problem.value = null;
        failed = 0;
      } catch (error) {
        if (stop.signal.aborted) return;
        problem.value = error instanceof Problem ? error : new Problem(0, "unreadable", String(error));
      }
      busy = false;
      const took = performance.now() - began;
      rested = performance.now() + Math.min(Math.max(took * REST, REST_MIN_MS), REST_MAX_MS);
      const wrong = problem.peek();
      if (wrong) {
        failed++;
        // A key that is given wakes those who wait.
        if (FINAL.includes(wrong.status)) forget = after(FOR_PEOPLE_MS, turn);
        else if (!document.hidden) forget = after(backoff(failed), turn);
        return;
      }
      const wish = every(data.peek());
      if (again) later(0);
      else if (wish > 0 && !document.hidden) later(wish);
    };
    /** After that time, and not before the server has had its rest. */
    const later = (ms: number) => {
      forget();
      const timer = window.setTimeout(turn, Math.max(ms, rested - performance.now()));
      forget = () => clearTimeout(timer);
    };
    const seen = () => {
      if (!document.hidden) void turn();
    };
    wake.current = () => {
      if (busy) again = true;
      else later(0);
    };
    document.addEventListener("visibilitychange", seen);
    void turn();
    return () => {
      stop.abort();
      forget();
      wake.current = () => {};
      document.removeEventListener("visibilitychange", seen);
    };
  }, [path]);
  return { data, problem, refresh: () => wake.current() };
}
