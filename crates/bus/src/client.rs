//! What a user of the fleet does: submit, look, wait, steer, run again.

mod key;
mod rerun;

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, future::join_all};
use planfleet_core::{
    document::RunState,
    id::{RunId, ShardId},
    record::{ApprovalDecided, Fact},
    seeded::{self, Bug},
    task::{Brief, Submission},
};
use planfleet_proto::subjects;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout};

pub use self::{
    key::{Key, NewKey},
    rerun::RerunError,
};
use crate::{Bus, Error, broker, live};

/// How long an owner has to answer a read from its memory: whoever asks waits no longer.
pub const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs of one page; an owner may give fewer.
const PAGE: usize = 500;

/// Between two looks while waiting for news that may have been missed.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// How long a large document that has ended may be on its way from its owner, who
/// shows only a part of it, to the store of ended runs.
const KEEP_WAIT: Duration = Duration::from_secs(2);

/// The field that is true in a document that its owner has cut to the size of a
/// message: outputs and the answer are left out, and steps where that is not enough.
pub const TRIMMED: &str = "trimmed";

/// A question to the owner of a shard.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Question {
    /// One run's document.
    Run {
        /// The run.
        run: RunId,
    },
    /// The documents of up to `limit` active runs, without their steps.
    List {
        /// How many.
        limit: usize,
    },
    /// How many active runs there are, and the summaries of up to `limit` of them, in the
    /// order of their ids, those behind `after` alone.
    Active {
        /// The last one of the page before.
        after: Option<RunId>,
        /// How many.
        limit: usize,
    },
    /// How many active runs of a batch there are, and the ids of up to `limit` of them.
    Batch {
        /// The batch.
        batch: String,
        /// How many.
        limit: usize,
    },
    /// How the queues of ready work stand of the coordinator that owns the shard.
    Queues,
}

/// What is known of a run.
#[derive(Debug, Clone)]
pub enum Found {
    /// It goes on, or its end is not kept yet and too large to show; its document as of now.
    Active(Value),
    /// It has ended; its document.
    Ended(Value),
    /// There is no such run, or its record has not been folded yet.
    Unknown,
}

/// What a list shows, and what it does not.
#[derive(Debug, Default)]
pub struct Listed {
    /// Active runs, then the newest that have ended.
    pub runs: Vec<Value>,
    /// Active runs that did not fit into their owners' answers.
    pub runs_left_out: u64,
    /// Shards that have not answered, so that nobody can say which runs are active there.
    pub shards_left_out: u64,
}

/// The active runs, and what of them is missing.
#[derive(Debug, Default)]
pub struct Activity {
    /// The summary of each, as [`planfleet_core::document::Summary`] is written.
    pub runs: Vec<Value>,
    /// Runs beyond those that were asked for.
    pub left_out: u64,
    /// Shards that have not answered.
    pub shards_left_out: u64,
}

/// A user of the fleet.
#[derive(Clone)]
pub struct Client {
    pub(crate) bus: Bus,
}

impl Client {
    /// A client on that bus.
    #[must_use]
    pub const fn new(bus: Bus) -> Self {
        Self { bus }
    }

    /// How many shards runs are spread over.
    #[must_use]
    pub const fn shards(&self) -> ShardId {
        self.bus.shards()
    }

    /// Appends a task and returns its run's id once the broker has it. With a
    /// key, the same tenant and key give the same run.
    ///
    /// # Errors
    /// When the broker has not taken it; submitting again with the same key is
    /// safe. [`Error::KeyReused`] when the key stands for another task;
    /// [`Error::Refused`] when there is no room for another run now.
    pub async fn submit(&self, submission: Submission, key: Option<&Key>) -> Result<RunId, Error> {
        let run = self.name(&submission.task, key);
        match key {
            Some(key) => {
                self.submit_once(&run, key, submission, NewKey::MayBeForgotten).await?;
            }
            None => self.submit_now(&run, submission).await?,
        }
        Ok(run)
    }

    /// Appends a run's first record, if there is room for the run.
    async fn submit_now(&self, run: &RunId, submission: Submission) -> Result<(), Error> {
        self.bus.admit(run.shard(), submission.task.tenant()).await?;
        self.bus.append(run, &Fact::TaskSubmitted(Box::new(submission))).await
    }

    /// The same for a task of a batch, whose submission says which. Says also whether the
    /// task was submitted just now. With [`NewKey::IsNew`], a key that nobody has used is
    /// taken for that of a task that nobody has submitted, which spares two questions.
    ///
    /// # Errors
    /// Those of [`Client::submit`].
    pub async fn submit_in_batch(
        &self,
        submission: Submission,
        key: &Key,
        new_key: NewKey,
    ) -> Result<(RunId, bool), Error> {
        let run = self.name(&submission.task, Some(key));
        let new = self.submit_once(&run, key, submission, new_key).await?;
        Ok((run, new))
    }

