// Every page, light, dark and on a small screen: axe finds nothing serious, and nothing sticks out.
// Large plans stay usable. Who is asked for a key gives one.

import { join } from "node:path";
import { answer, axe, check, counted, equal, open } from "./browser.mjs";
import { fleet, run, step, summary, wide } from "./documents.mjs";

const RUN = "00-a";

function documents() {
  const waiting = { state: "waiting", started_at: null, ended_at: null, attempts: 0, output: null };
  const failed = { state: "dropped", error: { class: "tool_error", message: "there is no such file" }, output: null };
  const steps = [
    step(1, "List the files"),
    step(2, "Read the notes", { ...failed, depends_on: [1] }),
    step(3, "Read the newest notes", { revision: 2, depends_on: [1], attempts: 2 }),
    step(4, "Classify each paragraph", { revision: 2, depends_on: [3], tools: [], model: "small", state: "running", ended_at: null, output: null }),
    ...[0, 1, 2].map((item) => step(`4[${item}]`, "", { revision: 2, model: "small", tools: [], state: ["succeeded", "failed", "running"][item], error: item === 1 ? failed.error : null })),
    step(5, "Send the letter", { ...waiting, revision: 2, depends_on: [4], needs_approval: true, waits_for: { code: "step_approval" } }),
  ];
  const one = run(RUN, steps, { approvals: [{ gate: "step", step: 5 }], class: "letters", answer: { text: "so far" } });
  one.revisions[0].added = [1, 2];
  one.revisions.push({ revision: 2, cause: { code: "failed", steps: [2] }, reason: "There is a newer file.", added: [3, 4, 5], dropped: [2], model: "large", usd: 0.0102 });
  one.models = [{ model: "large", role: "planner", calls: 2, input_tokens: 7785, output_tokens: 444, cached_tokens: 0, usd: 0.02 }];
  const states = ["planning", "awaiting_approval", "executing", "replanning", "paused", "succeeded", "failed", "cancelled", "expired"];
  const runs = states.map((state, at) => summary(`00-${at}`, `A task that is ${state}`, state, { reason: at > 5 ? "because" : null }));
  const detail = { ...steps[2], resolved: [{ name: "path", from_step: 1, path: "/0", value: "new.txt", known: true }], trace_id: "4bf92f3577b34da6a3ce929d0e0e4736",
    attempts_made: [{ attempt: 1, state: "failed", model: null, error: failed.error, started_at: steps[0].started_at, ended_at: steps[0].ended_at, usage: [] }] };
  const large = wide(1_000, 5);
  return {
    ...fleet(), [`/v1/runs/${RUN}`]: one, [`/v1/runs/${RUN}/steps/3`]: detail, [`/v1/runs/${large.run_id}`]: large,
    "/v1/runs": { runs, next_cursor: "more" }, "/v1/runs:counts": { total: 9, by_state: Object.fromEntries(states.map((state) => [state, 1])), usd: 18.2, usd_unknown: 0 },
  };
}

const PAGES = {
  runs: "/runs", graph: `/runs/${RUN}`, step: `/runs/${RUN}?step=3`, items: `/runs/${RUN}?step=4`, timeline: `/runs/${RUN}?tab=timeline`,
  revisions: `/runs/${RUN}?tab=revisions`, result: `/runs/${RUN}?tab=result`, events: `/runs/${RUN}?tab=events`, large: "/runs/00-wide",
  batches: "/batches", batch: "/batches/nightly-2026-11-23", queues: "/queues", letters: "/dead-letters", cache: "/cache", costs: "/costs", new: "/new", none: "/nowhere",
};

const LOOKS = [
  ["light", { colorScheme: "light" }],
  ["dark", { colorScheme: "dark" }],
  ["small", { colorScheme: "light", viewport: { width: 390, height: 800 } }],
];

async function every(browser, base, pictures) {
  let seen = 0;
  const found = [];
  for (const [look, options] of LOOKS) {
    const { context, page, wrong } = await open(browser, base, options);
    await answer(page, documents());
    for (const [name, path] of Object.entries(PAGES)) {
      await page.goto(base + path);
      await page.locator("h1").first().waitFor();
      await page.waitForFunction(() => document.querySelector(".loading") === null);
      if (pictures) await page.screenshot({ path: join(pictures, `${name}-${look}.png`) });
      // A narrow page is the same page: what differs is where things stand.
      if (look !== "small") found.push(...(await serious(page)).map((what) => `${name}, ${look}: ${what}`));
      const over = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      if (over > 0) found.push(`${name}, ${look}: sticks out by ${over} pixels`);
      seen++;
    }
    equal(wrong, [], "what must not happen");
    await context.close();
  }
  equal(found, [], "what is wrong with the pages");
  return seen;
}

