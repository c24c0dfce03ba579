//! What a person sees of a batch that goes on: a bar on a terminal, elsewhere a line now
//! and then.

use std::{collections::BTreeSet, io::IsTerminal as _, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use planfleet_api::batch::{Standing, order::Progress};
use planfleet_bus::{
    Error,
    batches::{Batch, End, Rejection, Tally},
};
use planfleet_core::document::usd;
use planfleet_runtime::clock;
use tokio::time::Instant;

use crate::{cli::Cli, output};

/// Between two lines where there is no terminal: a log of hours stays readable.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Refused lines that are named; a file that is wrong from beginning to end would hide all else.
const REFUSED_SHOWN_MAX: u64 = 100;

/// Counts of a batch.
pub(super) struct Count {
    submitted: u64,
    rejected: u64,
    /// Tasks that can end, if it is known how many there are.
    tasks: Option<u64>,
}

impl Count {
    pub(super) fn of(standing: &Standing) -> Self {
        let rejected = standing.batch.rejected;
        let tasks = standing.batch.total.map(|total| total.saturating_sub(rejected));
        Self { submitted: standing.submitted(), rejected, tasks }
    }

    pub(super) fn of_submit(progress: &Progress) -> Self {
        let Progress { submitted, rejected, total, .. } = progress;
        let tasks = total.map(|total| total.saturating_sub(*rejected));
        Self { submitted: *submitted, rejected: *rejected, tasks }
    }
}

/// The lines on standard error.
pub(super) struct View {
    bar: Option<ProgressBar>,
    quiet: bool,
    refused: u64,
    /// Whether it was said that nobody submits any more.
    is_warned: bool,
    line_due: Instant,
}

impl View {
    pub(super) fn new(cli: &Cli) -> Self {
        let live = std::io::stderr().is_terminal() && !cli.quiet;
        Self {
            bar: live.then(bar),
            quiet: cli.quiet,
            refused: 0,
            is_warned: false,
            line_due: Instant::now() + LINE_EVERY,
        }
    }

    /// A line for people, above the bar where there is one.
    fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| output::note(text)),
            None => output::note(text),
        }
    }

    pub(super) fn opened(&self, batch: &Batch, new: bool) {
        if self.quiet {
            return;
        }
        let how = if new { "submitting" } else { "going on with" };
        self.note(&format!("{how} batch {}", batch.id));
    }

    /// Errors are shown also where progress is not.
    pub(super) fn refused(&mut self, rejection: &Rejection) {
        self.refused += 1;
        if self.refused <= REFUSED_SHOWN_MAX {
            let name = rejection.custom_id.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
            self.note(&format!("line {}{name}: {}", rejection.line, rejection.message));
        } else if self.refused == REFUSED_SHOWN_MAX + 1 {
            self.note("more lines are wrong; they are counted");
        }
    }

    pub(super) fn unused(&self, keys: &BTreeSet<String>) {
        if !self.quiet {
            let keys = keys.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            self.note(&format!(
                "requests: messages are goals, metadata is labels; {keys}: left out, the fleet's own settings apply"
            ));
        }
    }

    /// Says once that what is followed comes to no end by itself.
    pub(super) fn warn_of(&mut self, standing: &Standing) {
        if let Some(abandoned) = abandoned(standing).filter(|_| !self.is_warned) {
            self.is_warned = true;
            self.note(&format!("batch {}: submitting: {abandoned}", standing.batch.id));
        }
    }

    /// A document as data.
    pub(super) fn document(&self, cli: &Cli, end: &End, document: Result<String, Error>) {
        match (document, &self.bar) {
            (Ok(document), Some(bar)) => bar.suspend(|| super::print_document(cli, &document)),
            (Ok(document), None) => super::print_document(cli, &document),
            (Err(error), _) => self.note(&format!("the document of run {} cannot be read: {error}", end.run)),
        }
    }

    pub(super) fn show(&mut self, count: &Count, tally: &Tally) {
        if self.quiet {
            return;
        }
        let ended = tally.ended();
        let text = sums(count, tally);
        if let Some(bar) = &self.bar {
            bar.set_length(count.tasks.unwrap_or(count.submitted).max(ended));
            bar.set_position(ended);
            bar.set_message(text);
        } else if Instant::now() >= self.line_due {
            self.line_due = Instant::now() + LINE_EVERY;
            output::note(&format!("{ended} ended{text}"));
        }
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// What to do about a batch whose submitter is gone.
pub(super) fn abandoned(standing: &Standing) -> Option<String> {
    let silent = standing.abandoned_for(clock::unix_ms())?;
    let (id, silent) =
        (&standing.batch.id, humantime::format_duration(Duration::from_secs(silent.as_secs())));
    Some(format!("nobody has for {silent}: submit the tasks again with --id {id} to go on, or cancel it"))
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:24} {pos}/{len}{msg}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// What is behind the number of ended runs.
fn sums(count: &Count, tally: &Tally) -> String {
    let mut text = String::new();
    let mut add = |part: String| {
        text.push_str(", ");
        text.push_str(&part);
    };
    let ended = tally.ended();
    if !tally.unsuccessful.is_empty() {
        add(format!("{} did not succeed", tally.unsuccessful.len()));
    }
    if count.rejected > 0 {
        add(format!("{} refused", count.rejected));
    }
    add(format!("{} open", count.submitted.saturating_sub(ended)));
    if let Some(cost) = usd(Some(tally.nano_usd)).filter(|cost| *cost > 0.0) {
        add(format!("{cost:.4} USD"));
    }
    let now_ms = clock::unix_ms();
    let still = count.tasks.unwrap_or(count.submitted).saturating_sub(ended);
    if ended > 0 && still > 0 {
        add(format!("{:.1}/s", tally.rate_per_s(now_ms)));
        add(left(tally.eta_s(still, now_ms)));
    }
    text
}

/// The time that is left, as people say it.
pub(super) fn left(seconds: Option<u64>) -> String {
    match seconds {
        None => "no end in sight".to_owned(),
        Some(seconds) => format!("{} left", humantime::format_duration(Duration::from_secs(seconds))),
    }
}
