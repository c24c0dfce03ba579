//! What the simulated provider has noted of the requests that it got.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, failed};

/// Some hundred long prompts are there within a moment.
const TIMEOUT: Duration = Duration::from_secs(30);

/// One request; times are the simulator's own, in microseconds.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Request {
    pub(crate) number: u64,
    pub(crate) at_us: u64,
    /// Tokens in and out by the simulator's own count: a quarter of the bytes.
    pub(crate) counted: Option<[u64; 2]>,
    /// How far the answer's text had come, and when.
    #[serde(default)]
    pub(crate) sent: Vec<Sent>,
    pub(crate) body: Value,
}

/// A moment of a streamed answer.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Sent {
    pub(crate) at_us: u64,
    pub(crate) text_bytes: usize,
}

impl Request {
    /// All that is said to the model.
    pub(crate) fn says(&self, text: &str) -> bool {
        let messages = self.body["messages"].as_array().into_iter().flatten();
        messages.filter_map(|message| message["content"].as_str()).any(|content| content.contains(text))
    }

    /// When so much of the answer's text had been sent.
    pub(crate) fn written_us(&self, bytes: usize) -> Option<u64> {
        self.sent.iter().find(|sent| sent.text_bytes >= bytes).map(|sent| sent.at_us)
    }
}

/// The requests that the provider still knows of, the newest few thousand.
pub(crate) async fn requests(base_url: &str) -> Result<Vec<Request>, Error> {
    let what = "read what the simulated provider has got";
    let url = format!("{}/requests", base_url.trim_end_matches("/v1"));
    let client = reqwest::Client::builder().timeout(TIMEOUT).build().map_err(failed(what))?;
    let answer = client.get(url).send().await.and_then(reqwest::Response::error_for_status);
    answer.map_err(failed(what))?.json().await.map_err(failed(what))
}
