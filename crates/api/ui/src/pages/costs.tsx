/** What was spent, by what people ask for: class, model, role, batch, day. */

import { useLocation } from "preact-iso";
import { withQuery } from "../api/client";
import { useLive } from "../api/live";
import type { CostRow } from "../api/types";
import { count, short, usd } from "../model/format";
import { Text } from "../parts/text";
import { useTitle } from "../parts/title";
import { Empty, Trouble } from "../parts/trouble";

const FRESH_MS = 10_000;
const WAYS = ["class", "model", "role", "batch", "run", "day"] as const;
const SPANS: [hours: string, name: string][] = [
  ["", "all that is kept"],
  ["1", "last hour"],
  ["24", "last day"],
  ["168", "last week"],
];

export function Costs() {
  useTitle("Costs");
  const { query, route } = useLocation();
  const way = WAYS.find((one) => one === query["by"]) ?? "class";
  const hours = query["hours"] ?? "";
  // A duration before now, so that the question stays the same from one asking to the next.
  const since = Number(hours) > 0 ? `${hours}h` : "";
  const live = useLive<{ rows: CostRow[]; indexing: boolean }>(withQuery("/v1/costs", { by: way, since }), () => FRESH_MS);
  const rows = live.data.value?.rows;
  const go = (change: Record<string, string>) => route(withQuery("/costs", { by: way, hours, ...change }), true);
  return (
    <div class="page">
      <div class="page-head">
        <h1>Costs</h1>
        <select aria-label="Time" value={hours} onChange={(event) => go({ hours: event.currentTarget.value })}>
          {SPANS.map(([value, name]) => (
            <option key={value} value={value}>
              {name}
            </option>
          ))}
        </select>
      </div>
      <div class="chips" role="group" aria-label="By">
        {WAYS.map((one) => (
          <button key={one} type="button" class="chip" aria-pressed={one === way} onClick={() => go({ by: one })}>
            by {one}
          </button>
        ))}
      </div>
      <Trouble live={live} what="The costs" />
      {live.data.value?.indexing && <p class="why-line is-paused">Older runs are still being read into the index: the sums grow.</p>}
      {rows?.length === 0 && <Empty>Nothing was spent in that time.</Empty>}
      {rows && rows.length > 0 && <Table rows={rows} way={way} />}
    </div>
  );
}

function Table({ rows, way }: { rows: CostRow[]; way: string }) {
  const known = (row: CostRow) => row.known_usd;
  const most = Math.max(...rows.map(known), Number.MIN_VALUE);
  const total = rows.reduce((sum, row) => sum + known(row), 0);
  const unknown = rows.some((row) => row.usd === null);
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={`Costs by ${way}`}>
      <table class="list">
        <thead>
          <tr>
            <th class="wide capital">{way}</th>
            <th>
              <span class="hidden">Share</span>
            </th>
            <th class="figure">Cost</th>
            <th class="figure">Runs</th>
            <th class="figure">Model calls</th>
            <th class="figure">Tokens in</th>
            <th class="figure">Of them cached</th>
            <th class="figure">Tokens out</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => {
            const name = row.key ?? "none";
            return (
              <tr key={name}>
                <td class="wide">
                  <Name way={way} row={row} />
                </td>
                <td>
                  <span class="meter">
                    <span class="meter-bar">
                      <span class="fill-accent" style={{ width: `${(known(row) / most) * 100}%` }} />
                    </span>
                  </span>
                </td>
                <td class="figure">{row.usd === null && row.known_usd > 0 ? `over ${usd(row.known_usd)}` : usd(row.usd)}</td>
                <td class="figure">{count(row.runs)}</td>
                <td class="figure">{count(row.calls)}</td>
                <td class="figure">{short(row.input_tokens)}</td>
                <td class="figure">{short(row.cached_tokens)}</td>
                <td class="figure">{short(row.output_tokens)}</td>
              </tr>
            );
          })}
        </tbody>
        <tfoot>
          <tr>
            <th colSpan={2}>In all</th>
            <td class="figure">{unknown ? `over ${usd(total)}` : usd(total)}</td>
            <td colSpan={5} class="soft">
              {unknown && "Some prices are unknown: see `planfleet models list`."}
            </td>
          </tr>
        </tfoot>
      </table>
    </div>
  );
}

/** Where the runs behind a sum can be listed, its name leads there. */
function Name({ way, row: { key } }: { way: string; row: CostRow }) {
  if (key === null) return <span class="soft">without a {way}</span>;
  const name = encodeURIComponent(key);
  const to = { class: `/runs?class=${name}`, batch: `/batches/${name}`, run: `/runs/${name}` }[way];
  if (!to) return <Text value={key} />;
  return (
    <a class="row-link" href={to}>
      <Text value={key} />
    </a>
  );
}
