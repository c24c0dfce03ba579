//! Coordinators on shards, over the broker in memory and on a paused clock: who
//! owns what, what a takeover emits, what a zombie must not.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, and clippy knows test functions but not their helpers"
)]

mod control;
mod counted;
mod documents;
mod flow;
mod illegal;
mod ownership;
mod snapshots;
mod spy;
mod standby;
mod sweeping;
mod takeover;
mod timers;
mod zombie;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures::{StreamExt as _, stream::BoxStream};
use planfleet_bus::{
    Bus, Client, Lease, Manage, Pool, Topology,
    broker::{Broker as _, Outgoing, memory::MemoryBroker},
    client::Found,
    live::News,
};
use planfleet_coordinator::{Config, Coordinator};
use planfleet_core::{
    failure::{Failure, FailureClass},
    id::{RunId, ShardId, StepId},
    json::Json,
    plan::Plan,
    record::{AttemptReport, Fact, StepFailed, StepSucceeded},
    task::{Approval, Brief, Budget, Envelope, Review, Submission},
};
use planfleet_proto::subjects;
use planfleet_runtime::tasks::Tasks;
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use self::spy::Spy;

/// Far longer than anything here takes on the paused clock.
const PATIENCE: Duration = Duration::from_secs(600);

/// Between two looks of a test.
const LOOK: Duration = Duration::from_millis(10);

/// What [`Config::named`] has.
const STALE: Duration = Duration::from_secs(3);

thread_local! {
    static STARTED: (Instant, u64) = (Instant::now(), system_ms());
}

fn system_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
    u64::try_from(since.as_millis()).expect("a time before the year 500 million")
}

/// The time of day, on the test's own clock.
fn now_ms() -> u64 {
    STARTED.with(|(instant, ms)| ms + u64::try_from(instant.elapsed().as_millis()).expect("a short test"))
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let looking = async {
        while !holds().await {
            sleep(LOOK).await;
        }
    };
    if tokio::time::timeout(PATIENCE, looking).await.is_err() {
        panic!("no sign of {what} within {PATIENCE:?}");
    }
}

async fn soon_news(news: &mut BoxStream<'static, News>) -> News {
    match tokio::time::timeout(PATIENCE, news.next()).await {
        Ok(Some(next)) => next,
        _ => panic!("no news within {PATIENCE:?}"),
    }
}

/// A broker with everything made, and whoever works on it.
struct Fleet {
    broker: MemoryBroker,
    bus: Bus,
    client: Client,
}

/// One coordinator.
struct Node {
    spy: Arc<Spy>,
    stop: CancellationToken,
    tasks: Tasks,
}

impl Fleet {
    /// News of a run. Somebody listens all the time, as watchers do: who does not is forgotten.
    async fn watch(&self, run: &RunId) -> BoxStream<'static, News> {
        let mut news = self.bus.watch(run).await.expect("news");
        let (to, heard) = futures::channel::mpsc::unbounded();
        let mut listening = JoinSet::new();
        listening.spawn(async move {
            while let Some(news) = news.next().await {
                let _ = to.unbounded_send(news);
            }
        });
        heard.inspect(move |_| assert!(!listening.is_empty())).boxed()
    }

    async fn with_shards(shards: ShardId) -> Self {
        // From here on the time of day moves with the paused clock, as the broker's does.
        now_ms();
        let broker = MemoryBroker::new();
        let bus = Bus::new(Arc::new(broker.clone()), shards);
        let pool = |name: &str| Pool { name: name.to_owned(), slots: 4, ack_wait: Duration::from_secs(30) };
        let pools = vec![pool("plan"), pool("default")];
        let topology = Topology { shards, replicas: 1, pools, manage: Manage::Create };
        bus.bootstrap(&topology).await.expect("assets");
        Self { broker, client: Client::new(bus.clone()), bus }
    }

    fn start(&self, name: &str) -> Node {
        self.start_with(name, |_| {})
    }

    /// Starts one with settings of its own.
    fn start_with(&self, name: &str, set: impl FnOnce(&mut Config)) -> Node {
        let mut config = Config { now_ms, ..Config::named(name) };
        set(&mut config);
        self.start_as(config)
    }

    fn start_as(&self, config: Config) -> Node {
        let spy = Spy::on(&self.broker);
        let bus = Bus::new(spy.clone(), self.bus.shards());
        let (stop, tasks) = (CancellationToken::new(), Tasks::new("test"));
        let coordinator = Coordinator::build(bus, config);
        let (set, stopped) = (tasks.clone(), stop.clone());
        tasks.spawn("coordinator", async move { coordinator.run(&set, stopped).await });
        Node { spy, stop, tasks }
    }

    /// Starts one and waits until it owns everything.
    async fn start_alone(&self, name: &str) -> Node {
        let node = self.start(name);
        self.owned_by(name).await;
        node
    }

    async fn owned_by(&self, name: &str) {
        let all = async || self.owners().await.iter().all(|owner| owner == name);
        until(&format!("{name} as the owner of everything"), all).await;
    }

    async fn owners(&self) -> Vec<String> {
        let mut owners = Vec::new();
        for shard in 0..self.bus.shards() {
            owners.push(self.lease(shard).await.owner);
        }
        owners
    }

    async fn lease(&self, shard: ShardId) -> Lease {
        self.bus.lease(shard).await.expect("an answer").map(|held| held.lease).unwrap_or_default()
    }

    /// Waits until the owner of shard 0 has folded its whole log and has said so in its lease.
    async fn checkpoint(&self) {
        let tail = self.bus.journal_tail(0).await.expect("a log");
        until("a checkpoint", async || self.lease(0).await.folded_to >= tail).await;
    }

    async fn submit(&self, name: &str, submission: Submission) -> RunId {
        let run = RunId::new(0, name).expect("a run id");
        self.append(&run, Fact::TaskSubmitted(Box::new(submission))).await;
        run
    }

    async fn append(&self, run: &RunId, fact: Fact) {
        self.bus.append(run, &fact).await.expect("a broker");
    }

    /// Appends what nobody can read.
    async fn garbage(&self) {
        let subject = "pf.ev.00.result".to_owned();
        let payload = Bytes::from_static(b"\xff\xff");
        let message = Outgoing { subject, payload, ..Outgoing::default() };
        self.broker.publish(message).await.expect("stored");
    }

    async fn dead_letters(&self) -> u64 {
        self.broker.stream_state(subjects::DEAD_LETTERS).await.expect("an answer").messages
    }

    /// The names of everything that belongs to snapshots.
    async fn snapshot_objects(&self) -> Vec<String> {
        let listed = self.broker.object_list(subjects::SNAPSHOTS).await.expect("a list");
        let mut names: Vec<String> = listed.map(|object| object.expect("an object").name).collect().await;
        names.sort();
        names
    }

    async fn is_queued(&self, subject: &str) -> bool {
        self.bus.broker().last_on_subject(subjects::STEPS, subject).await.expect("an answer").is_some()
    }

    async fn queued(&self, subject: &str) {
        until(subject, async || self.is_queued(subject).await).await;
    }

    /// An active run as its owner knows it.
    async fn active(&self, run: &RunId) -> Value {
        match self.client.find(run).await {
            Ok(Found::Active(document)) => document,
            other => panic!("not active: {other:?}"),
        }
    }

    /// Waits for a run's document.
    async fn ended(&self, run: &RunId) -> Value {
        self.client.wait(run, PATIENCE).await.expect("an answer").expect("an end")
    }
}

