//! Logs: any sequence of records that can be read, and runs that go well.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use planfleet_core::{
    command::{Command, StepOrder},
    document::{RunDocument, RunState},
    id::RunId,
    json::DEPTH_MAX,
    plan::{Plan, PlanStep},
    record::{Fact, Record},
    run::Ignored,
    shard::Shard,
    task::Submission,
};
use planfleet_proto::{
    Message, VERSION,
    decode::{self, Entry},
    wire,
};
use serde_json::{Value, json};

use super::{messages, plans};

const RUN: &str = "00-fuzz";

/// When the first record of a log was stored.
const FIRST_MS: u64 = 1_700_000_000_000;

/// Longer logs show nothing that shorter ones do not.
const RECORDS_MAX: usize = 300;

/// A log: for each record its length in two bytes, how long after the one
/// before it came in one, and the record.
pub fn records(bytes: &[u8]) {
    let records = log(bytes);
    let (mut shard, mut replay) = (Shard::default(), Shard::default());
    let mut active = BTreeSet::new();
    for (seq, record) in (1..).zip(&records) {
        let (outcome, commands) = apply(&mut shard, seq, record);
        assert_eq!(
            apply(&mut replay, seq, record),
            (outcome, commands.clone()),
            "a replay decides otherwise"
        );
        assert!(outcome.is_ok() || commands.is_empty(), "an ignored record changes nothing");
        assert_eq!(messages::again(record), *record);
        if matches!((&record.fact, outcome), (Fact::TaskSubmitted(_), Ok(()))) {
            active.insert(record.run.clone());
        }
        for command in &commands {
            sent(command, &record.run, &mut active);
        }
        assert!(active.iter().eq(shard.active()), "{active:?}");
    }
    let now_ms = records.last().map_or(FIRST_MS, |record| record.at_ms);
    whole(&shard, now_ms);
}

fn apply(shard: &mut Shard, seq: u64, record: &Record) -> (Result<(), Ignored>, Vec<Command>) {
    let mut commands = Vec::new();
    let outcome = shard.apply(seq, record.clone(), &mut commands);
    (outcome, commands)
}

/// A command is about the record's run, while that is active, and arrives as it was sent.
fn sent(command: &Command, of: &RunId, active: &mut BTreeSet<RunId>) {
    let run = match command {
        Command::DispatchPlan(order) => {
            messages::planned(order);
            &order.run
        }
        Command::DispatchStep(order) => {
            messages::ordered(order);
            assert_eq!(order.step.item.is_some(), order.spec.for_each.is_some(), "{order:?}");
            &order.run
        }
        Command::ArmTimer { run, .. }
        | Command::AskApproval { run, .. }
        | Command::BroadcastCancel { run } => run,
        // A child's log, or its own.
        Command::TellRun { run, fact } => {
            let told = Record { run: run.clone(), at_ms: FIRST_MS, fact: fact.as_ref().clone() };
            assert_eq!(messages::again(&told), told);
            return;
        }
        Command::FinishRun(document) => &document.run_id,
    };
    assert_eq!(run, of);
    assert!(active.contains(run), "{command:?} after the end");
    if let Command::FinishRun(document) = command {
        assert!(document.state.is_end(), "{:?}", document.state);
        active.remove(run);
    }
}

/// Whatever has happened, each active run can be shown and taken over.
fn whole(shard: &Shard, now_ms: u64) {
    for run in shard.active() {
        let document = shard.document(run, now_ms).expect("an active run has a document");
        assert!(!document.state.is_end(), "{:?}", document.state);
        assert!(serde_json::to_string(&document).is_ok());
        assert!(shard.first_seq(run) >= shard.oldest_seq());
    }
    assert!(shard.owed().iter().all(|command| !matches!(command, Command::FinishRun(_))));
}

fn log(bytes: &[u8]) -> Vec<Record> {
    let (mut records, mut at_ms) = (Vec::new(), FIRST_MS);
    let mut rest = bytes;
    while let [low, high, wait, tail @ ..] = rest {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(tail.len());
        let (record, tail) = tail.split_at(length);
        // Up to nine hours: retries and deadlines come and pass.
        at_ms += 1 << (wait % 26);
        if let Ok(Entry::Run(record)) = decode::entry(record, at_ms) {
            records.push(*record);
        }
        rest = tail;
    }
    records.truncate(RECORDS_MAX);
    records
}

/// A fact as it is read from the log.
pub fn kept(fact: Fact) -> Fact {
    let record = Record { run: RUN.parse().expect("a run id"), at_ms: FIRST_MS, fact };
    messages::again(&record).fact
}

fn fact(fact: wire::record::Fact) -> Fact {
    let record = wire::Record { version: VERSION, run_id: RUN.to_owned(), fact: Some(fact) };
    match decode::entry(&record.encode_to_vec(), FIRST_MS) {
        Ok(Entry::Run(record)) => record.fact,
        other => panic!("no record of a run: {other:?}"),
    }
}

