//! Writes histories as a fleet would leave them: each call is one thing that
//! happens, a few milliseconds after the one before.

use std::{collections::BTreeMap, sync::Arc};

use planfleet_core::{
    command::{ResolvedInput, ResolvedValue, StepOrder},
    failure::{Failure, FailureClass},
    id::{RunId, ShardId, StepId},
    json::Json,
    plan::{Input, Plan, PlanStep},
    record::{AttemptReport, Decision, Draft, Fact, PlanSealed, Record, StepFailed, StepSucceeded, Timer},
    task::{Brief, Envelope, Submission},
    tool::Effect as ToolEffect,
};
use planfleet_proto::{
    decode::Entry,
    subjects::{Work, WorkKind},
};
use serde_json::{Value, json};

use super::steps::Told;
use crate::history::{
    Call, Dispatch, Effect, Expected, Fate, Fault, FaultKind, History, Logged, Outcome, Target, What,
};

/// When histories begin.
const BEGIN_MS: u64 = 1_000_000;

/// Between two things that happen.
const STEP_MS: u64 = 3;

/// A history while it is written.
pub(super) struct Story {
    pub(super) history: History,
    pub(super) now_ms: u64,
    pub(super) runs: BTreeMap<RunId, Told>,
    epochs: BTreeMap<ShardId, u64>,
}

impl Story {
    /// Two shards and their first owners.
    pub(super) fn new() -> Self {
        let (history, runs, epochs) = (History::default(), BTreeMap::new(), BTreeMap::new());
        let mut story = Self { history, now_ms: BEGIN_MS, runs, epochs };
        story.take_over(0, "c0");
        story.take_over(1, "c1");
        story
    }

    fn tick(&mut self) -> u64 {
        self.now_ms += STEP_MS;
        self.now_ms
    }

    pub(super) fn wait(&mut self, ms: u64) {
        self.now_ms += ms;
    }

    pub(super) fn take_over(&mut self, shard: ShardId, owner: &str) {
        let epoch = self.epochs.entry(shard).or_default();
        *epoch += 1;
        let entry = Entry::EpochOpened { epoch: *epoch, owner: owner.to_owned(), logic_version: 1 };
        self.log(shard, entry);
    }

    fn log(&mut self, shard: ShardId, entry: Entry) {
        let at_ms = self.tick();
        let log = self.history.logs.entry(shard).or_default();
        log.push(Logged { seq: log.len() as u64 + 1, at_ms, entry: Ok(entry) });
    }

    pub(super) fn append(&mut self, run: &RunId, fact: Fact) {
        let record = Record { run: run.clone(), at_ms: self.now_ms + STEP_MS, fact };
        self.log(run.shard(), Entry::Run(Box::new(record)));
        if let Some(told) = self.runs.get_mut(run) {
            told.last_ms = self.now_ms;
        }
    }

    fn call(&mut self, client: u32, what: What) {
        let began_ms = self.tick();
        let ended_ms = self.tick();
        self.history.clients.push(Call { client, began_ms, ended_ms, what });
    }

    /// A task with a plan, or with a goal to plan for.
    pub(super) fn submit(
        &mut self,
        shard: ShardId,
        tag: &str,
        plan: Option<Vec<PlanStep>>,
        fate: Fate,
    ) -> RunId {
        let run = RunId::new(shard, tag).unwrap();
        let goal = plan.is_none().then(|| "add it all up".to_owned());
        let steps = plan.clone().unwrap_or_default();
        let last = steps.last().map_or(0, |step| step.id);
        let Value::Object(inputs) = json!({"x": 5}) else { unreachable!("an object is one") };
        let submission = Submission {
            task: Brief { goal, inputs, custom_id: Some(tag.to_owned()), ..Brief::default() },
            envelope: Arc::new(envelope()),
            plan: plan.map(|steps| Arc::new(Plan::new(steps, last))),
            traceparent: None,
            carried: None,
            parent: None,
        };
        self.runs.insert(run.clone(), Told::new(tag, submission.clone()));
        self.append(&run, Fact::TaskSubmitted(Box::new(submission)));
        let told = self.runs.get_mut(&run).unwrap();
        told.submitted_ms = self.now_ms;
        steps.iter().for_each(|step| told.plan(step));
        let expected = Expected { nodes: told.nodes.clone(), fate, replanned: false };
        self.history.expected.insert(tag.to_owned(), expected);
        self.submitted(&run, tag, Outcome::Ok);
        run
    }

