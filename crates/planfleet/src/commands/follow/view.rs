//! What a person sees of a run that goes on.

use std::{collections::BTreeMap, io::IsTerminal as _, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use planfleet_bus::live;
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    cli::Cli,
    commands::{reasons, report},
    output::{self, line},
};

/// Steps with a line of their own on a terminal.
const LINES_MAX: usize = 30;

/// Lines that the items of one step take off a terminal.
const PROGRESS_LINES: usize = 8;

/// The model of an executor that has begun a step, and when that was heard.
type Heard = (Option<String>, Instant);

/// The lines on standard error.
pub(super) struct View {
    shown: BTreeMap<String, String>,
    /// Steps that an executor has begun.
    running: BTreeMap<String, Heard>,
    lines: Option<(MultiProgress, BTreeMap<String, ProgressBar>)>,
    /// What held the run when it was looked at last.
    holds: Vec<String>,
    /// Where others reach the run, if they do not find it by themselves.
    broker: Option<String>,
    quiet: bool,
}

impl View {
    pub(super) fn new(cli: &Cli, broker: Option<&str>) -> Self {
        let live = std::io::stderr().is_terminal() && !cli.quiet;
        let lines = live.then(|| (MultiProgress::new(), BTreeMap::new()));
        Self {
            shown: BTreeMap::new(),
            running: BTreeMap::new(),
            lines,
            holds: Vec::new(),
            broker: broker.map(str::to_owned),
            quiet: cli.quiet,
        }
    }

    pub(super) fn hint(&mut self, news: &live::News) {
        if let (live::STEP_STARTED, Some(step)) = (news.event.as_str(), news.step) {
            self.running.insert(step.to_string(), (news.model.clone(), Instant::now()));
        }
    }

    pub(super) fn show(&mut self, document: &Value) {
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
                "plan {number} ({}): {} steps added, {} dropped: {}",
                reasons::cause(note),
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
        self.show_holds(reasons::holds(document, self.broker.as_deref()));
    }

    /// What people hold the run with, for as long as they do.
    fn show_holds(&mut self, holds: Vec<String>) {
        for gone in self.holds.iter().filter(|hold| !holds.contains(hold)) {
            self.shown.remove(gone);
            if let Some((_, lines)) = &mut self.lines
                && let Some(bar) = lines.remove(gone)
            {
                bar.finish_and_clear();
            }
        }
        for hold in &holds {
            self.update(hold, "", "", hold);
        }
        self.holds = holds;
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
        text.push_str(&details(step, state, heard));
        // Of its own: what holds the whole run is said once, of the run.
        if matches!(step["waits_for"]["code"].as_str(), Some("step_approval" | "retry")) {
            mark.push_str(&reasons::wait(step).unwrap_or_default());
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

    pub(super) fn finish(&mut self) {
        if let Some((_, lines)) = &mut self.lines {
            lines.values().for_each(ProgressBar::abandon);
        }
    }
}

/// What a step's line says besides its state: who does it, what it used, how
/// long it took, what it waits for, why it failed.
fn details(step: &Value, state: &str, heard: Option<&Heard>) -> String {
    let tokens = |name: &str| step["usage"][name].as_u64().unwrap_or(0);
    let used = tokens("input_tokens") + tokens("output_tokens");
    let model = step["model"].as_str().or_else(|| heard.and_then(|(model, _)| model.as_deref()));
    let parts = [
        model.map(str::to_owned),
        (used > 0).then(|| format!("{used} tokens")),
        time(step, state, heard.map(|(_, since)| since.elapsed())),
        reasons::wait(step),
        step["error"]["message"].as_str().map(|message| line(message, 80)),
    ];
    parts.into_iter().flatten().map(|part| format!("  {part}")).collect()
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
