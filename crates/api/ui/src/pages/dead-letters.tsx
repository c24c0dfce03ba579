/** Messages that nobody could read: looked at, sent again, or dropped. */

import { useSignal } from "@preact/signals";
import { send } from "../api/client";
import { useLive } from "../api/live";
import type { DeadLetter } from "../api/types";
import { may, whyNot } from "../api/who";
import { ago, plural, stamp, tail } from "../model/format";
import { act, confirm } from "../parts/confirm";
import { For } from "../parts/may";
import { Text, Value } from "../parts/text";
import { useTitle } from "../parts/title";
import { Empty, Trouble } from "../parts/trouble";

const FRESH_MS = 5_000;

export function DeadLetters() {
  useTitle("Dead letters");
  const live = useLive<{ dead_letters: DeadLetter[] }>("/v1/dead-letters?limit=500", () => FRESH_MS);
  const letters = live.data.value?.dead_letters;
  const open = useSignal<number | null>(null);
  return (
    <div class="page">
      <div class="page-head">
        <h1>Dead letters</h1>
        {letters && <p class="totals">{plural(letters.length, "message")}</p>}
      </div>
      <Trouble live={live} what="The dead letters" />
      {letters?.length === 0 && <Empty>None: every message was understood.</Empty>}
      {letters && letters.length > 0 && !may("admin") && <p class="soft">{whyNot("admin", "Replaying and dropping")}</p>}
      {letters && letters.length > 0 && (
        <div class="scroll" tabIndex={0} role="region" aria-label="Dead letters">
          <table class="list">
            <thead>
              <tr>
                <th class="figure">Number</th>
                <th class="wide">Why</th>
                <th>From</th>
                <th>Run</th>
                <th class="figure">Since</th>
                <th>
                  <span class="hidden">Actions</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {letters.map((letter) => (
                <Row
                  key={letter.seq}
                  letter={letter}
                  open={open.value === letter.seq}
                  toggle={() => (open.value = open.value === letter.seq ? null : letter.seq)}
                  refresh={live.refresh}
                />
              ))}
            </tbody>
          </table>
        </div>
      )}
    </div>
  );
}

interface RowProps {
  letter: DeadLetter;
  open: boolean;
  toggle: () => void;
  refresh: () => void;
}

function Row({ letter, open, toggle, refresh }: RowProps) {
  const { seq } = letter;
  const path = `/v1/dead-letters/${seq}`;
  const at = letter.set_aside_at;
  const drop = () =>
    confirm({
      title: `Drop message ${seq}?`,
      detail: "It is gone then. Its step has failed already, or its run has been cancelled.",
      verb: "Drop it",
      danger: true,
      act: () => send("DELETE", path).then(refresh),
      done: `Message ${seq} is dropped`,
    });
  return (
    <>
      <tr>
        <td class="figure">{seq}</td>
        <td class="wide">
          <button type="button" class="link row-link" aria-expanded={open} onClick={toggle}>
            <Text value={letter.reason} />
          </button>
        </td>
        <td>
          <Text value={letter.stream ?? "unknown"} />
          {about(letter) && <div class="under">{about(letter)}</div>}
        </td>
        <td>
          {letter.run_id ? (
            <a href={`/runs/${encodeURIComponent(letter.run_id)}`}>
              <code>{tail(letter.run_id)}</code>
            </a>
          ) : (
            "–"
          )}
        </td>
        <td class="figure" title={stamp(at)}>
          {ago(at, Date.now())}
        </td>
        <td class="figure">
          <For role="admin" silent>
            <button type="button" onClick={() => act(() => send("POST", `${path}/replay`).then(refresh), `Message ${seq} is sent again`)}>
              Replay
            </button>{" "}
            <button type="button" class="danger" onClick={drop}>
              Drop
            </button>
          </For>
        </td>
      </tr>
      {open && (
        <tr class="opened">
          <td colSpan={6}>
            <Letter path={path} known={letter} />
          </td>
        </tr>
      )}
    </>
  );
}

function about({ step, planning, attempt }: DeadLetter): string {
  const said = [step !== null && `step ${step}`, planning !== null && `planning ${planning}`, attempt !== null && `attempt ${attempt}`];
  return said.filter(Boolean).join(", ");
}

function Letter({ path, known }: { path: string; known: DeadLetter }) {
  const live = useLive<DeadLetter>(path, () => 0);
  return <Value value={live.data.value ?? known} label="the message" />;
}
