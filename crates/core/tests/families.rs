//! A run and its child, in every order in which what they owe each other can reach the log:
//! late, twice, after a takeover that has forgotten what was under way, with a person who
//! pauses and cancels in between. In the end both have ended, each once, and the parent's
//! step is what its child came to.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use planfleet_core::{
    command::Command,
    document::{RunDocument, RunState},
    failure::{Failure, FailureClass},
    id::{RunId, StepId},
    json::Json,
    record::{AttemptReport, Fact, Record, Report, StepFailed, StepSucceeded},
    run::Why,
    shard::Shard,
    sub_task,
    task::{Approval, Brief, Budget, Envelope, Review, Submission},
    tool::Effect,
    usage::{Account, Charge, Usage},
};
use serde_json::json;

/// Tokens that each attempt uses.
const USED: u64 = 7;

/// How often something happens that nobody needs.
const MISCHIEF_MAX: u32 = 2;

/// All that there is: the log, what is kept, and what the owner is about to do.
#[derive(Clone, Default)]
struct State {
    log: Vec<(RunId, Fact)>,
    kept: BTreeSet<RunId>,
    /// Commands that are not carried out yet.
    pending: Vec<Command>,
    /// Steps that executors are at work for.
    work: Vec<(RunId, StepId, u32)>,
    mischief: u32,
}

/// What the log says, folded anew.
struct Folded {
    shard: Shard,
    documents: BTreeMap<RunId, Arc<RunDocument>>,
    /// What follows from the last record.
    commands: Vec<Command>,
    ignored: BTreeSet<Why>,
}

fn parent() -> RunId {
    RunId::new(3, "parent").unwrap()
}

fn child() -> RunId {
    sub_task::run_id(&parent(), StepId::plain(1), 1)
}

fn submission() -> Submission {
    let envelope = Envelope {
        tools: [(sub_task::NAME.to_owned(), Effect::Write)].into(),
        hosts: Vec::new(),
        pools: Vec::new(),
        budget: Budget::default(),
        deadline_ms: None,
        replans_max: 0,
        steps_max: 10,
        items_max: 10,
        attempts_max: 1,
        review: Review::Never,
        approval: Approval::default(),
        step_timeout_ms: None,
        quota_wait_ms: 0,
        lineage: Vec::new(),
    };
    let input = |name: &str, value: &str| json!({"name": name, "value": value});
    let plan = json!({"final": 2, "steps": [
        {"id": 1, "description": "part", "kind": "tool", "tools": [sub_task::NAME],
         "inputs": [input("goal", "a part"), input("mode", "direct")]},
        {"id": 2, "description": "whole", "inputs": [{"name": "part", "from_step": 1, "path": ""}]}
    ]});
    Submission {
        task: Brief { goal: Some("the whole".into()), ..Brief::default() },
        envelope: Arc::new(envelope),
        plan: Some(Arc::new(serde_json::from_value(plan).unwrap())),
        traceparent: None,
        carried: None,
        parent: None,
    }
}

fn fold(log: &[(RunId, Fact)]) -> Folded {
    let mut shard = Shard::default();
    let (mut documents, mut ignored, mut commands) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
    for (seq, (run, fact)) in (1..).zip(log) {
        commands.clear();
        let record = Record { run: run.clone(), at_ms: seq * 10, fact: fact.clone() };
        if let Err(refused) = shard.apply(seq, record, &mut commands) {
            ignored.insert(refused.why);
        }
        for command in &commands {
            if let Command::FinishRun(document) = command {
                let before = documents.insert(document.run_id.clone(), Arc::clone(document));
                assert!(before.is_none(), "{} ended twice", document.run_id);
            }
        }
    }
    assert!(!ignored.contains(&Why::Illegal), "somebody wrote what follows from nothing: {log:?}");
    Folded { shard, documents, commands, ignored }
}

fn report(step: StepId, attempt: u32) -> AttemptReport {
    let usage = Usage { calls: 1, output_tokens: USED, ..Usage::NONE };
    let usage = vec![Charge::new(Account::Executor, "m", usage)];
    AttemptReport {
        step,
        attempt,
        model: Some("m".into()),
        usage,
        started_ms: 1,
        ended_ms: 2,
        calls: Vec::new(),
    }
}

impl State {
    fn start() -> Self {
        let mut state = Self::default();
        state.append(parent(), Fact::TaskSubmitted(Box::new(submission())));
        state
    }

    fn append(&mut self, run: RunId, fact: Fact) {
        self.log.push((run, fact));
        for command in fold(&self.log).commands {
            self.order(command);
        }
    }

    fn order(&mut self, command: Command) {
        match command {
            Command::DispatchStep(order) => {
                let work = (order.run, order.step, order.attempt);
                if !self.work.contains(&work) {
                    self.work.push(work);
                }
            }
            Command::TellRun { .. } | Command::FinishRun(_) if !self.pending.contains(&command) => {
                self.pending.push(command);
            }
            _ => {}
        }
    }

    /// Carries a command out; it is done with unless the owner dies just then.
    fn carry_out(&self, at: usize, dies: bool) -> Self {
        let mut state = self.clone();
        let command = state.pending.remove(at);
        match &command {
            Command::TellRun { run, fact } => state.append(run.clone(), fact.as_ref().clone()),
            Command::FinishRun(document) => {
                if let Some(Report { run, fact }) = document.report.as_deref() {
                    state.append(run.clone(), fact.clone());
                }
                if !dies {
                    state.kept.insert(document.run_id.clone());
                }
            }
            other => unreachable!("not kept: {other:?}"),
        }
        if dies { state.taken_over() } else { state }
    }

