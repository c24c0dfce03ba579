// The server goes away and comes back, a session ends, a tab is put out of sight: the page says so,
// goes on where it was, and is never loaded again.

import { createServer, connect } from "node:net";
import { check, counted, equal, open } from "./browser.mjs";
import { run, step } from "./documents.mjs";
import { plan, start, state } from "./steering.mjs";

/** A way to the fleet that can be cut: connections and all. */
async function bridge(base) {
  const { hostname, port } = new URL(base);
  const sockets = new Set();
  const listen = (at) =>
    new Promise((done, fail) => {
      const server = createServer((near) => {
        const far = connect(Number(port), hostname);
        for (const [one, other] of [[near, far], [far, near]]) {
          sockets.add(one);
          one.on("error", () => other.destroy()).on("close", () => (sockets.delete(one), other.destroy()));
          one.pipe(other);
        }
      });
      server.once("error", fail).listen(at, "127.0.0.1", () => done(server));
    });
  let server = await listen(0);
  const own = server.address().port;
  const cut = async () => {
    const closed = new Promise((done) => server.close(done));
    for (const socket of sockets) socket.destroy();
    await closed;
  };
  return { base: `http://127.0.0.1:${own}`, cut, mend: async () => (server = await listen(own)) };
}

/** Nothing that was done on the page is forgotten, as it would be by loading it again. */
const same = (page) => page.evaluate(() => window.watching === true);

/** A run is cancelled while nobody can see it; the page finds out by itself. */
async function comesBack(browser, fleet) {
  const way = await bridge(fleet);
  const { context, page, wrong } = await open(browser, way.base);
  const id = await start(page, way.base, { more: { plan: plan("Take your time.") } });
  await page.locator(".box", { hasText: "running" }).waitFor();
  await page.getByRole("tab", { name: "events" }).click();
  await page.locator(".event", { hasText: "task submitted" }).waitFor();

  await way.cut();
  const banner = page.getByText("The server cannot be reached");
  await banner.waitFor();
  await page.locator(".event", { hasText: "task submitted" }).waitFor();
  const said = await fetch(`${fleet}/v1/runs/${id}/cancel`, { method: "POST", body: JSON.stringify({ reason: "meanwhile" }), headers: { "content-type": "application/json" } });
  check(said.ok, `the run could not be cancelled: ${said.status}`);
  await page.getByRole("button", { name: "Look now" }).click();
  await banner.waitFor();

  await way.mend();
  await state(page, "cancelled").waitFor();
  await banner.waitFor({ state: "detached" });
  await page.locator(".event", { hasText: "run finished" }).waitFor();
  await counted(page.locator(".event", { hasText: "task submitted" }), 1, "what was told before");
  check(await same(page), "the page was loaded again");
  equal(wrong, [], "what must not happen");
  await context.close();
  await way.cut();
  return id;
}

/** Answers as a server that takes only that key; gives what changes the key. The fleet behind it knows no keys. */
async function guarded(page) {
  let right = "first";
  await page.route(
    (url) => url.pathname.startsWith("/v1/"),
    (route) => {
      const { authorization, ...headers } = route.request().headers();
      if (authorization === `Bearer ${right}`) return route.continue({ headers });
      const problem = { type: "urn:planfleet:problem:unauthorized", status: 401, code: "unauthorized", detail: "a key is needed" };
      return route.fulfill({ status: 401, contentType: "application/problem+json", body: JSON.stringify(problem) });
    },
  );
  return (next) => (right = next);
}

