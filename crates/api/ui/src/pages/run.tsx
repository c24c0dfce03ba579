/** One run: what it is, what people can do about it, and its five views. */

import { useSignalEffect } from "@preact/signals";
import { useLocation, useRoute } from "preact-iso";
import { useEffect, useRef } from "preact/hooks";
import { withQuery } from "../api/client";
import { useLive } from "../api/live";
import { type Run, END_STATES } from "../api/types";
import { useTitle } from "../parts/title";
import { Trouble } from "../parts/trouble";
import { EventsView, useEvents } from "./run/events";
import { GraphView } from "./run/graph";
import { Header } from "./run/header";
import { ResultView } from "./run/result";
import { RevisionsView } from "./run/revisions";
import { StepDrawer } from "./run/step";
import { TimelineView } from "./run/timeline";

const TABS = ["graph", "timeline", "events", "revisions", "result"] as const;
type Tab = (typeof TABS)[number];

/** Without news by events a run is looked at this often; with them, they say when. */
const LOOK_MS = 1_000;
const QUIET_MS = 10_000;

export const ended = (run: Run) => END_STATES.includes(run.state);

export function RunPage() {
  const { params } = useRoute();
  const id = params["id"] ?? "";
  useTitle(`Run ${id}`);
  const events = useEvents(id);
  const live = useLive<Run>(`/v1/runs/${encodeURIComponent(id)}`, (run) => {
    if (run && ended(run)) return 0;
    return events.streaming.peek() ? QUIET_MS : LOOK_MS;
  });
  // Whatever happens is a reason to look; useLive keeps the pace where a lot happens.
  useSignalEffect(() => {
    if (events.list.value.length > 0) live.refresh();
  });
  const run = live.data.value;
  return (
    <div class="page run-page">
      <Trouble live={live} what="The run" />
      {run && <Whole run={run} events={events} refresh={live.refresh} />}
    </div>
  );
}

interface Parts {
  run: Run;
  events: ReturnType<typeof useEvents>;
  refresh: () => void;
}

function Whole({ run, events, refresh }: Parts) {
  const { path, query, route } = useLocation();
  const fallback: Tab = "graph";
  const tab = TABS.find((one) => one === query["tab"]) ?? fallback;
  const go = (change: Record<string, string>) => route(withQuery(path, { ...query, ...change }), true);
  const choose = (step: string | null) => go({ step: step ?? "" });
  const chosen = query["step"] ?? null;
  useTabKeys((at) => TABS[at] && go({ tab: TABS[at] }));
  return (
    <>
      <Header run={run} refresh={refresh} choose={choose} />
      <div class="tabs" role="tablist" aria-label="Views of the run" onKeyDown={walk}>
        {TABS.map((one) => (
          <button
            key={one}
            type="button"
            role="tab"
            id={`tab-${one}`}
            aria-selected={one === tab}
            aria-controls="view"
            tabIndex={one === tab ? 0 : -1}
            onClick={() => go({ tab: one })}
          >
            {one === "revisions" ? `plan revisions (${run.revisions.length})` : one}
          </button>
        ))}
      </div>
      <div class={chosen ? "view with-drawer" : "view"}>
        <div class="view-main" id="view" role="tabpanel" aria-labelledby={`tab-${tab}`}>
          {tab === "graph" && <GraphView run={run} chosen={chosen} choose={choose} />}
          {tab === "timeline" && <TimelineView run={run} chosen={chosen} choose={choose} />}
          {tab === "events" && <EventsView events={events} choose={choose} />}
          {tab === "revisions" && <RevisionsView run={run} choose={choose} />}
          {tab === "result" && <ResultView run={run} />}
        </div>
        {chosen && <StepDrawer key={chosen} run={run} id={chosen} choose={choose} refresh={refresh} />}
      </div>
    </>
  );
}

/** Arrow keys go from tab to tab, as in every list of tabs. */
function walk(event: KeyboardEvent) {
  const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!by) return;
  const tabs = [...(event.currentTarget as HTMLElement).querySelectorAll<HTMLElement>("[role=tab]")];
  const next = tabs[(tabs.indexOf(document.activeElement as HTMLElement) + by + tabs.length) % tabs.length];
  next?.focus();
  next?.click();
  event.preventDefault();
}

function useTabKeys(choose: (at: number) => void) {
  const choosing = useRef(choose);
  choosing.current = choose;
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      const typing = (event.target as HTMLElement).closest("input, textarea, select, dialog");
      const at = "12345".indexOf(event.key);
      if (!typing && at >= 0 && event.key.length === 1 && !event.ctrlKey && !event.metaKey && !event.altKey) {
        choosing.current(at);
      }
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, []);
}
