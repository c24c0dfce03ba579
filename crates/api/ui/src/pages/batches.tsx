/** Batches and how far each is. */

import { useSignal } from "@preact/signals";
import { useLive } from "../api/live";
import type { Batch, BatchListed } from "../api/types";
import { ago, count, duration, stamp, usd } from "../model/format";
import { Meter } from "../parts/meter";
import { State } from "../parts/state";
import { Text } from "../parts/text";
import { useTitle } from "../parts/title";
import { Empty, Trouble } from "../parts/trouble";

const FRESH_MS = 3_000;
/** Each row asks for its progress by itself. */
const SHOWN_MAX = 25;

export function Batches() {
  useTitle("Batches");
  const live = useLive<{ batches: BatchListed[] }>("/v1/batches?limit=500", () => FRESH_MS);
  const batches = live.data.value?.batches;
  const shown = useSignal(SHOWN_MAX);
  return (
    <div class="page">
      <div class="page-head">
        <h1>Batches</h1>
        {batches && batches.length > 0 && <p class="totals">{count(batches.length)}</p>}
      </div>
      <Trouble live={live} what="The batches" />
      {batches?.length === 0 && (
        <Empty>
          No batch yet. <code>planfleet batch submit tasks.jsonl</code> starts one.
        </Empty>
      )}
      {batches && batches.length > 0 && (
        <div class="scroll" tabIndex={0} role="region" aria-label="Batches">
          <table class="list cards">
            <thead>
              <tr>
                <th>State</th>
                <th class="wide">Batch</th>
                <th>Progress</th>
                <th class="figure">Failed</th>
                <th class="figure">Cost</th>
                <th class="figure">Left</th>
                <th class="figure">Started</th>
              </tr>
            </thead>
            <tbody>
              {batches.slice(0, shown.value).map((batch) => (
                <Row key={batch.batch_id} listed={batch} />
              ))}
            </tbody>
          </table>
        </div>
      )}
      {batches && batches.length > shown.value && (
        <button type="button" class="more" onClick={() => (shown.value += SHOWN_MAX)}>
          Show older batches
        </button>
      )}
    </div>
  );
}

/** A list says nothing of runs: each row asks for its own, as long as they go on. */
function Row({ listed }: { listed: BatchListed }) {
  const live = useLive<Batch>(`/v1/batches/${encodeURIComponent(listed.batch_id)}`, (batch) => (batch && isOver(batch) ? 0 : FRESH_MS));
  const batch = live.data.value;
  return (
    <tr>
      <td>{batch ? <State state={batch.state} /> : "…"}</td>
      <td class="wide">
        <a class="row-link" href={`/batches/${encodeURIComponent(listed.batch_id)}`}>
          <Text value={listed.batch_id} />
        </a>
        {listed.cancelled && (
          <div class="under">
            <Text class="why" value={listed.cancelled} />
          </div>
        )}
      </td>
      <td>{batch && <Progress batch={batch} />}</td>
      <td class="figure" data-name="failed">{batch && count(batch.failed + batch.expired)}</td>
      <td class="figure" data-name="cost">{batch && cost(batch)}</td>
      <td class="figure" data-name="left">{batch?.eta_s == null ? "–" : duration(batch.eta_s * 1000)}</td>
      <td class="figure" title={stamp(listed.created_at)}>
        {ago(listed.created_at, Date.now())}
      </td>
    </tr>
  );
}

/** Whether nothing will become of it any more. */
export function isOver(batch: Batch): boolean {
  return ["completed", "cancelled"].includes(batch.state) && batch.active === 0;
}

/** What is known of the cost; more where runs without a price are among it. */
export function cost(batch: Batch): string {
  return batch.unpriced > 0 ? `over ${usd(batch.usd)}` : usd(batch.usd);
}

export function Progress({ batch }: { batch: Batch }) {
  const total = batch.total ?? batch.submitted;
  const done = batch.succeeded + batch.failed + batch.cancelled + batch.expired + batch.rejected;
  return (
    <Meter
      label={`${count(done)} of ${count(total)} ended, ${count(batch.succeeded)} succeeded, ${count(batch.rejected)} lines refused`}
      total={total}
      parts={[
        ["succeeded", batch.succeeded],
        ["failed", batch.failed + batch.expired + batch.rejected],
        ["cancelled", batch.cancelled],
        ["running", batch.active],
      ]}
    />
  );
}
