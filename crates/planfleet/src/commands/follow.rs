//! Follows a run to its end: on a terminal its steps live, elsewhere a line for
//! each change. News are hints; the document is the truth.

use std::{collections::BTreeMap, io::IsTerminal as _, time::Duration};

use futures::{FutureExt as _, StreamExt as _};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use planfleet_bus::{Client, client::Found, live};
use planfleet_core::id::RunId;
use planfleet_runtime::signals::Signals;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::report;
use crate::{
    cli::Cli,
    exit::Failure,
    output::{self, line},
};

/// The shortest time between two looks: a run with thousands of steps must not
/// be slowed by who watches it.
const LOOK_MIN: Duration = Duration::from_millis(100);

/// The longest: news may have been missed.
const LOOK_MAX: Duration = Duration::from_millis(500);

/// How long the fleet may be out of reach before following ends.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a submit may wait behind a shard's backlog before anything is known of it.
const BACKLOG_PATIENCE: Duration = Duration::from_secs(600);

/// Steps with a line of their own on a terminal.
const LINES_MAX: usize = 30;

/// Lines that the items of one step take off a terminal.
const PROGRESS_LINES: usize = 8;

/// How following ended.
pub(super) enum End {
    /// The run has ended; its document.
    Ended(Value),
    /// The time given is over.
    TimedOut,
    /// A signal.
    Interrupted,
}

pub(super) async fn follow(
    cli: &Cli,
    client: &Client,
    run: &RunId,
    within: Option<Duration>,
) -> Result<End, Failure> {
    let mut signals = Signals::listen(CancellationToken::new()).map_err(Failure::unexpected)?;
    let mut view = View::new(cli);
    let ended = tokio::select! {
        ended = until_ended(client, run, &mut view) => Some(ended),
        () = elapsed(within) => None,
        _ = signals.next() => {
            view.finish();
            return Ok(End::Interrupted);
        }
    };
    view.finish();
    ended.map_or(Ok(End::TimedOut), |ended| ended.map(End::Ended))
}

async fn elapsed(within: Option<Duration>) {
    match within {
        Some(within) => sleep(within).await,
        None => std::future::pending().await,
    }
}

async fn until_ended(client: &Client, run: &RunId, view: &mut View) -> Result<Value, Failure> {
    let mut news = client.watch(run).await?;
    let (mut trouble_since, mut unknown_since) = (None, None);
    loop {
        match client.find(run).await {
            Ok(Found::Ended(document)) => {
                view.show(&document);
                return Ok(document);
            }
            Ok(Found::Active(document)) => {
                trouble_since = None;
                view.show(&document);
            }
            Ok(Found::Unknown) => {
                let unknown = || {
                    Failure::unreachable(format!("no coordinator has taken up run {run}; is one running?"))
                };
                wait_out(&mut unknown_since, BACKLOG_PATIENCE).ok_or_else(unknown)?;
            }
            Err(error) => wait_out(&mut trouble_since, PATIENCE).ok_or_else(|| Failure::from(error))?,
        }
        if let Ok(Some(piece)) = timeout(LOOK_MAX, news.next()).await {
            view.hint(&piece);
        }
        sleep(LOOK_MIN).await;
        // Whatever has piled up by now is in the document that is read next.
        while let Some(Some(piece)) = news.next().now_or_never() {
            view.hint(&piece);
        }
    }
}

/// A coordinator that is being taken over, or a broker that elects, is waited
/// for; `None` when patience is at its end.
fn wait_out(since: &mut Option<Instant>, patience: Duration) -> Option<()> {
    let since = since.get_or_insert_with(Instant::now);
    (since.elapsed() < patience).then_some(())
}

/// What a person sees of a run that goes on.
struct View {
    shown: BTreeMap<String, String>,
    /// Steps that an executor has begun, with its model and when this was heard.
    running: BTreeMap<String, (Option<String>, Instant)>,
    lines: Option<(MultiProgress, BTreeMap<String, ProgressBar>)>,
    quiet: bool,
}

impl View {
    fn new(cli: &Cli) -> Self {
        let live = std::io::stderr().is_terminal() && !cli.quiet;
        let lines = live.then(|| (MultiProgress::new(), BTreeMap::new()));
        Self { shown: BTreeMap::new(), running: BTreeMap::new(), lines, quiet: cli.quiet }
    }

    fn hint(&mut self, news: &live::News) {
        if let (live::STEP_STARTED, Some(step)) = (news.event.as_str(), news.step) {
            self.running.insert(step.to_string(), (news.model.clone(), Instant::now()));
        }
    }

