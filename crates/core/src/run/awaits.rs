//! Which timers a run still waits for, and which work. Most timers are overtaken:
//! an attempt that was answered needs no time-out any more.

use super::{
    Phase, Run,
    step::{Step, StepState, Work, WorkState},
};
use crate::{id::StepId, record::Timer};

impl Run {
    /// Whether [`Run::apply`] would do something about the timer's firing now or,
    /// where the run is paused, when it is resumed.
    pub(crate) fn awaits(&self, timer: Timer) -> bool {
        match timer {
            Timer::Deadline => !self.ended() && self.deadline_at_ms().is_some(),
            Timer::Retry { step, attempt } => {
                let work = self.steps.get(&step.step).and_then(|planned| active_work(planned, step));
                work.is_some_and(|work| {
                    matches!(work.state, WorkState::Backoff { .. }) && work.attempt + 1 == attempt
                })
            }
            Timer::StepTimeout { step, attempt } => {
                let planned = self.steps.get(&step.step).or_else(|| self.abandoned_step(step.step));
                planned.and_then(|planned| active_work(planned, step)).is_some_and(|work| {
                    matches!(work.state, WorkState::Dispatched { timeout_ms: Some(_) })
                        && work.attempt == attempt
                })
            }
            Timer::Replan { revision, attempt } => match &self.phase {
                Phase::Planning(drafting) | Phase::Replanning(drafting) => {
                    let failed = drafting.draft;
                    drafting.retry_at_ms.is_some()
                        && (failed.revision, failed.attempt + 1) == (revision, attempt)
                }
                Phase::Approving | Phase::Executing | Phase::Ended => false,
            },
        }
    }

    /// Whether the run has ordered an attempt and has not heard of it: who orders it
    /// again does not have done twice what is done.
    pub(crate) fn awaits_work(&self, step: StepId, attempt: u32) -> bool {
        let planned = self.steps.get(&step.step).or_else(|| self.abandoned_step(step.step));
        let work = planned.and_then(|planned| active_work(planned, step));
        work.is_some_and(|work| matches!(work.state, WorkState::Dispatched { .. }) && work.attempt == attempt)
    }

    /// The same of a revision's planning.
    pub(crate) fn awaits_planning(&self, revision: u32, attempt: u32) -> bool {
        match &self.phase {
            Phase::Planning(drafting) | Phase::Replanning(drafting) => {
                // One that has failed waits for its next attempt, which is not this one.
                drafting.retry_at_ms.is_none()
                    && (drafting.draft.revision, drafting.draft.attempt) == (revision, attempt)
            }
            Phase::Approving | Phase::Executing | Phase::Ended => false,
        }
    }

    fn abandoned_step(&self, id: u32) -> Option<&Step> {
        match &self.phase {
            Phase::Planning(drafting) => drafting.abandoned(id),
            Phase::Approving | Phase::Executing | Phase::Replanning(_) | Phase::Ended => None,
        }
    }
}

