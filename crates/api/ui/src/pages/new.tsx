/** A new task: what most need as fields, all else as JSON; its plan can be looked at before. */

import { useSignal } from "@preact/signals";
import { useLocation } from "preact-iso";
import { ask, send } from "../api/client";
import type { PlanPreview } from "../api/types";
import { usd } from "../model/format";
import { may, whyNot } from "../api/who";
import { act } from "../parts/confirm";
import { notify } from "../parts/notices";
import { Text, Value } from "../parts/text";
import { useTitle } from "../parts/title";

export function NewTask() {
  useTitle("New task");
  const { route } = useLocation();
  const preview = useSignal<PlanPreview | null>(null);
  const busy = useSignal(false);
  // Two presses of the button are one run.
  const key = useSignal(crypto.randomUUID());
  const doing = async (form: HTMLFormElement, what: (task: Record<string, unknown>) => Promise<void>) => {
    const task = read(form);
    if (!task) return;
    busy.value = true;
    await what(task).catch((error) => notify(error instanceof Error ? error.message : String(error), true));
    busy.value = false;
  };
  const start = (event: SubmitEvent) => {
    event.preventDefault();
    void doing(event.currentTarget as HTMLFormElement, async (task) => {
      const headers = { "content-type": "application/json", "idempotency-key": key.value };
      const response = await ask("/v1/runs", { method: "POST", body: JSON.stringify(task), headers });
      const { run_id } = (await response.json()) as { run_id: string };
      key.value = crypto.randomUUID();
      route(`/runs/${run_id}`);
    });
  };
  const look = (event: MouseEvent) => {
    const form = (event.currentTarget as HTMLElement).closest("form")!;
    void doing(form, async (task) => {
      await act(async () => {
        preview.value = await send<PlanPreview>("POST", "/v1/plans:preview", { task });
      }, "The plan is below; nothing was started");
    });
  };
  return (
    <div class="page narrow">
      <div class="page-head">
        <h1>New task</h1>
      </div>
      <form class="form" onSubmit={start} onInput={() => (key.value = crypto.randomUUID())}>
        <label>
          Goal
          <textarea name="goal" rows={4} dir="auto" placeholder="What is to be done, and what the answer should look like" />
        </label>
        <label>
          Template <span class="soft">(instead of a goal, or beside it)</span>
          <input name="template" placeholder="code-review" />
        </label>
        <label>
          Inputs <span class="soft">(a JSON object)</span>
          <textarea name="inputs" rows={3} class="mono" placeholder={'{"country": "Norway"}'} spellcheck={false} />
        </label>
        <div class="fields">
          <label>
            Mode
            <select name="mode">
              <option value="">as it needs</option>
              <option value="plan">plan</option>
              <option value="direct">direct, no plan</option>
            </select>
          </label>
          <label>
            Budget in dollars
            <input name="usd" type="number" min="0" step="any" placeholder="none" />
          </label>
          <label>
            Replans
            <input name="max_replans" type="number" min="0" step="1" placeholder="3" />
          </label>
        </div>
        <label class="check">
          <input name="approve" type="checkbox" /> I approve the plan before anything is done
        </label>
        <label>
          More <span class="soft">(further fields of the task as a JSON object; they win)</span>
          <textarea name="more" rows={2} class="mono" placeholder={'{"deadline_s": 600, "labels": {"team": "ops"}}'} spellcheck={false} />
        </label>
        <div class="buttons left">
          <button type="submit" class="primary" disabled={busy.value || !may("operator")}>
            Start the run
          </button>
          <button type="button" disabled={busy.value || !may("operator")} onClick={look}>
            Look at the plan first
          </button>
          {!may("operator") && <span class="soft why-not">{whyNot("operator", "Starting a run")}</span>}
        </div>
      </form>
      {preview.value && (
        <section>
          <h2>
            The plan{" "}
            <Text
              class="soft"
              value={[preview.value.source && `from the ${preview.value.source}`, preview.value.usage && usd(preview.value.usage.usd)].filter(Boolean).join(", ")}
            />
          </h2>
          {preview.value.faults.map((fault, at) => (
            <p key={at} class="is-failed">
              <Text value={`${fault.path}: ${fault.message}`} />
            </p>
          ))}
          {preview.value.plan != null && <Value value={preview.value.plan} label="the plan" />}
        </section>
      )}
    </div>
  );
}

/** The task of the form; what is wrong with it is said at once. */
function read(form: HTMLFormElement): Record<string, unknown> | null {
  const fields = new FormData(form);
  const written = (name: string) => String(fields.get(name) ?? "").trim();
  const task: Record<string, unknown> = {};
  for (const name of ["goal", "template", "mode"]) if (written(name)) task[name] = written(name);
  if (written("usd")) task["budget"] = { usd: Number(written("usd")) };
  if (written("max_replans")) task["max_replans"] = Number(written("max_replans"));
  if (fields.get("approve")) task["approval"] = { plan: true };
  try {
    if (written("inputs")) task["inputs"] = object(written("inputs"), "Inputs");
    Object.assign(task, written("more") ? object(written("more"), "More") : {});
  } catch (error) {
    notify(error instanceof Error ? error.message : String(error), true);
    return null;
  }
  if (!task["goal"] && !task["template"] && !task["plan"]) {
    notify("Say a goal or name a template", true);
    return null;
  }
  return task;
}

function object(text: string, field: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Error(`${field} is no JSON: ${error instanceof Error ? error.message : error}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error(`${field} is no JSON object such as {"a": 1}`);
  return value as Record<string, unknown>;
}
