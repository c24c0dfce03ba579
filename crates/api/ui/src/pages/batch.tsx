/** One batch: how far it is, what it cost, and its results. */

import { useRoute } from "preact-iso";
import { ask, send, withQuery } from "../api/client";
import { useLive } from "../api/live";
import type { Batch as BatchStatus, RunPage } from "../api/types";
import { count, duration, short, usd } from "../model/format";
import { word } from "../model/words";
import { act, confirm } from "../parts/confirm";
import { For } from "../parts/may";
import { State } from "../parts/state";
import { Text } from "../parts/text";
import { useTitle } from "../parts/title";
import { Empty, Trouble } from "../parts/trouble";
import { cost, isOver, Progress } from "./batches";
import { Table } from "./runs";

const FRESH_MS = 2_000;
/** Runs that are shown at once. */
const SHOWN_MAX = 25;

export function Batch() {
  const id = useRoute().params["id"] ?? "";
  useTitle(`Batch ${id}`);
  const path = `/v1/batches/${encodeURIComponent(id)}`;
  const live = useLive<BatchStatus>(path, (batch) => (batch && isOver(batch) ? 0 : FRESH_MS));
  const batch = live.data.value;
  return (
    <div class="page">
      <Trouble live={live} what="The batch" />
      {batch && <Whole batch={batch} path={path} refresh={live.refresh} />}
    </div>
  );
}

function Whole({ batch, path, refresh }: { batch: BatchStatus; path: string; refresh: () => void }) {
  const failed = batch.failed + batch.expired;
  const going = ["submitting", "running"].includes(batch.state);
  const cancel = () =>
    confirm({
      title: "Cancel this batch?",
      detail: `Its ${count(batch.active)} active runs end, and no further line is taken. Results so far are kept.`,
      verb: "Cancel the batch",
      danger: true,
      reason: "wanted",
      act: (reason) => send("POST", `${path}/cancel`, reason ? { reason } : undefined).then(refresh),
      done: "Cancelling",
    });
  const retry = () => act(() => send("POST", `${path}/retry-failed`).then(refresh), "What failed is done again");
  const counts: [string, number][] = [
    ["succeeded", batch.succeeded],
    ["failed", batch.failed],
    ["expired", batch.expired],
    ["cancelled", batch.cancelled],
  ];
  return (
    <>
      <header class="run-head">
        <div class="run-title">
          <State state={batch.state} />
          <h1>
            <Text value={`Batch ${batch.batch_id}`} />
          </h1>
          <div class="buttons">
            <For role="operator" what="Cancelling and retrying" silent={failed === 0 && !going}>
              {failed > 0 && (
                <button type="button" onClick={retry}>
                  Retry {count(failed)} failed
                </button>
              )}
              {going && (
                <button type="button" class="danger" onClick={cancel}>
                  Cancel
                </button>
              )}
            </For>
          </div>
        </div>
        <div class="batch-progress">
          <Progress batch={batch} />
        </div>
        <dl class="facts">
          {counts.map(([state, n]) => (
            <div key={state}>
              <dt>{word(state)}</dt>
              <dd>{n > 0 ? <a href={withQuery("/runs", { batch: batch.batch_id, state })}>{count(n)}</a> : "0"}</dd>
            </div>
          ))}
          <Fact name="active" value={count(batch.active)} />
          <Fact name="refused lines" value={count(batch.rejected)} />
          <Fact name="cost" value={cost(batch)} />
          <Fact name="budget" value={budget(batch)} />
          {batch.retried > 0 && <Fact name="retried" value={count(batch.retried)} />}
          <Fact name="tokens" value={short(batch.tokens)} />
          <Fact name="runs a second" value={batch.rate_per_s == null ? "–" : batch.rate_per_s.toFixed(1)} />
          <Fact name="left" value={batch.eta_s == null ? "–" : duration(batch.eta_s * 1000)} />
        </dl>
        {batch.shards_silent > 0 && (
          <p class="why-line is-paused">
            Nobody answers for the active runs of {count(batch.shards_silent)} shards just now: the figures of active runs are not whole.
          </p>
        )}
        {batch.reason && (
          <p class="why-line is-cancelled">
            <Text value={batch.reason} />
          </p>
        )}
      </header>
      <p class="buttons left">
        <button type="button" onClick={() => act(() => download(`${path}/results`, `${batch.batch_id}.jsonl`), "Results are downloaded")}>
          Download results
        </button>
        {(failed > 0 || batch.rejected > 0) && (
          <button type="button" onClick={() => act(() => download(`${path}/errors`, `${batch.batch_id}-errors.jsonl`), "Errors are downloaded")}>
            Download errors
          </button>
        )}
      </p>
      <Members batch={batch} going={going} />
    </>
  );
}

function Fact({ name, value }: { name: string; value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}

function budget({ budget: of }: BatchStatus): string {
  const said = [of?.usd != null && usd(of.usd), of?.tokens != null && `${short(of.tokens)} tokens`].filter(Boolean);
  return said.join(", ") || "none";
}

/** Its newest runs; all of them are in the list of runs. */
function Members({ batch, going }: { batch: BatchStatus; going: boolean }) {
  const live = useLive<RunPage>(withQuery("/v1/runs", { batch: batch.batch_id, limit: SHOWN_MAX }), () => (going || batch.active > 0 ? FRESH_MS : 0));
  const page = live.data.value;
  return (
    <section class="members">
      <div class="page-head">
        <h2>Runs</h2>
        <a href={withQuery("/runs", { batch: batch.batch_id })}>all of them, to search and to filter</a>
      </div>
      <Trouble live={live} what="Its runs" />
      {page?.runs.length === 0 && <Empty>None of its runs is known here yet.</Empty>}
      {page && page.runs.length > 0 && <Table runs={page.runs} />}
    </section>
  );
}

/** A link could not carry the key. */
async function download(path: string, name: string) {
  const response = await ask(path, { headers: { accept: "application/x-ndjson" } }, true);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await response.blob());
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
