//! Batches: what was asked for with many tasks, and how their runs have ended.
//!
//! A batch is one small key in `pf_batches`, and holds only what no run can say: whose
//! it is, its budget, how far submitting has come, which lines were refused, and whether
//! it was cancelled. What has become of its runs is where every run's truth is. An active
//! one is in its shard, whose owner counts those of a batch from memory; one that has
//! ended is in `PF_DONE`.
//!
//! The runs of a batch are found without looking at others: the document of a run in a
//! batch has the batch as the last token of its subject, so the broker filters them, from
//! where the log stood when the batch began, and what is counted (state, cost, tokens) is
//! in headers, which are read without the bodies. A hundred thousand ended runs are a
//! hundred thousand small messages, in order, and nothing of them is kept in memory but
//! sums and what did not succeed. Which run is which line's needs no list either: a run's
//! id follows from its tenant, batch and `custom_id` ([`crate::client::Key::of_batch`]),
//! which also is what makes submitting twice harmless.

mod tally;

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, future::join_all, stream::BoxStream};
use planfleet_core::{
    document::{RunDocument, RunState},
    id::{RunId, ShardId},
    task::Budget,
};
use planfleet_proto::subjects;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::tally::Tally;
use crate::{
    Bus, Client, Error,
    broker::{CasOutcome, Headers, LogEntry},
    client::{NewKey, Question},
    topology::DONE_AGE,
};

/// The headers that say how a run of a batch has ended.
const STATE: &str = "Pf-State";
const CODE: &str = "Pf-End";
const NANO_USD: &str = "Pf-Nano-Usd";
const TOKENS: &str = "Pf-Tokens";
const RERUN_OF: &str = "Pf-Rerun-Of";
const CUSTOM_ID: &str = "Pf-Custom-Id";

/// Refused lines that a batch keeps: enough to see what is wrong with a file, and small
/// beside the megabyte that a key may have. The others are counted.
pub const REJECTIONS_MAX: usize = 100;

/// Characters of what is wrong with one refused line.
pub const FAULT_CHARS_MAX: usize = 1_000;

/// Tries to change a batch's key: whoever comes between has changed it, so somebody goes on.
const CHANGES_MAX: usize = 32;

/// A batch as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// Its id, unique over all tenants: budgets are charged by it.
    pub id: String,
    /// Whose it is; of all its runs too.
    pub tenant: String,
    /// When it was first submitted, in milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// When its submitting was last heard of.
    pub updated_at_ms: u64,
    /// The sequence in the log of ended runs from which on its runs can be.
    pub done_from: u64,
    /// Its tasks, refused ones included, once the file has been read to its end.
    pub total: Option<u64>,
    /// Tasks that have been submitted, as far as the newest submit has come.
    pub submitted: u64,
    /// Lines that were refused, likewise.
    pub rejected: u64,
    /// The first of them.
    #[serde(default)]
    pub rejections: Vec<Rejection>,
    /// What all its runs together may spend.
    #[serde(default)]
    pub budget: Budget,
    /// For filters and reports; every run of it has them.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Why nothing more of it is to be done, if it was cancelled.
    #[serde(default)]
    pub cancelled: Option<String>,
}

impl Batch {
    /// What a key that nobody has used says of a task of this batch. Keys are kept for a
    /// day longer than ended runs: in a batch that is younger, none was forgotten.
    #[must_use]
    pub fn new_key(&self, now_ms: u64) -> NewKey {
        let age = Duration::from_millis(now_ms.saturating_sub(self.created_at_ms));
        if age < DONE_AGE { NewKey::IsNew } else { NewKey::MayBeForgotten }
    }
}

/// A line that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// Its number, from 1.
    pub line: u64,
    /// Its task's own name, where that could be read.
    pub custom_id: Option<String>,
    /// What is wrong with it, all of it.
    pub message: String,
}

