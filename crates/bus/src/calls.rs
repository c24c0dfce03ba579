//! What is known of calls that change the world: each leaves a note before it is made and its
//! outcome afterwards, so that a step that is delivered again does not call again.

use bytes::Bytes;
use planfleet_core::failure::Failure;
use planfleet_proto::subjects;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Bus, Error, blobs,
    broker::{CasOutcome, Headers},
};

/// A call that was made, or was about to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallNote {
    /// The attempt that has made it.
    pub attempt: u32,
    /// What a model has called it with, as JSON; a plan's own calls have their arguments there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
    /// What came of it; `None` before that is known.
    pub outcome: Option<Result<Value, Failure>>,
}

/// A note as it is stored: one that is too large for a message lies beside it.
#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(default, skip_serializing_if = "Headers::is_empty")]
    headers: Headers,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<CallNote>,
}

impl Bus {
    /// What is known of a call, and the revision that a newer note has to name.
    ///
    /// # Errors
    /// When the broker cannot be reached, or what is noted cannot be read any more.
    pub async fn call_note(&self, key: &str) -> Result<Option<(CallNote, u64)>, Error> {
        let Some(entry) = self.broker().kv_get(subjects::CALLS, key).await? else { return Ok(None) };
        let unreadable = |error: serde_json::Error| Error::Answer(format!("the note of call {key}: {error}"));
        let Stored { headers, note } = serde_json::from_slice(&entry.value).map_err(unreadable)?;
        let note = match note {
            Some(note) => note,
            None => {
                let body = blobs::check_out(&**self.broker(), key, &headers, Bytes::new()).await?;
                serde_json::from_slice(&body).map_err(unreadable)?
            }
        };
        Ok(Some((note, entry.revision)))
    }

    /// Notes a call at `revision`, 0 where nothing is noted yet.
    ///
    /// # Errors
    /// When the broker has not taken it, or nobody knows whether it has.
    pub async fn note_call(&self, key: &str, note: &CallNote, revision: u64) -> Result<CasOutcome, Error> {
        let unwritable = |error: serde_json::Error| Error::Answer(format!("the note of call {key}: {error}"));
        let mut headers = Headers::new();
        let body = Bytes::from(serde_json::to_vec(note).map_err(unwritable)?);
        blobs::check_in(&**self.broker(), body, &mut headers).await?;
        let note = headers.is_empty().then(|| note.clone());
        let stored = serde_json::to_vec(&Stored { headers, note }).map_err(unwritable)?;
        Ok(self.broker().kv_cas(subjects::CALLS, key, Bytes::from(stored), revision).await?)
    }
}
