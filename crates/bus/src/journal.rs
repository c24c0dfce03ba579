//! Shard logs: appended to by everybody, read in order by their owner.

use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream::BoxStream};
use planfleet_core::{
    id::{RunId, ShardId},
    record::Fact,
};
use planfleet_proto::{
    INLINE_BYTES_MAX, decode, encode,
    subjects::{self, Kind},
};
use tokio::time::{Instant, sleep};

use crate::{
    Bus, Error,
    broker::{self, Headers, LogEntry, Published},
};

/// The broker's own header for names that it takes once within two minutes: a
/// submit that is repeated because its ack was lost is one record, and so is what
/// somebody has asked for: a pause that came again would undo a resume in between.
pub(crate) const MESSAGE_ID: &str = "Nats-Msg-Id";

/// The header that names the run of a record whose body goes by reference, and may be out
/// of reach. Others name it themselves.
pub(crate) const RUN: &str = "Pf-Run";

/// Between two tries to fetch a body by reference.
const BODY_RETRY: Duration = Duration::from_millis(250);

/// How long the outcome of work is kept for a broker that stores nothing: somebody has
/// time to make room on a disk. Whoever is asked to stop waits for its grace only.
const OUTCOME_PATIENCE: Duration = Duration::from_secs(3_600);

/// Between two tries to append an outcome, each of which is tried for 30 s itself.
const OUTCOME_RETRY: Duration = Duration::from_secs(1);

/// One entry of a log, as far as it could be read.
#[derive(Debug)]
pub struct JournalEntry {
    /// Its position, from 1.
    pub seq: u64,
    /// When the broker stored it, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The subject it came on.
    pub subject: String,
    /// The run it is about, where that can be told without reading it whole.
    pub run: Option<RunId>,
    /// What it says, or why it cannot be read.
    pub content: Result<decode::Entry, Error>,
    /// Its headers.
    pub headers: Headers,
    /// Its bytes as they are in the log.
    pub payload: Bytes,
}

impl Bus {
    /// Appends a fact about a run to its shard's log and waits until the broker has it.
    ///
    /// # Errors
    /// When the broker has not taken it within its time limit; the fact may be
    /// in the log all the same, and appending it again does no harm.
    pub async fn append(&self, run: &RunId, fact: &Fact) -> Result<(), Error> {
        let subject = subjects::record(run.shard(), encode::kind(fact));
        let mut headers = Headers::new();
        match encode::kind(fact) {
            Kind::Submit => headers.insert(MESSAGE_ID.to_owned(), run.to_string()),
            Kind::Control => headers.insert(MESSAGE_ID.to_owned(), uuid::Uuid::now_v7().to_string()),
            _ => None,
        };
        let (log, record) = (subjects::log(run.shard()), encode::record(run.as_str(), fact));
        if record.len() > INLINE_BYTES_MAX {
            headers.insert(RUN.to_owned(), run.to_string());
        }
        let published = self.publish(log, subject, record, headers).await?;
        debug_assert!(matches!(published, Published::Stored(_)), "a log refuses nothing");
        Ok(())
    }