    /// A client's submit.
    pub(super) fn submitted(&mut self, run: &RunId, tag: &str, outcome: Outcome) {
        let run = outcome.is_ok().then(|| run.clone());
        self.call(1, What::Submit { key: format!("key-{tag}"), tag: tag.to_owned(), run, outcome });
    }

    pub(super) fn cancel(&mut self, run: &RunId) {
        self.append(run, Fact::RunCancelRequested { reason: "enough".to_owned() });
        self.call(1, What::Cancel { run: run.clone(), outcome: Outcome::Ok });
    }

    pub(super) fn read(&mut self, client: u32, run: &RunId, state: &str, steps_done: u32) {
        let revision = self.runs[run].revisions;
        let steps_done = Some(steps_done);
        self.call(client, What::Read { run: run.clone(), state: state.to_owned(), revision, steps_done });
    }

    pub(super) fn told_end(&mut self, client: u32, run: &RunId) {
        let kept = self.history.documents.iter().find(|kept| kept.run == *run).unwrap();
        let document = kept.document.clone();
        self.call(client, What::Ended { run: run.clone(), document });
    }

    fn queue(&mut self, run: &RunId, what: WorkKind, attempt: u32, order: Option<StepOrder>) {
        let at_ms = self.tick();
        self.history.dispatches.push(Dispatch {
            seq: self.history.dispatches.len() as u64 + 1,
            at_ms,
            work: Work { run: run.clone(), what, attempt },
            order: order.map(Box::new),
            epoch: self.epochs.get(&run.shard()).copied(),
            log_seq: self.history.logs.get(&run.shard()).map(|log| log.len() as u64),
        });
    }

    pub(super) fn order_planning(&mut self, run: &RunId, revision: u32) {
        self.queue(run, WorkKind::Planning(revision), 1, None);
    }

    /// A draft's steps. Those of a first plan may start before it is sealed.
    pub(super) fn planned(&mut self, run: &RunId, draft: Draft, steps: &[PlanStep]) {
        for step in steps {
            self.append(run, Fact::StepPlanned { draft, step: Box::new(step.clone()) });
            self.runs.get_mut(run).unwrap().plan(step);
        }
        let tag = self.runs[run].tag.clone();
        let nodes = self.runs[run].nodes.clone();
        self.history.expected.get_mut(&tag).unwrap().nodes = nodes;
    }

    pub(super) fn sealed(&mut self, run: &RunId, draft: Draft, steps: u32, decision: Decision) {
        self.append(
            run,
            Fact::PlanSealed(Box::new(PlanSealed {
                draft,
                steps,
                decision,
                reason: "so".to_owned(),
                usage: Vec::new(),
                model: "modelsim".to_owned(),
                started_ms: self.now_ms,
                cache: None,
            })),
        );
        self.runs.get_mut(run).unwrap().revisions += 1;
    }

    /// Orders an attempt of a step, with what its plan refers to.
    pub(super) fn order(&mut self, run: &RunId, id: StepId, attempt: u32) {
        let told = self.runs.get_mut(run).unwrap();
        let spec = told.specs[&id.step].clone();
        let mut inputs: Vec<ResolvedInput> = spec
            .inputs
            .iter()
            .map(|input| {
                let value = match input.reference() {
                    Some((from, path)) => ResolvedValue::Json(Json::from_value(&told.value(from, path))),
                    None => ResolvedValue::Literal(input.value.clone().unwrap_or_default()),
                };
                ResolvedInput { name: input.name.clone(), value }
            })
            .collect();
        if let (Some(each), Some(item)) = (&spec.for_each, id.item) {
            let value = told.value(each.from_step, &format!("{}/{item}", each.path));
            let name = each.item_name().to_owned();
            inputs.push(ResolvedInput { name, value: ResolvedValue::Item(Json::from_value(&value)) });
            inputs.push(ResolvedInput { name: "index".to_owned(), value: ResolvedValue::Index(item) });
        }
        told.attempts.insert(id, attempt);
        let order = StepOrder {
            run: run.clone(),
            step: id,
            attempt,
            revision: 1,
            pool: "default".into(),
            spec: Arc::new(spec),
            inputs,
            tenant: "default".into(),
            batch: None,
            priority: told.submission.task.priority,
            envelope: Arc::clone(&told.submission.envelope),
            traceparent: None,
            deadline_at_ms: None,
            timeout_at_ms: None,
        };
        self.queue(run, WorkKind::Step(id), attempt, Some(order));
    }