/// A step's or an item's work, while the step is wanted.
fn active_work(step: &Step, id: StepId) -> Option<&Work> {
    step.peek(id.item).filter(|_| step.state == StepState::Active)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use crate::{
        command::Command,
        failure::{Failure, FailureClass},
        id::RunId,
        json::Json,
        record::{AttemptReport, Draft, Fact, Record, StepFailed, StepSucceeded, Timer},
        shard::Shard,
        task::{Approval, Brief, Budget, Envelope, Review, Submission},
    };

    /// A shard with one run.
    struct Log {
        shard: Shard,
        run: RunId,
        seq: u64,
    }

    impl Log {
        /// A run that has an hour, whose steps have ten seconds.
        fn with(plan: Option<serde_json::Value>) -> Self {
            let envelope = Envelope {
                tools: Default::default(),
                hosts: Vec::new(),
                pools: Vec::new(),
                budget: Budget::default(),
                deadline_ms: Some(3_600_000),
                replans_max: 3,
                steps_max: 10,
                items_max: 10,
                attempts_max: 3,
                review: Review::OnFailure,
                approval: Approval::default(),
                step_timeout_ms: Some(10_000),
                quota_wait_ms: 0,
                lineage: Vec::new(),
            };
            let submission = Submission {
                task: Brief { goal: Some("report".into()), ..Brief::default() },
                envelope: Arc::new(envelope),
                plan: plan.map(|plan| Arc::new(serde_json::from_value(plan).unwrap())),
                traceparent: None,
                carried: None,
                parent: None,
            };
            let mut log = Self { shard: Shard::default(), run: RunId::new(0, "a").unwrap(), seq: 0 };
            log.fold(Fact::TaskSubmitted(Box::new(submission)));
            log
        }

        /// Folds a fact and returns the timers that it arms.
        fn fold(&mut self, fact: Fact) -> Vec<Timer> {
            self.seq += 1;
            let mut commands = Vec::new();
            let record = Record { run: self.run.clone(), at_ms: self.seq, fact };
            self.shard.apply(self.seq, record, &mut commands).unwrap();
            let timer = |command| match command {
                Command::ArmTimer { timer, .. } => Some(timer),
                _ => None,
            };
            commands.into_iter().filter_map(timer).collect()
        }

        fn awaits(&self, timer: Timer) -> bool {
            self.shard.awaits(&self.run, timer)
        }
    }

    fn report(step: &str, attempt: u32) -> AttemptReport {
        let step = match step.split_once('-') {
            Some((step, item)) => super::StepId::item(step.parse().unwrap(), item.parse().unwrap()),
            None => super::StepId::plain(step.parse().unwrap()),
        };
        AttemptReport::unbegun(step, attempt)
    }

    fn timeout(step: &str, attempt: u32) -> Timer {
        Timer::StepTimeout { step: report(step, attempt).step, attempt }
    }

    fn ok(step: &str, output: serde_json::Value) -> Fact {
        let output = Json::from_value(&output);
        Fact::StepSucceeded(Box::new(StepSucceeded { attempt: report(step, 1), output }))
    }

    fn failed(step: &str, class: FailureClass) -> Fact {
        let failure = Failure::new(class, "x");
        Fact::StepFailed(Box::new(StepFailed { attempt: report(step, 1), failure }))
    }

    fn two_steps() -> Log {
        Log::with(Some(json!({"final": 2, "steps": [
            {"id": 1, "description": "a"},
            {"id": 2, "description": "b", "for_each": {"from_step": 1, "path": ""}}
        ]})))
    }

    #[test]
    fn the_time_of_an_attempt_is_awaited_until_it_is_answered() {
        let mut log = two_steps();
        assert!(log.awaits(timeout("1", 1)));
        for other in [timeout("1", 2), timeout("1-0", 1), timeout("2-0", 1), timeout("9", 1)] {
            assert!(!log.awaits(other), "{other:?}");
        }
        log.fold(ok("1", json!(["x", "y"])));
        assert!(!log.awaits(timeout("1", 1)));
        assert!(log.awaits(timeout("2-0", 1)) && log.awaits(timeout("2-1", 1)));
        log.fold(ok("2-0", json!("X")));
        assert!(!log.awaits(timeout("2-0", 1)) && log.awaits(timeout("2-1", 1)));
        assert!(!log.shard.awaits(&RunId::new(0, "b").unwrap(), timeout("2-1", 1)), "another run's");
    }

    #[test]
    fn what_is_owed_is_owed_until_it_is_answered() {
        let mut log = two_steps();
        let owed = log.shard.owed();
        let still = |log: &Log| owed.iter().filter(|command| log.shard.still_owes(command)).count();
        // The first step, its time, and the run's.
        assert_eq!((owed.len(), still(&log)), (3, 3));
        log.fold(ok("1", json!(["x"])));
        assert_eq!(still(&log), 1, "the run's time alone");
        log.fold(failed("2-0", FailureClass::Quota));
        assert_eq!(still(&log), 0, "it has ended");
    }

    #[test]
    fn a_planning_is_owed_until_it_is_over() {
        let mut log = Log::with(None);
        let owed = log.shard.owed();
        let planning = |command: &&Command| matches!(command, Command::DispatchPlan(_));
        let still = |log: &Log| owed.iter().filter(planning).any(|command| log.shard.still_owes(command));
        assert!(still(&log));
        let failure = Failure::new(FailureClass::Transient, "x");
        let draft = Draft { revision: 1, attempt: 1, take: 1 };
        log.fold(Fact::PlanFailed { draft, failure, usage: Vec::new() });
        assert!(!still(&log), "it has failed");
        log.fold(Fact::TimerFired(Timer::Replan { revision: 1, attempt: 2 }));
        assert!(!still(&log), "another attempt is ordered");
    }

    #[test]
    fn a_retry_is_awaited_until_it_is_made() {
        let mut log = two_steps();
        let armed = log.fold(failed("1", FailureClass::Transient));
        let [retry] = armed.as_slice() else { panic!("one timer: {armed:?}") };
        assert!(log.awaits(*retry) && !log.awaits(timeout("1", 1)));
        log.fold(Fact::RunPauseRequested { reason: String::new() });
        assert!(log.awaits(*retry), "a paused run takes it up later");
        log.fold(Fact::RunResumeRequested);
        assert_eq!(log.fold(Fact::TimerFired(*retry)), [timeout("1", 2)]);
        assert!(!log.awaits(*retry) && log.awaits(timeout("1", 2)));
    }

    #[test]
    fn a_planning_is_awaited_until_it_is_tried_again() {
        let mut log = Log::with(None);
        let replan = Timer::Replan { revision: 1, attempt: 2 };
        assert!(!log.awaits(replan));
        let failure = Failure::new(FailureClass::Transient, "x");
        let draft = Draft { revision: 1, attempt: 1, take: 1 };
        assert_eq!(log.fold(Fact::PlanFailed { draft, failure, usage: Vec::new() }), [replan]);
        assert!(log.awaits(replan));
        log.fold(Fact::TimerFired(replan));
        assert!(!log.awaits(replan));
    }

    #[test]
    fn steps_of_an_abandoned_draft_still_have_their_time() {
        let mut log = Log::with(None);
        let step = Box::new(serde_json::from_value(json!({"id": 1, "description": "a"})).unwrap());
        let draft = |take| Draft { revision: 1, attempt: 1, take };
        let planned = Fact::StepPlanned { draft: draft(1), step };
        assert_eq!(log.fold(planned), [timeout("1", 1)]);
        let other = Box::new(serde_json::from_value(json!({"id": 2, "description": "b"})).unwrap());
        log.fold(Fact::StepPlanned { draft: draft(2), step: other });
        assert!(log.awaits(timeout("1", 1)), "the newer draft may take it over");
    }

    #[test]
    fn a_deadline_is_awaited_until_the_end() {
        let mut log = two_steps();
        assert!(log.awaits(Timer::Deadline));
        log.fold(failed("1", FailureClass::Quota));
        assert!(!log.awaits(Timer::Deadline), "the run has ended");
    }
}
