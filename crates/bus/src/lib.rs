//! Everything that travels: records, work, ended runs, leases, reads, live news.
//!
//! [`Bus`] speaks the core's types on top of a [`broker::Broker`], real or
//! in memory. It encodes, names, carries trace context and moves large bodies
//! by reference; it decides nothing. Start with [`topology`], which makes all
//! assets, and [`worker`], which every service that takes work runs.

pub mod admission;
pub mod batches;
pub mod blobs;
pub mod broker;
pub mod budgets;
pub mod calls;
pub mod client;
pub mod dead_letters;
pub mod flow;
pub mod hints;
pub mod journal;
pub mod kept;
pub mod lease;
pub mod live;
pub mod permissions;
pub mod plans;
pub mod snapshots;
pub mod topology;
pub mod trace;
pub mod work;
pub mod worker;

mod done;

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use planfleet_core::id::{RunId, ShardId};
use planfleet_proto::{encode, subjects};

pub use self::{
    client::Client,
    dead_letters::DeadLetter,
    done::Ended,
    journal::JournalEntry,
    lease::Lease,
    topology::{Manage, Pool, Topology},
    worker::{Job, Settled, Worker},
};
use crate::{
    admission::{Loads, Refused},
    broker::{Broker, Headers, KvEntry, Outgoing, Published},
    live::Watched,
    plans::PlanNotes,
};

/// What can go wrong on the bus.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The broker's own trouble.
    #[error(transparent)]
    Broker(#[from] broker::Error),
    /// A body that was sent by reference is gone or not what it was.
    #[error("the body {digest} of a message on {subject} is {problem}")]
    Blob {
        /// SHA-256 of the body, in hexadecimal.
        digest: String,
        /// Where the message was.
        subject: String,
        /// `missing` or `corrupt`.
        problem: &'static str,
    },
    /// A snapshot that cannot be used.
    #[error("snapshot {name} {problem}")]
    Snapshot {
        /// Its name, or that of the segment.
        name: String,
        /// Such as `is missing`.
        problem: String,
    },
    /// A message that cannot be read.
    #[error("unreadable message on {subject}: {source}")]
    Decode {
        /// Where the message was.
        subject: String,
        /// What was not understood.
        source: planfleet_proto::decode::Error,
    },
    /// A record where whoever may write it does not write it.
    #[error("a record on {subject}, which is not where it belongs: nobody knows who wrote it")]
    Misplaced {
        /// Where it was.
        subject: String,
    },
    /// No coordinator answers for a shard.
    #[error("no coordinator answers for shard {0}; is one running?")]
    NoOwner(ShardId),
    /// An idempotency key that stands for another task.
    #[error(
        "the idempotency key {key:?} was used for another task, that of run {run}; \
         submit that task as it was, or this one under another key"
    )]
    KeyReused {
        /// The key, as its user wrote it.
        key: String,
        /// The run of the task that came first.
        run: RunId,
    },
    /// A batch that is not kept, or was never there.
    #[error("there is no batch {0:?}; `planfleet batch list` shows those that are")]
    UnknownBatch(String),
    /// There is no room for another run now.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// An answer that is not what was asked for.
    #[error("unreadable answer: {0}")]
    Answer(String),
}

impl Error {
    /// Whether trying again cannot help.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        match self {
            Self::Broker(error) => error.is_permanent(),
            Self::Blob { .. }
            | Self::Snapshot { .. }
            | Self::Decode { .. }
            | Self::Misplaced { .. }
            | Self::KeyReused { .. }
            | Self::UnknownBatch(_)
            | Self::Answer(_) => true,
            Self::NoOwner(_) | Self::Refused(_) => false,
        }
    }
}

/// A connection to everything that travels. Cheap to clone.
#[derive(Clone)]
pub struct Bus {
    broker: Arc<dyn Broker>,
    shards: ShardId,
    watched: Arc<Watched>,
    notes: Arc<PlanNotes>,
    loads: Arc<Loads>,
}

impl Bus {
    /// A bus over that broker, with as many shards as its topology was made with.
    #[must_use]
    pub fn new(broker: Arc<dyn Broker>, shards: ShardId) -> Self {
        Self { broker, shards, watched: Arc::default(), notes: Arc::default(), loads: Arc::default() }
    }

    /// How many shards there are.
    #[must_use]
    pub const fn shards(&self) -> ShardId {
        self.shards
    }

    /// The broker underneath.
    #[must_use]
    pub fn broker(&self) -> &Arc<dyn Broker> {
        &self.broker
    }

    /// Publishes to a stream under a name, with headers and the current trace context, large
    /// bodies by reference.
    async fn publish(
        &self,
        stream: impl Into<Cow<'static, str>>,
        subject: String,
        payload: Vec<u8>,
        own: Headers,
    ) -> Result<Published, Error> {
        let mut headers = trace::current();
        headers.extend(own);
        let payload = blobs::check_in(&*self.broker, Bytes::from(payload), &mut headers).await?;
        Ok(self.broker.publish(Outgoing { subject, stream: stream.into(), headers, payload }).await?)
    }

    /// A message's body, wherever it is.
    async fn body(&self, subject: &str, headers: &Headers, payload: Bytes) -> Result<Bytes, Error> {
        blobs::check_out(&*self.broker, subject, headers, payload).await
    }

    /// Every key of a small bucket and what it holds. What cannot be read is left out and
    /// warned of: a later version has written it, perhaps, and it must not hide the others.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn read_all<T>(
        &self,
        bucket: &str,
        read: impl Fn(&KvEntry) -> Result<T, Error>,
    ) -> Result<BTreeMap<String, T>, Error> {
        let entries = self.broker.kv_all(bucket).await?.into_iter();
        let readable = entries.filter_map(|(key, entry)| match read(&entry) {
            Ok(value) => Some((key, value)),
            Err(error) => {
                tracing::warn!(bucket, key, %error, "an entry that cannot be read is left out");
                None
            }
        });
        Ok(readable.collect())
    }

    /// Orders whoever works for a run to stop, those too who are away just now. May be
    /// repeated.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn broadcast_cancel(&self, run: &RunId) -> Result<(), Error> {
        // A conflict means that the order stands already.
        self.broker.kv_cas(subjects::CANCELS, run.as_str(), Bytes::new(), 0).await?;
        Ok(())
    }

    /// Appends the record of a takeover.
    ///
    /// # Errors
    /// When the broker does not take it.
    pub async fn open_epoch(&self, shard: ShardId, lease: &Lease) -> Result<Published, Error> {
        let record = encode::epoch_opened(lease.epoch, &lease.owner, lease.logic_version);
        let subject = subjects::record(shard, subjects::Kind::Epoch);
        self.publish(subjects::log(shard), subject, record, Headers::new()).await
    }
}
