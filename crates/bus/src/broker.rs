//! What planfleet asks of a broker, and nothing more.
//!
//! Two implementations pass one conformance suite: [`nats`] over JetStream and
//! [`memory`], its in-memory twin. Nothing above this module knows which one it
//! has, and nothing here knows what a run or a step is: subjects and payloads
//! are opaque. The typed layer on top is [`crate::Bus`].

mod description;
pub mod memory;
pub mod nats;
pub mod trouble;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, future, stream::BoxStream};

pub use self::description::{Description, Server};
use self::trouble::Trouble;

/// The largest object: a body by reference is one.
pub const OBJECT_BYTES_MAX: usize = planfleet_proto::BLOB_BYTES_MAX;

/// Message headers. Few per message, so an ordered map keeps encodings stable.
pub type Headers = BTreeMap<String, String>;

/// How a stream keeps its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    /// An ordered log, read by any number of readers, trimmed from the front.
    Log,
    /// A queue: a message is gone once it is acked, and a second message on a
    /// subject is refused for as long as the first is queued or in flight.
    WorkQueue,
    /// At most one message per subject, written once: later ones are refused.
    WriteOnce,
}

/// A stream to be created or checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSpec {
    /// `[A-Z0-9_]+`.
    pub name: String,
    /// Subjects with wildcards, disjoint from every other stream's.
    pub subjects: Vec<String>,
    /// How messages are kept.
    pub kind: StreamKind,
    /// Messages older than this are dropped; `None` keeps them.
    pub max_age: Option<Duration>,
    /// 1, 3 or 5.
    pub replicas: usize,
}

/// A durable consumer of a work queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerSpec {
    /// The stream it reads.
    pub stream: String,
    /// `[A-Za-z0-9_-]+`.
    pub name: String,
    /// The subjects it takes, disjoint from every other consumer's of the stream.
    pub filter: String,
    /// A delivery that is neither acked nor extended for this long goes to another worker.
    pub ack_wait: Duration,
    /// How many deliveries may be unacked at once over all workers.
    pub max_ack_pending: i64,
}

/// A key-value bucket to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketSpec {
    /// `[A-Za-z0-9_-]+`.
    pub name: String,
    /// Keys not written for this long are dropped; `None` keeps them.
    pub max_age: Option<Duration>,
    /// 1, 3 or 5.
    pub replicas: usize,
}

/// A message to be stored.
#[derive(Debug, Clone, Default)]
pub struct Outgoing {
    /// Where it goes.
    pub subject: String,
    /// The stream that takes that subject, or nothing where the sender does not know:
    /// only messages of one stream can be stored together.
    pub stream: Cow<'static, str>,
    /// Trace context and the like.
    pub headers: Headers,
    /// The encoded body.
    pub payload: Bytes,
}

/// What the broker said of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// Stored at this stream sequence.
    Stored(u64),
    /// Refused, because the subject already holds a message: the name is taken.
    Present,
}

/// One entry of a log.
#[derive(Debug, Clone)]
pub struct LogEntry {
    /// Its stream sequence, from 1.
    pub seq: u64,
    /// When the broker stored it, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The subject it was published to.
    pub subject: String,
    /// Its headers.
    pub headers: Headers,
    /// Its body.
    pub payload: Bytes,
}

/// A stream's edges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamState {
    /// The first sequence still there; `last_seq + 1` when the stream is empty.
    pub first_seq: u64,
    /// The last sequence ever stored; 0 when none was.
    pub last_seq: u64,
    /// How many messages are there.
    pub messages: u64,
    /// How many copies of each the stream is made to keep.
    pub replicas: usize,
}

/// What a consumer has before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    /// Messages that nobody has been handed.
    pub waiting: u64,
    /// Messages that somebody works on.
    pub in_flight: u64,
}

