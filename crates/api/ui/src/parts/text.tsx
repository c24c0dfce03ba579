/**
 * Text and values that a model, a tool or a user has written. It is shown as it is and never read as
 * anything: no markup, no links, no pictures. Its writing direction ends where it ends.
 */

import { useSignal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import { bytes } from "../model/format";
import { notify } from "./notices";

/** Characters shown at first: some screens full. A browser stalls on a line of megabytes. */
const SHOWN_MAX = 8_000;
/** Each "show more" shows this much more. */
const MORE = 64_000;

/** A short text within a line. */
export function Text({ value, class: of }: { value: string | null | undefined; class?: string }) {
  return <bdi class={of}>{clip(value ?? "", 400)}</bdi>;
}

/** The beginning of a text, on whole characters. */
export function clip(text: string, max: number): string {
  return text.length <= max ? text : `${text.slice(0, whole(text, max))}…`;
}

/** Not between the halves of a surrogate pair. */
function whole(text: string, at: number): number {
  const code = text.charCodeAt(at - 1);
  return code >= 0xd800 && code <= 0xdbff ? at - 1 : at;
}

/** Any JSON value: a text as text, all else as indented JSON. */
export function Value({ value, label }: { value: unknown; label: string }) {
  const text = useMemo(() => (typeof value === "string" ? value : (JSON.stringify(value, null, 2) ?? "")), [value]);
  const shown = useSignal(SHOWN_MAX);
  const copy = () =>
    navigator.clipboard.writeText(text).then(
      () => notify(`${label} copied`),
      () => notify("the browser does not let this page copy", true),
    );
  if (text === "") return <p class="soft">empty</p>;
  const left = text.length - shown.value;
  return (
    <div class="value">
      {/* Scrollable, so it has to be reachable by keyboard. */}
      <pre dir="auto" tabIndex={0} role="region" aria-label={label}>
        {left > 0 ? text.slice(0, whole(text, shown.value)) : text}
      </pre>
      <div class="value-foot">
        {left > 0 && (
          <>
            <span>
              {bytes(shown.value)} of {bytes(text.length)}
            </span>
            <button type="button" onClick={() => (shown.value += MORE)}>
              show {bytes(Math.min(MORE, left))} more
            </button>
          </>
        )}
        <button type="button" onClick={copy} aria-label={`copy ${label}`}>
          copy
        </button>
      </div>
    </div>
  );
}
