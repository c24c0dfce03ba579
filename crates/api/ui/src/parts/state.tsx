/** A state as a shape, a colour and always a word. */

import { word } from "../model/words";

const SHAPES: Record<string, string> = {
  succeeded: "M2.5 6.5 5 9l4.5-6",
  failed: "M3 3l6 6M9 3l-6 6",
  expired: "M6 2.5V6l2.5 2M6 1a5 5 0 1 0 .01 0",
  cancelled: "M2.5 9.5l7-7M6 1a5 5 0 1 0 .01 0",
  dropped: "M2 6h8",
  waiting: "M6 1.5a4.5 4.5 0 1 0 .01 0",
  paused: "M4 2.5v7M8 2.5v7",
  awaiting_approval: "M4 4.2a2 2 0 1 1 2.6 1.9c-.4.2-.6.5-.6 1v.2M6 9.6v.1",
  planning: "M2 10l1-3 5-5 2 2-5 5z",
  replanning: "M2 10l1-3 5-5 2 2-5 5z",
  executing: "M4 2.5 9.5 6 4 9.5z",
  idle: "M6 1.5a4.5 4.5 0 1 0 .01 0",
  completed: "M2.5 6.5 5 9l4.5-6",
  submitting: "M4 2.5 9.5 6 4 9.5z",
  cancelling: "M2.5 9.5l7-7M6 1a5 5 0 1 0 .01 0",
  running: "M4 2.5 9.5 6 4 9.5z",
  pinned: "M6 1.5v9M3 5l3-3.5L9 5",
};

export function Glyph({ state }: { state: string }) {
  return (
    <svg class="glyph" viewBox="0 0 12 12" aria-hidden="true">
      <path d={SHAPES[state] ?? SHAPES["waiting"]} />
    </svg>
  );
}

export function State({ state }: { state: string }) {
  return (
    <span class={`state is-${state}`}>
      <Glyph state={state} />
      {word(state)}
    </span>
  );
}
