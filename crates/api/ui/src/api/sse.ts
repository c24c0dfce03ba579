/**
 * Server-sent events over fetch: the browser's own EventSource can carry no key. Reconnects with
 * `Last-Event-ID`, so nothing is missed and nothing told twice.
 */

import { ask, Problem } from "./client";

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

/** Reads the events of `path` until `stop`; throws where the server has no such stream. */
export async function follow(path: string, stop: AbortSignal, each: (events: SseEvent[]) => void): Promise<void> {
  let last = "";
  let pause = 500;
  while (!stop.aborted) {
    try {
      await once(path, last, stop, (events) => {
        last = events.at(-1)?.id || last;
        pause = 500;
        each(events);
      });
    } catch (error) {
      const refused = error instanceof Problem && error.status >= 400 && error.status < 500;
      if (refused || stop.aborted) throw error;
    }
    await new Promise((done) => setTimeout(done, pause));
    pause = Math.min(pause * 2, 15_000);
  }
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
