/** How far something is: a bar of its parts with the figures beside it. */

import { count } from "../model/format";

interface Props {
  total: number;
  /** State and how many; drawn in this order. */
  parts: [state: string, n: number][];
  label: string;
  /** Without the figures, where they stand beside it anyway. */
  bare?: boolean;
}

export function Meter({ total, parts, label, bare }: Props) {
  const whole = Math.max(total, parts.reduce((sum, [, n]) => sum + n, 0), 1);
  return (
    <span class="meter" role="img" aria-label={label} title={label}>
      <span class="meter-bar">
        {parts.map(([state, n]) => n > 0 && <span key={state} class={`fill-${state}`} style={{ width: `${(n / whole) * 100}%` }} />)}
      </span>
      {!bare && (
        <span class="meter-text" aria-hidden="true">
          {count(parts[0]?.[1] ?? 0)}/{count(total)}
        </span>
      )}
    </span>
  );
}
