/** Instead of an answer: why there is none. */

import type { ComponentChildren } from "preact";
import { lostSince } from "../api/link";
import type { Live } from "../api/live";

export function Trouble({ live, what }: { live: Live<unknown>; what: string }) {
  const problem = live.problem.value;
  if (!problem) return live.data.value === null ? <p class="soft loading">Loading…</p> : null;
  const stale = live.data.value !== null;
  // The banner says it, once.
  if (stale && lostSince.value !== null) return null;
  return (
    <div class="trouble" role="alert">
      <strong>
        {stale ? `${what} may be out of date` : `${what} cannot be shown`}: <bdi>{problem.message}</bdi>
      </strong>
      <span class="soft">
        {" "}
        {problem.code}
        {problem.status === 401 || problem.status === 403 ? "" : "; tried again by itself"}
      </span>
      <button type="button" onClick={live.refresh}>
        try now
      </button>
    </div>
  );
}

export function Empty({ children }: { children: ComponentChildren }) {
  return <p class="empty">{children}</p>;
}