impl Node {
    /// Stops it as an operator would.
    async fn stop(&self) {
        self.stop.cancel();
        let unfinished = self.tasks.shutdown(PATIENCE).await;
        assert!(unfinished.is_empty(), "{unfinished}");
    }

    /// Stops it as a crash would: nothing is said to anybody.
    async fn crash(&self) {
        let _ = self.tasks.shutdown(Duration::ZERO).await;
    }

    /// The work that it has published so far, in order.
    fn work(&self) -> Vec<String> {
        self.spy.published("pf.steps.").into_iter().map(|(subject, _)| subject).collect()
    }
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

/// A task that has to be planned.
fn goal() -> Submission {
    let task = Brief { goal: Some("report".to_owned()), ..Brief::default() };
    Submission {
        task,
        envelope: Arc::new(envelope()),
        plan: None,
        traceparent: None,
        carried: None,
        parent: None,
    }
}

/// A task with its own plan: step 3 waits for 1 and 2.
fn planned() -> Submission {
    let plan: Plan = serde_json::from_value(json!({"final": 3, "steps": [
        {"id": 1, "description": "a"},
        {"id": 2, "description": "b"},
        {"id": 3, "description": "c", "depends_on": [1, 2]}
    ]}))
    .expect("a plan");
    Submission { plan: Some(Arc::new(plan)), ..goal() }
}

fn within(submission: Submission, deadline: Duration) -> Submission {
    enveloped(submission, |envelope| envelope.deadline_ms = u64::try_from(deadline.as_millis()).ok())
}

/// The same under an envelope that is changed so.
fn enveloped(submission: Submission, change: impl FnOnce(&mut Envelope)) -> Submission {
    let mut envelope = envelope();
    change(&mut envelope);
    Submission { envelope: Arc::new(envelope), ..submission }
}

fn attempt(step: u32, attempt: u32) -> AttemptReport {
    let usage = Vec::new();
    AttemptReport {
        step: StepId::plain(step),
        attempt,
        model: None,
        usage,
        started_ms: 1,
        ended_ms: 2,
        calls: Vec::new(),
    }
}

fn succeeded(step: u32) -> Fact {
    let output = Json::from_value(&json!(format!("out {step}")));
    Fact::StepSucceeded(Box::new(StepSucceeded { attempt: attempt(step, 1), output }))
}

fn transient(step: u32, retry_after: Duration) -> Fact {
    let retry_after_ms = u64::try_from(retry_after.as_millis()).ok();
    let failure = Failure { retry_after_ms, ..Failure::new(FailureClass::Transient, "busy") };
    Fact::StepFailed(Box::new(StepFailed { attempt: attempt(step, 1), failure }))
}

/// The subject of an attempt of a step of [`planned`].
fn step(run: &RunId, step: u32, attempt: u32) -> String {
    format!("pf.steps.default.1.default.{run}.{step}.{attempt}")
}
