//! Steps that are runs of their own, and what they and their parents owe each other:
//! a child is submitted, follows its parent's pauses, ends when nobody waits for it any
//! more, and reports its end.

use super::{
    Run,
    step::{Step, Work},
};
use crate::{
    command::{Command, ResolvedInput},
    criteria::{Check, Unmet},
    document::{RunDocument, RunState},
    failure::{Failure, FailureClass},
    id::{RunId, StepId},
    json::Json,
    reason::EndCode,
    record::{AttemptReport, Fact, Report, StepFailed, StepSucceeded},
    sub_task::{self, Call},
    task::Parent,
};

impl Run {
    /// The run and step that it is a part of.
    pub(crate) fn parent(&self) -> Option<&Parent> {
        self.submission.parent.as_deref()
    }

    /// Orders a child run for a step's work. Where the step asks for what makes no run,
    /// that is the work's outcome.
    pub(super) fn child_order(
        &self,
        step: &Step,
        id: StepId,
        work: &Work,
        timeout_at_ms: Option<u64>,
        inputs: &[ResolvedInput],
    ) -> Command {
        let call = Call {
            run: &self.id,
            submission: &self.submission,
            spec: &step.spec,
            step: id,
            attempt: work.attempt,
            until_ms: self.deadline_at_ms().into_iter().chain(timeout_at_ms).min(),
        };
        match sub_task::submission(&call, inputs) {
            Ok(submission) => Command::TellRun {
                run: sub_task::run_id(&self.id, id, work.attempt),
                fact: Box::new(Fact::TaskSubmitted(Box::new(submission))),
            },
            Err(failure) => {
                let attempt = AttemptReport::unbegun(id, work.attempt);
                let failed = Fact::StepFailed(Box::new(StepFailed { attempt, failure }));
                Command::TellRun { run: self.id.clone(), fact: Box::new(failed) }
            }
        }
    }

    /// The run that does a step's work, or did it, as people are told.
    pub(super) fn child_of(&self, step: &Step, item: Option<u32>) -> Option<RunId> {
        let work = step.peek(item).filter(|work| work.attempt > 0 && sub_task::is_call(&step.spec))?;
        Some(sub_task::run_id(&self.id, StepId { step: step.spec.id, item }, work.attempt))
    }

    /// What a child is to be told, as its parent stands.
    pub(crate) fn told_by(&self, parent: Option<&Self>) -> Option<Fact> {
        let of = self.parent()?;
        let Some(parent) = parent.filter(|parent| parent.awaits_work(of.step, of.attempt)) else {
            let reason =
                format!("step {} of run {}, which it was for, is not waited for any more", of.step, of.run);
            return Some(Fact::RunCancelRequested { reason });
        };
        let reason = format!("run {}, which it is a part of, is paused", of.run);
        match (parent.paused.is_some(), self.paused.as_deref()) {
            (true, None) => Some(Fact::RunPauseRequested { reason }),
            // Who has paused the child alone lets it go on.
            (false, Some(paused)) if paused == reason => Some(Fact::RunResumeRequested),
            _ => None,
        }
    }

    /// Its end, as the outcome of its parent's step.
    pub(super) fn report(&self, ended: &RunDocument, at_ms: u64) -> Option<Report> {
        let Parent { run, step, attempt, criteria, .. } = self.parent()?;
        let attempt = AttemptReport {
            usage: ended.usage.charges(),
            started_ms: self.submitted_ms,
            ended_ms: at_ms,
            ..AttemptReport::unbegun(*step, *attempt)
        };
        let succeeded = ended.answer.clone().filter(|_| ended.state == RunState::Succeeded);
        let outcome = match succeeded {
            Some(output) => {
                let unmet = unmet(criteria, &output);
                unmet.map_or(Ok(output), Err)
            }
            None => Err(failure(ended, self.submission.envelope.budget.is_limit())),
        };
        let fact = match outcome {
            Ok(output) => Fact::StepSucceeded(Box::new(StepSucceeded { attempt, output })),
            Err(failure) => Fact::StepFailed(Box::new(StepFailed { attempt, failure })),
        };
        Some(Report { run: run.clone(), fact })
    }
}

/// How an answer does not do, if it does not. Whoever asks for a judge is told that there is none.
fn unmet(criteria: &[crate::plan::Criterion], answer: &Json) -> Option<Failure> {
    if criteria.is_empty() {
        return None;
    }
    let output = answer.value();
    let mut unmet: Vec<Unmet> = Vec::new();
    for criterion in criteria {
        match Check::compile(criterion) {
            Ok(check) if check.question().is_some() => {
                return Some(invalid("a sub-task's answer cannot be judged; judge a step that uses it"));
            }
            Ok(check) => unmet.extend(check.check(&output).err()),
            Err(bad) => return Some(invalid(&bad.to_string())),
        }
    }
    (!unmet.is_empty()).then(|| Unmet::failure(&unmet, &output))
}

fn invalid(message: &str) -> Failure {
    Failure::new(FailureClass::InvalidOutput, message)
}

/// Why a child has not succeeded. Its parent's planner acts, unless there is nothing that it
/// could do: a budget that was not the child's own is its parent's, and so are the models.
fn failure(ended: &RunDocument, own_budget: bool) -> Failure {
    let (code, class) = ended.end.as_ref().map(|end| (end.code, end.class)).unzip();
    let class = match (ended.state, code) {
        (RunState::Expired, _) => FailureClass::Timeout,
        (_, Some(EndCode::Budget)) if !own_budget => FailureClass::Budget,
        (_, Some(EndCode::Unmendable)) if class.flatten() == Some(FailureClass::Quota) => FailureClass::Quota,
        _ => FailureClass::ToolError,
    };
    let reason = ended.reason().unwrap_or("it has no answer");
    Failure::new(class, format!("run {}: {reason}", ended.run_id))
}
