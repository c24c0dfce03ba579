/** When each step ran. Times in which nothing happened are cut short. */

import { useMemo } from "preact/hooks";
import { END_STATES, type Run } from "../../api/types";
import { duration } from "../../model/format";
import { timeline } from "../../model/timeline";
import { Rows } from "../../parts/rows";
import { Glyph } from "../../parts/state";
import { Text } from "../../parts/text";
import { Empty } from "../../parts/trouble";
import { word } from "../../model/words";

interface Props {
  run: Run;
  chosen: string | null;
  choose: (step: string) => void;
}

export function TimelineView({ run, chosen, choose }: Props) {
  const now = END_STATES.includes(run.state) ? 0 : Date.now();
  const { bars, place, gaps, from, to } = useMemo(() => timeline(run.steps, now), [run]);
  const waiting = run.steps.filter((step) => !step.started_at && step.state === "waiting").length;
  if (bars.length === 0) return <Empty>No step has started yet.</Empty>;
  const percent = (share: number) => `${(share * 100).toFixed(3)}%`;
  return (
    <div class="timeline">
      <div class="axis">
        <span>0</span>
        {gaps.map((gap) => (
          <span key={gap.at} class="gap-label" style={{ left: percent(gap.at) }}>
            {duration(gap.ms)} idle
          </span>
        ))}
        <span>{duration(to - from)}</span>
      </div>
      <Rows
        rows={bars}
        height={26}
        label="Steps by the time they started"
        at={bars.findIndex((bar) => String(bar.step.id) === chosen)}
        row={(bar) => {
          const [left, end] = [place(bar.from), place(bar.to)];
          const took = duration(bar.to - bar.from);
          return (
            <button
              key={bar.step.id}
              type="button"
              class={String(bar.step.id) === chosen ? "row bar-row chosen" : "row bar-row"}
              onClick={() => choose(String(bar.step.id))}
              title={`${word(bar.step.state)}, ${took}, began ${duration(bar.from - from)} after the first`}
            >
              <span class="bar-name">
                <span class={`is-${bar.step.state}`}>
                  <Glyph state={bar.step.state} />
                </span>
                <span class="number">{bar.step.id}</span>
                <Text class="cut" value={bar.step.description || `item of step ${Number.parseInt(String(bar.step.id), 10)}`} />
              </span>
              <span class="bar-track">
                {gaps.map((gap) => (
                  <span key={gap.at} class="gap" style={{ left: percent(gap.at) }} />
                ))}
                <span class={`bar fill-${bar.step.state}`} style={{ left: percent(left), width: percent(Math.max(end - left, 0.002)) }} />
                <span class={end > 0.8 ? "bar-took before" : "bar-took"} style={end > 0.8 ? { right: percent(1 - left) } : { left: percent(end) }}>
                  {word(bar.step.state)}, {took}
                </span>
              </span>
            </button>
          );
        }}
      />
      {waiting > 0 && <p class="soft">{waiting} more wait to be started.</p>}
    </div>
  );
}