/// Settles one delivery with the broker.
#[async_trait]
pub trait Settle: Send + Sync {
    /// The work is done: the message leaves the queue, and has left it when this
    /// returns. Tried again like a publish where the broker does not answer.
    async fn ack(&self) -> Result<(), Error>;
    /// The work goes on: the ack wait starts anew.
    async fn progress(&self) -> Result<(), Error>;
    /// Somebody else shall do it, at once.
    async fn give_back(&self) -> Result<(), Error>;
}

/// One message handed to one worker.
pub struct Delivery {
    /// The subject it was published to.
    pub subject: String,
    /// Its headers.
    pub headers: Headers,
    /// Its body.
    pub payload: Bytes,
    /// How often it has been delivered, this time included.
    pub deliveries: u64,
    /// When the broker stored it, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Acks and the like.
    pub settle: std::sync::Arc<dyn Settle>,
}

/// A value of a key-value bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvEntry {
    /// The value.
    pub value: Bytes,
    /// Its revision: grows with every write of the bucket.
    pub revision: u64,
}

/// A key of a bucket and what has become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvChange {
    /// The key.
    pub key: String,
    /// What it holds now; `None` when it was removed.
    pub entry: Option<KvEntry>,
}

/// An object as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its name.
    pub name: String,
    /// The size of its body.
    pub bytes: u64,
    /// When it was last put or touched by the broker's clock, in milliseconds since the Unix epoch.
    pub modified_ms: u64,
    /// Another one after each time that it was put or touched.
    pub revision: u64,
}

/// The outcome of a compare-and-set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CasOutcome {
    /// Written, at this revision.
    Written(u64),
    /// Somebody else wrote first.
    Conflict,
}

/// A message of core publish-subscribe: not stored, lost when nobody listens.
#[derive(Debug, Clone)]
pub struct LiveMessage {
    /// The subject it was published to.
    pub subject: String,
    /// Where an answer is expected.
    pub reply: Option<String>,
    /// Its headers.
    pub headers: Headers,
    /// Its body.
    pub payload: Bytes,
}

/// What went wrong with the broker.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No connection, no leader, or no answer in time, after all retries.
    #[error("broker unreachable: {0}")]
    Unreachable(String),
    /// The broker refused the request for good.
    #[error("broker refused {what}: {reason}")]
    Refused {
        /// The request.
        what: String,
        /// The broker's own words.
        reason: String,
    },
    /// The stream, consumer, bucket or object is not there.
    #[error("{0} does not exist on the broker")]
    Missing(String),
    /// An object is there and not what was put: trying again cannot help.
    #[error("{0} is damaged on the broker")]
    Damaged(String),
    /// An asset exists with another configuration than asked for.
    #[error("{name} on the broker differs: {difference}")]
    Differs {
        /// The asset.
        name: String,
        /// Which settings differ, and how.
        difference: String,
    },
    /// Nobody listens on the subject of a request.
    #[error("nobody answers on {0}")]
    NoResponder(String),
    /// A body is larger than the broker takes.
    #[error("{bytes} bytes are more than the {max} that a message may carry")]
    TooLarge {
        /// The body's size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
}

impl Error {
    /// Whether trying again cannot help.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        matches!(self, Self::TooLarge { .. } | Self::Refused { .. } | Self::Damaged(_))
    }
}

/// What a broker can do. Every call ends: it succeeds, or fails within its own time limit.
#[async_trait]
pub trait Broker: Send + Sync {
    /// Creates the stream, or checks that the one that is there agrees.
    async fn ensure_stream(&self, spec: &StreamSpec) -> Result<(), Error>;
    /// Checks that the stream is there and agrees; creates nothing.
    async fn verify_stream(&self, spec: &StreamSpec) -> Result<(), Error>;
    /// Creates the durable consumer, or brings its limits up to date.
    async fn ensure_consumer(&self, spec: &ConsumerSpec) -> Result<(), Error>;
    /// Creates a key-value bucket (history 1) unless it is there.
    async fn ensure_bucket(&self, spec: &BucketSpec) -> Result<(), Error>;
    /// Creates an object bucket unless it is there.
    async fn ensure_objects(&self, bucket: &str, replicas: usize) -> Result<(), Error>;

