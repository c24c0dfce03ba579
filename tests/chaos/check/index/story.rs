//! What happened around a finding, for whoever has to find out why.

use planfleet_core::record::{Fact, Timer};
use planfleet_proto::{decode::Entry, subjects::WorkKind};

use super::{Index, Seen};
use crate::history::{Call, Dispatch, Effect, Fault, Kept, Logged, What};

/// Lines before and after: what fits under a finding and still shows the cause.
const LINES_EACH_WAY: usize = 10;

impl Index<'_> {
    /// What was seen of a run, and of faults, around a time.
    pub(crate) fn story(&self, run: Option<usize>, at_ms: u64) -> Vec<String> {
        let mut lines: Vec<(u64, String)> = self.history.faults.iter().flat_map(fault).collect();
        if let Some(run) = run.and_then(|run| self.runs.get(run)) {
            run.tell(&mut lines);
        }
        lines.sort();
        let here = lines.partition_point(|(line_ms, _)| *line_ms < at_ms);
        let same = lines[here..].iter().take_while(|(line_ms, _)| *line_ms == at_ms).count();
        let (from, to) = (here.saturating_sub(LINES_EACH_WAY), here + same.max(1) + LINES_EACH_WAY);
        let shown = lines.into_iter().skip(from).take(to - from);
        shown
            .map(|(line_ms, line)| format!("{:+8} ms  {line}", line_ms.cast_signed() - at_ms.cast_signed()))
            .collect()
    }
}

impl Seen<'_> {
    fn tell(&self, lines: &mut Vec<(u64, String)>) {
        lines.extend(self.records.iter().map(|logged| (logged.at_ms, record(logged))));
        lines.extend(self.dispatches.iter().map(|dispatch| (dispatch.at_ms, ordered(dispatch))));
        lines.extend(self.documents.iter().map(|kept| (kept.at_ms, kept_line(kept))));
        lines.extend(self.effects.iter().map(|effect| (effect.began_ms, effect_line(effect))));
        lines.extend(self.calls.iter().map(|call| (call.ended_ms, call_line(call))));
    }
}

fn fault(fault: &Fault) -> [(u64, String); 2] {
    let what = format!("{:?} of {:?} {}", fault.kind, fault.target, fault.name);
    [(fault.from_ms, format!("FAULT {what} ({})", fault.evidence)), (fault.to_ms, format!("healed: {what}"))]
}

fn record(logged: &Logged) -> String {
    let what = match &logged.entry {
        Ok(Entry::Run(record)) => describe(&record.fact),
        Ok(Entry::EpochOpened { epoch, owner, .. }) => format!("EpochOpened {epoch} by {owner}"),
        Err(error) => format!("unreadable: {error}"),
    };
    format!("log {:>6}: {what}", logged.seq)
}

fn describe(fact: &Fact) -> String {
    let more = match fact {
        Fact::StepSucceeded(success) => {
            format!(" step {} attempt {}", success.attempt.step, success.attempt.attempt)
        }
        Fact::StepFailed(failed) => {
            let (step, attempt) = (failed.attempt.step, failed.attempt.attempt);
            format!(" step {step} attempt {attempt}: {}", failed.failure)
        }
        Fact::StepPlanned { draft, step } => format!(" {draft:?} step {}", step.id),
        Fact::PlanSealed(sealed) => format!(" {:?}, {} steps", sealed.draft, sealed.steps),
        Fact::TimerFired(Timer::Retry { step, attempt }) => {
            format!(" retry of step {step}, attempt {attempt}")
        }
        Fact::TimerFired(timer) => format!(" {timer:?}"),
        _ => String::new(),
    };
    format!("{}{more}", fact.name())
}

fn ordered(dispatch: &Dispatch) -> String {
    let what = match dispatch.work.what {
        WorkKind::Step(step) => format!("step {step}"),
        WorkKind::Planning(revision) => format!("planning of revision {revision}"),
    };
    let attempt = dispatch.work.attempt;
    let known = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
    let (epoch, log_seq) = (known(dispatch.epoch), known(dispatch.log_seq));
    format!("queue {:>4}: {what} attempt {attempt}, epoch {epoch}, folded to {log_seq}", dispatch.seq)
}

fn kept_line(kept: &Kept) -> String {
    let (state, message) = (&kept.document["state"], &kept.document["end"]["message"]);
    format!("document {}: {state} {message}", kept.seq)
}

fn effect_line(effect: &Effect) -> String {
    let Effect { node, item, inputs, value, .. } = effect;
    let item = item.map(|item| format!("[{item}]")).unwrap_or_default();
    let took = match effect.ended_ms {
        Some(ended_ms) => format!("answered after {} ms", ended_ms.saturating_sub(effect.began_ms)),
        None => "connection lost".to_owned(),
    };
    let value = value.as_ref().map_or_else(|| "an error".to_owned(), ToString::to_string);
    format!("effect of node {node}{item}: {inputs:?} -> {value}, {took}")
}

fn call_line(call: &Call) -> String {
    let what = match &call.what {
        What::Submit { key, outcome, .. } => format!("submit {key}: {outcome:?}"),
        What::Cancel { outcome, .. } => format!("cancel: {outcome:?}"),
        What::Read { state, revision, steps_done, .. } => {
            format!("read: {state}, revision {revision}, {steps_done:?} steps done")
        }
        What::Ended { document, .. } => format!("told its end: {}", document["state"]),
    };
    format!("client {}: {what}", call.client)
}
