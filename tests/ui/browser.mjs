// A browser that keeps to itself: what it asks of anybody but the fleet is refused and noted.

import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { delimiter, join } from "node:path";

const require = createRequire(new URL("../../crates/api/ui/package.json", import.meta.url));
const { chromium } = require("playwright-core");
export const axe = require("axe-core").source;

/** Longest wait for something to be seen, on a machine that is busy with other tests. */
export const PATIENCE_MS = 60_000;

/** The distribution's Chromium. */
function chromiumProgram() {
  const found = (process.env.PATH ?? "").split(delimiter).map((folder) => join(folder, "chromium")).find(existsSync);
  check(found, "there is no chromium on the PATH: run `scripts/setup.sh --ui`");
  return found;
}

export async function launch() {
  // Containers have neither a sandbox nor much of shared memory.
  return chromium.launch({ executablePath: chromiumProgram(), args: ["--no-sandbox", "--disable-dev-shm-usage"] });
}

/**
 * A page on the fleet at `base`. `wrong` gathers what must not happen: requests to others, errors of
 * scripts, breaches of the policy.
 */
export async function open(browser, base, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  context.setDefaultTimeout(PATIENCE_MS);
  const wrong = [];
  await context.route(
    (url) => url.origin !== base,
    (route) => {
      wrong.push(`request to ${route.request().url().slice(0, 200)}`);
      return route.abort();
    },
  );
  const page = await context.newPage();
  page.on("pageerror", (error) => wrong.push(`error: ${error.message}`));
  page.on("popup", () => wrong.push("a window was opened"));
  page.on("dialog", (dialog) => {
    wrong.push("a dialog was opened");
    void dialog.dismiss();
  });
  page.on("console", (message) => {
    if (/content security policy|trusted/i.test(message.text())) wrong.push(message.text());
  });
  return { context, page, wrong };
}

/** Answers requests of the API with documents, where the path is one of them; all else is the fleet's. */
export async function answer(page, documents) {
  const known = new Map(Object.entries(documents));
  await page.route(
    (url) => known.has(decodeURIComponent(url.pathname)),
    (route) => route.fulfill({ json: known.get(decodeURIComponent(new URL(route.request().url()).pathname)) }),
  );
}

export function check(holds, what) {
  if (!holds) throw new Error(what);
}

export function equal(found, expected, what) {
  check(JSON.stringify(found) === JSON.stringify(expected), `${what}: ${JSON.stringify(found)} is not ${JSON.stringify(expected)}`);
}

/** Waits until there are so many: what is pressed is drawn a moment later. */
export async function counted(locator, many, what) {
  const end = Date.now() + PATIENCE_MS;
  let found = await locator.count();
  while (found !== many && Date.now() < end) {
    await new Promise((done) => setTimeout(done, 50));
    found = await locator.count();
  }
  equal(found, many, what);
}
