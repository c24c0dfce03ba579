//! Recorded answers, so that work can be repeated exactly without a provider.
//!
//! A cassette is a file of JSON lines, one [`Entry`] each: the request, what came of it, when, and
//! how long it took. Entries are found by what a request says ([`key()`]), not by their order; of
//! equal requests the k-th gets the k-th recorded answer, and the last one repeats.
//!
//! [`Recorder`] writes what a model answers, [`Player`] answers from what was written. A cassette
//! holds prompts and answers as they were, and never keys or headers.

mod key;
mod nearest;
mod player;
mod recorder;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use key::key;
pub use player::{Missing, Player, Recording};
pub use recorder::{Recorder, Tape};

use crate::chat::{ChatRequest, ChatResponse};
use crate::error::{self, ErrorClass};

/// One line of a cassette.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// [`key()`] of the request, for people to search by; readers work it out anew.
    pub key: String,
    /// With the model's name filled in.
    pub request: ChatRequest,
    /// What came of it: a response or an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<ChatResponse>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RecordedError>,
    /// When it had come, RFC 3339.
    pub at: String,
    /// How long the call took.
    pub total_ms: u64,
    /// Until the first piece of a streamed answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_chunk_ms: Option<u64>,
}

/// An error of a call as a cassette keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedError {
    pub class: ErrorClass,
    pub message: String,
    pub status: Option<u16>,
    pub code: Option<String>,
    pub retry_after_ms: Option<u64>,
    pub may_be_billed: bool,
}

impl Entry {
    /// What the call came to.
    pub fn outcome(&self) -> Result<ChatResponse, error::Error> {
        match (&self.response, &self.error) {
            (Some(response), _) => Ok(ChatResponse {
                time_to_first_chunk: self.first_chunk_ms.map(Duration::from_millis),
                ..response.clone()
            }),
            (None, Some(error)) => Err(error.clone().into()),
            // Refused when the file is read.
            (None, None) => Err(error::Error::invalid_response("an empty entry of a cassette")),
        }
    }
}

impl From<&error::Error> for RecordedError {
    fn from(error: &error::Error) -> Self {
        Self {
            class: error.class,
            message: error.message.clone(),
            status: error.status,
            code: error.code.clone(),
            retry_after_ms: error.retry_after.map(ms),
            may_be_billed: error.may_be_billed,
        }
    }
}

impl From<RecordedError> for error::Error {
    fn from(recorded: RecordedError) -> Self {
        Self {
            status: recorded.status,
            code: recorded.code,
            retry_after: recorded.retry_after_ms.map(Duration::from_millis),
            may_be_billed: recorded.may_be_billed,
            ..Self::new(recorded.class, recorded.message)
        }
    }
}

/// What can be wrong with a cassette.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot open cassette {path}")]
    Open { path: PathBuf, source: std::io::Error },

    #[error("cassette {path} is larger than {max_mib} MiB, which is all held in memory: split it")]
    TooLarge { path: PathBuf, max_mib: u64 },

    /// `line` counts from 1.
    #[error("cassette {path}, line {line}: not an entry (a recording that was interrupted may end so)")]
    Line { path: PathBuf, line: usize, source: serde_json::Error },

    #[error("cassette {path}, line {line}: an entry has either a response or an error")]
    Outcome { path: PathBuf, line: usize },
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
