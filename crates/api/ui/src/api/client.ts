/** How the API is asked: one place that knows the key, errors and time-outs. */

import { signal } from "@preact/signals";
import { notReached, reached, wakeAll } from "./link";

/** Where the key is kept: for this tab only, and gone when it closes. */
const KEY = "planfleet.key";

/** Longest wait for a whole answer: the server's own end to a question is 10 s, and documents may be large. */
const TIMEOUT_MS = 60_000;

/** The server asks who is there; the page shows a field for the key while this is true. */
export const keyWanted = signal(false);

/** How many keys were given: what was refused is asked again with each. */
export const keyGiven = signal(0);

/** Whoever waits for a key: whether there is one. */
let waiting: ((given: boolean) => void)[] = [];

/** A proxy says this where the server behind it is away. */
const AWAY = [502, 503, 504];

/** What the server said instead of an answer. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
  ) {
    super(detail);
  }
}

export function setKey(key: string) {
  sessionStorage.setItem(KEY, key.trim());
  keyGiven.value++;
  settle(true);
  wakeAll();
}

/** Nobody gives a key: what asks for one is refused. */
export function withoutKey() {
  settle(false);
}

export function forgetKey() {
  sessionStorage.removeItem(KEY);
}

function settle(given: boolean) {
  keyWanted.value = false;
  const all = waiting;
  waiting = [];
  for (const one of all) one(given);
}

/** Shows the field for a key, and says whether one was given. */
function wantKey(stop: AbortSignal | null | undefined): Promise<boolean> {
  keyWanted.value = true;
  return new Promise((done) => {
    waiting.push(done);
    stop?.addEventListener("abort", () => done(false), { once: true });
  });
}

export function hasKey(): boolean {
  return sessionStorage.getItem(KEY) !== null;
}

function headers(more?: HeadersInit): Headers {
  const all = new Headers(more);
  const key = sessionStorage.getItem(KEY);
  if (key) all.set("authorization", `Bearer ${key}`);
  return all;
}

async function problem(response: Response): Promise<Problem> {
  let said: { code?: string; detail?: string; title?: string; errors?: unknown } = {};
  try {
    said = await response.json();
  } catch {
    // A proxy's page is no problem+json; its status says enough.
  }
  const errors = Array.isArray(said.errors) ? `: ${said.errors.map(text).join("; ")}` : "";
  return new Problem(
    response.status,
    said.code ?? `http_${response.status}`,
    (said.detail ?? said.title ?? `the server answered ${response.status} ${response.statusText}`) + errors,
  );
}

function text(error: { path?: string; message?: string }): string {
  return `${error.path ? `${error.path}: ` : ""}${error.message ?? "?"}`;
}

/**
 * Asks, and gives the response of every status that is not an error. `endless` is for streams, whose
 * reader looks after the time itself; any other body has to be whole in time. Where the server wants
 * a key, the question waits for it: a session that ends takes nothing along that was being done.
 */
export async function ask(path: string, init: RequestInit = {}, endless = false): Promise<Response> {
  for (;;) {
    const key = sessionStorage.getItem(KEY);
    const response = await once(path, init, endless);
    if (response.status === 401) {
      const other = sessionStorage.getItem(KEY);
      // Another question may have got a new key meanwhile.
      if ((other && other !== key) || (await wantKey(init.signal))) continue;
    }
    if (!response.ok && response.status !== 304) throw await problem(response);
    return response;
  }
}

async function once(path: string, init: RequestInit, endless: boolean): Promise<Response> {
  const late = endless ? null : AbortSignal.timeout(TIMEOUT_MS);
  const signals = [init.signal, late].filter((signal) => signal != null);
  let response: Response;
  try {
    const signal = AbortSignal.any(signals);
    response = await fetch(path, { ...init, signal, headers: headers(init.headers), credentials: "omit" });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    notReached();
    const why = late?.aborted ? `no answer within ${TIMEOUT_MS / 1000} s` : "the server cannot be reached";
    throw new Problem(0, "unreachable", why);
  }
  if (AWAY.includes(response.status) && !response.headers.get("content-type")?.includes("problem+json")) notReached();
  else reached();
  return response;
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  const response = await ask(path, { signal, headers: { accept: "application/json" } });
  return (await response.json()) as T;
}

export async function send<T = unknown>(method: string, path: string, body?: unknown): Promise<T | null> {
  const init: RequestInit = { method };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers = { "content-type": "application/json" };
  }
  const response = await ask(path, init);
  const said = await response.text();
  return said ? (JSON.parse(said) as T) : null;
}

/** A path with its query; what is empty is left out. */
export function withQuery(path: string, query: Record<string, string | number | null | undefined>): string {
  const written = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "") written.set(name, String(value));
  }
  const tail = written.toString();
  return tail ? `${path}?${tail}` : path;
}
