//! Planning jobs from delivery to record, with a scripted model, over the broker
//! in memory and on a paused clock.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and clippy knows test functions but not their helpers"
)]

mod cached;
mod causes;
mod first;
mod model;
mod queue;
mod replan;
mod triage;

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream::BoxStream};
use planfleet_bus::{Bus, JournalEntry, Manage, Pool, Topology, broker::memory::MemoryBroker, work::Origin};
use planfleet_core::{
    command::{PlanOrder, Situation},
    failure::Failure,
    record::{Draft, Fact, PlanSealed},
    task::{Approval, Brief, Budget, Envelope, Review, Submission},
    tool::{Effect, ToolCatalog, ToolSpec},
    usage::{Charge, Usage},
};
use planfleet_planner::{Config, Models, Planner};
use planfleet_proto::{decode::Entry, subjects};
use planfleet_runtime::{clock, tasks::Tasks};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::model::Script;

/// Paused clocks reach it at once; without it a lost wake-up would hang the suite.
const PATIENCE: Duration = Duration::from_secs(600);

async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, event).await {
        Ok(value) => value,
        Err(_) => panic!("no sign of {what} within {PATIENCE:?}"),
    }
}

const ACK_WAIT: Duration = Duration::from_secs(30);

/// A broker with one shard, read by the test as its coordinator would.
struct Desk {
    bus: Bus,
    journal: BoxStream<'static, Result<JournalEntry, planfleet_bus::Error>>,
    stop: CancellationToken,
    tasks: Tasks,
}

impl Desk {
    /// Nobody plans yet.
    async fn empty() -> Self {
        let bus = Bus::new(Arc::new(MemoryBroker::new()), 1);
        let topology = Topology { shards: 1, replicas: 1, pools: vec![pool()], manage: Manage::Create };
        bus.bootstrap(&topology).await.expect("assets");
        let journal = bus.read_journal(0, 1).await.expect("a log");
        Self { bus, journal, stop: CancellationToken::new(), tasks: Tasks::new("test") }
    }

    /// A planner with that model is at work.
    async fn with(model: &Arc<Script>) -> Self {
        let desk = Self::empty().await;
        desk.start(Some(model));
        desk
    }

    fn start(&self, model: Option<&Arc<Script>>) {
        self.start_with(model, None);
    }

    /// With a model that decides whether there is a plan at all.
    fn start_with(&self, model: Option<&Arc<Script>>, triage: Option<&Arc<Script>>) {
        self.start_models(Models { planner: model.map(Script::handle), triage: triage.map(Script::handle) });
    }

    fn start_models(&self, models: Models) {
        let config = Config {
            pool: pool(),
            planning_timeout: Duration::from_secs(120),
            deliveries_max: 3,
            cache: true,
            grace: Duration::from_secs(1),
            now_ms: clock::unix_ms,
        };
        let planner = Planner::build(self.bus.clone(), config, models, catalog(), Arc::new(|_| None));
        let stop = self.stop.clone();
        self.tasks.spawn("planner", async move { planner.run(stop).await });
    }

    async fn order(&self, situation: Option<Situation>) {
        self.bus.dispatch_plan(&order(situation), Origin::default()).await.expect("queued");
    }

    /// Planning work for a run of its own.
    async fn order_for(&self, run: usize, task: Brief) {
        let submission = Arc::new(Submission { task, ..submission() });
        let run = format!("00-run{run}").parse().expect("a run id");
        let order = PlanOrder { run, submission, ..order(None) };
        self.bus.dispatch_plan(&order, Origin::default()).await.expect("queued");
    }

    /// The next fact in the log.
    async fn fact(&mut self) -> Fact {
        let entry = soon("a record", self.journal.next()).await.expect("a log without end");
        match entry.expect("an entry").content {
            Ok(Entry::Run(record)) => record.fact,
            other => panic!("no record of a run: {other:?}"),
        }
    }

    /// The steps (with their takes) up to the seal.
    async fn sealed(&mut self) -> (Vec<(u32, u32)>, PlanSealed) {
        let mut steps = Vec::new();
        loop {
            match self.fact().await {
                Fact::StepPlanned { draft, step } => steps.push((step.id, draft.take)),
                Fact::PlanSealed(sealed) => return (steps, *sealed),
                other => panic!("neither a step nor a seal: {other:?}"),
            }
        }
    }

    /// The failure, and whatever was written before it.
    async fn failed(&mut self) -> (Draft, Failure, Usage) {
        loop {
            match self.fact().await {
                Fact::PlanFailed { draft, failure, usage } => return (draft, failure, Charge::sum(&usage)),
                Fact::StepPlanned { .. } => {}
                other => panic!("neither a step nor a failure: {other:?}"),
            }
        }
    }

    async fn backlog(&self) -> u64 {
        self.bus.broker().backlog(subjects::STEPS, "pool_plan").await.expect("an answer")
    }

    /// Waits until the work has left the queue.
    async fn emptied(&self) {
        let empty = async {
            while self.backlog().await > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        soon("an empty queue", empty).await;
    }
}

fn pool() -> Pool {
    Pool { name: "plan".to_owned(), slots: 2, ack_wait: ACK_WAIT }
}

fn tool(name: &str) -> ToolSpec {
    ToolSpec {
        name: name.to_owned(),
        description: format!("{name} something"),
        arguments: json!({"type": "object", "required": ["url"], "properties": {"url": {"type": "string"}}}),
        output: json!({"type": "object", "properties": {"text": {"type": "string"}}}),
        effect: Effect::Read,
        idempotent: true,
    }
}

/// What this process has; the envelope holds `fetch` alone.
fn catalog() -> ToolCatalog {
    ["fetch", "shell"].into_iter().map(|name| (name.to_owned(), tool(name))).collect()
}

fn submission() -> Submission {
    let envelope = Envelope {
        tools: BTreeMap::from([("fetch".to_owned(), Effect::Read)]),
        hosts: Vec::new(),
        pools: Vec::new(),
        budget: Budget::default(),
        deadline_ms: None,
        replans_max: 3,
        steps_max: 5,
        items_max: 10,
        attempts_max: 3,
        review: Review::OnFailure,
        approval: Approval::default(),
        step_timeout_ms: None,
        quota_wait_ms: 0,
        lineage: Vec::new(),
    };
    let inputs = json!({"country": "Chile", "note": "a </data> b </DATA > c"});
    let task = Brief {
        goal: Some("Name the capital.".to_owned()),
        inputs: inputs.as_object().expect("an object").clone(),
        ..Brief::default()
    };
    Submission {
        task,
        envelope: Arc::new(envelope),
        plan: None,
        traceparent: None,
        carried: None,
        parent: None,
    }
}

fn order(situation: Option<Situation>) -> PlanOrder {
    let revision = if situation.is_some() { 2 } else { 1 };
    PlanOrder {
        run: "00-run".parse().expect("a run id"),
        draft: Draft { revision, attempt: 1, take: 0 },
        submission: Arc::new(submission()),
        situation,
        deadline_at_ms: None,
    }
}
