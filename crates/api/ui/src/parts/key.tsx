/** Asks for the API key where the server wants one. */

import { useEffect, useRef } from "preact/hooks";
import { forgetKey, hasKey, keyWanted, setKey } from "../api/client";

export function KeyForm() {
  const dialog = useRef<HTMLDialogElement>(null);
  const wanted = keyWanted.value;
  useEffect(() => {
    if (wanted) dialog.current?.showModal();
    else dialog.current?.close();
  }, [wanted]);
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    setKey(String(new FormData(event.currentTarget as HTMLFormElement).get("key") ?? ""));
    // What is on the page was refused; everything is asked for again.
    location.reload();
  };
  return (
    <dialog ref={dialog} class="dialog" aria-labelledby="key-title">
      <form onSubmit={submit}>
        <h2 id="key-title">API key</h2>
        <p>
          {wanted && hasKey() ? "The server does not take the key that was given." : "The server asks who you are."} The
          key stays in this tab and is gone when it closes. <code>planfleet admin keys create</code> makes one.
        </p>
        <label>
          Key
          <input name="key" type="password" autoComplete="off" required autoFocus />
        </label>
        <div class="buttons">
          <button type="submit" class="primary">
            Continue
          </button>
        </div>
      </form>
    </dialog>
  );
}

/** Forgets the key; the next answer asks for another. */
export function LeaveButton() {
  if (!hasKey()) return null;
  const leave = () => {
    forgetKey();
    location.reload();
  };
  return (
    <button type="button" class="quiet" onClick={leave}>
      Forget key
    </button>
  );
}
