/** What a page shows and keeps up to date: asked for again while somebody looks. */

import { useEffect, useRef } from "preact/hooks";
import { useSignal, type Signal } from "@preact/signals";
import { ask, Problem } from "./client";

export interface Live<T> {
  data: Signal<T | null>;
  problem: Signal<Problem | null>;
  /** Asks again now. */
  refresh: () => void;
}

/** A slow answer is asked for less often: at most a quarter of the time is spent on asking. */
const REST = 3;

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
    let timer = 0;
    let busy = false;
    let again = false;
    let etag = "";
    const turn = async () => {
      clearTimeout(timer);
      if (busy) {
        again = true;
        return;
      }
      busy = true;
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
      } catch (error) {
        if (stop.signal.aborted) return;
        problem.value = error instanceof Problem ? error : new Problem(0, "unreadable", String(error));
      }
      busy = false;
      const took = performance.now() - began;
      const wish = again ? 0 : every(data.peek());
      const ended = wish === 0 && !again && problem.peek() === null;
      again = false;
      if (!ended && !document.hidden) {
        timer = window.setTimeout(turn, Math.max(wish, took * REST, problem.peek() ? 3000 : 100));
      }
    };
    const seen = () => {
      if (!document.hidden) void turn();
    };
    wake.current = () => void turn();
    document.addEventListener("visibilitychange", seen);
    void turn();
    return () => {
      stop.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
    };
  }, [path]);
  return { data, problem, refresh: () => wake.current() };
}
