//! Messages that nobody could read: set aside, looked at, sent again, dropped.
//!
//! A letter holds its message as it was, headers included, since a body that
//! travels by reference is named there. Nothing here takes a message out of the
//! stream of dead letters before the broker has it where it came from.

use std::collections::VecDeque;

use bytes::Bytes;
use futures::{
    StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream},
};
use planfleet_core::{
    id::{RunId, ShardId, StepId},
    record::{Fact, Timer},
};
use planfleet_proto::{
    Message as _, VERSION, decode,
    subjects::{self, Kind},
    wire,
};

use crate::{
    Bus, Error, blobs,
    broker::{Headers, LogEntry, Outgoing, Published},
    journal::{MESSAGE_ID, RUN},
};

/// Before the name of each header of the message that a letter holds: the letter's
/// own body may travel by reference too.
const ORIGINAL: &str = "Pf-Of-";

/// Headers that mean something to the broker. They were for the first publish.
const BROKER_S_OWN: &str = "Nats-";

/// A message that nobody can read or deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The dead-letter subject.
    pub to: String,
    /// The stream it came from.
    pub stream: String,
    /// Its position there, where it has one.
    pub seq: u64,
    /// The subject it came on.
    pub subject: String,
    /// What was not understood.
    pub reason: String,
    /// Its headers.
    pub headers: Headers,
    /// Its bytes; none where it names its body by reference.
    pub payload: Bytes,
}

/// A letter as it lies among the dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its position among the dead letters.
    pub seq: u64,
    /// When it was set aside, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What it holds. A letter that cannot be read itself names no stream.
    pub letter: DeadLetter,
}

/// Which dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// Every one.
    All,
    /// Work of a pool.
    Pool(String),
    /// Records of a shard's log.
    Shard(ShardId),
}

/// What became of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// The broker has it where it came from, and the letter is gone.
    Sent,
    /// The queue holds a message of that name: nothing was sent, the letter is kept.
    NameTaken,
    /// It is the submit of a run that has ended, which would run again. The letter is kept.
    RunEnded,
    /// The letter cannot be read itself, so nobody knows where it came from. It is kept.
    NoOrigin,
}

/// What a dead message was about, as far as it can be told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// The run.
    pub run: Option<RunId>,
    /// The step.
    pub step: Option<StepId>,
    /// The revision whose planning it was.
    pub planning: Option<u32>,
    /// The attempt, from 1.
    pub attempt: Option<u32>,
}