async function serious(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run({ resultTypes: ["violations"] }));
  const bad = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  return bad.map(({ id, nodes }) => `${id}: ${nodes[0].target} ${nodes[0].failureSummary}`);
}

/** 5,002 steps: seven boxes, or all of them with no more of the page than is in sight. */
async function large(browser, base) {
  const { context, page } = await open(browser, base);
  await answer(page, documents());
  const elements = () => page.evaluate(() => document.querySelectorAll("*").length);
  const took = async (doing) => {
    const began = performance.now();
    await doing();
    return Math.round(performance.now() - began);
  };
  const grouped_ms = await took(async () => {
    await page.goto(`${base}/runs/00-wide`);
    await page.locator(".box").nth(6).waitFor();
  });
  await counted(page.locator(".box"), 7, "boxes of 5,002 steps");
  await page.locator(".box.many", { hasText: "failed" }).click();
  await page.getByRole("region", { name: "Steps of the group" }).last().getByText("failed").first().waitFor();
  await page.getByRole("button", { name: "Close the group" }).click();
  const every_step_ms = await took(async () => {
    await page.getByLabel("every step by itself").check();
    await page.waitForFunction(() => !document.querySelector(".box.many"));
  });
  const whole = [];
  whole.push(await elements());
  await page.getByRole("button", { name: "Show all" }).click();
  await page.locator(".map").waitFor();
  whole.push(await elements());
  // A frame for each step of the wheel: what it takes to move about.
  const canvas = await page.locator(".canvas").boundingBox();
  await page.mouse.move(canvas.x + canvas.width / 2, canvas.y + canvas.height / 2);
  const pan_ms = await took(async () => {
    for (let at = 0; at < 20; at++) await page.mouse.wheel(20, 10);
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  });
  await page.keyboard.press("2");
  await page.locator(".bar-row").first().waitFor();
  whole.push(await elements());
  for (const count of whole) check(count < 2_500, `the page has ${count} elements`);
  await context.close();
  return { grouped_ms, every_step_ms, pan_20_ms: pan_ms, elements: whole };
}

/** The key is asked for, sent, kept for the tab alone, and forgotten when asked. */
async function key(browser, base) {
  const { context, page } = await open(browser, base);
  const sent = new Set();
  await answer(page, documents());
  await page.route(
    (url) => url.pathname.startsWith("/v1/"),
    (route) => {
      const given = route.request().headers()["authorization"];
      sent.add(given ?? "none");
      if (given === "Bearer right") return route.fallback();
      const problem = { type: "urn:planfleet:problem:unauthorized", status: 401, code: "unauthorized", detail: "a key is needed" };
      return route.fulfill({ status: 401, contentType: "application/problem+json", body: JSON.stringify(problem) });
    },
  );
  await page.goto(`${base}/runs`);
  const dialog = page.getByRole("dialog", { name: "API key" });
  await dialog.getByLabel("Key").fill("wrong");
  await dialog.getByRole("button", { name: "Continue" }).click();
  await dialog.getByText("does not take the key").waitFor();
  await dialog.getByLabel("Key").fill("right");
  await dialog.getByRole("button", { name: "Continue" }).click();
  await page.getByText("A task that is planning").waitFor();
  equal([...sent].sort(), ["Bearer right", "Bearer wrong", "none"], "keys that were sent");
  const kept = await page.evaluate(() => [JSON.stringify({ ...localStorage }).includes("right"), document.cookie, JSON.stringify({ ...sessionStorage }).includes("right")]);
  equal(kept, [false, "", true], "where the key is kept");
  await page.getByRole("button", { name: "Forget key" }).click();
  await dialog.waitFor();
  await context.close();
}

export async function pages(browser, base, pictures) {
  const seen = await every(browser, base, pictures);
  const measured = await large(browser, base);
  await key(browser, base);
  return { pages: seen, ...measured };
}
