/** What is in a group of the graph: counts in words, and every step of it. */

import { count, plural } from "../../model/format";
import { BOXES_MAX, type Box } from "../../model/group";
import type { Plan } from "../../model/plan";
import { word } from "../../model/words";
import { Rows } from "../../parts/rows";
import { State } from "../../parts/state";
import { Text } from "../../parts/text";

interface Props {
  box: Box;
  nodes: Plan;
  choose: (step: string) => void;
  close: () => void;
  open: (key: string) => void;
}

export function GroupPanel({ box, nodes, choose, close, open }: Props) {
  const said = Object.entries(box.counts).filter(([, n]) => n > 0);
  // What needs an eye comes first.
  const order = ["failed", "running", "waiting", "cancelled", "succeeded", "dropped"];
  const steps = box.ids.map((id) => nodes.get(id)!.step).sort((a, b) => order.indexOf(a.state) - order.indexOf(b.state));
  return (
    <section class="group-panel" aria-label="Steps of the group" onKeyDown={(event) => event.key === "Escape" && close()}>
      <header>
        <h2>{plural(box.ids.length, "step")}</h2>
        <span class="soft">{said.map(([state, n]) => `${count(n)} ${word(state)}`).join(" · ")}</span>
        <span class="grow" />
        {box.ids.length <= BOXES_MAX && (
          <button type="button" onClick={() => open(box.key)}>
            Draw one by one
          </button>
        )}
        <button type="button" class="quiet" aria-label="Close the group" onClick={close}>
          ×
        </button>
      </header>
      <Rows
        rows={steps}
        height={26}
        label="Steps of the group"
        row={(step) => (
          <button key={step.id} type="button" class="row" onClick={() => choose(String(step.id))}>
            <State state={step.state} />
            <span class="number">{step.id}</span>
            <Text class="grow cut" value={step.description} />
          </button>
        )}
      />
    </section>
  );
}