    fn show(&mut self, document: &Value) {
        if self.quiet {
            return;
        }
        let steps: Vec<&Value> = document["steps"].as_array().into_iter().flatten().collect();
        let run = format!(
            "run {} {}",
            document["run_id"].as_str().unwrap_or_default(),
            document["state"].as_str().unwrap_or_default()
        );
        self.update("run", "", "", &run);
        for note in document["revisions"].as_array().into_iter().flatten() {
            let (number, reason) = (&note["revision"], note["reason"].as_str().unwrap_or_default());
            let text = format!(
                "plan {number}: {} steps added, {} dropped: {}",
                count(&note["added"]),
                count(&note["dropped"]),
                line(reason, 90)
            );
            self.update(&format!("plan {number}"), "", "", &text);
        }
        for step in steps.iter().filter(|step| step["id"].is_u64()).take(LINES_MAX) {
            let (mark, text) = self.step_line(step, &steps);
            self.update(
                &format!("step {:>6}", step["id"]),
                step["state"].as_str().unwrap_or_default(),
                &mark,
                &text,
            );
        }
    }

    /// A step's line, and the part of it whose change is worth a new line off a terminal.
    fn step_line(&self, step: &Value, all: &[&Value]) -> (String, String) {
        let id = step["id"].to_string();
        let prefix = format!("{id}[");
        let items: Vec<&&Value> =
            all.iter().filter(|s| s["id"].as_str().is_some_and(|i| i.starts_with(&prefix))).collect();
        let heard = self
            .running
            .iter()
            .find(|(key, _)| **key == id || key.starts_with(&prefix))
            .map(|(_, heard)| heard);
        let state = match step["state"].as_str().unwrap_or_default() {
            "running" if heard.is_none() => "queued",
            state => state,
        };
        let mut text = format!(
            "step {id:>3}  {state:<9}  {}",
            line(step["description"].as_str().unwrap_or_default(), 60)
        );
        let mut mark = state.to_owned();
        if !items.is_empty() {
            let done = items.iter().filter(|item| item["state"] == "succeeded").count();
            mark.push_str(&format!(" {}", done * PROGRESS_LINES / items.len()));
            text.push_str(&format!("  {done}/{}", items.len()));
        }
        let model = step["model"].as_str().or_else(|| heard.and_then(|(model, _)| model.as_deref()));
        if let Some(model) = model {
            text.push_str(&format!("  {model}"));
        }
        let tokens = |name: &str| step["usage"][name].as_u64().unwrap_or(0);
        if tokens("input_tokens") > 0 {
            text.push_str(&format!("  {} tokens", tokens("input_tokens") + tokens("output_tokens")));
        }
        if let Some(time) = time(step, state, heard.map(|(_, since)| since.elapsed())) {
            text.push_str(&format!("  {time}"));
        }
        if let Some(message) = step["error"]["message"].as_str() {
            text.push_str(&format!("  {}", line(message, 80)));
        }
        (mark, text)
    }

    /// Shows a line anew if it has changed.
    fn update(&mut self, key: &str, state: &str, mark: &str, text: &str) {
        // Off a terminal a line is printed when its state changes, not with every token.
        let seen = if self.lines.is_some() || state.is_empty() { text } else { mark };
        if self.shown.get(key).is_some_and(|shown| shown == seen) {
            return;
        }
        self.shown.insert(key.to_owned(), seen.to_owned());
        match &mut self.lines {
            None => output::note(text),
            Some((screen, lines)) => {
                let bar = lines.entry(key.to_owned()).or_insert_with(|| new_line(screen));
                bar.set_message(text.to_owned());
                if matches!(state, "succeeded" | "failed" | "dropped" | "cancelled") {
                    bar.abandon();
                }
            }
        }
    }

    fn finish(&mut self) {
        if let Some((_, lines)) = &mut self.lines {
            lines.values().for_each(ProgressBar::abandon);
        }
    }
}

/// How long a step has taken, or has been going on for.
fn time(step: &Value, state: &str, heard: Option<Duration>) -> Option<String> {
    let took = report::took(step).or_else(|| heard.filter(|_| state == "running"))?;
    Some(report::seconds(took.as_millis()))
}

fn count(list: &Value) -> usize {
    list.as_array().map_or(0, Vec::len)
}

fn new_line(screen: &MultiProgress) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
    let bar = screen.add(ProgressBar::new_spinner().with_style(style));
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}