    /// Whether a run exists for sure. One that its shard's owner cannot be asked
    /// about is submitted again: the fold ignores what it knows.
    async fn is_known(&self, run: &RunId) -> Result<bool, Error> {
        match self.find(run).await {
            Ok(Found::Active(_) | Found::Ended(_)) => Ok(true),
            Ok(Found::Unknown) | Err(Error::NoOwner(_)) => Ok(false),
            Err(_) => Ok(self.bus.ended(run).await?.is_some()),
        }
    }

    /// The run id of a key, or a new one. Its shard is drawn from the id itself.
    fn name(&self, task: &Brief, key: Option<&Key>) -> RunId {
        let unique = match key.filter(|_| !seeded::is_on(Bug::KeyIgnored)) {
            Some(key) => key.unique(task.tenant()),
            None => uuid::Uuid::now_v7().simple().to_string(),
        };
        let spread = Sha256::digest(unique.as_bytes());
        let shard = u16::from_be_bytes([spread[0], spread[1]]) % self.bus.shards().max(1);
        let named = if task.batch.is_some() { RunId::in_batch } else { RunId::new };
        match named(shard, &unique) {
            Ok(run) => run,
            Err(error) => unreachable!("a hexadecimal name is a valid one: {error}"),
        }
    }

    /// A run's document, wherever it stands.
    ///
    /// # Errors
    /// When neither the shard's owner nor the store of ended runs can say.
    pub async fn find(&self, run: &RunId) -> Result<Found, Error> {
        let asked = self.ask(run.shard(), &Question::Run { run: run.clone() }).await;
        if let Ok(Some(document)) = asked {
            return self.stands(run, document).await;
        }
        match self.bus.ended(run).await? {
            Some(ended) if !seeded::is_on(Bug::EndNotLookedUp) => Ok(Found::Ended(ended.document)),
            _ => asked.map(|_| Found::Unknown),
        }
    }

    /// What an owner's answer comes to. It answers for a run until its document is
    /// kept; a part of the document is not how a run has ended, so the whole is
    /// waited for, and the run goes on as long as nobody has that.
    async fn stands(&self, run: &RunId, document: Value) -> Result<Found, Error> {
        if !has_ended(&document) {
            return Ok(Found::Active(document));
        }
        if document[TRIMMED] != true {
            return Ok(Found::Ended(document));
        }
        Ok(self.wait(run, KEEP_WAIT).await?.map_or(Found::Active(document), Found::Ended))
    }

    pub(crate) async fn ask(&self, shard: ShardId, question: &Question) -> Result<Option<Value>, Error> {
        let payload = serde_json::to_vec(question).map_err(|error| Error::Answer(error.to_string()))?;
        let request = self.bus.broker().request(subjects::reads(shard), Bytes::from(payload), READ_TIMEOUT);
        let answer = request.await.map_err(|error| match error {
            broker::Error::NoResponder(_) => Error::NoOwner(shard),
            other => other.into(),
        })?;
        serde_json::from_slice(&answer).map_err(|error| Error::Answer(error.to_string()))
    }

    /// Waits until a run has ended, for at most `within`; `None` when it goes on.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn wait(&self, run: &RunId, within: Duration) -> Result<Option<Value>, Error> {
        let until = Instant::now() + within;
        let mut news = self.bus.watch(run).await?;
        loop {
            if let Some(ended) = self.bus.ended(run).await? {
                return Ok(Some(ended.document));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let finished = async {
                while let Some(news) = news.next().await {
                    if news.event == live::RUN_FINISHED {
                        return;
                    }
                }
                // The subscription is gone with the connection: look now and then.
                futures::future::pending::<()>().await;
            };
            let _ = timeout(left.min(LOOK_AGAIN), finished).await;
        }
    }

