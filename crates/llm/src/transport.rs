//! HTTP with a timeout on every wait and a cap on every body. Knows no wire format; its errors
//! leave out the address, which the client adds in one place.

mod reply;

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use tokio::time::Instant;

use crate::error::{Error, ErrorClass};
pub(crate) use reply::Reply;

/// How long each phase of a call may take. An answer that is not streamed has nothing to send before
/// it is complete, so only `connect` and `total` bound its wait for the first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    pub connect: Duration,
    /// From the start of a streamed call to the first byte of its body; prompts are read in this
    /// time, which takes a minute for a long one on a small machine.
    pub first_byte: Duration,
    /// Between two pieces of a body.
    pub idle: Duration,
    /// The whole call.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(120),
            idle: Duration::from_secs(60),
            total: Duration::from_secs(600),
        }
    }
}

/// Makes ring the process's TLS provider unless one is set already. Call it first in `main` when
/// other TLS users start before the first [`crate::HttpChat`]; calling it again is harmless.
pub fn install_crypto() {
    // The error means that a provider is set, which is all that is asked for.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// One HTTP client with its connection pool.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    client: reqwest::Client,
    timeouts: Timeouts,
}

impl Transport {
    pub(crate) fn new(timeouts: Timeouts, headers: HeaderMap) -> Result<Self, Error> {
        install_crypto();
        let client = reqwest::Client::builder()
            .connect_timeout(timeouts.connect)
            .default_headers(headers)
            // A redirect would carry the key and the prompt to an address that no one configured.
            .redirect(Policy::none())
            .user_agent(concat!("planfleet/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| {
                let cause = chain(&error);
                Error::new(ErrorClass::InvalidRequest, format!("cannot build the HTTP client: {cause}"))
            })?;
        Ok(Self { client, timeouts })
    }

    pub(crate) fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// Sends a request whose answer begins before it is complete.
    pub(crate) async fn begin(&self, request: reqwest::RequestBuilder) -> Result<Reply, Error> {
        self.send(request, self.timeouts.first_byte).await
    }

    /// Sends a request whose answer begins when the model has written all of it.
    pub(crate) async fn begin_whole(&self, request: reqwest::RequestBuilder) -> Result<Reply, Error> {
        self.send(request, self.timeouts.total).await
    }

    /// Sends a request and returns its answer if the status is a success.
    async fn send(&self, request: reqwest::RequestBuilder, first_byte: Duration) -> Result<Reply, Error> {
        let deadlines = Deadlines::start(first_byte, &self.timeouts);
        let response = deadlines.first(request.send()).await?.map_err(|error| sending_failed(&error))?;
        let status = response.status();
        let reply = Reply::new(response, deadlines);
        if status.is_success() {
            return Ok(reply);
        }
        Err(reply.into_error().await)
    }
}

/// The clock of one call.
#[derive(Debug, Clone, Copy)]
struct Deadlines {
    first_byte_at: Instant,
    ends_at: Instant,
    idle: Duration,
}

impl Deadlines {
    fn start(first_byte: Duration, timeouts: &Timeouts) -> Self {
        let now = Instant::now();
        Self { first_byte_at: now + first_byte, ends_at: now + timeouts.total, idle: timeouts.idle }
    }

    /// The same clock for an answer that begins when all of it is written.
    fn of_whole(self) -> Self {
        Self { first_byte_at: self.ends_at, ..self }
    }

    async fn first<F: Future>(&self, wait: F) -> Result<F::Output, Error> {
        self.by(self.first_byte_at, "no answer began in time", wait).await
    }

    async fn next<F: Future>(&self, wait: F) -> Result<F::Output, Error> {
        let idle_at = Instant::now() + self.idle;
        self.by(idle_at, "the answer stopped coming", wait).await
    }

    async fn by<F: Future>(&self, at: Instant, what: &str, wait: F) -> Result<F::Output, Error> {
        tokio::time::timeout_at(at.min(self.ends_at), wait).await.map_err(|_| {
            let what = if at < self.ends_at { what } else { "the call took too long" };
            Error::new(ErrorClass::Timeout, what)
        })
    }
}

fn sending_failed(error: &reqwest::Error) -> Error {
    let cause = chain(error);
    let (class, what) = match error {
        error if error.is_builder() => (ErrorClass::InvalidRequest, "cannot build the request"),
        error if error.is_connect() => (ErrorClass::Transient, "cannot connect"),
        _ => (ErrorClass::Transient, "the connection failed"),
    };
    let sent = !error.is_builder() && !error.is_connect();
    Error { may_be_billed: sent, ..Error::new(class, format!("{what}: {cause}")) }
}

/// The causes below reqwest's own sentence, which says little and repeats the address.
fn chain(error: &reqwest::Error) -> String {
    let mut causes = Vec::new();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    if causes.is_empty() {
        causes.push("no cause was given".to_owned());
    }
    // Wrappers often repeat what they wrap.
    causes.dedup();
    causes.join(": ")
}
