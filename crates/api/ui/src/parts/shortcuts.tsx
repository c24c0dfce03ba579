/** Keys: one list that the page obeys and the help shows. */

import { signal } from "@preact/signals";
import { useLocation } from "preact-iso";
import { useEffect, useRef } from "preact/hooks";
import { nextTheme } from "./theme";

const helpShown = signal(false);

const PLACES: [key: string, path: string, name: string][] = [
  ["r", "/runs", "Runs"],
  ["b", "/batches", "Batches"],
  ["q", "/queues", "Queues and workers"],
  ["d", "/dead-letters", "Dead letters"],
  ["c", "/cache", "Plan cache"],
  ["m", "/costs", "Costs"],
  ["n", "/new", "New task"],
];

/** After `g`, the next key within this time names a place. */
const SECOND_KEY_MS = 1500;

export function Shortcuts() {
  const { route } = useLocation();
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    let gone = 0;
    const press = (event: KeyboardEvent) => {
      const typing = (event.target as HTMLElement).closest("input, textarea, select, dialog");
      if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
      const place = PLACES.find(([key]) => key === event.key);
      if (place && event.timeStamp - gone < SECOND_KEY_MS) {
        gone = 0;
        route(place[1]);
      } else if (event.key === "g") gone = event.timeStamp;
      else if (event.key === "?") helpShown.value = true;
      else if (event.key === "t") nextTheme();
      else if (event.key === "/") document.querySelector<HTMLElement>("[type=search]")?.focus();
      else if (event.key === "j" || event.key === "k") step(event.key === "j" ? 1 : -1);
      else return;
      event.preventDefault();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, [route]);
  useEffect(() => {
    if (helpShown.value) dialog.current?.showModal();
    else dialog.current?.close();
  }, [helpShown.value]);
  return (
    <dialog ref={dialog} class="dialog" aria-labelledby="keys-title" onClose={() => (helpShown.value = false)}>
      <h2 id="keys-title">Keys</h2>
      <dl class="keys">
        {PLACES.map(([key, , name]) => (
          <Key key={key} keys={["g", key]} does={name} />
        ))}
        <Key keys={["j"]} does="Next row" />
        <Key keys={["k"]} does="Row before" />
        <Key keys={["/"]} does="Search" />
        <Key keys={["1", "…", "5"]} does="Tabs of a run" />
        <Key keys={["←", "→", "↑", "↓"]} does="In the graph: from step to step" />
        <Key keys={["+", "−", "0"]} does="In the graph: zoom, show all" />
        <Key keys={["Esc"]} does="Close what is open" />
        <Key keys={["t"]} does="Light, dark, or as the system is" />
        <Key keys={["?"]} does="This list" />
      </dl>
      <form method="dialog" class="buttons">
        <a class="button quiet" href="/licences.txt" target="_blank">
          Licences
        </a>
        <button type="submit" class="primary">
          Close
        </button>
      </form>
    </dialog>
  );
}

function Key({ keys, does }: { keys: string[]; does: string }) {
  return (
    <>
      <dt>
        {keys.map((key) => (
          <kbd key={key}>{key}</kbd>
        ))}
      </dt>
      <dd>{does}</dd>
    </>
  );
}

export function HelpButton() {
  return (
    <button type="button" class="quiet" onClick={() => (helpShown.value = true)}>
      Keys <kbd>?</kbd>
    </button>
  );
}

/** Moves between the rows of a table by their links. */
function step(by: number) {
  const links = [...document.querySelectorAll<HTMLElement>("main a.row-link")];
  const at = links.indexOf(document.activeElement as HTMLElement);
  links[Math.min(links.length - 1, Math.max(0, at + by))]?.focus();
}
