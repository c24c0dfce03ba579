/** One batch: how far it is, what it cost, and its results. */

import { useRoute } from "preact-iso";
import { ask, send, withQuery } from "../api/client";
import { useLive } from "../api/live";
import type { Batch as BatchStatus } from "../api/types";
import { count, duration, short, usd } from "../model/format";
import { word } from "../model/words";
import { act, confirm } from "../parts/confirm";
import { State } from "../parts/state";
import { Text } from "../parts/text";
import { useTitle } from "../parts/title";
import { Trouble } from "../parts/trouble";
import { cost, isOver, Progress } from "./batches";

const FRESH_MS = 2_000;

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
            {failed > 0 && (
              <button type="button" onClick={retry}>
                Retry {count(failed)} failed
              </button>
            )}
            {["submitting", "running"].includes(batch.state) && (
              <button type="button" class="danger" onClick={cancel}>
                Cancel
              </button>
            )}
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
          <Fact name="budget" value={batch.budget?.usd == null ? "none" : usd(batch.budget.usd)} />
          <Fact name="tokens" value={short(batch.tokens)} />
          <Fact name="runs a second" value={batch.rate_per_s == null ? "–" : batch.rate_per_s.toFixed(1)} />
          <Fact name="left" value={batch.eta_s == null ? "–" : duration(batch.eta_s * 1000)} />
        </dl>
        {batch.reason && (
          <p class="why-line is-cancelled">
            <Text value={batch.reason} />
          </p>
        )}
      </header>
      <p class="buttons left">
        <a class="button" href={withQuery("/runs", { batch: batch.batch_id })}>
          Its runs
        </a>
        <button type="button" onClick={() => act(() => download(`${path}/results`, `${batch.batch_id}.jsonl`), "Results are downloaded")}>
          Download results
        </button>
        {(failed > 0 || batch.rejected > 0) && (
          <button type="button" onClick={() => act(() => download(`${path}/errors`, `${batch.batch_id}-errors.jsonl`), "Errors are downloaded")}>
            Download errors
          </button>
        )}
      </p>
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

/** A link could not carry the key. */
async function download(path: string, name: string) {
  const response = await ask(path, { headers: { accept: "application/x-ndjson" } }, true);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await response.blob());
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
