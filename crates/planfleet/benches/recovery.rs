//! How long a shard with many active runs has no owner that can act: from the
//! crash of its coordinator until the first step of a run that is submitted then
//! is queued. On a real nats-server, with all there is to do in this process:
//! lease, replay, debts. `RUNS=100000`.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark talks to people, reads its own settings and may stop"
)]

use std::{
    env, fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use planfleet_bus::{
    Bus, Lease, Manage, Pool, Topology,
    broker::nats::{ConnectOptions, NatsBroker},
};
use planfleet_coordinator::{Config, Coordinator, Upkeep};
use planfleet_core::{
    id::{RunId, StepId},
    json::Json,
    plan::Plan,
    record::{AttemptReport, Fact, StepSucceeded},
    task::{Approval, Brief, Budget, Envelope, Priority, Review, Submission},
};
use planfleet_proto::subjects;
use planfleet_runtime::tasks::Tasks;
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Steps of a run, one after the other, of which the first half is done.
const STEPS: u32 = 10;
const DONE: u32 = 5;

/// Publishes in flight while the log is filled.
const IN_FLIGHT: usize = 1_024;

struct Server {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
        let child = Command::new(nats_server())
            .args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"])
            .arg(folder.path())
            .arg("-l")
            .arg(folder.path().join("log"))
            .spawn()
            .expect("a nats-server");
        Self { child, port, _folder: folder }
    }

    async fn bus(&self) -> Bus {
        let url = format!("nats://127.0.0.1:{}", self.port);
        for _ in 0..100 {
            let options = ConnectOptions { url: url.clone(), ..ConnectOptions::default() };
            if let Ok(broker) = NatsBroker::connect(options).await {
                return Bus::new(Arc::new(broker), 1);
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!("no nats-server on {url}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It ends with the benchmark, however that ends.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn nats_server() -> std::path::PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/bin");
    let folders = std::iter::once(beside).chain(env::split_paths(&path));
    let found = folders.map(|folder| folder.join("nats-server")).find(|program| program.is_file());
    found.expect("there is no nats-server: run `make setup`")
}

fn submission() -> Submission {
    let steps: Vec<Value> = (1..=STEPS)
        .map(|id| {
            let before = if id == 1 { Vec::new() } else { vec![id - 1] };
            json!({"id": id, "description": "Do one thing after the other.", "depends_on": before})
        })
        .collect();
    let plan: Plan = serde_json::from_value(json!({"final": STEPS, "steps": steps})).expect("a plan");
    let envelope = Envelope {
        tools: std::collections::BTreeMap::new(),
        hosts: Vec::new(),
        pools: Vec::new(),
        budget: Budget::default(),
        deadline_ms: None,
        replans_max: 3,
        steps_max: STEPS,
        items_max: 1,
        attempts_max: 3,
        review: Review::OnFailure,
        approval: Approval::default(),
        step_timeout_ms: None,
        quota_wait_ms: 0,
        lineage: Vec::new(),
    };
    let task = Brief { goal: Some("Do ten things.".to_owned()), ..Brief::default() };
    let plan = Some(Arc::new(plan));
    Submission { task, envelope: Arc::new(envelope), plan, traceparent: None, carried: None, parent: None }
}

fn succeeded(step: u32) -> Fact {
    let attempt = AttemptReport {
        step: StepId::plain(step),
        attempt: 1,
        model: None,
        usage: Vec::new(),
        started_ms: 1,
        ended_ms: 2,
        calls: Vec::new(),
    };
    let output = Json::from_value(&json!("x".repeat(200)));
    Fact::StepSucceeded(Box::new(StepSucceeded { attempt, output }))
}

fn run(number: usize) -> RunId {
    RunId::new(0, &format!("run{number}")).expect("an id")
}

struct Node {
    tasks: Tasks,
}

impl Node {
    fn start(bus: &Bus, name: &str, set: impl FnOnce(&mut Config)) -> Self {
        let tasks = Tasks::new("bench");
        let mut config = Config::named(name);
        set(&mut config);
        let coordinator = Coordinator::build(bus.clone(), config);
        let set = tasks.clone();
        tasks.spawn("coordinator", async move { coordinator.run(&set, CancellationToken::new()).await });
        Self { tasks }
    }

    async fn crash(self) {
        let _ = self.tasks.shutdown(Duration::ZERO).await;
    }
}

async fn lease(bus: &Bus) -> Lease {
    bus.lease(0).await.ok().flatten().map(|held| held.lease).unwrap_or_default()
}

/// Nothing here takes longer, at a hundred thousand runs on two busy cores.
const PATIENCE: Duration = Duration::from_secs(120);

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let looking = async {
        while !holds().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("no {what} in {PATIENCE:?}"));
}

/// Crashes the owner and measures until a step of a new run is queued by the next one.
async fn takeover(
    bus: &Bus,
    owner: Node,
    next: impl FnOnce() -> Option<Node>,
    probe: usize,
) -> (Duration, Node) {
    let epoch = lease(bus).await.epoch;
    owner.crash().await;
    let crashed = Instant::now();
    let node = next();
    let run = run(probe);
    bus.append(&run, &Fact::TaskSubmitted(Box::new(submission()))).await.expect("submitted");
    let subject = subjects::step("default", Priority::Normal, "default", &run, StepId::plain(1), 1);
    until("step of the new run", async || {
        let queued = bus.broker().last_on_subject(subjects::STEPS, &subject).await;
        queued.is_ok_and(|found| found.is_some())
    })
    .await;
    assert!(lease(bus).await.epoch > epoch, "another owns it");
    (crashed.elapsed(), node.unwrap_or(Node { tasks: Tasks::new("none") }))
}

fn no_snapshots(config: &mut Config) {
    config.standby = false;
    config.upkeep = Upkeep { snapshot_entries: u64::MAX, ..Upkeep::default() };
}

async fn measure(runs: usize) -> Value {
    let server = Server::start();
    let bus = server.bus().await;
    let pool = |name: &str| Pool { name: name.into(), slots: 64, ack_wait: Duration::from_secs(30) };
    let pools = vec![pool("plan"), pool("default")];
    let topology = Topology { shards: 1, replicas: 1, pools, manage: Manage::Create };
    bus.bootstrap(&topology).await.expect("assets");
    let owner = Node::start(&bus, "a", no_snapshots);

    let submitted = submission();
    let facts = std::iter::once(Fact::TaskSubmitted(Box::new(submitted))).chain((1..=DONE).map(succeeded));
    for fact in facts {
        let fact = &fact;
        let bus = &bus;
        let all = stream::iter(0..runs).map(|number| async move { bus.append(&run(number), fact).await });
        let failed = all.buffer_unordered(IN_FLIGHT).filter(|done| std::future::ready(done.is_err()));
        assert_eq!(failed.count().await, 0, "the log is filled");
    }
    let tail = bus.journal_tail(0).await.expect("a log");
    until("owner at the tail", async || lease(&bus).await.folded_to >= tail).await;
    // Every run's sixth step is queued.
    until("queued steps", async || {
        let queued = bus.broker().stream_state(subjects::STEPS).await.map_or(0, |state| state.messages);
        queued >= (u64::from(DONE) + 1) * runs as u64
    })
    .await;

    let snapshots = |config: &mut Config| {
        config.standby = false;
        config.upkeep.snapshot_entries = runs as u64;
    };
    let (by_log, b) = takeover(&bus, owner, || Some(Node::start(&bus, "b", snapshots)), runs).await;
    let before = Instant::now();
    until("snapshot", async || !lease(&bus).await.snapshots.is_empty()).await;
    let written = before.elapsed();
    let (by_snapshot, c) = takeover(&bus, b, || Some(Node::start(&bus, "c", snapshots)), runs + 1).await;
    let standby = Node::start(&bus, "d", |_| {});
    let other = Node::start(&bus, "e", |_| {});
    // Either owns the shard by now, or follows it.
    sleep(Duration::from_secs(30)).await;
    let owner = lease(&bus).await.owner;
    let (owner, rest) = match owner.as_str() {
        "d" => (standby, [c, other]),
        "e" => (other, [c, standby]),
        _ => (c, [standby, other]),
    };
    let (by_standby, _) = takeover(&bus, owner, || None, runs + 2).await;
    for node in rest {
        node.crash().await;
    }
    let seconds = |duration: Duration| (duration.as_secs_f64() * 100.0).round() / 100.0;
    json!({
        "workload": "recovery", "runs": runs, "entries": tail, "lease_stale_s": 3.0,
        "takeover_by_log_s": seconds(by_log), "takeover_by_snapshot_s": seconds(by_snapshot),
        "takeover_by_standby_s": seconds(by_standby), "snapshot_written_s": seconds(written),
    })
}

fn main() {
    let runs = env::var("RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(100_000);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let measured = runtime.block_on(measure(runs));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench");
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("recovery.json"), format!("{measured:#}\n")).expect("a file");
    println!("{measured:#}");
}
