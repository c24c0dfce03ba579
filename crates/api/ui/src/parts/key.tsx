/** Asks for the API key where the server wants one. */

import { useEffect, useRef } from "preact/hooks";
import { forgetKey, hasKey, keyGiven, keyWanted, setKey, withoutKey } from "../api/client";
import { introduced } from "../api/who";

export function KeyForm() {
  const dialog = useRef<HTMLDialogElement>(null);
  const wanted = keyWanted.value;
  useEffect(() => {
    if (wanted) dialog.current?.showModal();
    else dialog.current?.close();
  }, [wanted]);
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    const key = String(new FormData(form).get("key") ?? "");
    form.reset();
    // What was refused is asked again with it: nothing on the page is lost.
    setKey(key);
  };
  return (
    <dialog ref={dialog} class="dialog" aria-labelledby="key-title" onCancel={withoutKey}>
      <form onSubmit={submit}>
        <h2 id="key-title">API key</h2>
        <p>
          {wanted && hasKey()
            ? "The server does not take the key that was given, or no longer. What you were doing goes on with another one. "
            : "The server asks who you are. "}
          The key stays in this tab and is gone when it closes. <code>planfleet admin keys create</code> makes one.
        </p>
        <label>
          Key
          <input name="key" type="password" autoComplete="off" required autoFocus />
        </label>
        <div class="buttons">
          <button type="button" onClick={withoutKey}>
            Not now
          </button>
          <button type="submit" class="primary">
            Continue
          </button>
        </div>
      </form>
    </dialog>
  );
}

/** Who one is here, where the server asks. */
export function Introduced() {
  return introduced.value === "" ? null : <bdi class="soft introduced">{introduced.value}</bdi>;
}

/** Forgets the key; the next answer asks for another. */
export function LeaveButton() {
  // Looked at again whenever a key was given.
  if (keyGiven.value === 0 && !hasKey()) return null;
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