/// A task without a goal and the widest envelope: a failure ends its run.
pub fn submission() -> Submission {
    let task = wire::Task {
        inputs_json: "{}".to_owned(),
        mode: wire::Mode::Auto.into(),
        priority: wire::Priority::Normal.into(),
        ..Default::default()
    };
    let envelope = wire::Envelope {
        steps_max: u32::try_from(plans::STEPS_MAX).expect("a small number"),
        items_max: 100,
        attempts_max: 1,
        review: wire::Review::OnFailure.into(),
        ..Default::default()
    };
    let submission = wire::Submission { task: Some(task), envelope: Some(envelope), ..Default::default() };
    match fact(wire::record::Fact::TaskSubmitted(submission)) {
        Fact::TaskSubmitted(submission) => *submission,
        other => panic!("another fact: {other:?}"),
    }
}

/// A sound plan ends when every step that is asked for is answered.
pub fn carried_out(plan: &Plan) {
    let mut submission = submission();
    submission.plan = Some(Arc::new(plan.clone()));
    let submitted = Fact::TaskSubmitted(Box::new(submission));
    assert_eq!(kept(submitted.clone()), submitted, "the log keeps the plan as it is");

    let (outputs, mut shard, mut seq) = (outputs(plan), Shard::default(), 0);
    let mut coming = VecDeque::from([submitted]);
    let document = loop {
        let fact = coming.pop_front().expect("all work is answered and the run has not ended");
        seq += 1;
        assert!(seq <= 1 + plan.steps.len() as u64 * ITEMS, "more work than the plan has");
        let record = Record { run: RUN.parse().expect("a run id"), at_ms: FIRST_MS + seq, fact };
        let (outcome, commands) = apply(&mut shard, seq, &record);
        assert_eq!(outcome, Ok(()), "a first answer is ignored");
        whole(&shard, record.at_ms);
        coming.extend(commands.iter().filter_map(|command| done(command, &outputs)));
        if let Some(document) = finished(&commands) {
            break document;
        }
    };
    assert!(shard.is_empty());
    let certain = plan.steps.iter().all(|step| step.for_each.is_none() && leads_somewhere(step));
    assert!(!certain || document.state == RunState::Succeeded, "{document:?}");
    assert!(document.state == RunState::Succeeded || document.reason().is_some(), "{document:?}");
}

fn finished(commands: &[Command]) -> Option<Arc<RunDocument>> {
    let at = commands.iter().position(|command| matches!(command, Command::FinishRun(_)))?;
    assert_eq!(at, commands.len() - 1, "commands after the end");
    match &commands[at] {
        Command::FinishRun(document) => Some(Arc::clone(document)),
        _ => None,
    }
}

fn leads_somewhere(step: &PlanStep) -> bool {
    step.references().all(|(_, path)| path.is_empty())
}

fn done(command: &Command, outputs: &BTreeMap<u32, Value>) -> Option<Fact> {
    match command {
        Command::DispatchStep(order) => {
            messages::ordered(order);
            Some(succeeded(order, outputs))
        }
        Command::FinishRun(_) | Command::BroadcastCancel { .. } => None,
        other => panic!("a plan of its own asks for nothing else: {other:?}"),
    }
}

fn succeeded(order: &StepOrder, outputs: &BTreeMap<u32, Value>) -> Fact {
    let attempt = wire::Attempt {
        step: order.step.step,
        item: order.step.item,
        attempt: order.attempt,
        ..Default::default()
    };
    let output_json = outputs.get(&order.step.step).unwrap_or(&Value::Null).to_string();
    fact(wire::record::Fact::StepSucceeded(wire::StepSucceeded { attempt: Some(attempt), output_json }))
}

/// Items of every list that a step is expanded over.
const ITEMS: u64 = 2;

/// For each step an output in which what others look for is there, as far as they agree.
fn outputs(plan: &Plan) -> BTreeMap<u32, Value> {
    let mut outputs = BTreeMap::new();
    for step in &plan.steps {
        let list = step.for_each.iter().map(|each| (each.from_step, each.path.as_str(), json!(["a", "b"])));
        let inputs = step.inputs.iter().filter_map(|input| input.reference());
        for (from, path, leaf) in list.chain(inputs.map(|(from, path)| (from, path, json!("x")))) {
            place(outputs.entry(from).or_default(), path, leaf);
        }
    }
    outputs
}

fn place(root: &mut Value, path: &str, leaf: Value) {
    // What nests deeper is no output that anybody may have.
    if path.matches('/').count() >= DEPTH_MAX {
        return;
    }
    let mut here = root;
    for token in path.split('/').skip(1) {
        if here.is_null() {
            *here = json!({});
        }
        let Value::Object(object) = here else { return };
        here = object.entry(token.replace("~1", "/").replace("~0", "~")).or_insert(Value::Null);
    }
    if here.is_null() {
        *here = leaf;
    }
}