    /// A call of the ledger that sees what the plan refers to.
    pub(super) fn effect(&mut self, run: &RunId, id: StepId, value: Option<Value>) {
        let told = &self.runs[run];
        let spec = &told.specs[&id.step];
        let references = spec.inputs.iter().filter_map(Input::reference);
        let mut inputs: Vec<Value> = references.map(|(from, path)| told.value(from, path)).collect();
        if let (Some(each), Some(item)) = (&spec.for_each, id.item) {
            inputs.push(told.value(each.from_step, &format!("{}/{item}", each.path)));
        }
        let (tag, node) = (told.tag.clone(), format!("n{}", id.step));
        let began_ms = self.tick();
        let ended_ms = value.is_some().then_some(began_ms + 1);
        self.wait(1);
        let broke_ms = value.is_none().then_some(began_ms + 1);
        let item = id.item;
        self.history.effects.push(Effect { began_ms, ended_ms, broke_ms, tag, node, item, inputs, value });
    }

    /// A success in the log, taken or not.
    pub(super) fn result(&mut self, run: &RunId, id: StepId, attempt: u32, value: &Value) {
        let output = Json::from_value(&json!({"json": {"value": value}}));
        let attempt = self.report(id, attempt);
        self.append(run, Fact::StepSucceeded(Box::new(StepSucceeded { attempt, output })));
    }

    pub(super) fn failure(&mut self, run: &RunId, id: StepId, attempt: u32, class: FailureClass) {
        let failure = Failure::new(class, "answered 500");
        let attempt = self.report(id, attempt);
        self.append(run, Fact::StepFailed(Box::new(StepFailed { attempt, failure })));
    }

    fn report(&self, step: StepId, attempt: u32) -> AttemptReport {
        let (started_ms, ended_ms) = (self.now_ms, self.now_ms + 1);
        AttemptReport {
            step,
            attempt,
            model: None,
            usage: Vec::new(),
            started_ms,
            ended_ms,
            calls: Vec::new(),
        }
    }

    pub(super) fn retry(&mut self, run: &RunId, step: StepId, attempt: u32) {
        self.wait(1_000);
        self.append(run, Fact::TimerFired(Timer::Retry { step, attempt }));
    }

    /// One attempt from its order to its result, which is taken.
    pub(super) fn carry_out(&mut self, run: &RunId, id: StepId, attempt: u32, value: &Value) {
        self.order(run, id, attempt);
        self.effect(run, id, Some(value.clone()));
        self.result(run, id, attempt, value);
        self.runs.get_mut(run).unwrap().take(id, value);
    }

    pub(super) fn fault(&mut self, kind: FaultKind, target: Target, name: &str, from_ms: u64) {
        let to_ms = self.tick();
        let (name, owner) = (name.to_owned(), (target == Target::Coordinator).then(|| name.to_owned()));
        let evidence = "its pid is gone".to_owned();
        self.history.faults.push(Fault { kind, target, name, owner, from_ms, to_ms, evidence });
        self.history.healed_ms = to_ms;
    }
}

fn envelope() -> Envelope {
    Envelope {
        tools: [("http_fetch".to_owned(), ToolEffect::Read)].into(),
        hosts: Vec::new(),
        pools: Vec::new(),
        budget: planfleet_core::task::Budget::default(),
        deadline_ms: None,
        replans_max: 1,
        steps_max: 100,
        items_max: 100,
        attempts_max: 3,
        review: planfleet_core::task::Review::OnFailure,
        approval: planfleet_core::task::Approval::default(),
        step_timeout_ms: None,
        quota_wait_ms: 0,
        lineage: Vec::new(),
    }
}
