/** What waits for which pool, which models are paused, and who looks after the shards. */

import { useLive } from "../api/live";
import type { Pool, Queued, Worker } from "../api/types";
import { count, stamp } from "../model/format";
import { State } from "../parts/state";
import { Text } from "../parts/text";
import { useTitle } from "../parts/title";
import { Empty, Trouble } from "../parts/trouble";

const FRESH_MS = 2_000;

export function Queues() {
  useTitle("Queues and workers");
  const queues = useLive<Queued>("/v1/queues", () => FRESH_MS);
  const workers = useLive<{ workers: Worker[] }>("/v1/workers", () => FRESH_MS);
  const queued = queues.data.value;
  return (
    <div class="page">
      <div class="page-head">
        <h1>Queues and workers</h1>
        {queued && <p class="totals">{count(queued.backlog)} waiting or in flight</p>}
      </div>
      <Trouble live={queues} what="The queues" />
      {queued && <Pools pools={queued.pools} />}
      {queued && queued.paused.length > 0 && <Paused paused={queued.paused} />}
      <h2>Processes</h2>
      <Trouble live={workers} what="The processes" />
      {workers.data.value && <Workers workers={workers.data.value.workers} />}
    </div>
  );
}

function Pools({ pools }: { pools: Pool[] }) {
  if (pools.length === 0) return <Empty>No pool has been used yet.</Empty>;
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Pools">
      <table class="list">
        <thead>
          <tr>
            <th class="wide">Pool</th>
            <th class="figure">Held back, ready</th>
            <th class="figure">Queued</th>
            <th class="figure">In flight</th>
            <th class="figure">Slots of each worker</th>
          </tr>
        </thead>
        <tbody>
          {pools.map((pool) => (
            <tr key={pool.pool}>
              <td class="wide">
                <Text value={pool.pool} />
                {pool.waiting > 0 && pool.in_flight === 0 && <div class="under is-failed">work waits, and nobody is at it</div>}
              </td>
              <td class="figure">{count(pool.ready_backlog)}</td>
              <td class="figure">{count(pool.waiting)}</td>
              <td class="figure">{count(pool.in_flight)}</td>
              <td class="figure">{count(pool.slots)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Paused({ paused }: Pick<Queued, "paused">) {
  return (
    <section>
      <h2>Paused models</h2>
      <ul class="plain">
        {paused.map((one) => (
          <li key={one.model}>
            <State state="paused" /> <Text value={one.model} />
            {one.until && ` until ${stamp(one.until)}`}
            {one.reason && (
              <>
                : <Text value={one.reason} />
              </>
            )}
          </li>
        ))}
      </ul>
    </section>
  );
}

function Workers({ workers }: { workers: Worker[] }) {
  if (workers.length === 0) return <Empty>Nobody gives signs of life.</Empty>;
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Processes">
      <table class="list">
        <thead>
          <tr>
            <th class="wide">Name</th>
            <th>Role</th>
            <th>Shards</th>
          </tr>
        </thead>
        <tbody>
          {workers.map((worker) => (
            <tr key={`${worker.role} ${worker.name}`}>
              <td class="wide">
                <Text value={worker.name} />
              </td>
              <td>
                <Text value={worker.role} />
              </td>
              <td>{worker.shards.join(", ") || "–"}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
