/** Plans that are used again, and what that has saved. */

import { useSignal } from "@preact/signals";
import { send } from "../api/client";
import { useLive } from "../api/live";
import { may, whyNot } from "../api/who";
import type { CacheEntry, Cached } from "../api/types";
import { ago, count, duration, short, stamp, usd } from "../model/format";
import { act, confirm } from "../parts/confirm";
import { For } from "../parts/may";
import { Text, Value } from "../parts/text";
import { useTitle } from "../parts/title";
import { Empty, Trouble } from "../parts/trouble";

const FRESH_MS = 5_000;

export function Cache() {
  useTitle("Plan cache");
  const live = useLive<Cached>("/v1/cache", () => FRESH_MS);
  const open = useSignal<string | null>(null);
  const cached = live.data.value;
  return (
    <div class="page">
      <div class="page-head">
        <h1>Plan cache</h1>
      </div>
      <Trouble live={live} what="The cache" />
      {cached && <Saved saved={cached.savings} />}
      {!may("operator") && <p class="soft">{whyNot("operator", "Pinning and forgetting")}</p>}
      {cached?.entries.length === 0 && <Empty>No kind of task is known yet. Tasks without a plan of their own are remembered by their kind.</Empty>}
      {cached && cached.entries.length > 0 && (
        <div class="scroll" tabIndex={0} role="region" aria-label="Cached plans">
          <table class="list">
            <thead>
              <tr>
                <th class="wide">Class</th>
                <th>Is done by</th>
                <th class="figure">Used</th>
                <th class="figure">Failed</th>
                <th class="figure">Saved</th>
                <th class="figure">Time saved</th>
                <th class="figure">Made</th>
                <th>
                  <span class="hidden">Actions</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {cached.entries.map((entry) => (
                <Row
                  key={entry.key}
                  entry={entry}
                  open={open.value === entry.key}
                  toggle={() => (open.value = open.value === entry.key ? null : entry.key)}
                  refresh={live.refresh}
                />
              ))}
            </tbody>
          </table>
        </div>
      )}
    </div>
  );
}

function Saved({ saved }: { saved: Cached["savings"] }) {
  return (
    <dl class="facts big">
      <div>
        <dt>saved by not planning</dt>
        <dd>{usd(saved.saved_usd)}</dd>
      </div>
      <div>
        <dt>tokens</dt>
        <dd>{short(saved.saved_tokens)}</dd>
      </div>
      <div>
        <dt>time of planners</dt>
        <dd>{duration(saved.saved_ms)}</dd>
      </div>
      <div>
        <dt>runs with a known plan</dt>
        <dd>{count(saved.used)}</dd>
      </div>
    </dl>
  );
}

interface RowProps {
  entry: CacheEntry;
  open: boolean;
  toggle: () => void;
  refresh: () => void;
}

function Row({ entry, open, toggle, refresh }: RowProps) {
  const path = `/v1/cache/${encodeURIComponent(entry.key)}`;
  const forget = () =>
    confirm({
      title: "Forget this kind of task?",
      detail: `The next task of the class ${entry.class} is planned anew, and that plan is kept.`,
      verb: "Forget it",
      danger: true,
      act: () => send("DELETE", path).then(refresh),
      done: "Forgotten",
    });
  return (
    <>
      <tr>
        <td class="wide">
          <button type="button" class="link row-link" aria-expanded={open} onClick={toggle}>
            <Text value={entry.class} />
          </button>
          <div class="under">
            <code title={entry.key}>{entry.key.slice(0, 12)}</code>
            {entry.slots.length > 0 && <Text value={`slots: ${entry.slots.join(", ")}`} />}
            {entry.pinned && <b>pinned</b>}
            {!entry.proven && <span>not proven yet</span>}
          </div>
        </td>
        <td>
          <Text value={entry.way} />
        </td>
        <td class="figure">{count(entry.used)}</td>
        <td class="figure">{count(entry.failed)}</td>
        <td class="figure">{usd(entry.saved_usd)}</td>
        <td class="figure">{duration(entry.saved_ms)}</td>
        <td class="figure" title={stamp(entry.made_at)}>
          {ago(entry.made_at, Date.now())}
        </td>
        <td class="figure">
          <For role="operator" silent>
            {!entry.pinned && (
              <button type="button" onClick={() => act(() => send("POST", `${path}/pin`).then(refresh), "Pinned: kept whatever comes of it")}>
                Pin
              </button>
            )}{" "}
            <button type="button" class="danger" onClick={forget}>
              Forget
            </button>
          </For>
        </td>
      </tr>
      {open && (
        <tr class="opened">
          <td colSpan={8}>
            <Whole path={path} known={entry} />
          </td>
        </tr>
      )}
    </>
  );
}

function Whole({ path, known }: { path: string; known: CacheEntry }) {
  const live = useLive<unknown>(path, () => 0);
  return <Value value={live.data.value ?? known} label="the cached plan" />;
}