    /// A new owner knows the log and nothing else.
    fn taken_over(&self) -> Self {
        let mut state = Self { pending: Vec::new(), mischief: self.mischief + 1, ..self.clone() };
        let Folded { shard, documents, .. } = fold(&state.log);
        let unkept = documents.into_values().filter(|document| !state.kept.contains(&document.run_id));
        let owed = unkept.map(Command::FinishRun).chain(shard.owed());
        for command in owed.filter(|command| shard.still_owes(command)).collect::<Vec<_>>() {
            state.order(command);
        }
        state
    }

    fn with(&self, run: RunId, fact: Fact, mischief: u32) -> Self {
        let mut state = Self { mischief: self.mischief + mischief, ..self.clone() };
        state.append(run, fact);
        state
    }

    /// Everything that can happen next; whether it has to, in the end.
    fn next(&self) -> Vec<(Self, bool)> {
        let mut next = Vec::new();
        for at in 0..self.pending.len() {
            next.push((self.carry_out(at, false), true));
        }
        for (at, (run, step, attempt)) in self.work.iter().enumerate() {
            let mut done = self.clone();
            done.work.remove(at);
            let attempt = report(*step, *attempt);
            let output = Json::from_value(&json!(format!("{run} {step}")));
            let succeeded = StepSucceeded { attempt: attempt.clone(), output };
            next.push((done.with(run.clone(), Fact::StepSucceeded(Box::new(succeeded)), 0), true));
            let failure = Failure::new(FailureClass::ToolError, "no");
            let failed = Fact::StepFailed(Box::new(StepFailed { attempt, failure }));
            next.push((done.with(run.clone(), failed, 1), false));
        }
        let Folded { shard, .. } = fold(&self.log);
        let paused = shard.document(&parent(), 0).is_some_and(|document| document.state == RunState::Paused);
        if paused {
            next.push((self.with(parent(), Fact::RunResumeRequested, 0), true));
        }
        if self.mischief < MISCHIEF_MAX {
            for at in 0..self.pending.len() {
                next.push((self.carry_out(at, true), false));
            }
            next.push((self.taken_over(), false));
            for run in [parent(), child()].into_iter().filter(|run| shard.first_seq(run).is_some()) {
                let reason = "enough".to_owned();
                next.push((self.with(run.clone(), Fact::RunCancelRequested { reason }, 1), false));
                if run == parent() && !paused {
                    let reason = "wait".to_owned();
                    next.push((self.with(run, Fact::RunPauseRequested { reason }, 1), false));
                }
            }
        }
        next.retain(|(state, _)| state.mischief <= MISCHIEF_MAX);
        next
    }

    /// The same for states from which the same follows.
    fn key(&self) -> String {
        let name = |run: &RunId| if *run == parent() { "p" } else { "c" };
        let log: Vec<_> = self.log.iter().map(|(run, fact)| (name(run), fact.name())).collect();
        let pending = |command: &Command| match command {
            Command::TellRun { run, fact } => (name(run), fact.name()),
            Command::FinishRun(document) => (name(&document.run_id), document.state.as_str()),
            _ => ("", ""),
        };
        let mut pending: Vec<_> = self.pending.iter().map(pending).collect();
        pending.sort_unstable();
        let (kept, mut work) = (self.kept.iter().map(name).collect::<Vec<_>>(), self.work.clone());
        work.sort();
        format!("{log:?}{pending:?}{kept:?}{work:?}{}", self.mischief)
    }

    /// What holds when nothing but mischief can happen.
    fn check_end(&self) -> RunState {
        let Folded { shard, documents, .. } = fold(&self.log);
        assert!(shard.is_empty(), "somebody waits for ever: {:?}", self.key());
        assert_eq!(documents.keys().collect::<Vec<_>>(), self.kept.iter().collect::<Vec<_>>());
        let whole = &documents[&parent()];
        let Some(part) = documents.get(&child()) else {
            assert_eq!(whole.state, RunState::Cancelled, "nobody else ends it without a child");
            return whole.state;
        };
        assert_eq!(part.parent, Some((parent(), StepId::plain(1))));
        assert!(part.rerun.is_none() && whole.parent.is_none());
        let step = &whole.steps[0];
        assert_eq!(step.child, Some(child()));
        if whole.state == RunState::Succeeded {
            assert_eq!((part.state, &step.output), (RunState::Succeeded, &part.answer));
            assert_eq!(whole.usage.total().output_tokens, 2 * USED, "its own call and its child's, once");
        }
        if step.state == "succeeded" {
            assert_eq!(step.usage.output_tokens, USED);
        }
        whole.state
    }
}

#[test]
fn whatever_the_order_both_end_and_agree() {
    let (mut seen, mut open) = (BTreeSet::new(), vec![State::start()]);
    let (mut ends, mut ignored) = (BTreeMap::<&str, u32>::new(), BTreeSet::new());
    while let Some(state) = open.pop() {
        if !seen.insert(state.key()) {
            continue;
        }
        let next = state.next();
        if !next.iter().any(|(_, must)| *must) {
            *ends.entry(state.check_end().as_str()).or_default() += 1;
            ignored.extend(fold(&state.log).ignored);
        }
        open.extend(next.into_iter().map(|(state, _)| state));
    }
    println!("{} states, ends: {ends:?}, ignored: {ignored:?}", seen.len());
    assert!(seen.len() > 5_000, "too few states: {}", seen.len());
    assert_eq!(ends.keys().copied().collect::<Vec<_>>(), ["cancelled", "failed", "succeeded"]);
    assert!(ignored.contains(&Why::Repeated) && ignored.contains(&Why::UnknownRun), "{ignored:?}");
}
