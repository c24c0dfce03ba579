/** What waits for which pool, what is held back, how the models are, and which processes there are. */

import { send } from "../api/client";
import { useLive } from "../api/live";
import type { Model, Queued, QueuePause, Worker } from "../api/types";
import { may } from "../api/who";
import { count, short, stamp } from "../model/format";
import { act, confirm } from "../parts/confirm";
import { For } from "../parts/may";
import { State } from "../parts/state";
import { Text } from "../parts/text";
import { useTitle } from "../parts/title";
import { Empty, Trouble } from "../parts/trouble";

const FRESH_MS = 2_000;

export function Queues() {
  useTitle("Queues and workers");
  const queues = useLive<Queued>("/v1/queues", () => FRESH_MS);
  const workers = useLive<{ workers: Worker[] }>("/v1/workers", () => FRESH_MS);
  const models = useLive<{ models: Model[] }>("/v1/models", () => FRESH_MS);
  const queued = queues.data.value;
  return (
    <div class="page">
      <div class="page-head">
        <h1>Queues and workers</h1>
        {queued && <p class="totals">{count(queued.backlog)} waiting or in flight</p>}
      </div>
      <Trouble live={queues} what="The queues" />
      {queued && <Pools queued={queued} refresh={queues.refresh} />}
      {queued?.pauses && queued.pauses.length > 0 && <Pauses pauses={queued.pauses} refresh={queues.refresh} />}
      <h2>Models</h2>
      <Trouble live={models} what="The models" />
      {models.data.value && <Models models={models.data.value.models} />}
      <h2>Processes</h2>
      <Trouble live={workers} what="The processes" />
      {workers.data.value && <Workers workers={workers.data.value.workers} />}
    </div>
  );
}

interface Parts {
  refresh: () => void;
}

function Pools({ queued: { pools, pauses }, refresh }: Parts & { queued: Queued }) {
  if (pools.length === 0) return <Empty>No pool has been used yet.</Empty>;
  // Where nobody counts what coordinators hold back, a column of nothing would read as none.
  const backlog = pools.some((pool) => pool.ready_backlog !== null);
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Pools">
      <table class="list">
        <thead>
          <tr>
            <th class="wide">Pool</th>
            {backlog && <th class="figure">Ready, held back</th>}
            <th class="figure">Queued</th>
            <th class="figure">In flight</th>
            <th class="figure">Slots of each worker</th>
            {may("admin") && (
              <th>
                <span class="hidden">Actions</span>
              </th>
            )}
          </tr>
        </thead>
        <tbody>
          {pools.map((pool) => (
            <tr key={pool.pool}>
              <td class="wide">
                <Text value={pool.pool} />
                {pool.waiting > 0 && pool.in_flight === 0 && <div class="under is-failed">work waits, and nobody is at it</div>}
              </td>
              {backlog && <td class="figure">{count(pool.ready_backlog)}</td>}
              <td class="figure">{count(pool.waiting)}</td>
              <td class="figure">{count(pool.in_flight)}</td>
              <td class="figure">{count(pool.slots)}</td>
              {may("admin") && (
                <td class="figure">
                  {!pauses?.some(({ what, name }) => what === "pool" && name === pool.pool) && (
                    <button type="button" onClick={() => hold(pool.pool, refresh)}>
                      Pause
                    </button>
                  )}
                </td>
              )}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function hold(pool: string, refresh: () => void) {
  confirm({
    title: `Pause the pool ${pool}?`,
    detail: "Nothing new of it is let go, whoever's it is. What is at work goes on.",
    verb: "Pause the pool",
    reason: "wanted",
    act: (reason) => send("POST", "/v1/queues:pause", { pool, ...(reason && { reason }) }).then(refresh),
    done: `${pool} is paused`,
  });
}

/** What people hold back, and why. */
function Pauses({ pauses, refresh }: Parts & { pauses: QueuePause[] }) {
  const resume = ({ what, name }: QueuePause) =>
    act(() => send("POST", "/v1/queues:resume", { [what]: name }).then(refresh), `${what} ${name} goes on`);
  return (
    <ul class="plain approvals" aria-label="Held back">
      {pauses.map((pause) => (
        <li key={`${pause.what} ${pause.name}`} class="approval">
          <State state="paused" />
          <span class="grow">
            {pause.what} <Text value={pause.name} /> since {stamp(pause.since)}: <Text value={pause.reason} />
          </span>
          <For role={pause.what === "tenant" ? "operator" : "admin"} what="Resuming it">
            <button type="button" onClick={() => resume(pause)}>
              Resume
            </button>
          </For>
        </li>
      ))}
    </ul>
  );
}

/** Each model of the settings: what it is for, how busy it is, and why nobody calls it. */
function Models({ models }: { models: Model[] }) {
  if (models.length === 0) return <Empty>No model is configured.</Empty>;
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Models">
      <table class="list">
        <thead>
          <tr>
            <th>State</th>
            <th class="wide">Model</th>
            <th>For</th>
            <th class="figure">Calls in flight</th>
            <th class="figure">At most</th>
            <th class="figure">Requests a minute</th>
            <th class="figure">Tokens a minute</th>
          </tr>
        </thead>
        <tbody>
          {models.map(({ name, model, roles, limits, fleet }) => (
            <tr key={name}>
              <td>
                <State state={fleet?.paused ? "paused" : fleet && fleet.in_flight > 0 ? "running" : "idle"} />
              </td>
              <td class="wide">
                <Text value={name} />
                <div class="under">
                  {model !== name && <Text value={model} />}
                  {fleet?.paused && <Text class="why" value={`${fleet.paused.reason ?? "paused"}${until(fleet.paused.until)}`} />}
                  {!fleet?.paused && fleet?.asked_until && <span>its provider asked to wait{until(fleet.asked_until)}</span>}
                </div>
              </td>
              <td>{roles.join(", ") || "–"}</td>
              <td class="figure">{count(fleet?.in_flight)}</td>
              <td class="figure">{count(fleet?.concurrency ?? limits?.max_concurrency)}</td>
              <td class="figure">{limit(limits?.requests_per_minute)}</td>
              <td class="figure">{limit(limits?.tokens_per_minute)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

const until = (at: string | null) => (at ? ` until ${stamp(at)}` : "");
const limit = (value: number | null | undefined) => (value == null ? "no limit" : short(value));

function Workers({ workers }: { workers: Worker[] }) {
  if (workers.length === 0) return <Empty>No process gives signs of life: runs stand still until one is back.</Empty>;
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Processes">
      <table class="list">
        <thead>
          <tr>
            <th class="wide">Name</th>
            <th>Role</th>
            <th>Slots</th>
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
              <td>{slots(worker)}</td>
              <td>{worker.shards.join(", ") || "–"}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** `default 16, plan 4`. */
function slots({ slots: of }: Worker): string {
  return Object.entries(of ?? {}).map(([pool, n]) => `${pool} ${count(n)}`).join(", ") || "–";
}
