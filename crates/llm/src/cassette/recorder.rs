//! Writes what models answer.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use async_trait::async_trait;

use super::{Entry, Error, RecordedError, key, ms};
use crate::chat::{ChatModel, ChatRequest, ChatResponse, TextSink};
use crate::error;

/// A cassette that is written to; several models may share one.
#[derive(Debug)]
pub struct Tape {
    path: PathBuf,
    file: Mutex<File>,
}

impl Tape {
    /// Opens a cassette; what it holds stays, new entries go behind.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(|source| Error::Open { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), file: Mutex::new(file) })
    }

    /// One write per entry, so that entries stay whole beside others' and are there after a crash.
    fn write(&self, entry: &Entry) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)
    }
}

/// A model whose answers and errors are written down.
pub struct Recorder {
    inner: Arc<dyn ChatModel>,
    model: String,
    tape: Arc<Tape>,
}

impl Recorder {
    /// `model` is what requests that name none ask for: the endpoint's own.
    #[must_use]
    pub fn new(inner: Arc<dyn ChatModel>, model: impl Into<String>, tape: Arc<Tape>) -> Self {
        Self { inner, model: model.into(), tape }
    }

    /// An answer that could not be written down is still the answer, and may have been paid for.
    fn keep(&self, request: &ChatRequest, started: Instant, outcome: &Result<ChatResponse, error::Error>) {
        let request = named(request, &self.model);
        let response = outcome.as_ref().ok();
        let entry = Entry {
            key: key(&request),
            request,
            response: response.map(|r| ChatResponse { time_to_first_chunk: None, ..r.clone() }),
            error: outcome.as_ref().err().map(RecordedError::from),
            at: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            total_ms: ms(started.elapsed()),
            first_chunk_ms: response.and_then(|response| response.time_to_first_chunk).map(ms),
        };
        if let Err(error) = self.tape.write(&entry) {
            let path = self.tape.path.display();
            tracing::error!(%error, %path, "an answer is missing from the cassette");
        }
    }
}

/// The request with its model's name.
pub(super) fn named(request: &ChatRequest, model: &str) -> ChatRequest {
    let mut request = request.clone();
    if request.model.is_empty() {
        model.clone_into(&mut request.model);
    }
    request
}

#[async_trait]
impl ChatModel for Recorder {
    async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse, error::Error> {
        let started = Instant::now();
        let outcome = self.inner.chat(request).await;
        self.keep(request, started, &outcome);
        outcome
    }

    async fn chat_stream(
        &self,
        request: &ChatRequest,
        sink: &mut TextSink<'_>,
    ) -> Result<ChatResponse, error::Error> {
        let started = Instant::now();
        let outcome = self.inner.chat_stream(request, sink).await;
        self.keep(request, started, &outcome);
        outcome
    }
}
