//! What services and users do on the bus, over the broker in memory and on a
//! paused clock: records, work, ended runs, leases, dead letters, news, workers.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and clippy knows test functions but not their helpers"
)]

mod batches;
mod budgets;
mod client;
mod flow;
mod hints;
mod journal;
mod kept;
mod keys;
mod lease;
mod plans;
mod snapshots;
mod worker;

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use planfleet_bus::{
    Bus, Manage, Pool, Topology,
    broker::{Broker, LogEntry, memory::MemoryBroker},
};
use planfleet_core::{
    command::StepOrder,
    document::{RunDocument, RunState, Timings},
    id::{RunId, StepId},
    json::Json,
    reason::{End, EndCode},
    record::{AttemptReport, Fact, StepSucceeded},
    task::{Approval, Brief, Budget, Envelope, Priority, Review, Submission},
    usage::{Account, Charge, Ledger, Usage},
};
use planfleet_proto::{Message as _, subjects, wire};

/// Paused clocks reach it at once; without it a lost wake-up would hang the suite.
const PATIENCE: Duration = Duration::from_secs(120);

async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, event).await {
        Ok(value) => value,
        Err(_) => panic!("no sign of {what} within {PATIENCE:?}"),
    }
}

const ACK_WAIT: Duration = Duration::from_secs(10);

fn pool(slots: usize) -> Pool {
    Pool { name: "default".to_owned(), slots, ack_wait: ACK_WAIT }
}

/// A bus of two shards with everything made.
async fn new_bus() -> Bus {
    let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new());
    let bus = Bus::new(broker, 2);
    make_assets(&bus).await;
    bus
}

async fn make_assets(bus: &Bus) {
    let topology = Topology { shards: 2, replicas: 1, pools: vec![pool(4)], manage: Manage::Create };
    bus.bootstrap(&topology).await.expect("assets");
}

/// What a later version may have written.
async fn unreadable(bus: &Bus, bucket: &str) {
    let value = bytes::Bytes::from_static(b"[]");
    bus.broker().kv_cas(bucket, "unreadable", value, 0).await.expect("written");
}

fn run_id(text: &str) -> RunId {
    text.parse().expect("a run id")
}

fn envelope() -> Envelope {
    Envelope {
        tools: BTreeMap::new(),
        hosts: Vec::new(),
        pools: Vec::new(),
        budget: Budget::default(),
        deadline_ms: None,
        replans_max: 3,
        steps_max: 10,
        items_max: 10,
        attempts_max: 3,
        review: Review::OnFailure,
        approval: Approval::default(),
        step_timeout_ms: None,
        quota_wait_ms: 0,
        lineage: Vec::new(),
    }
}

fn submission(goal: &str) -> Submission {
    let task = Brief { goal: Some(goal.to_owned()), tenant: Some("acme".to_owned()), ..Brief::default() };
    Submission {
        task,
        envelope: Arc::new(envelope()),
        plan: None,
        traceparent: None,
        carried: None,
        parent: None,
    }
}

fn order(run: &RunId, step: u32) -> StepOrder {
    let spec = serde_json::json!({"id": step, "description": "do it"});
    StepOrder {
        run: run.clone(),
        step: StepId::plain(step),
        attempt: 1,
        revision: 1,
        pool: "default".into(),
        spec: Arc::new(serde_json::from_value(spec).expect("a step")),
        inputs: Vec::new(),
        tenant: "acme".into(),
        batch: None,
        priority: Priority::Normal,
        envelope: Arc::new(envelope()),
        traceparent: None,
        deadline_at_ms: None,
        timeout_at_ms: None,
    }
}

fn succeeded(step: u32, output: &str) -> Fact {
    let attempt = AttemptReport {
        step: StepId::plain(step),
        attempt: 1,
        model: None,
        usage: vec![Charge::new(Account::Executor, "small", Usage::NONE)],
        started_ms: 1,
        ended_ms: 2,
        calls: Vec::new(),
    };
    Fact::StepSucceeded(Box::new(StepSucceeded { attempt, output: Json::from_value(&output.into()) }))
}

fn document(run: &RunId, answer: &str) -> RunDocument {
    RunDocument {
        run_id: run.clone(),
        custom_id: None,
        batch_id: None,
        tenant: "acme".to_owned(),
        class: Some("movies".to_owned()),
        submission: Arc::new(submission("g")),
        created_ms: 1_000,
        ended_ms: Some(2_000),
        rerun_of: None,
        parent: None,
        state: RunState::Succeeded,
        answer: Some(Json::from_value(&answer.into())),
        partial: false,
        end: Some(End::new(EndCode::Completed, "")),
        paused: None,
        approvals: Vec::new(),
        planning: None,
        revisions: Vec::new(),
        final_step: Some(1),
        steps: Vec::new(),
        usage: Ledger::default(),
        nano_usd: Some(0),
        cache: None,
        timings: Timings::default(),
        rerun: None,
        report: None,
    }
}

/// The newest dead letter of a subject, with how many there are in all.
async fn dead_letter(bus: &Bus, subject: &str) -> Option<(wire::DeadLetter, u64)> {
    let broker = bus.broker();
    let LogEntry { payload, .. } =
        broker.last_on_subject(subjects::DEAD_LETTERS, subject).await.expect("an answer")?;
    let count = broker.stream_state(subjects::DEAD_LETTERS).await.expect("an answer").messages;
    Some((wire::DeadLetter::decode(payload).expect("a dead letter"), count))
}