impl Bus {
    /// Sets a message aside that nobody can read, so that it stops nobody.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn set_aside(&self, letter: DeadLetter) -> Result<(), Error> {
        blobs::renew(&**self.broker(), &letter.headers).await?;
        let wire = wire::DeadLetter {
            version: VERSION,
            stream: letter.stream,
            sequence: letter.seq,
            subject: letter.subject,
            reason: letter.reason,
            payload: letter.payload.to_vec(),
        };
        let headers = letter.headers.into_iter().map(|(name, value)| (format!("{ORIGINAL}{name}"), value));
        self.publish(subjects::DEAD_LETTERS, letter.to, wire.encode_to_vec(), headers.collect()).await?;
        Ok(())
    }

    /// The dead letters that are there now, oldest first.
    ///
    /// # Errors
    /// When the stream is not there or the broker cannot be reached.
    pub async fn dead_letters(
        &self,
        which: &Which,
    ) -> Result<BoxStream<'static, Result<Kept, Error>>, Error> {
        let state = self.broker().stream_state(subjects::DEAD_LETTERS).await?;
        Ok(self.letters_between(which.filter(), state.first_seq, state.last_seq))
    }

    /// The newest dead letters, at most `limit`, the newest last.
    ///
    /// # Errors
    /// When the stream is not there or the broker cannot be reached.
    pub async fn newest_dead_letters(&self, which: &Which, limit: usize) -> Result<Vec<Kept>, Error> {
        let state = self.broker().stream_state(subjects::DEAD_LETTERS).await?;
        let mut from = state.first_seq;
        if *which == Which::All {
            // Among that many positions are at least `limit` letters.
            let gaps = (state.last_seq + 1).saturating_sub(state.first_seq + state.messages);
            let looked_at = gaps.saturating_add(limit as u64);
            from = from.max((state.last_seq + 1).saturating_sub(looked_at));
        }
        let mut letters = self.letters_between(which.filter(), from, state.last_seq);
        let mut newest = VecDeque::new();
        while let Some(letter) = letters.try_next().await? {
            newest.push_back(letter);
            if newest.len() > limit {
                newest.pop_front();
            }
        }
        Ok(newest.into())
    }

    /// One dead letter.
    ///
    /// # Errors
    /// When the stream is not there or the broker cannot be reached.
    pub async fn dead_letter(&self, seq: u64) -> Result<Option<Kept>, Error> {
        let letter = self.next_letter(&Which::All.filter(), seq).await?;
        Ok(letter.filter(|letter| letter.seq == seq))
    }

    /// A dead message's body, wherever it is.
    ///
    /// # Errors
    /// When it is gone or the broker cannot be reached.
    pub async fn dead_body(&self, letter: &DeadLetter) -> Result<Bytes, Error> {
        self.body(&letter.subject, &letter.headers, letter.payload.clone()).await
    }

    /// Sends a dead message again to where it came from, then drops the letter.
    ///
    /// May be repeated after any failure: within two minutes the broker takes the
    /// message once, and later a fold ignores a record that it knows.
    ///
    /// # Errors
    /// When the message's body is gone, or the broker does not take it. The letter is kept.
    pub async fn replay(&self, kept: &Kept) -> Result<Replay, Error> {
        let letter = &kept.letter;
        if !letter.has_origin() {
            return Ok(Replay::NoOrigin);
        }
        if self.would_run_again(letter).await? {
            return Ok(Replay::RunEnded);
        }
        // Without its body it would only become another dead letter.
        self.dead_body(letter).await?;
        blobs::renew(&**self.broker(), &letter.headers).await?;
        let mut headers = letter.headers.clone();
        headers.retain(|name, _| !name.starts_with(BROKER_S_OWN));
        // With the time, as the stream may have been made anew.
        headers.insert(MESSAGE_ID.to_owned(), format!("replay-{}-{}", kept.seq, kept.at_ms));
        let again = Outgoing {
            subject: letter.subject.clone(),
            headers,
            payload: letter.payload.clone(),
            ..Outgoing::default()
        };
        if self.broker().publish(again).await? == Published::Present {
            return Ok(Replay::NameTaken);
        }
        self.drop_dead_letter(kept.seq).await?;
        Ok(Replay::Sent)
    }

    /// A shard forgets a run a while after its end: it would take the submit for a new one.
    async fn would_run_again(&self, letter: &DeadLetter) -> Result<bool, Error> {
        match letter.about().run {
            Some(run) if letter.subject == subjects::record(run.shard(), Kind::Submit) => {
                self.has_ended(&run).await
            }
            _ => Ok(false),
        }
    }

    /// Drops a dead letter; says whether it was there.
    ///
    /// # Errors
    /// When the stream is not there or the broker cannot be reached.
    pub async fn drop_dead_letter(&self, seq: u64) -> Result<bool, Error> {
        Ok(self.broker().remove(subjects::DEAD_LETTERS, seq).await?)
    }

    fn letters_between(&self, filter: String, from: u64, to: u64) -> BoxStream<'static, Result<Kept, Error>> {
        let bus = self.clone();
        stream::try_unfold((bus, filter, from), move |(bus, filter, from)| async move {
            if from > to {
                return Ok(None);
            }
            let next = bus.next_letter(&filter, from).await?.filter(|letter| letter.seq <= to);
            Ok(next.map(|letter| {
                let behind = letter.seq + 1;
                (letter, (bus, filter, behind))
            }))
        })
        .boxed()
    }

    async fn next_letter(&self, filter: &str, from: u64) -> Result<Option<Kept>, Error> {
        match self.broker().first_on_subject(subjects::DEAD_LETTERS, filter, from).await? {
            Some(entry) => Ok(Some(self.open_letter(entry).await?)),
            None => Ok(None),
        }
    }

    /// A letter that nobody can read is one all the same: it can be looked at and dropped.
    async fn open_letter(&self, entry: LogEntry) -> Result<Kept, Error> {
        let LogEntry { seq, at_ms, subject, headers, payload } = entry;
        let read = match self.body(&subject, &headers, payload.clone()).await {
            Err(error @ Error::Broker(_)) => return Err(error),
            Err(error) => Err(error.to_string()),
            Ok(body) => wire::DeadLetter::decode(body).map_err(|error| error.to_string()),
        };
        let wire = read.unwrap_or_else(|why| wire::DeadLetter {
            reason: format!("the letter itself cannot be read: {why}"),
            payload: payload.to_vec(),
            ..wire::DeadLetter::default()
        });
        let letter = DeadLetter {
            to: subject,
            stream: wire.stream,
            seq: wire.sequence,
            subject: wire.subject,
            reason: wire.reason,
            headers: original(headers),
            payload: wire.payload.into(),
        };
        Ok(Kept { seq, at_ms, letter })
    }
}

