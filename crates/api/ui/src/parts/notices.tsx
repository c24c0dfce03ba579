/** What has just been done or refused, said once in a corner and to screen readers. */

import { signal } from "@preact/signals";

interface Notice {
  id: number;
  text: string;
  bad: boolean;
}

const notices = signal<Notice[]>([]);
let last = 0;

/** More at once are not read. */
const NOTICES_MAX = 4;

export function notify(text: string, bad = false) {
  const id = ++last;
  notices.value = [...notices.value, { id, text, bad }].slice(-NOTICES_MAX);
  setTimeout(() => dismiss(id), bad ? 12_000 : 4_000);
}

function dismiss(id: number) {
  notices.value = notices.value.filter((notice) => notice.id !== id);
}

export function Notices() {
  return (
    <div class="notices" role="status" aria-live="polite">
      {notices.value.map(({ id, text, bad }) => (
        <div key={id} class={bad ? "notice bad" : "notice"}>
          <bdi>{text}</bdi>
          <button type="button" aria-label="dismiss" onClick={() => dismiss(id)}>
            ×
          </button>
        </div>
      ))}
    </div>
  );
}
