/** The frame around every page, and which page is at which address. */

import { LocationProvider, Route, Router, useLocation } from "preact-iso";
import { Away } from "./parts/away";
import { Confirm } from "./parts/confirm";
import { Introduced, KeyForm, LeaveButton } from "./parts/key";
import { Notices } from "./parts/notices";
import { HelpButton, Shortcuts } from "./parts/shortcuts";
import { ThemeButton } from "./parts/theme";
import { useTitle } from "./parts/title";
import { Batch } from "./pages/batch";
import { Batches } from "./pages/batches";
import { Cache } from "./pages/cache";
import { Costs } from "./pages/costs";
import { DeadLetters } from "./pages/dead-letters";
import { NewTask } from "./pages/new";
import { Queues } from "./pages/queues";
import { RunPage } from "./pages/run";
import { Runs } from "./pages/runs";

const PLACES: [path: string, name: string][] = [
  ["/runs", "Runs"],
  ["/batches", "Batches"],
  ["/queues", "Queues"],
  ["/dead-letters", "Dead letters"],
  ["/cache", "Cache"],
  ["/costs", "Costs"],
];

export function App() {
  return (
    <LocationProvider>
      <Frame />
      <Shortcuts />
      <Confirm />
      <KeyForm />
      <Notices />
    </LocationProvider>
  );
}

function Frame() {
  const { path } = useLocation();
  return (
    <div class="frame">
      <a class="skip" href="#main">
        Skip to the page
      </a>
      <header class="top">
        <a class="brand" href="/runs">
          planfleet
        </a>
        <nav aria-label="Pages">
          {PLACES.map(([to, name]) => (
            <a key={to} href={to} aria-current={path.startsWith(to) || (to === "/runs" && path === "/") ? "page" : undefined}>
              {name}
            </a>
          ))}
        </nav>
        <div class="tools">
          <a class="button" href="/new">
            New task
          </a>
          <Introduced />
          <ThemeButton />
          <HelpButton />
          <LeaveButton />
        </div>
      </header>
      <Away />
      <main id="main" tabIndex={-1}>
        <Router>
          <Route path="/" component={Runs} />
          <Route path="/runs" component={Runs} />
          <Route path="/runs/:id" component={RunPage} />
          <Route path="/new" component={NewTask} />
          <Route path="/batches" component={Batches} />
          <Route path="/batches/:id" component={Batch} />
          <Route path="/queues" component={Queues} />
          <Route path="/dead-letters" component={DeadLetters} />
          <Route path="/cache" component={Cache} />
          <Route path="/costs" component={Costs} />
          <Route default component={NotFound} />
        </Router>
      </main>
    </div>
  );
}

function NotFound() {
  useTitle("Not found");
  return (
    <div class="page">
      <h1>There is no such page</h1>
      <p>
        The runs are at <a href="/runs">Runs</a>.
      </p>
    </div>
  );
}
