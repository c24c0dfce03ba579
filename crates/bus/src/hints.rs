//! The board where processes tell each other what they learn of models: that one is paused, how
//! long its provider asks to be left alone, who shares its rates.
//!
//! What is written there is for those to read who wrote it. All of it may be lost or late:
//! everybody finds out by themselves what nobody tells them.

use bytes::Bytes;
use futures::{StreamExt as _, stream::BoxStream};
use planfleet_proto::subjects;

use crate::{
    Bus, Error,
    broker::{CasOutcome, KvChange},
};

/// Tries of one write. Whoever has written in between has told something as new.
const WRITES_MAX: u32 = 2;

/// What one key of the board says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What is told, such as `paused`.
    pub topic: String,
    /// The model, by its name in the configuration.
    pub model: String,
    /// Who tells it, where each process tells its own.
    pub process: Option<String>,
    /// `None` when it was taken off the board.
    pub body: Option<Vec<u8>>,
}

impl Note {
    fn of(key: &str, body: Option<Bytes>) -> Option<Self> {
        let (topic, model, process) = subjects::hint_of(key)?;
        Some(Self {
            topic: topic.to_owned(),
            model: model.to_owned(),
            process: process.map(str::to_owned),
            body: body.map(Vec::from),
        })
    }

    fn key(&self) -> String {
        subjects::hint(&self.topic, &self.model, self.process.as_deref())
    }
}

impl Bus {
    /// Puts a note on the board in place of the last one of its topic, model and process, or
    /// takes that off.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn write_hint(&self, note: &Note) -> Result<(), Error> {
        let (broker, key) = (self.broker(), note.key());
        let Some(body) = &note.body else {
            return Ok(broker.kv_delete(subjects::LIMITS, &key).await?);
        };
        for _ in 0..WRITES_MAX {
            let last = broker.kv_get(subjects::LIMITS, &key).await?.map_or(0, |entry| entry.revision);
            let body = Bytes::copy_from_slice(body);
            if let CasOutcome::Written(_) = broker.kv_cas(subjects::LIMITS, &key, body, last).await? {
                break;
            }
        }
        Ok(())
    }

    /// All that is on the board.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn hints(&self) -> Result<Vec<Note>, Error> {
        let all = self.broker().kv_all(subjects::LIMITS).await?;
        Ok(all.into_iter().filter_map(|(key, entry)| Note::of(&key, Some(entry.value))).collect())
    }

    /// All that is on the board, then whatever changes on it, without end.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn follow_hints(&self) -> Result<BoxStream<'static, Result<Note, Error>>, Error> {
        let changes = self.broker().kv_changes(subjects::LIMITS).await?;
        let note = |KvChange { key, entry }| Note::of(&key, entry.map(|entry| entry.value));
        Ok(changes
            .filter_map(move |change| async move { change.map(note).map_err(Error::from).transpose() })
            .boxed())
    }
}
