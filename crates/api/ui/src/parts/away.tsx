/** Says that the server is away, once for the whole page, and that the page looks for it by itself. */

import { lostSince, wakeAll } from "../api/link";
import { clock } from "../model/format";

export function Away() {
  const since = lostSince.value;
  // The region is there before anything is said in it: screen readers follow no other.
  return (
    <div role="status" class="away-place">
      {since !== null && (
        <p class="away">
          <span>
            <strong>The server cannot be reached</strong> since {clock(new Date(since).toISOString()).slice(0, 8)}. What is shown may be out of
            date; the page looks for it by itself and goes on where it was.
          </span>
          <button type="button" onClick={wakeAll}>
            Look now
          </button>
        </p>
      )}
    </div>
  );
}
