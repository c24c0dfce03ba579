/** Steps over time, with the times cut short in which nothing happened. */

import type { Step } from "../api/types";

/** Idle for longer than this share of the busy time is cut short… */
const IDLE_SHARE = 0.08;
/** …and longer than this many milliseconds: below, a gap is as telling as it is. */
const IDLE_MIN_MS = 2000;
/** What is left of it, as a share of the busy time. */
const IDLE_LEFT = 0.03;

export interface Bar {
  step: Step;
  from: number;
  to: number;
  going: boolean;
}

export interface Gap {
  /** Real milliseconds that are not shown. */
  ms: number;
  /** Where on the scale, from 0 to 1. */
  at: number;
}

export interface Timeline {
  bars: Bar[];
  /** Real time to a place from 0 to 1. */
  place: (ms: number) => number;
  gaps: Gap[];
  from: number;
  to: number;
}

export function timeline(steps: Step[], now: number): Timeline {
  const bars: Bar[] = [];
  for (const step of steps) {
    if (!step.started_at) continue;
    const from = Date.parse(step.started_at);
    const to = step.ended_at ? Date.parse(step.ended_at) : Math.max(now, from);
    bars.push({ step, from, to: Math.max(from, to), going: !step.ended_at });
  }
  bars.sort((a, b) => a.from - b.from || a.to - b.to);
  const busy = merged(bars);
  // The items of a step stand below it, in their order.
  const began = new Map(bars.map((bar) => [bar.step.id, bar.from]));
  const line = ({ step }: Bar): [number, number, number] => {
    const [of, item] = String(step.id).split("[").map((part) => Number.parseInt(part, 10));
    return [began.get(of!) ?? began.get(step.id)!, of!, item ?? -1];
  };
  const lines = new Map(bars.map((bar) => [bar, line(bar)]));
  bars.sort((a, b) => {
    const [x, y] = [lines.get(a)!, lines.get(b)!];
    return x[0] - y[0] || x[1] - y[1] || x[2] - y[2];
  });
  const length = busy.reduce((sum, span) => sum + span.to - span.from, 0);
  const longest = Math.max(IDLE_MIN_MS, length * IDLE_SHARE);
  const left = length * IDLE_LEFT;
  // Knots of the scale: real time and shown time go on together between them.
  const knots: { real: number; shown: number }[] = [];
  const cuts: { ms: number; shown: number }[] = [];
  let shown = 0;
  busy.forEach((span, at) => {
    const before = busy[at - 1];
    if (before) {
      const idle = span.from - before.to;
      const cut = idle > longest;
      if (cut) cuts.push({ ms: idle, shown: shown + left / 2 });
      shown += cut ? left : idle;
    }
    knots.push({ real: span.from, shown });
    shown += span.to - span.from;
    knots.push({ real: span.to, shown });
  });
  const whole = Math.max(shown, 1);
  return {
    bars,
    gaps: cuts.map((cut) => ({ ms: cut.ms, at: cut.shown / whole })),
    place: (ms) => along(knots, ms) / whole,
    from: busy[0]?.from ?? 0,
    to: busy.at(-1)?.to ?? 0,
  };
}

function merged(bars: Bar[]): { from: number; to: number }[] {
  const spans: { from: number; to: number }[] = [];
  for (const bar of bars) {
    const last = spans.at(-1);
    if (last && bar.from <= last.to) last.to = Math.max(last.to, bar.to);
    else spans.push({ from: bar.from, to: bar.to });
  }
  return spans;
}

function along(knots: { real: number; shown: number }[], ms: number): number {
  let [low, high] = [0, knots.length - 1];
  if (high < 0 || ms <= knots[0]!.real) return 0;
  if (ms >= knots[high]!.real) return knots[high]!.shown;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (knots[middle]!.real <= ms) low = middle;
    else high = middle;
  }
  const [a, b] = [knots[low]!, knots[high]!];
  return a.shown + ((ms - a.real) / Math.max(1, b.real - a.real)) * (b.shown - a.shown);
}
