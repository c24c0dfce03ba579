/**
 * Server-sent events over fetch: the browser's own EventSource can carry no key. Reconnects with
 * `Last-Event-ID`, so nothing is missed and nothing told twice.
 */

import { ask, Problem } from "./client";
import { after, backoff, FOR_PEOPLE_MS } from "./link";

/** Longest line that is taken: facts of events are small, and their bodies are elsewhere. */
const LINE_MAX = 1 << 20;

export interface SseEvent {
  id: string;
  data: string;
}

/** Splits what has arrived into events; what is not whole yet stays. */
export class SseReader {
  private rest = "";
  private id = "";
  private name = "";
  private data: string[] = [];

  push(chunk: string): SseEvent[] {
    const lines = (this.rest + chunk).split(/\r\n|\n|\r(?!$)/);
    this.rest = lines.pop() ?? "";
    if (this.rest.length > LINE_MAX) throw new Problem(0, "unreadable", "an event is longer than 1 MiB");
    const events: SseEvent[] = [];
    for (const line of lines) {
      if (line === "") {
        // Events with a name are about the stream, not about what it tells.
        if (this.data.length > 0 && this.name === "") events.push({ id: this.id, data: this.data.join("\n") });
        this.data = [];
        this.name = "";
      } else if (line.startsWith("data:")) {
        this.data.push(line.slice(5).replace(/^ /, ""));
      } else if (line.startsWith("event:")) {
        this.name = line.slice(6).trim();
      } else if (line.startsWith("id:")) {
        this.id = line.slice(3).trim();
      }
    }
    return events;
  }
}

/** The server says something every 15 s; a connection that is silent for longer is a dead one. */
const SILENCE_MS = 45_000;

/**
 * A browser opens six connections to a server at most, over all of its tabs: one that nobody looks at
 * gives its own back after this time, and goes on where it was when it is looked at again.
 */
const HIDDEN_MS = 5_000;

/** Reads the events of `path` until `stop`; throws where the server has no such stream. */
export async function follow(path: string, stop: AbortSignal, each: (events: SseEvent[]) => void): Promise<void> {
  let last = "";
  let failed = 0;
  while (!stop.aborted) {
    await looked(stop);
    const away = new AbortController();
    const watching = unlooked(() => away.abort());
    try {
      await once(path, last, AbortSignal.any([stop, away.signal]), (events) => {
        last = events.at(-1)?.id || last;
        failed = 0;
        each(events);
      });
    } catch (error) {
      const status = error instanceof Problem ? error.status : 0;
      if (status === 401) await pause(FOR_PEOPLE_MS, stop);
      else if (stop.aborted || (status >= 400 && status < 500)) throw error;
    } finally {
      watching();
    }
    if (!away.signal.aborted) await pause(backoff(++failed), stop);
  }
}

function pause(ms: number, stop: AbortSignal): Promise<void> {
  return new Promise((done) => {
    const forget = after(ms, done);
    stop.addEventListener("abort", () => (forget(), done()), { once: true });
  });
}

/** Waits until the tab is in sight. */
async function looked(stop: AbortSignal): Promise<void> {
  if (!document.hidden || stop.aborted) return;
  await new Promise<void>((done) => {
    const seen = () => {
      if (document.hidden && !stop.aborted) return;
      document.removeEventListener("visibilitychange", seen);
      done();
    };
    document.addEventListener("visibilitychange", seen);
    stop.addEventListener("abort", seen, { once: true });
  });
}

/** Calls `gone` when the tab has been out of sight for a while. Gives what takes it back. */
function unlooked(gone: () => void): () => void {
  let timer = 0;
  const seen = () => {
    clearTimeout(timer);
    if (document.hidden) timer = window.setTimeout(gone, HIDDEN_MS);
  };
  document.addEventListener("visibilitychange", seen);
  return () => {
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", seen);
  };
}

/** One connection, until it ends or falls silent. */
async function once(path: string, last: string, stop: AbortSignal, each: (events: SseEvent[]) => void) {
  const dead = new AbortController();
  let timer = window.setTimeout(() => dead.abort(), SILENCE_MS);
  const headers: Record<string, string> = { accept: "text/event-stream" };
  if (last) headers["last-event-id"] = last;
  try {
    const response = await ask(path, { headers, signal: AbortSignal.any([stop, dead.signal]) }, true);
    if (!response.headers.get("content-type")?.startsWith("text/event-stream")) {
      throw new Problem(406, "no_stream", "the server does not stream these events");
    }
    const body = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    const reader = new SseReader();
    for (;;) {
      const chunk = await body?.read();
      if (!chunk || chunk.done) return;
      clearTimeout(timer);
      timer = window.setTimeout(() => dead.abort(), SILENCE_MS);
      const events = reader.push(chunk.value);
      if (events.length > 0) each(events);
    }
  } finally {
    clearTimeout(timer);
    dead.abort();
  }
}
