//! Answers from what was written.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::{Entry, Error, key, nearest, recorder::named};
use crate::chat::{ChatModel, ChatRequest, ChatResponse, TextSink};
use crate::error::{self, ErrorClass};

/// A recording is held in memory; one that is larger is a mistake, or wants splitting.
const FILE_MIB_MAX: u64 = 1024;

/// A cassette as it is read; several players may share one.
#[derive(Debug, Default)]
pub struct Recording {
    takes: BTreeMap<String, Takes>,
}

/// The answers to one request, in the order in which they came.
#[derive(Debug, Default)]
struct Takes {
    entries: Vec<Entry>,
    played: AtomicUsize,
}

/// No answer to this request was recorded; says what the nearest one differs in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the cassette has no answer to this request: {0}")]
pub struct Missing(pub String);

impl Recording {
    pub fn load(path: &Path) -> Result<Self, Error> {
        let open = |source| Error::Open { path: path.to_owned(), source };
        if fs::metadata(path).map_err(open)?.len() > FILE_MIB_MAX * 1024 * 1024 {
            return Err(Error::TooLarge { path: path.to_owned(), max_mib: FILE_MIB_MAX });
        }
        let text = fs::read_to_string(path).map_err(open)?;
        let mut recording = Self::default();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let (path, line_number) = (path.to_owned(), index + 1);
            let entry: Entry = match serde_json::from_str(line) {
                Ok(entry) => entry,
                Err(source) => return Err(Error::Line { path, line: line_number, source }),
            };
            if entry.response.is_some() == entry.error.is_some() {
                return Err(Error::Outcome { path, line: line_number });
            }
            recording.takes.entry(key(&entry.request)).or_default().entries.push(entry);
        }
        Ok(recording)
    }

    /// How many answers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.takes.values().map(|takes| takes.entries.len()).sum()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.takes.is_empty()
    }

    /// The next answer to this request, whose model is named.
    pub fn next(&self, request: &ChatRequest) -> Result<&Entry, Missing> {
        let Some(takes) = self.takes.get(&key(request)) else {
            let entries = self.takes.values().flat_map(|takes| takes.entries.first());
            return Err(Missing(nearest::difference(request, entries.map(|entry| &entry.request))));
        };
        let played = takes.played.fetch_add(1, Ordering::Relaxed);
        // A request was recorded at least once, or it had no entry.
        Ok(&takes.entries[played.min(takes.entries.len() - 1)])
    }
}

/// A model that answers from a recording.
#[derive(Debug, Clone)]
pub struct Player {
    recording: Arc<Recording>,
    model: String,
    with_latency: bool,
}

impl Player {
    /// `model` is what requests that name none ask for: the endpoint's own.
    #[must_use]
    pub fn new(recording: Arc<Recording>, model: impl Into<String>) -> Self {
        Self { recording, model: model.into(), with_latency: false }
    }

    /// Takes as long as the recorded calls took, instead of none.
    #[must_use]
    pub fn with_latency(self) -> Self {
        Self { with_latency: true, ..self }
    }

    fn find(&self, request: &ChatRequest) -> Result<&Entry, error::Error> {
        self.recording.next(&named(request, &self.model)).map_err(|missing| error::Error {
            // Nothing was asked of anybody.
            may_be_billed: false,
            ..error::Error::new(ErrorClass::InvalidRequest, missing.to_string())
        })
    }

    async fn wait(&self, ms: u64) {
        if self.with_latency {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
    }
}

#[async_trait]
impl ChatModel for Player {
    async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse, error::Error> {
        let entry = self.find(request)?;
        self.wait(entry.total_ms).await;
        entry.outcome().map(|response| ChatResponse { time_to_first_chunk: None, ..response })
    }

    /// The text comes in one piece, at the time of the recorded first one.
    async fn chat_stream(
        &self,
        request: &ChatRequest,
        sink: &mut TextSink<'_>,
    ) -> Result<ChatResponse, error::Error> {
        let entry = self.find(request)?;
        let first_chunk_ms = entry.first_chunk_ms.unwrap_or(entry.total_ms);
        self.wait(first_chunk_ms).await;
        let outcome = entry.outcome();
        if let Ok(response) = &outcome
            && !response.text.is_empty()
        {
            sink(&response.text);
        }
        self.wait(entry.total_ms.saturating_sub(first_chunk_ms)).await;
        outcome
    }
}
