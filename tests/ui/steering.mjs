// People start runs, watch one heal, cancel one and approve one; by mouse and by keyboard.

import { check, counted, equal, open } from "./browser.mjs";

/** Starts a task with the form; gives its run's id. */
export async function start(page, base, { goal, more }) {
  await page.goto(`${base}/new`);
  if (goal) await page.getByLabel("Goal", { exact: true }).fill(goal);
  if (more) await page.getByLabel(/^More/).fill(JSON.stringify(more));
  await page.getByRole("button", { name: "Start the run" }).click();
  const refused = page.getByRole("alert");
  await Promise.race([page.waitForURL(/\/runs\/[^/?]+$/), refused.waitFor()]);
  equal(await refused.allInnerTexts(), [], "why the run was not started");
  // A page that is loaded again would have forgotten this.
  await page.evaluate(() => (window.watching = true));
  return new URL(page.url()).pathname.split("/").at(-1);
}

export const state = (page, word) => page.locator(".run-title .state", { hasText: new RegExp(`^${word}$`) });

async function heals(page, base) {
  const id = await start(page, base, { goal: "How long is the river?" });
  await state(page, "succeeded").waitFor();
  check(await page.evaluate(() => window.watching), "the page was loaded again");
  const boxes = page.locator(".box");
  await boxes.filter({ hasText: "dropped" }).waitFor();
  await counted(boxes, 3, "boxes of the graph");

  await boxes.filter({ hasText: "Give its length" }).click();
  const drawer = page.getByRole("complementary", { name: "Step 2" });
  await drawer.getByText("Why it failed").waitFor();
  check((await drawer.innerText()).includes("invalid output"), "the drawer does not say why step 2 failed");
  await page.keyboard.press("Escape");
  await drawer.waitFor({ state: "detached" });

  await page.getByRole("tab", { name: /plan revisions/ }).click();
  const revision = page.locator(".revision").first();
  const said = await revision.innerText();
  for (const word of ["Revision 2", "step 2 failed", "the description now names the number", "1 new", "1 dropped", "1 kept"]) {
    check(said.includes(word), `the revision does not say ${word}: ${said}`);
  }
  equal(await revision.locator(".diff li").allInnerTexts().then((lines) => lines.map((line) => line.replace(/\s+/g, " ").split(" ").find((word) => ["kept", "dropped", "new"].includes(word)))), ["kept", "dropped", "new"], "the diff");

  await page.getByRole("tab", { name: "result" }).click();
  await page.getByRole("region", { name: "the answer" }).getByText("1233 km").waitFor();
  await page.getByRole("tab", { name: "timeline" }).click();
  await counted(page.locator(".bar-row"), 3, "bars of the timeline");
  return id;
}

async function cancels(page, base) {
  const id = await start(page, base, { more: { plan: plan("Take your time.") } });
  await page.locator(".box", { hasText: "running" }).waitFor();
  await page.getByRole("button", { name: "Cancel", exact: true }).click();
  const dialog = page.getByRole("dialog", { name: "Cancel this run?" });
  await dialog.getByLabel("Reason").fill("no longer needed");
  await dialog.getByRole("button", { name: "Cancel the run" }).click();
  await state(page, "cancelled").waitFor();
  await page.locator(".why-line", { hasText: "no longer needed" }).waitFor();
  await counted(page.getByRole("button", { name: "Retry" }), 1, "buttons to retry");
  return id;
}

async function approves(page, base) {
  const id = await start(page, base, { more: { plan: plan("Say hello."), approval: { plan: true } } });
  await state(page, "awaiting approval").waitFor();
  await page.locator(".box", { hasText: "waiting" }).waitFor();
  await page.getByRole("button", { name: "Approve plan 1" }).click();
  await state(page, "succeeded").waitFor();
  await counted(page.locator(".approval"), 0, "what waits for approval");
  return id;
}

/** A part that is a run of its own: from one to the other and back. What its model calls is in the step. */
async function links(page, base) {
  const literal = (name, value) => ({ name, value, from_step: null, path: null });
  const part = { ...plan("Have the part done.").steps[0], kind: "tool", tools: ["sub_task"], inputs: [literal("goal", "Work it out."), literal("mode", "direct")] };
  const calls = { ...plan("Count with the tool.").steps[0], id: 2, tools: ["math_eval"] };
  const id = await start(page, base, { more: { plan: { steps: [part, calls], final: 2 }, tools: ["sub_task", "math_eval"] } });
  await state(page, "succeeded").waitFor();
  await page.locator(".box", { hasText: "Count with the tool" }).click();
  const made = page.getByRole("list", { name: "Tool calls" }).getByRole("listitem");
  await made.filter({ hasText: /succeeded\s*math_eval/ }).waitFor();
  await made.filter({ hasText: /failed\s*math_eval/ }).locator("summary").click();
  await page.getByRole("region", { name: "arguments of call 2" }).getByText("7 *").waitFor();
  await page.getByRole("region", { name: "result of call 2" }).getByText("error").waitFor();
  await page.locator(".box", { hasText: "Have the part done" }).click();
  await page.getByRole("complementary", { name: "Step 1" }).getByRole("link").click();
  await page.getByText("Part of").waitFor();
  const child = new URL(page.url()).pathname.split("/").at(-1);
  check(child !== id, "the link leads to the run itself");
  await page.getByRole("link", { name: /^step 1 of/ }).click();
  await page.waitForURL(new RegExp(`/runs/${id}\\?step=1`));
  await page.getByRole("complementary", { name: "Step 1" }).waitFor();
  return child;
}

/** Everything by keyboard: to a place, through the graph, into a step and out again. */
async function keyboard(page, base, run) {
  await page.goto(`${base}/runs/${run}`);
  const first = page.locator(".box[tabindex='0']");
  await first.waitFor();
  await first.focus();
  await page.keyboard.press("ArrowRight");
  await page.locator(".box:not([tabindex='0']):focus", { hasText: /after|length|1233/ }).waitFor();
  await page.keyboard.press("Enter");
  await page.locator(".drawer").waitFor();
  await page.keyboard.press("Escape");
  await page.locator(".drawer").waitFor({ state: "detached" });
  await page.locator(".box:focus").waitFor();
  await page.keyboard.press("2");
  await page.locator(".timeline").waitFor();
  await page.keyboard.press("?");
  const keys = page.getByRole("dialog", { name: "Keys" });
  await keys.waitFor();
  await page.keyboard.press("Escape");
  // Keys that are pressed in a dialog are its own.
  await keys.waitFor({ state: "hidden" });
  await page.keyboard.press("g");
  await page.keyboard.press("b");
  await page.waitForURL(/\/batches$/);
}

export function plan(description) {
  const step = {
    id: 1, description, kind: "model", tools: [], inputs: [], for_each: null, depends_on: [], expected_output: "",
    success_criteria: [], tier: "default",
  };
  return { steps: [step], final: 1 };
}

export async function steering(browser, base) {
  const { page, wrong } = await open(browser, base);
  const healed = await heals(page, base);
  const cancelled = await cancels(page, base);
  const approved = await approves(page, base);
  const child = await links(page, base);
  await keyboard(page, base, healed);
  equal(wrong, [], "what must not happen");
  return { healed, cancelled, approved, child };
}
