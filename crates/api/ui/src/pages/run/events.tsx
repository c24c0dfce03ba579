/** What has happened to a run, record by record, as it happens. */

import { signal, useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { Problem } from "../../api/client";
import { follow } from "../../api/sse";
import type { RunEvent } from "../../api/types";
import { clock, count, stamp } from "../../model/format";
import { Rows } from "../../parts/rows";
import { clip } from "../../parts/text";
import { Empty } from "../../parts/trouble";

/** Events that are kept in the page: of larger runs the newest. */
const KEPT_MAX = 50_000;

/** The last event: the server closes the stream behind it. */
const LAST = "RunFinished";

/** The events of a run; `streaming` while the server tells them by itself. */
export function useEvents(run: string) {
  const state = useMemo(
    () => ({
      list: signal<RunEvent[]>([]),
      streaming: signal(false),
      problem: signal<Problem | null>(null),
    }),
    [run],
  );
  useEffect(() => {
    const stop = new AbortController();
    let arrived: RunEvent[] = [];
    let timer = 0;
    const take = () => {
      timer = 0;
      state.list.value = [...state.list.peek(), ...arrived].slice(-KEPT_MAX);
      arrived = [];
    };
    follow(`/v1/runs/${encodeURIComponent(run)}/events`, stop.signal, (events) => {
      state.streaming.value = true;
      const told = events.map((event) => JSON.parse(event.data) as RunEvent);
      arrived.push(...told);
      if (told.some((event) => event.kind === LAST)) stop.abort();
      // A busy run says a lot at once; the page is drawn a few times a second.
      timer ||= window.setTimeout(take, 150);
    }).catch((error) => {
      state.streaming.value = false;
      if (!stop.signal.aborted) state.problem.value = error instanceof Problem ? error : new Problem(0, "unreadable", String(error));
    });
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [run]);
  return state;
}

interface Props {
  events: ReturnType<typeof useEvents>;
  choose: (step: string) => void;
}

export function EventsView({ events, choose }: Props) {
  const wanted = useSignal("");
  const looked = wanted.value.toLowerCase();
  const all = events.list.value;
  const found = looked ? all.filter((event) => told(event).toLowerCase().includes(looked)) : all;
  if (events.problem.value) {
    return (
      <Empty>
        The events cannot be shown: <bdi>{events.problem.value.message}</bdi>
      </Empty>
    );
  }
  return (
    <div class="events">
      <div class="graph-bar">
        <input type="search" placeholder="Kind, step, fact" aria-label="Find events" value={wanted.value} onInput={(event) => (wanted.value = event.currentTarget.value)} />
        <span class="soft">
          {found.length === all.length ? count(all.length) : `${count(found.length)} of ${count(all.length)}`} events
        </span>
      </div>
      {all.length === 0 && <Empty>Nothing is told of this run: not yet, or not any more, as the log is trimmed. Its document has what it came to.</Empty>}
      <Rows
        rows={found}
        height={24}
        label="Events"
        row={(event, at) => (
          <div key={at} class="row event">
            <span class="number soft">{event.seq ?? "–"}</span>
            <time dateTime={event.at} title={stamp(event.at)}>
              {clock(event.at)}
            </time>
            <span class="event-kind">{name(event.kind)}</span>
            {event.step != null ? (
              <button type="button" class="quiet" onClick={() => choose(String(event.step))}>
                step {event.step}
                {event.attempt != null && event.attempt > 1 && `, attempt ${event.attempt}`}
              </button>
            ) : (
              <span />
            )}
            <bdi class="cut soft">{said(event)}</bdi>
          </div>
        )}
      />
    </div>
  );
}

/** `StepSucceeded` is `step succeeded` to people. */
function name(kind: string): string {
  return kind.replace(/(?<=[a-z])(?=[A-Z])/g, " ").toLowerCase();
}

function said({ revision, model, detail }: RunEvent): string {
  const facts = [revision !== null && revision !== undefined && `revision ${revision}`, model, detail];
  return clip(facts.filter(Boolean).join(" · "), 400);
}

function told(event: RunEvent): string {
  return `${name(event.kind)} step ${event.step ?? ""} ${said(event)}`;
}