fn original(headers: Headers) -> Headers {
    let own = |(name, value): (String, String)| Some((name.strip_prefix(ORIGINAL)?.to_owned(), value));
    headers.into_iter().filter_map(own).collect()
}

impl Which {
    fn filter(&self) -> String {
        match self {
            Self::All => subjects::DEAD_LETTERS_FILTER.to_owned(),
            Self::Pool(pool) => subjects::dead_work(pool),
            Self::Shard(shard) => subjects::dead_record(*shard),
        }
    }
}

impl DeadLetter {
    /// Whether it is known where it came from.
    #[must_use]
    pub fn has_origin(&self) -> bool {
        !self.stream.is_empty() && !self.subject.is_empty()
    }

    /// Whether it came from the work queue, not from a log.
    #[must_use]
    pub fn is_work(&self) -> bool {
        self.stream == subjects::STEPS
    }

    /// Whether clients write such messages: submits, cancels and what else people ask of runs.
    #[must_use]
    pub fn is_of_clients(&self) -> bool {
        let kinds = [Kind::Submit, Kind::Cancel, Kind::Control];
        kinds.iter().any(|kind| subjects::is_of_kind(&self.subject, *kind))
    }

    /// What it was about. Work says so in its subject; of a record, as much is told
    /// as its header and its bytes give away.
    #[must_use]
    pub fn about(&self) -> About {
        if self.is_work() {
            return subjects::work(&self.subject).map(About::from).unwrap_or_default();
        }
        let run = self.headers.get(RUN).and_then(|run| run.parse().ok());
        let about = match decode::entry(&self.payload, 0) {
            Ok(decode::Entry::Run(record)) => About::of(&record.fact),
            _ => About::default(),
        };
        About { run: run.or_else(|| decode::run_of(&self.payload)), ..about }
    }
}

impl From<subjects::Work> for About {
    fn from(work: subjects::Work) -> Self {
        let (step, planning) = match work.what {
            subjects::WorkKind::Step(step) => (Some(step), None),
            subjects::WorkKind::Planning(revision) => (None, Some(revision)),
        };
        Self { run: Some(work.run), step, planning, attempt: Some(work.attempt) }
    }
}

impl About {
    fn of(fact: &Fact) -> Self {
        let step = |step, attempt| Self { step: Some(step), attempt, ..Self::default() };
        let planning =
            |revision, attempt| Self { planning: Some(revision), attempt: Some(attempt), ..Self::default() };
        match fact {
            Fact::StepSucceeded(done) => step(done.attempt.step, Some(done.attempt.attempt)),
            Fact::StepFailed(failed) => step(failed.attempt.step, Some(failed.attempt.attempt)),
            Fact::StepPlanned { step: planned, .. } => step(StepId::plain(planned.id), None),
            Fact::PlanSealed(sealed) => planning(sealed.draft.revision, sealed.draft.attempt),
            Fact::PlanFailed { draft, .. } => planning(draft.revision, draft.attempt),
            Fact::TimerFired(
                Timer::Retry { step: id, attempt } | Timer::StepTimeout { step: id, attempt },
            ) => step(*id, Some(*attempt)),
            Fact::TimerFired(Timer::Replan { revision, attempt }) => planning(*revision, *attempt),
            _ => Self::default(),
        }
    }
}
