//! Attempts from delivery to record, with scripted models and tools, over the
//! broker in memory and on a paused clock.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, and clippy knows test functions but not their helpers"
)]

mod criteria;
mod hostile;
mod judge;
mod limits;
mod many;
mod model_steps;
mod script;
mod tool_steps;
mod tools;
mod wires;
mod write_steps;

use std::{future::Future, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream::BoxStream};
use planfleet_bus::{Bus, JournalEntry, Manage, Pool, Topology, broker::memory::MemoryBroker, work::Origin};
use planfleet_core::{
    command::{ResolvedInput, ResolvedValue, StepOrder},
    failure::Failure,
    id::StepId,
    json::Json,
    record::{AttemptReport, Fact},
    task::{Approval, Budget, Envelope, Priority, Review},
    tool::Effect,
    usage::{Account, Usage},
};
use planfleet_executor::{Config, Executor, Models};
use planfleet_proto::{decode::Entry, subjects};
use planfleet_runtime::{clock, tasks::Tasks};
use planfleet_tools::Registry;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use self::{script::Script, tools::Calls};

/// Paused clocks reach it at once; without it a lost wake-up would hang the suite.
const PATIENCE: Duration = Duration::from_secs(600);

async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, event).await {
        Ok(value) => value,
        Err(_) => panic!("no sign of {what} within {PATIENCE:?}"),
    }
}

const STEP_TIMEOUT: Duration = Duration::from_secs(45);
const TURNS_MAX: u32 = 4;

/// An executor at work, with the test in the place of the coordinator.
struct Bench {
    broker: MemoryBroker,
    bus: Bus,
    journal: BoxStream<'static, Result<JournalEntry, planfleet_bus::Error>>,
    stop: CancellationToken,
    tasks: Tasks,
    /// What the tools were called with.
    calls: Calls,
}

/// How an attempt ended.
struct Ended {
    report: AttemptReport,
    outcome: Result<Value, Failure>,
}

impl Ended {
    fn output(self) -> Value {
        self.outcome.expect("a success")
    }

    fn failure(self) -> Failure {
        self.outcome.expect_err("a failure")
    }

    fn usage(&self, account: Account) -> Option<Usage> {
        self.report.usage.iter().find(|charge| charge.account == account).map(|charge| charge.usage)
    }
}

impl Bench {
    /// Nobody works yet.
    async fn empty() -> Self {
        let broker = MemoryBroker::new();
        let bus = Bus::new(Arc::new(broker.clone()), 1);
        let topology = Topology { shards: 1, replicas: 1, pools: vec![pool()], manage: Manage::Create };
        bus.bootstrap(&topology).await.expect("assets");
        let journal = bus.read_journal(0, 1).await.expect("a log");
        let (stop, tasks, calls) = (CancellationToken::new(), Tasks::new("test"), Calls::default());
        Self { broker, bus, journal, stop, tasks, calls }
    }

    async fn with(models: Models) -> Self {
        let bench = Self::empty().await;
        bench.start(models);
        bench
    }

    /// An executor with that model and no other.
    async fn with_model(model: &Arc<Script>) -> Self {
        Self::with(Models { executor: Some(model.handle("small")), ..Models::default() }).await
    }

    fn start(&self, models: Models) {
        self.start_with(config(), models, tools::registry(&self.calls));
    }

    fn start_with(&self, config: Config, models: Models, registry: Registry) {
        let executor =
            Executor::build(self.bus.clone(), config, models, Arc::new(registry), Arc::new(|_| None));
        let stop = self.stop.clone();
        self.tasks.spawn("executor", async move { executor.run(stop).await });
    }

    /// Has an order carried out.
    async fn carry_out(&mut self, order: StepOrder) -> Ended {
        self.bus.dispatch_step(&order, Origin::default()).await.expect("queued");
        self.ended().await
    }

    /// The next attempt in the log.
    async fn ended(&mut self) -> Ended {
        let entry = soon("a record", self.journal.next()).await.expect("a log without end");
        match entry.expect("an entry").content {
            Ok(Entry::Run(record)) => match record.fact {
                Fact::StepSucceeded(success) => {
                    Ended { report: success.attempt, outcome: Ok(success.output.value()) }
                }
                Fact::StepFailed(failed) => Ended { report: failed.attempt, outcome: Err(failed.failure) },
                other => panic!("no end of an attempt: {other:?}"),
            },
            other => panic!("no record of a run: {other:?}"),
        }
    }

    /// Waits until the work has left the queue.
    async fn emptied(&self) {
        let broker = self.bus.broker();
        let empty = async {
            while broker.backlog(subjects::STEPS, "pool_default").await.expect("an answer") > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        soon("an empty queue", empty).await;
    }
}

fn config() -> Config {
    Config {
        pool: pool(),
        step_timeout: STEP_TIMEOUT,
        deliveries_max: 3,
        turns_max: TURNS_MAX,
        grace: Duration::from_secs(1),
        now_ms: clock::unix_ms,
    }
}

fn pool() -> Pool {
    Pool { name: "default".to_owned(), slots: 2, ack_wait: Duration::from_secs(30) }
}

/// An attempt of that step, in an envelope with every tool but `shell`.
fn order(spec: Value, inputs: Vec<ResolvedInput>) -> StepOrder {
    let reading = ["parrot", "busy", "hang", "much", "value"].map(|name| (name.to_owned(), Effect::Read));
    let writing = ["pay", "put"].map(|name| (name.to_owned(), Effect::Write));
    let envelope = Envelope {
        tools: reading.into_iter().chain(writing).collect(),
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
    };
    StepOrder {
        run: "00-secretrun".parse().expect("a run id"),
        step: StepId::plain(7),
        attempt: 2,
        revision: 1,
        pool: "default".into(),
        spec: Arc::new(serde_json::from_value(spec).expect("a step")),
        inputs,
        tenant: "secrettenant".into(),
        batch: None,
        priority: Priority::Normal,
        envelope: Arc::new(envelope),
        traceparent: None,
        deadline_at_ms: None,
        timeout_at_ms: None,
    }
}

/// A step for a model, with these criteria.
fn model_step(criteria: Value) -> StepOrder {
    let spec = json!({"id": 7, "description": "Name the capital.", "success_criteria": criteria});
    order(spec, Vec::new())
}

/// A step that calls that tool.
fn tool_step(tool: &str, inputs: Vec<ResolvedInput>) -> StepOrder {
    order(json!({"id": 7, "kind": "tool", "tools": [tool]}), inputs)
}

fn literal(name: &str, text: &str) -> ResolvedInput {
    ResolvedInput { name: name.to_owned(), value: ResolvedValue::Literal(text.to_owned()) }
}

fn output_of_step(name: &str, value: &Value) -> ResolvedInput {
    ResolvedInput { name: name.to_owned(), value: ResolvedValue::Json(Json::from_value(value)) }
}
