//! An API over real HTTP, on a broker in memory, with a scripted coordinator.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a rig that does not work fails its test")]

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use planfleet_api::{Api, Config, Listener, access::AccessConfig, submission::Scope};
use planfleet_bus::{
    Bus, Manage, Topology,
    broker::{Headers, memory::MemoryBroker},
};
use planfleet_coordinator::Coordinator;
use planfleet_core::{
    id::{RunId, ShardId},
    record::Fact,
};
use planfleet_proto::{decode, subjects};
use planfleet_runtime::tasks::Tasks;
use reqwest::{Client, ClientBuilder, RequestBuilder, StatusCode, redirect};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

pub(crate) const SHARDS: ShardId = 2;

pub(crate) struct Rig {
    pub(crate) bus: Bus,
    pub(crate) tasks: Tasks,
    pub(crate) stop: CancellationToken,
    url: String,
    http: Client,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) location: Option<String>,
    pub(crate) retry_after: Option<String>,
    pub(crate) kind: String,
    pub(crate) body: Value,
}

impl Rig {
    /// An API on a broker with its streams, without a coordinator.
    pub(crate) async fn start() -> Self {
        let rig = Self::without_streams().await;
        let topology = Topology { shards: SHARDS, replicas: 1, pools: Vec::new(), manage: Manage::Create };
        rig.bus.bootstrap(&topology).await.unwrap();
        rig
    }

    /// An API on a broker that has nothing.
    pub(crate) async fn without_streams() -> Self {
        Self::with(Config::default()).await
    }

    /// The same that asks who calls.
    pub(crate) async fn asking(access: AccessConfig) -> Self {
        Self::made(Config { access, ..Config::default() }).await
    }

    /// The same with settings of its own.
    pub(crate) async fn made(config: Config) -> Self {
        let rig = Self::with(config).await;
        let topology = Topology { shards: SHARDS, replicas: 1, pools: Vec::new(), manage: Manage::Create };
        rig.bus.bootstrap(&topology).await.unwrap();
        rig
    }

    async fn with(config: Config) -> Self {
        let listener = planfleet_api::listen("127.0.0.1:0", &config.access).await.unwrap();
        Self::on(listener, config, Client::builder())
    }

    /// On a listener that is there already, with a client that knows how to reach it.
    pub(crate) fn on(listener: Listener, config: Config, http: ClientBuilder) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let bus = Bus::new(Arc::new(MemoryBroker::new()), SHARDS);
        let url = listener.url().unwrap();
        let config = Config { task_bytes_max: 2_000, ..config };
        let api = Api::build(bus.clone(), config, Scope::default());
        let (tasks, stop) = (Tasks::new("test"), CancellationToken::new());
        let serving = stop.clone();
        tasks.spawn("api", async move { api.run(listener, serving).await });
        let http = http.redirect(redirect::Policy::none()).no_proxy().build().unwrap();
        Self { bus, tasks, stop, url, http }
    }

    /// A coordinator that knows one run, or none.
    pub(crate) async fn script_coordinator(&self, run: Value) {
        for shard in 0..SHARDS {
            let mut asked = self.bus.broker().subscribe(&subjects::reads(shard)).await.unwrap();
            let (bus, run) = (self.bus.clone(), run.clone());
            self.tasks.spawn("coordinator", async move {
                while let Some(question) = asked.next().await {
                    let asked: Value = serde_json::from_slice(&question.payload).unwrap();
                    let answer = match asked["ask"].as_str() {
                        Some("run") if run["run_id"] == asked["run"] => run.clone(),
                        Some("run") => Value::Null,
                        Some("active") => serde_json::json!({"runs": [], "active": 0}),
                        _ => Value::Array(Vec::new()),
                    };
                    let reply = question.reply.unwrap();
                    let answer = answer.to_string().into_bytes().into();
                    bus.broker().publish_live(reply, Headers::new(), answer).await.unwrap();
                }
            });
        }
    }

    /// A real coordinator.
    pub(crate) fn start_coordinator(&self) {
        let config = planfleet_coordinator::Config::named("c-1");
        let coordinator = Coordinator::build(self.bus.clone(), config);
        let (tasks, stop) = (self.tasks.clone(), self.stop.clone());
        self.tasks.spawn("coordinator", async move { coordinator.run(&tasks, stop).await });
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.http.post(format!("{}{path}", self.url))
    }

    /// A request of any method, with credentials.
    pub(crate) fn request(&self, method: &str, path: &str, key: &str) -> RequestBuilder {
        let method = method.to_uppercase().parse().unwrap();
        self.http.request(method, format!("{}{path}", self.url)).bearer_auth(key)
    }

    pub(crate) async fn submit(&self, task: impl Into<reqwest::Body>) -> Answer {
        answer(self.post("/v1/runs").body(task)).await
    }

    pub(crate) fn plain(&self, path: &str) -> RequestBuilder {
        self.http.get(format!("{}{path}", self.url))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        answer(self.http.get(format!("{}{path}", self.url))).await
    }

    /// Every fact in the logs, shard by shard.
    pub(crate) async fn facts(&self) -> Vec<(RunId, Fact)> {
        let mut facts = Vec::new();
        for shard in 0..SHARDS {
            let tail = usize::try_from(self.bus.journal_tail(shard).await.unwrap()).unwrap();
            let entries = self.bus.read_journal(shard, 1).await.unwrap().take(tail);
            for entry in entries.collect::<Vec<_>>().await {
                let decode::Entry::Run(record) = entry.unwrap().content.unwrap() else { panic!("no fact") };
                facts.push((record.run, record.fact));
            }
        }
        facts
    }

    pub(crate) async fn shut_down(self) {
        self.stop.cancel();
        let _ = self.tasks.shutdown(Duration::ZERO).await;
    }
}

pub(crate) async fn answer(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
    let (location, retry_after) = (header("location"), header("retry-after"));
    let (status, kind) = (response.status(), header("content-type").unwrap_or_default());
    // Lines and events are no JSON document.
    let body = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default();
    Answer { status, location, retry_after, kind, body }
}

impl Answer {
    /// Checks that it is a problem, and says which.
    pub(crate) fn problem(&self) -> (u16, &str) {
        assert_eq!(self.kind, "application/problem+json", "{self:?}");
        assert_eq!(self.body["status"], self.status.as_u16());
        (self.status.as_u16(), self.body["code"].as_str().unwrap())
    }
}
