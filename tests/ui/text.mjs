// What models and tools write is text, whatever it is, and leads nowhere.

import { answer, check, equal, open } from "./browser.mjs";
import { HOSTILE, hostile, LONG_LINE, longLine, summary } from "./documents.mjs";

/** Elements that text could have become. */
const MADE = "script:not([src^='/assets/']), img, iframe, object, embed, base, meta[http-equiv], style, link:not([href^='/assets/']), a[href*='evil'], a[href^='javascript'], form[action*='evil']";

async function harmless(page, where) {
  equal(await page.locator(MADE).evaluateAll((all) => all.map((one) => one.outerHTML.slice(0, 120))), [], `elements on ${where}`);
  equal(await page.evaluate(() => window.hacked ?? null), null, `scripts on ${where}`);
}

/** A model of the fleet answers with it: the way from the provider to the page is the real one. */
async function real(page, base) {
  await page.goto(`${base}/new`);
  const step = {
    id: 1, description: "Say it.", kind: "model", tools: [], inputs: [{ name: "page", value: HOSTILE, from_step: null, path: null }],
    for_each: null, depends_on: [], expected_output: "", success_criteria: [], tier: "default",
  };
  await page.getByLabel(/^More/).fill(JSON.stringify({ plan: { steps: [step], final: 1 } }));
  await page.getByRole("button", { name: "Start the run" }).click();
  await page.locator(".run-title .state", { hasText: "succeeded" }).waitFor();
  await page.getByRole("tab", { name: "result" }).click();
  const shown = page.getByRole("region", { name: "the answer" });
  await shown.waitFor();
  equal(await shown.evaluate((element) => element.textContent), HOSTILE, "the answer");
  equal(await shown.evaluate((element) => [element.childElementCount, getComputedStyle(element).unicodeBidi]), [0, "plaintext"], "the answer's element");
  await harmless(page, "the result of a real run");
}

/** A document with it in every field. */
async function everywhere(page, base) {
  const run = hostile();
  const path = `/v1/runs/${run.run_id}`;
  const steps = run.steps.map((step) => [`${path}/steps/${step.id}`, {
    ...step, resolved: [{ name: HOSTILE, from_step: null, path: HOSTILE, value: HOSTILE, known: true }], trace_id: HOSTILE,
    attempts_made: [{ attempt: 1, state: "failed", model: HOSTILE, error: { class: "tool_error", message: HOSTILE }, started_at: step.started_at, ended_at: step.ended_at, usage: [] }],
  }]);
  const listed = summary(run.run_id, HOSTILE, "failed", { reason: HOSTILE, class: HOSTILE, custom_id: HOSTILE, template: HOSTILE, batch_id: HOSTILE, tenant: HOSTILE });
  const facts = { seq: 1, at: run.created_at, kind: HOSTILE, step: 1, attempt: 2, revision: 1, model: HOSTILE, detail: HOSTILE };
  await answer(page, { [path]: run, ...Object.fromEntries(steps), "/v1/runs": { runs: [listed], next_cursor: null }, "/v1/runs:counts": { total: 1, by_state: {}, usd: 0, usd_unknown: 1 } });
  await page.route(`**${path}/events`, (route) => route.fulfill({ contentType: "text/event-stream", body: `id: 1\ndata: ${JSON.stringify(facts)}\n\n` }));

  const views = ["/runs", ...["graph", "timeline", "events", "revisions", "result"].map((tab, at) => `/runs/${run.run_id}?tab=${tab}&step=${(at % 3) + 1}`)];
  for (const view of views) {
    await page.goto(base + view);
    await page.getByText("window.hacked").first().waitFor();
    await harmless(page, view);
  }
  const links = await page.locator("a[href]").evaluateAll((all) => all.map((one) => new URL(one.href).origin));
  equal([...new Set(links)], [base], "where links lead");
}

/** A line of ten million characters is shown by pieces, each of which can be asked for. */
async function long(page, base) {
  const run = longLine();
  await answer(page, { [`/v1/runs/${run.run_id}`]: run });
  await page.goto(`${base}/runs/${run.run_id}?step=1`);
  const output = page.getByRole("region", { name: "the output" });
  const length = () => output.evaluate((element) => element.textContent.length);
  await output.waitFor();
  const [first, wide] = [await length(), await output.evaluate((element) => element.scrollWidth - element.clientWidth)];
  check(first > 1_000 && first < 20_000, `${first} characters of ${LONG_LINE.length} are shown at first`);
  check(wide <= 0, `a line sticks out by ${wide} pixels`);
  await page.getByRole("button", { name: /^show .* more$/ }).click();
  await page.waitForFunction((before) => document.querySelector("pre[aria-label='the output']").textContent.length > before, first);
  return { first, then: await length() };
}

export async function text(browser, base) {
  const { page, wrong } = await open(browser, base);
  await real(page, base);
  await everywhere(page, base);
  const shown = await long(page, base);
  equal(wrong, [], "what must not happen");
  return shown;
}
