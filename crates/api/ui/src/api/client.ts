/** How the API is asked: one place that knows the key, errors and time-outs. */

import { signal } from "@preact/signals";

/** Where the key is kept: for this tab only, and gone when it closes. */
const KEY = "planfleet.key";

/** Longest wait for a whole answer: the server's own end to a question is 10 s, and documents may be large. */
const TIMEOUT_MS = 60_000;

/** The server asks who is there; the page shows a field for the key while this is true. */
export const keyWanted = signal(false);

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
  keyWanted.value = false;
}

export function forgetKey() {
  sessionStorage.removeItem(KEY);
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
 * reader looks after the time itself; any other body has to be whole in time.
 */
export async function ask(path: string, init: RequestInit = {}, endless = false): Promise<Response> {
  const late = endless ? null : AbortSignal.timeout(TIMEOUT_MS);
  const signals = [init.signal, late].filter((signal) => signal != null);
  let response: Response;
  try {
    const signal = AbortSignal.any(signals);
    response = await fetch(path, { ...init, signal, headers: headers(init.headers), credentials: "omit" });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    const why = late?.aborted ? `no answer within ${TIMEOUT_MS / 1000} s` : "the server cannot be reached";
    throw new Problem(0, "unreachable", why);
  }
  if (response.status === 401) keyWanted.value = true;
  if (!response.ok && response.status !== 304) throw await problem(response);
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