/// How a run of a batch has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The run.
    pub run: RunId,
    /// The name of its task.
    pub custom_id: Option<String>,
    /// The run that it was a new try of, if it was.
    pub rerun_of: Option<RunId>,
    /// One of the four ends.
    pub state: RunState,
    /// Why, in a word, where that is not plain success.
    pub code: Option<String>,
    /// What it cost; `None` when a price was unknown.
    pub nano_usd: Option<u64>,
    /// Input and output tokens of all roles.
    pub tokens: u64,
    /// When it was kept, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Where, in the log of ended runs.
    pub seq: u64,
}

/// How many runs of a batch are active.
#[derive(Debug, Default)]
pub struct Active {
    /// Those that the shards' owners know.
    pub count: u64,
    /// Some of them.
    pub runs: Vec<RunId>,
    /// Shards that have not answered.
    pub silent: Vec<ShardId>,
}

/// The headers of the document of a run in a batch.
pub(crate) fn headers(document: &RunDocument) -> Headers {
    let total = document.usage.total();
    let code = document.end.as_ref().and_then(|end| serde_json::to_value(end.code).ok());
    let mut headers = Headers::from([
        (STATE.to_owned(), document.state.as_str().to_owned()),
        (TOKENS.to_owned(), (total.input_tokens + total.output_tokens).to_string()),
    ]);
    let mut add = |name: &str, value: Option<String>| {
        headers.extend(value.map(|value| (name.to_owned(), value)));
    };
    add(CODE, code.as_ref().and_then(Value::as_str).map(str::to_owned));
    add(NANO_USD, document.nano_usd.map(|nano| nano.to_string()));
    add(RERUN_OF, document.rerun_of.as_ref().map(ToString::to_string));
    add(CUSTOM_ID, document.custom_id.clone());
    headers
}

/// What the entry of an ended run says without its body.
fn end(entry: &LogEntry) -> Result<End, Error> {
    let header = |name: &str| entry.headers.get(name).map(String::as_str);
    let unreadable = |what: &str| Error::Answer(format!("{}: {what}", entry.subject));
    let state = header(STATE).unwrap_or_default();
    Ok(End {
        run: subjects::done_run(&entry.subject).ok_or_else(|| unreadable("names no run"))?,
        custom_id: header(CUSTOM_ID).map(str::to_owned),
        rerun_of: header(RERUN_OF).and_then(|run| run.parse().ok()),
        state: RunState::deserialize(Value::from(state))
            .map_err(|_| unreadable(&format!("{STATE} is {state:?}, which is no end")))?,
        code: header(CODE).map(str::to_owned),
        nano_usd: header(NANO_USD).and_then(|nano| nano.parse().ok()),
        tokens: header(TOKENS).and_then(|tokens| tokens.parse().ok()).unwrap_or_default(),
        at_ms: entry.at_ms,
        seq: entry.seq,
    })
}

