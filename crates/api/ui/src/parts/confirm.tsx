/** Asks before something is done that cannot be undone, with a reason where one is kept. */

import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { notify } from "./notices";

export interface Question {
  title: string;
  /** What follows. */
  detail: string;
  /** The button that does it. */
  verb: string;
  danger?: boolean;
  /** Whether a reason is asked for. */
  reason?: "wanted" | "needed";
  act: (reason: string) => Promise<unknown>;
  done: string;
}

const asked = signal<Question | null>(null);

export function confirm(question: Question) {
  asked.value = question;
}

/** Does something and says what came of it. */
export async function act(doing: () => Promise<unknown>, done: string): Promise<boolean> {
  try {
    await doing();
    notify(done);
    return true;
  } catch (error) {
    notify(error instanceof Error ? error.message : String(error), true);
    return false;
  }
}

export function Confirm() {
  const dialog = useRef<HTMLDialogElement>(null);
  const question = asked.value;
  useEffect(() => {
    if (question) dialog.current?.showModal();
    else dialog.current?.close();
  }, [question]);
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const reason = String(new FormData(event.currentTarget as HTMLFormElement).get("reason") ?? "").trim();
    if (question && (await act(() => question.act(reason), question.done))) asked.value = null;
  };
  return (
    <dialog ref={dialog} class="dialog" aria-labelledby="confirm-title" onClose={() => (asked.value = null)}>
      {question && (
        <form onSubmit={submit}>
          <h2 id="confirm-title">{question.title}</h2>
          <p>{question.detail}</p>
          {question.reason && (
            <label>
              Reason{question.reason === "wanted" && <span class="soft"> (may be left out)</span>}
              <textarea name="reason" rows={3} maxLength={1000} required={question.reason === "needed"} autoFocus />
            </label>
          )}
          <div class="buttons">
            <button type="button" onClick={() => (asked.value = null)}>
              Keep as it is
            </button>
            <button type="submit" class={question.danger ? "danger" : "primary"}>
              {question.verb}
            </button>
          </div>
        </form>
      )}
    </dialog>
  );
}