    /// News of a run.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn watch(&self, run: &RunId) -> Result<futures::stream::BoxStream<'static, live::News>, Error> {
        self.bus.watch(run).await
    }

    /// Asks for a run to end. It ends when its owner has read this.
    ///
    /// # Errors
    /// When the broker has not taken it.
    pub async fn cancel(&self, run: &RunId, reason: &str) -> Result<(), Error> {
        self.bus.append(run, &Fact::RunCancelRequested { reason: reason.to_owned() }).await
    }

    /// Asks for a run to start nothing new. What is in flight goes on.
    ///
    /// # Errors
    /// When the broker has not taken it.
    pub async fn pause(&self, run: &RunId, reason: &str) -> Result<(), Error> {
        self.bus.append(run, &Fact::RunPauseRequested { reason: reason.to_owned() }).await
    }

    /// Asks for a paused run to go on.
    ///
    /// # Errors
    /// When the broker has not taken it.
    pub async fn resume(&self, run: &RunId) -> Result<(), Error> {
        self.bus.append(run, &Fact::RunResumeRequested).await
    }

    /// Records what a person has decided. The run ignores a decision about what
    /// does not wait for one.
    ///
    /// # Errors
    /// When the broker has not taken it.
    pub async fn decide(&self, run: &RunId, decided: ApprovalDecided) -> Result<(), Error> {
        self.bus.append(run, &Fact::ApprovalDecided(decided)).await
    }

    /// The active runs of all shards that have an owner, and the newest ended
    /// ones, up to `limit` of each.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn list(&self, limit: usize) -> Result<Vec<Value>, Error> {
        Ok(self.list_counted(limit).await?.runs)
    }

    /// The summaries of up to `most` active runs of each shard.
    pub async fn activity(&self, most: usize) -> Activity {
        let asked = (0..self.bus.shards()).map(|shard| self.active_in(shard, most));
        let mut all = Activity::default();
        for answer in join_all(asked).await {
            match answer {
                Ok((runs, active)) => {
                    all.left_out += active.saturating_sub(runs.len() as u64);
                    all.runs.extend(runs);
                }
                Err(error) => {
                    tracing::debug!(%error, "a shard's runs are left out");
                    all.shards_left_out += 1;
                }
            }
        }
        all
    }

    /// The summaries of up to `most` active runs of a shard, and how many there are.
    async fn active_in(&self, shard: ShardId, most: usize) -> Result<(Vec<Value>, u64), Error> {
        let (mut runs, mut after) = (Vec::new(), None);
        loop {
            let limit = most - runs.len();
            let answer = self.ask(shard, &Question::Active { after, limit }).await?;
            let answer = answer.unwrap_or_default();
            let page = answer["runs"].as_array().cloned().unwrap_or_default();
            let active = answer["active"].as_u64().unwrap_or_default();
            after = page.last().and_then(|run| run["run_id"].as_str()?.parse().ok());
            runs.extend(page);
            // Runs come and go between two pages: an empty one is the end for sure.
            if after.is_none() || runs.len() >= most || runs.len() as u64 >= active {
                return Ok((runs, active));
            }
        }
    }

    /// The same, with how much of it is missing.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn list_counted(&self, limit: usize) -> Result<Listed, Error> {
        let question = Question::List { limit };
        let asked = (0..self.bus.shards()).map(|shard| self.ask(shard, &question));
        let mut listed = Listed::default();
        for answer in join_all(asked).await {
            match answer {
                Ok(answer) => listed.take(answer),
                // One shard that is being taken over does not hide the others.
                Err(error) => {
                    tracing::debug!(%error, "a shard's runs are left out");
                    listed.shards_left_out += 1;
                }
            }
        }
        listed.runs.truncate(limit);
        listed.runs.extend(self.ended(limit).await?);
        Ok(listed)
    }

    /// Summaries of the active runs of a shard, by their ids: a page of those behind `after`.
    /// An empty page is the end.
    ///
    /// # Errors
    /// When the shard's owner does not answer.
    pub async fn active_page(&self, shard: ShardId, after: Option<&RunId>) -> Result<Vec<Value>, Error> {
        let question = Question::Active { after: after.cloned(), limit: PAGE };
        let answer = self.ask(shard, &question).await?.unwrap_or_default();
        let Value::Array(runs) = answer["runs"].clone() else {
            return Err(Error::Answer(format!("no page of runs: {answer}")));
        };
        Ok(runs)
    }

    async fn ended(&self, limit: usize) -> Result<Vec<Value>, Error> {
        let state = self.bus.broker().stream_state(subjects::DONE).await?;
        let newest = u64::try_from(limit).unwrap_or(u64::MAX);
        let from = (state.last_seq + 1).saturating_sub(newest).max(state.first_seq).max(1);
        let mut found = Vec::new();
        if from > state.last_seq || state.messages == 0 {
            return Ok(found);
        }
        let mut entries = self.bus.broker().read_log(subjects::DONE, from).await?;
        while let Some(entry) = entries.next().await {
            let entry = entry?;
            let last = entry.seq >= state.last_seq;
            match self.bus.read_ended(entry).await {
                Ok(ended) => found.push(ended.document),
                Err(error) => tracing::warn!(%error, "an ended run is left out"),
            }
            if last {
                break;
            }
        }
        found.reverse();
        Ok(found)
    }
}

impl Listed {
    /// Adds what an owner answers: its runs, or as many as fit and how many do not.
    fn take(&mut self, answer: Option<Value>) {
        match answer {
            Some(Value::Array(active)) => self.runs.extend(active),
            Some(mut part) => {
                self.runs_left_out += part["left_out"].as_u64().unwrap_or_default();
                self.take(part.get_mut("runs").map(Value::take).filter(Value::is_array));
            }
            None => {}
        }
    }
}

/// Whether a document is that of a run at its end.
fn has_ended(document: &Value) -> bool {
    RunState::deserialize(&document["state"]).is_ok_and(RunState::is_end)
}
