//! A simulated model provider: OpenAI's Chat Completions and Anthropic's Messages over real HTTP,
//! answered from a [`Script`] or a cassette instead of a model. For tests, demos and load tests;
//! `docs/modelsim.md` is its manual.
//!
//! It is always visibly a simulator: every answer has the header `x-modelsim: simulated` and the
//! model name `modelsim`. It must never guess: a request that no rule matches is refused. With a
//! given seed its timing and its faults are as repeatable as its answers.
//!
//! Start at [`Simulator::builder`]; [`script`] is what a script file may say.

mod answer;
mod body;
mod cassette;
mod chance;
mod error;
mod journal;
mod limits;
mod matching;
mod pace;
mod prefix_cache;
mod provider;
mod request;
pub mod script;
mod server;
mod trouble;
mod wire;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, ToSocketAddrs};
use tokio::sync::watch;

pub use error::Error;
pub use journal::{ReceivedRequest, Sent, peak_overlap};
pub use script::{
    Cache, Fault, FaultKind, Faults, Latency, Limits, Reply, Rule, Script, ScriptedToolCall, StatusFault,
    UsageFigures, When,
};
pub use server::Server;
pub use wire::Wire;

use journal::Journal;
use pace::Pauses;
use planfleet_llm::cassette::Recording;
use provider::Provider;

/// The one model that a simulator admits to being.
pub const MODEL: &str = "modelsim";

/// Requests kept by default: some thousands are a whole test or demo, and at a few KiB each they
/// cost a load test no more than tens of MiB.
const JOURNAL_MAX: usize = 4096;

/// A handle on a bound simulator, for whoever asks what it received. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Simulator {
    addr: SocketAddr,
    journal: Arc<Journal>,
}

impl Simulator {
    pub fn builder() -> Builder {
        Builder { script: Script::default(), cassette: None, journal_max: JOURNAL_MAX, api_key: None }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What goes into a model's `base_url`: `http://127.0.0.1:4711/v1`. Anthropic's SDKs add the
    /// version themselves and want it without.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.addr)
    }

    /// The chat requests received, oldest first; of very many, the newest.
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.journal.requests()
    }

    /// How many chat requests were received in all.
    pub fn received(&self) -> u64 {
        self.journal.received()
    }

    /// Waits until `count` chat requests were received in all.
    pub async fn wait_for_requests(&self, count: u64, timeout: Duration) -> Result<(), Error> {
        self.journal.wait_for(count, timeout).await
    }
}

/// Collects what a simulator is to do.
#[derive(Debug, Clone)]
pub struct Builder {
    script: Script,
    cassette: Option<PathBuf>,
    journal_max: usize,
    api_key: Option<String>,
}

impl Builder {
    /// Replaces the whole script.
    pub fn script(mut self, script: Script) -> Self {
        self.script = script;
        self
    }

    /// Adds a rule after those there are.
    pub fn rule(mut self, rule: Rule) -> Self {
        self.script.rules.push(rule);
        self
    }

    pub fn seed(mut self, seed: u64) -> Self {
        self.script.seed = seed;
        self
    }

    /// Answers what no rule answers from this cassette.
    pub fn cassette(mut self, path: impl Into<PathBuf>) -> Self {
        self.cassette = Some(path.into());
        self
    }

    /// What goes wrong by chance.
    pub fn faults(mut self, faults: Faults) -> Self {
        self.script.faults = faults;
        self
    }

    /// How many received requests are kept.
    pub fn journal_max(mut self, requests: usize) -> Self {
        self.journal_max = requests;
        self
    }

    /// Refuses chat requests without this key with 401.
    pub fn require_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = Some(key.into());
        self
    }

    /// Checks the script and takes the address (port 0: a free one). Requests wait in the
    /// listener's queue until [`Server::serve`] runs.
    pub async fn bind(self, addr: impl ToSocketAddrs) -> Result<(Simulator, Server), Error> {
        self.script.check()?;
        let cassette = self.cassette.as_deref().map(Recording::load).transpose()?;
        let listener = TcpListener::bind(addr).await.map_err(Error::Bind)?;
        let addr = listener.local_addr().map_err(Error::Bind)?;
        let journal = Arc::new(Journal::new(self.journal_max));
        let simulator = Simulator { addr, journal: Arc::clone(&journal) };
        let (stop, stopped) = watch::channel(false);
        let pauses = Pauses::new(stopped);
        let server =
            Server::new(listener, Provider::new(self.script, cassette, self.api_key, journal, pauses), stop);
        Ok((simulator, server))
    }
}