    /// Appends what came of work that is done and paid for. Tries for longer than
    /// [`Bus::append`]: with nothing in the log somebody would do the work again.
    ///
    /// # Errors
    /// When the broker refuses it, or has not taken it within an hour.
    pub async fn append_outcome(&self, run: &RunId, fact: &Fact) -> Result<(), Error> {
        let until = Instant::now() + OUTCOME_PATIENCE;
        loop {
            match self.append(run, fact).await {
                Err(error) if !error.is_permanent() && Instant::now() < until => {
                    tracing::warn!(%run, %error, "an outcome is not recorded yet; trying again");
                    sleep(OUTCOME_RETRY).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Reads a shard's log in order from `from_seq` on, without end.
    ///
    /// # Errors
    /// When the log is not there or the broker cannot be reached.
    pub async fn read_journal(
        &self,
        shard: ShardId,
        from_seq: u64,
    ) -> Result<BoxStream<'static, Result<JournalEntry, Error>>, Error> {
        let entries = self.broker().read_log(&subjects::log(shard), from_seq).await?;
        Ok(self.opened(entries.map_err(Error::from)))
    }

    /// The same entries, read.
    pub(crate) fn opened(
        &self,
        entries: impl Stream<Item = Result<LogEntry, Error>> + Send + 'static,
    ) -> BoxStream<'static, Result<JournalEntry, Error>> {
        let bus = self.clone();
        let opened = entries.and_then(move |entry| {
            let bus = bus.clone();
            async move { Ok(bus.open(entry).await) }
        });
        opened.boxed()
    }

    /// A shard's log as it is, likewise.
    ///
    /// # Errors
    /// When the log is not there or the broker cannot be reached.
    pub async fn read_log(
        &self,
        shard: ShardId,
        from_seq: u64,
    ) -> Result<BoxStream<'static, Result<LogEntry, Error>>, Error> {
        let entries = self.broker().read_log(&subjects::log(shard), from_seq).await?;
        Ok(entries.map_err(Error::from).boxed())
    }

    /// The run that an entry is about, where that can be told without reading it whole.
    #[must_use]
    pub fn run_of(entry: &LogEntry) -> Option<RunId> {
        run_of(&entry.headers, &entry.payload)
    }

    /// Reads what an entry says, wherever its body is.
    pub async fn open(&self, entry: LogEntry) -> JournalEntry {
        let LogEntry { seq, at_ms, subject, headers, payload } = entry;
        let content = loop {
            match self.read_entry(&subject, &headers, payload.clone(), at_ms).await {
                // The entry is fine and its body is out of reach for now: a log is read without gaps.
                Err(Error::Broker(error @ broker::Error::Unreachable(_))) => {
                    tracing::warn!(subject, seq, %error, "cannot fetch an entry's body; trying again");
                    tokio::time::sleep(BODY_RETRY).await;
                }
                content => break content,
            }
        };
        let run = match &content {
            Ok(decode::Entry::Run(record)) => Some(record.run.clone()),
            // Nobody's word about any run.
            Err(Error::Misplaced { .. }) => None,
            _ => run_of(&headers, &payload),
        };
        JournalEntry { seq, at_ms, subject, run, content, headers, payload }
    }

    async fn read_entry(
        &self,
        subject: &str,
        headers: &Headers,
        payload: Bytes,
        at_ms: u64,
    ) -> Result<decode::Entry, Error> {
        let body = self.body(subject, headers, payload).await?;
        let entry = decode::entry(&body, at_ms)
            .map_err(|source| Error::Decode { subject: subject.to_owned(), source })?;
        check_place(subject, &entry)?;
        Ok(entry)
    }

    /// The first position that a shard's log still has; one behind its last when it is empty.
    ///
    /// # Errors
    /// When the log is not there or the broker cannot be reached.
    pub async fn journal_head(&self, shard: ShardId) -> Result<u64, Error> {
        Ok(self.broker().stream_state(&subjects::log(shard)).await?.first_seq)
    }

    /// The last position of a shard's log.
    ///
    /// # Errors
    /// When the log is not there or the broker cannot be reached.
    pub async fn journal_tail(&self, shard: ShardId) -> Result<u64, Error> {
        Ok(self.broker().stream_state(&subjects::log(shard)).await?.last_seq)
    }

    /// Drops the entries below `seq`, which no replay needs any more.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn trim_journal(&self, shard: ShardId, seq: u64) -> Result<(), Error> {
        Ok(self.broker().trim(&subjects::log(shard), seq).await?)
    }
}

/// Who may write what hangs on the subject, so a record counts in its own place only: of its
/// kind, and in the log of its run's shard. The broker lets workers write results, and would
/// not notice a plan among them.
fn check_place(subject: &str, entry: &decode::Entry) -> Result<(), Error> {
    let in_place = match entry {
        decode::Entry::Run(record) => {
            subjects::is_record(subject, record.run.shard(), encode::kind(&record.fact))
        }
        decode::Entry::EpochOpened { .. } => subjects::is_epoch(subject),
    };
    if in_place { Ok(()) } else { Err(Error::Misplaced { subject: subject.to_owned() }) }
}

fn run_of(headers: &Headers, payload: &Bytes) -> Option<RunId> {
    headers.get(RUN).and_then(|run| run.parse().ok()).or_else(|| decode::run_of(payload))
}