    /// Stores a message. An unknown outcome (timeout, no leader, lost connection)
    /// is tried again under the same name until the broker has answered, for at
    /// most 30 s; the caller must be able to bear a second copy on a log.
    async fn publish(&self, message: Outgoing) -> Result<Published, Error>;

    /// Takes up to `max` messages, as they come, waiting at most `expires` for
    /// them. The stream ends at `max` or at `expires`, whichever is first.
    async fn pull(
        &self,
        stream: &str,
        consumer: &str,
        max: usize,
        expires: Duration,
    ) -> Result<BoxStream<'static, Result<Delivery, Error>>, Error>;
    /// How many messages of a consumer wait, and how many are in flight.
    async fn depth(&self, stream: &str, consumer: &str) -> Result<Depth, Error>;
    /// How many messages of a consumer wait or are in flight.
    async fn backlog(&self, stream: &str, consumer: &str) -> Result<u64, Error> {
        let Depth { waiting, in_flight } = self.depth(stream, consumer).await?;
        Ok(waiting + in_flight)
    }

    /// Reads a log in order from `from_seq` on (or from its first message, where
    /// older ones are gone), without end. Recovers by itself from reconnects
    /// and elections without gaps or repeats.
    async fn read_log(
        &self,
        stream: &str,
        from_seq: u64,
    ) -> Result<BoxStream<'static, Result<LogEntry, Error>>, Error>;
    /// Reads what a log or a queue holds now from `from_seq` on, in order and without
    /// the bodies, then ends: all that was stored before the call and is not removed
    /// while it is read, and perhaps some of what comes meanwhile. Takes nothing from a
    /// queue's workers. Does not recover: after an error the caller knows that it has
    /// not seen all.
    async fn read_headers(
        &self,
        stream: &str,
        from_seq: u64,
    ) -> Result<BoxStream<'static, Result<LogEntry, Error>>, Error>;
    /// The same as [`Broker::read_log`], of one subject alone (wildcards allowed).
    async fn read_subject(
        &self,
        stream: &str,
        subject: &str,
        from_seq: u64,
    ) -> Result<BoxStream<'static, Result<LogEntry, Error>>, Error> {
        Ok(only(self.read_log(stream, from_seq).await?, subject))
    }
    /// The same as [`Broker::read_headers`], of one subject alone (wildcards allowed).
    async fn read_headers_of(
        &self,
        stream: &str,
        subject: &str,
        from_seq: u64,
    ) -> Result<BoxStream<'static, Result<LogEntry, Error>>, Error> {
        Ok(only(self.read_headers(stream, from_seq).await?, subject))
    }
    /// The subjects, among those of a pattern, on which a stream holds anything now: what it
    /// holds where the subject says all, at a fraction of the price of its messages. Of what
    /// comes or is removed meanwhile, and of as much else, some may be missing.
    async fn subjects(&self, stream: &str, pattern: &str) -> Result<BTreeSet<String>, Error> {
        let entries = self.read_headers_of(stream, pattern, 1).await?;
        entries.map(|entry| entry.map(|entry| entry.subject)).try_collect().await
    }
    /// A stream's edges.
    async fn stream_state(&self, stream: &str) -> Result<StreamState, Error>;
    /// The first message at or behind `from_seq` on a subject (wildcards allowed).
    async fn first_on_subject(
        &self,
        stream: &str,
        subject: &str,
        from_seq: u64,
    ) -> Result<Option<LogEntry>, Error>;
    /// The newest message on a subject (wildcards allowed).
    async fn last_on_subject(&self, stream: &str, subject: &str) -> Result<Option<LogEntry>, Error>;
    /// Drops all messages below `seq`.
    async fn trim(&self, stream: &str, below_seq: u64) -> Result<(), Error>;
    /// Removes one message; says whether it was there.
    async fn remove(&self, stream: &str, seq: u64) -> Result<bool, Error>;

    /// A key's value.
    async fn kv_get(&self, bucket: &str, key: &str) -> Result<Option<KvEntry>, Error>;
    /// Writes a key if its revision is still `expected` (0: the key does not exist).
    async fn kv_cas(&self, bucket: &str, key: &str, value: Bytes, expected: u64)
    -> Result<CasOutcome, Error>;
    /// Removes a key, whatever its revision.
    async fn kv_delete(&self, bucket: &str, key: &str) -> Result<(), Error>;
    /// Every key of a bucket with its value. For small buckets only.
    async fn kv_all(&self, bucket: &str) -> Result<BTreeMap<String, KvEntry>, Error>;
    /// Every key there is now, then every change, without end. Recovers by itself
    /// from reconnects and elections without a gap: of a key that changed several times
    /// meanwhile, the last change comes. Keys that the bucket drops for their age are
    /// dropped in silence.
    async fn kv_changes(&self, bucket: &str) -> Result<BoxStream<'static, Result<KvChange, Error>>, Error>;

    /// Stores an object under a name; the same name twice is one object. One that holds
    /// this body already is touched, and whoever reads it is not disturbed.
    async fn object_put(&self, bucket: &str, name: &str, body: Bytes) -> Result<(), Error>;
    /// An object's body. [`Error::Damaged`] when it is not what was put.
    async fn object_get(&self, bucket: &str, name: &str) -> Result<Option<Bytes>, Error>;
    /// Makes an object as young as if it had been put now; says whether it is there.
    async fn object_touch(&self, bucket: &str, name: &str) -> Result<bool, Error>;
    /// Every object there is now, in no order. Ends by itself.
    async fn object_list(&self, bucket: &str)
    -> Result<BoxStream<'static, Result<ObjectInfo, Error>>, Error>;
    /// Removes an object unless it was put or touched after `revision`; says whether
    /// this call has removed it.
    async fn object_delete(&self, bucket: &str, name: &str, revision: Option<u64>) -> Result<bool, Error>;
    /// Counts what puts have left that died on their way before `before_ms` by the
    /// broker's clock, in milliseconds since the Unix epoch; with `remove`, removes it.
    async fn object_leftovers(&self, bucket: &str, before_ms: u64, remove: bool) -> Result<u64, Error>;

    /// Sends to whoever listens just now.
    async fn publish_live(&self, subject: String, headers: Headers, payload: Bytes) -> Result<(), Error>;
    /// Listens to a subject (wildcards allowed). Slow listeners lose messages.
    async fn subscribe(&self, subject: &str) -> Result<BoxStream<'static, LiveMessage>, Error>;
    /// Asks whoever listens, and waits for one answer.
    async fn request(&self, subject: String, payload: Bytes, timeout: Duration) -> Result<Bytes, Error>;
    /// Asks everybody who listens, and gathers the answers of `window`.
    async fn request_all(
        &self,
        subject: String,
        payload: Bytes,
        window: Duration,
    ) -> Result<Vec<Bytes>, Error>;

    /// Sends what is buffered; returns when the broker has seen it.
    async fn flush(&self) -> Result<(), Error>;
    /// Whether the connection is up just now.
    fn connected(&self) -> bool;
    /// What is wrong with the connection, or with what is written over it, just now.
    fn troubles(&self) -> Vec<Trouble> {
        Vec::new()
    }
    /// Somebody knows whether the broker syncs each message to disk before it answers,
    /// which decides how it is best written to; without that it may find out by itself.
    fn note_sync(&self, each: bool) {
        let _ = each;
    }
    /// What the broker says of itself.
    async fn describe(&self) -> Result<Description, Error>;
}

/// The entries on a subject; errors stay.
fn only(
    entries: BoxStream<'static, Result<LogEntry, Error>>,
    subject: &str,
) -> BoxStream<'static, Result<LogEntry, Error>> {
    let pattern = subject.to_owned();
    let wanted = move |entry: &Result<LogEntry, Error>| {
        future::ready(entry.as_ref().map_or(true, |entry| memory::matches(&pattern, &entry.subject)))
    };
    entries.filter(wanted).boxed()
}
