/** The answer, and what it took: by role and model, and where the time went. */

import { END_STATES, type ModelUsage, type Run } from "../../api/types";
import { count, duration, usd } from "../../model/format";
import { Text, Value } from "../../parts/text";
import { Empty } from "../../parts/trouble";

export function ResultView({ run }: { run: Run }) {
  const over = END_STATES.includes(run.state);
  return (
    <div class="result">
      <section>
        <h2>{run.partial && run.answer != null ? "Partial answer" : "Answer"}</h2>
        {run.answer == null ? (
          <Empty>{over ? "The run ended without an answer." : "There is no answer yet."}</Empty>
        ) : (
          <Value value={run.answer} label="the answer" />
        )}
      </section>
      {run.inputs && Object.keys(run.inputs).length > 0 && (
        <section>
          <h2>Inputs of the task</h2>
          <Value value={run.inputs} label="the inputs" />
        </section>
      )}
      <section>
        <h2>Cost</h2>
        <Costs rows={run.models} total={run.usd} />
      </section>
      <section>
        <h2>Time</h2>
        <dl class="facts">
          {(
            [
              ["Queued", run.timings.queued_ms],
              ["Planning", run.timings.planning_ms],
              ["Executing", run.timings.executing_ms],
              ["In all", run.timings.total_ms],
            ] as const
          ).map(([name, ms]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{duration(ms)}</dd>
            </div>
          ))}
        </dl>
        <p class="soft">Planning and executing overlap: steps start while the plan is still being written.</p>
      </section>
    </div>
  );
}

function Costs({ rows, total }: { rows: ModelUsage[]; total: number | null }) {
  if (rows.length === 0) return <Empty>No model was called.</Empty>;
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Cost by role and model">
      <table class="list">
        <thead>
          <tr>
            <th>Role</th>
            <th>Model</th>
            <th class="figure">Calls</th>
            <th class="figure">Tokens in</th>
            <th class="figure">Of them cached</th>
            <th class="figure">Tokens out</th>
            <th class="figure">Cost</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={`${row.role} ${row.model}`}>
              <td>{row.role}</td>
              <td>
                <Text value={row.model} />
              </td>
              <td class="figure">{count(row.calls)}</td>
              <td class="figure">{count(row.input_tokens)}</td>
              <td class="figure">{count(row.cached_tokens)}</td>
              <td class="figure">{count(row.output_tokens)}</td>
              <td class="figure">{usd(row.usd)}</td>
            </tr>
          ))}
        </tbody>
        <tfoot>
          <tr>
            <th colSpan={6}>In all</th>
            <td class="figure">{usd(total)}</td>
          </tr>
        </tfoot>
      </table>
    </div>
  );
}