/** The key expires over a task that is half written; it is started with the next one. */
async function keyExpires(browser, base) {
  const { context, page, wrong } = await open(browser, base);
  const expire = await guarded(page);
  const dialog = page.getByRole("dialog", { name: "API key" });
  const give = async (key) => {
    await dialog.getByLabel("Key").fill(key);
    await dialog.getByRole("button", { name: "Continue" }).click();
    await dialog.waitFor({ state: "hidden" });
  };
  await page.goto(`${base}/new`);
  await give("first");
  await page.evaluate(() => (window.watching = true));
  await page.getByLabel(/^More/).fill(JSON.stringify({ plan: plan("Say hello."), goal: "Said before the key expired" }));

  expire("second");
  await page.getByRole("button", { name: "Start the run" }).click();
  await dialog.getByText("or no longer").waitFor();
  await give("second");
  await page.locator("h1", { hasText: "Said before the key expired" }).waitFor();
  await state(page, "succeeded").waitFor();

  // Who has no other key is told once, and may go on later.
  await page.getByRole("link", { name: "Runs", exact: true }).click();
  await page.getByText("Said before the key expired").first().waitFor();
  expire("third");
  await dialog.getByRole("button", { name: "Not now" }).click();
  const trouble = page.getByRole("alert").filter({ hasText: "The runs may be out of date" });
  await trouble.getByRole("button", { name: "try now" }).click();
  await give("third");
  await trouble.waitFor({ state: "detached" });
  check(await same(page), "the page was loaded again");
  equal(wrong, [], "what must not happen");
  await context.close();
}

/** Who may only read is shown no button that would be refused, and why. */
async function readers(browser, base) {
  const { context, page, wrong } = await open(browser, base);
  const waits = run("00-held", [step(1, "Send it", { state: "waiting", output: null })], { state: "awaiting_approval", approvals: [{ gate: "plan", revision: 1 }] });
  const role = { tenant: "acme", role: "reader", auth: "key", name: "screen" };
  const known = { "/v1/whoami": role, "/v1/runs/00-held": waits };
  await page.route(
    (url) => url.pathname in known,
    (route) => route.fulfill({ json: known[new URL(route.request().url()).pathname] }),
  );
  await page.goto(`${base}/runs/00-held`);
  await page.getByText("screen · reader · tenant acme").waitFor();
  await page.getByText("Steering a run needs the role operator; yours is reader.").waitFor();
  for (const name of [/^Approve/, /^Reject/, "Cancel", "Pause"]) {
    await counted(page.getByRole("button", { name }), 0, `buttons ${name} for a reader`);
  }
  await page.goto(`${base}/new`);
  await page.getByText("Starting a run needs the role operator").waitFor();
  check(await page.getByRole("button", { name: "Start the run" }).isDisabled(), "a reader can press a button that is refused");
  role.role = "operator";
  await page.goto(`${base}/runs/00-held`);
  await page.getByRole("button", { name: "Approve plan 1" }).waitFor();
  equal(wrong, [], "what must not happen");
  await context.close();
}

/** A tab that nobody looks at gives its stream back, and goes on where it was. */
async function outOfSight(browser, base) {
  const { context, page, wrong } = await open(browser, base);
  const show = (hidden) =>
    page.evaluate((value) => {
      Object.defineProperty(document, "hidden", { configurable: true, get: () => value });
      document.dispatchEvent(new Event("visibilitychange"));
    }, hidden);
  const streams = [];
  const closed = [];
  const isStream = (request) => request.url().endsWith("/events");
  page.on("request", (request) => isStream(request) && streams.push(request.headers()["last-event-id"] ?? "none"));
  page.on("requestfailed", (request) => isStream(request) && closed.push(request.url()));
  const id = await start(page, base, { more: { plan: plan("Take your time.") } });
  await page.getByRole("tab", { name: "events" }).click();
  await page.locator(".event", { hasText: "task submitted" }).waitFor();
  const gone = page.waitForEvent("requestfailed", isStream);
  await show(true);
  await gone;
  const back = page.waitForRequest(isStream);
  await show(false);
  await back;
  await page.getByRole("button", { name: "Cancel", exact: true }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Cancel the run" }).click();
  await page.locator(".event", { hasText: "run finished" }).waitFor();
  await counted(page.locator(".event", { hasText: "task submitted" }), 1, "what was told before");
  equal(streams[0], "none", "where the first stream began");
  check(/^[0-9]+$/.test(streams[1]), `the second stream began at ${streams[1]}`);
  equal(wrong, [], "what must not happen");
  await context.close();
  return id;
}

export async function away(browser, base) {
  const cancelled = await comesBack(browser, base);
  await keyExpires(browser, base);
  await readers(browser, base);
  const watched = await outOfSight(browser, base);
  return { cancelled, watched };
}