impl Bus {
    /// Keeps a new batch, or gives the one that is there under its id; says whether it is new.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn open_batch(&self, batch: Batch) -> Result<(Batch, bool), Error> {
        let done = self.broker().stream_state(subjects::DONE).await?;
        let batch = Batch { done_from: done.last_seq + 1, ..batch };
        if let CasOutcome::Written(_) = self.write_batch(&batch, 0).await? {
            return Ok((batch, true));
        }
        let kept = self.batch(&batch.id).await?;
        Ok((kept.ok_or_else(|| Error::UnknownBatch(batch.id.clone()))?, false))
    }

    /// A batch by its id.
    ///
    /// # Errors
    /// When the broker cannot be reached or what is kept cannot be read.
    pub async fn batch(&self, id: &str) -> Result<Option<Batch>, Error> {
        let kept = self.broker().kv_get(subjects::BATCHES, id).await?;
        kept.map(|entry| read(&entry.value)).transpose()
    }

    /// Every batch that is kept, the newest first.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn batches(&self) -> Result<Vec<Batch>, Error> {
        let kept = self.read_all(subjects::BATCHES, |entry| read(&entry.value)).await?;
        let mut batches: Vec<Batch> = kept.into_values().collect();
        batches.sort_by(|a, b| b.created_at_ms.cmp(&a.created_at_ms).then_with(|| a.id.cmp(&b.id)));
        Ok(batches)
    }

    /// Changes a batch, whoever else does just now, and gives it as it is then.
    ///
    /// # Errors
    /// When there is no such batch, or the broker cannot be reached.
    pub async fn change_batch(&self, id: &str, change: impl Fn(&mut Batch)) -> Result<Batch, Error> {
        for _ in 0..CHANGES_MAX {
            let kept = self
                .broker()
                .kv_get(subjects::BATCHES, id)
                .await?
                .ok_or_else(|| Error::UnknownBatch(id.to_owned()))?;
            let mut batch: Batch = read(&kept.value)?;
            change(&mut batch);
            if let CasOutcome::Written(_) = self.write_batch(&batch, kept.revision).await? {
                return Ok(batch);
            }
        }
        Err(Error::Answer(format!("batch {id} is changed by others all the time")))
    }

    async fn write_batch(&self, batch: &Batch, revision: u64) -> Result<CasOutcome, Error> {
        let value = serde_json::to_vec(batch).map_err(|error| Error::Answer(error.to_string()))?;
        Ok(self.broker().kv_cas(subjects::BATCHES, &batch.id, Bytes::from(value), revision).await?)
    }

    /// How the runs of a batch have ended, from the first on, and how they end from now on,
    /// without end. Each comes with the entry that its document is read from.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn follow_batch(
        &self,
        batch: &Batch,
    ) -> Result<BoxStream<'static, Result<(End, LogEntry), Error>>, Error> {
        let subject = subjects::done_of_batch(&batch.tenant, &batch.id);
        let entries = self.broker().read_subject(subjects::DONE, &subject, batch.done_from).await?;
        let ends =
            entries.map_err(Error::from).map(|entry| entry.and_then(|entry| Ok((end(&entry)?, entry))));
        Ok(ends.boxed())
    }

    /// How the runs of a batch have ended until now, from a position of the log of ended runs on
    /// (0: all of them).
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn batch_ends(
        &self,
        batch: &Batch,
        from_seq: u64,
    ) -> Result<BoxStream<'static, Result<End, Error>>, Error> {
        let subject = subjects::done_of_batch(&batch.tenant, &batch.id);
        let from_seq = batch.done_from.max(from_seq);
        let entries = self.broker().read_headers_of(subjects::DONE, &subject, from_seq).await?;
        Ok(entries.map_err(Error::from).map(|entry| end(&entry?)).boxed())
    }

    /// Where the log of ended runs ends now, for who follows a batch up to here.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn last_end_of_batch(&self, batch: &Batch) -> Result<u64, Error> {
        let subject = subjects::done_of_batch(&batch.tenant, &batch.id);
        let last = self.broker().last_on_subject(subjects::DONE, &subject).await?;
        Ok(last.map_or(0, |entry| entry.seq))
    }

    /// The document of an ended run as JSON text.
    ///
    /// # Errors
    /// When its body is stored elsewhere and cannot be had, or cannot be read.
    pub async fn document_text(&self, entry: LogEntry) -> Result<String, Error> {
        Ok(self.read_finished(entry).await?.document_json)
    }
}

impl Client {
    /// The bus that it uses.
    #[must_use]
    pub const fn bus(&self) -> &Bus {
        &self.bus
    }

    /// The active runs of a batch: how many, and up to `limit` of each shard.
    pub async fn active_in_batch(&self, batch: &str, limit: usize) -> Active {
        let question = Question::Batch { batch: batch.to_owned(), limit };
        let asked = (0..self.bus.shards()).map(|shard| self.ask(shard, &question));
        let mut active = Active::default();
        for (shard, answer) in (0..).zip(join_all(asked).await) {
            match answer.ok().flatten().and_then(|answer| ActiveIn::deserialize(answer).ok()) {
                Some(part) => {
                    active.count += part.active;
                    active.runs.extend(part.runs);
                }
                None => active.silent.push(shard),
            }
        }
        active
    }
}

/// What one owner answers.
#[derive(Deserialize)]
struct ActiveIn {
    active: u64,
    runs: Vec<RunId>,
}

fn read(value: &[u8]) -> Result<Batch, Error> {
    serde_json::from_slice(value)
        .map_err(|error| Error::Answer(format!("a batch that cannot be read: {error}")))
}
