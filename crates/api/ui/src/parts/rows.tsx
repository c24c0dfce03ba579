/** Long lists: only the rows in sight are in the page. */

import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";

interface Props<T> {
  rows: readonly T[];
  /** Height of each row in pixels. */
  height: number;
  label: string;
  row: (row: T, at: number) => ComponentChildren;
  /** Row to bring into sight when it changes. */
  at?: number;
}

/** Rows above and below what is in sight, so that scrolling shows no gaps. */
const SPARE = 12;

export function Rows<T>({ rows, height, label, row, at }: Props<T>) {
  const box = useRef<HTMLDivElement>(null);
  const top = useSignal(0);
  const seen = useSignal(800);
  useEffect(() => {
    const watch = new ResizeObserver(([entry]) => {
      if (entry) seen.value = entry.contentRect.height;
    });
    watch.observe(box.current!);
    return () => watch.disconnect();
  }, []);
  useEffect(() => {
    const element = box.current;
    if (at === undefined || at < 0 || !element) return;
    const y = at * height;
    if (y < element.scrollTop || y + height > element.scrollTop + element.clientHeight) {
      element.scrollTop = Math.max(0, y - element.clientHeight / 2);
    }
  }, [at]);
  const first = Math.max(0, Math.floor(top.value / height) - SPARE);
  const last = Math.min(rows.length, Math.ceil((top.value + seen.value) / height) + SPARE);
  return (
    <div
      class="rows"
      ref={box}
      tabIndex={0}
      role="region"
      aria-label={label}
      onScroll={(event) => (top.value = event.currentTarget.scrollTop)}
    >
      <div class="rows-all" style={{ height: `${rows.length * height}px` }}>
        <div class="rows-shown" style={{ transform: `translateY(${first * height}px)` }}>
          {rows.slice(first, last).map((one, index) => row(one, first + index))}
        </div>
      </div>
    </div>
  );
}
