//! A simulated model provider: the OpenAI Chat Completions API over real HTTP, answered from a
//! [`Script`] instead of a model. For tests, demos and load tests.
//!
//! It is always visibly a simulator: every answer has the header `x-modelsim: simulated`, the
//! model name `modelsim` and the fingerprint `modelsim`. It must never guess: a request that no
//! rule matches is refused. With a given seed its timing is as repeatable as its answers.
//!
//! Start at [`Simulator::builder`]; [`script`] is what a script file may say.

mod answer;
mod body;
mod error;
mod journal;
mod matching;
mod pace;
mod request;
pub mod script;
mod server;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, ToSocketAddrs};

pub use error::Error;
pub use journal::{ReceivedRequest, peak_overlap};
pub use script::{
    Fault, FaultKind, Latency, Reply, Rule, Script, ScriptedToolCall, StatusFault, UsageFigures, When,
};
pub use server::Server;

use journal::Journal;
use std::sync::Arc;

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
        Builder { script: Script::default(), journal_max: JOURNAL_MAX, api_key: None }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What goes into a model's `base_url`: `http://127.0.0.1:4711/v1`.
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

    /// How many received requests are kept.
    pub fn journal_max(mut self, requests: usize) -> Self {
        self.journal_max = requests;
        self
    }

    /// Refuses chat requests without this bearer key with 401.
    pub fn require_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = Some(key.into());
        self
    }

    /// Checks the script and takes the address (port 0: a free one). Requests wait in the
    /// listener's queue until [`Server::serve`] runs.
    pub async fn bind(self, addr: impl ToSocketAddrs) -> Result<(Simulator, Server), Error> {
        self.script.check()?;
        let listener = TcpListener::bind(addr).await.map_err(Error::Bind)?;
        let addr = listener.local_addr().map_err(Error::Bind)?;
        let journal = Arc::new(Journal::new(self.journal_max));
        let simulator = Simulator { addr, journal: Arc::clone(&journal) };
        let server = Server::new(listener, self.script, self.api_key, journal);
        Ok((simulator, server))
    }
}
