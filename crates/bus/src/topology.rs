//! All assets on the broker, made or checked in one place.

use std::time::Duration;

use bytes::Bytes;
use planfleet_core::id::ShardId;
use planfleet_proto::subjects;

use crate::{
    Bus, Error,
    broker::{self, BucketSpec, ConsumerSpec, StreamKind, StreamSpec},
};

/// Nothing needs records that are older than this: a shard with anything to take along
/// has a snapshot of the last hour, and a log is trimmed far earlier.
const LOG_AGE: Duration = Duration::from_secs(31 * 24 * 3600);

/// How long ended runs can be read.
pub(crate) const DONE_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long dead letters wait for somebody to look.
const DEAD_LETTER_AGE: Duration = Duration::from_secs(30 * 24 * 3600);

/// A coordinator gives a sign of life every second; the names of those that are
/// gone for good must not pile up.
const MEMBER_AGE: Duration = Duration::from_secs(600);

/// Work of a cancelled run that has been queued for longer is done in vain, and
/// its result ignored.
const CANCEL_AGE: Duration = Duration::from_secs(24 * 3600);

/// An idempotency key holds for at least 24 h. It is kept for longer than ended runs
/// can be read, so that whoever gets an old run by its key has sent the same task.
const KEY_AGE: Duration = DONE_AGE.saturating_add(Duration::from_secs(24 * 3600));

/// A kind of task that has not come up for a season is planned anew: tools and models
/// have moved on.
const PLAN_AGE: Duration = Duration::from_secs(92 * 24 * 3600);

/// A batch can be looked at for as long as any record of its runs may be kept: its keys
/// and documents are gone by then.
const BATCH_AGE: Duration = LOG_AGE;

/// A model is paused for a quarter of an hour at most; what is said of it is said again then.
const HINT_AGE: Duration = Duration::from_secs(20 * 60);

/// A process says every few seconds what slots it has; the keys of those that are gone for
/// good must not pile up.
const SLOTS_AGE: Duration = MEMBER_AGE;

/// What is known of a call is asked for when its step is delivered again, or its attempt
/// repeated: days later at most, after a long outage.
const CALL_AGE: Duration = DONE_AGE;

/// What tools keep in values and nobody has written again for so long is forgotten: nobody else
/// would ever remove it.
const TOOL_VALUE_AGE: Duration = Duration::from_secs(90 * 24 * 3600);

/// Who makes the assets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manage {
    /// Planfleet makes what is not there.
    Create,
    /// Somebody else does; planfleet checks.
    Verify,
    /// Nobody checks.
    Off,
}

/// A named kind of worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// Work that one process does at once.
    pub slots: usize,
    /// An attempt that is neither finished nor extended for this long goes to another worker.
    pub ack_wait: Duration,
}

/// What is to be there.
#[derive(Debug, Clone)]
pub struct Topology {
    /// Fixed when first made: run ids carry their shard.
    pub shards: ShardId,
    /// 1, 3 or 5.
    pub replicas: usize,
    /// Every pool that work is dispatched to.
    pub pools: Vec<Pool>,
    /// Who makes it.
    pub manage: Manage,
}

/// Processes of one pool that the in-flight limit allows for: enough for a
/// large fleet, and still a bound on what a broker restart redelivers.
const PROCESSES_PER_POOL: i64 = 64;

impl Bus {
    /// Makes everything that planfleet keeps on the broker, or checks that its
    /// streams are there. May be called by any number of processes at once, any
    /// number of times.
    ///
    /// # Errors
    /// When the broker cannot be reached, or what is there differs.
    pub async fn bootstrap(&self, topology: &Topology) -> Result<(), Error> {
        let broker = self.broker();
        for spec in topology.streams() {
            match topology.manage {
                Manage::Create => broker.ensure_stream(&spec).await?,
                Manage::Verify => broker.verify_stream(&spec).await?,
                Manage::Off => {}
            }
        }
        if topology.manage != Manage::Create {
            return Ok(());
        }
        for pool in &topology.pools {
            broker.ensure_consumer(&pool.consumer()).await?;
        }
        for spec in topology.buckets() {
            broker.ensure_bucket(&spec).await?;
        }
        for bucket in [subjects::BLOBS, subjects::SNAPSHOTS, subjects::TOOL_OBJECTS] {
            broker.ensure_objects(bucket, topology.replicas).await?;
        }
        self.fix_shard_count(topology.shards).await
    }

    /// The number of shards is written once: with another, the runs of some
    /// shards would have no owner.
    async fn fix_shard_count(&self, shards: ShardId) -> Result<(), Error> {
        let (bucket, key) = (subjects::SHARDS, subjects::SHARD_COUNT);
        self.broker().kv_cas(bucket, key, Bytes::from(shards.to_string()), 0).await?;
        let written = self.broker().kv_get(bucket, key).await?;
        let count =
            written.and_then(|entry| String::from_utf8(entry.value.to_vec()).ok()).unwrap_or_default();
        if count == shards.to_string() {
            return Ok(());
        }
        let difference = format!("it was made with {count} shards, nats.shards is {shards}");
        Err(broker::Error::Differs { name: "the fleet".to_owned(), difference }.into())
    }
}

impl Topology {
    /// Every stream.
    #[must_use]
    pub fn streams(&self) -> Vec<StreamSpec> {
        let stream = |name: String, filter: String, kind, max_age| StreamSpec {
            name,
            subjects: vec![filter],
            kind,
            max_age,
            replicas: self.replicas,
        };
        let logs = (0..self.shards).map(|shard| {
            stream(subjects::log(shard), subjects::log_filter(shard), StreamKind::Log, Some(LOG_AGE))
        });
        let own = |name: &str, filter: &str, kind, max_age| stream(name.into(), filter.into(), kind, max_age);
        logs.chain([
            own(subjects::STEPS, subjects::STEPS_FILTER, StreamKind::WorkQueue, None),
            own(subjects::DONE, subjects::DONE_FILTER, StreamKind::WriteOnce, Some(DONE_AGE)),
            own(
                subjects::DEAD_LETTERS,
                subjects::DEAD_LETTERS_FILTER,
                StreamKind::Log,
                Some(DEAD_LETTER_AGE),
            ),
        ])
        .collect()
    }
}

impl Topology {
    fn buckets(&self) -> Vec<BucketSpec> {
        let bucket =
            |name: &str, max_age| BucketSpec { name: name.to_owned(), max_age, replicas: self.replicas };
        vec![
            bucket(subjects::SHARDS, None),
            bucket(subjects::MEMBERS, Some(MEMBER_AGE)),
            bucket(subjects::CANCELS, Some(CANCEL_AGE)),
            bucket(subjects::KEYS, Some(KEY_AGE)),
            bucket(subjects::API_KEYS, None),
            bucket(subjects::BUDGETS, Some(LOG_AGE)),
            bucket(subjects::PLANS, Some(PLAN_AGE)),
            bucket(subjects::BATCHES, Some(BATCH_AGE)),
            bucket(subjects::TEMPLATES, None),
            bucket(subjects::LIMITS, Some(HINT_AGE)),
            bucket(subjects::SLOTS, Some(SLOTS_AGE)),
            bucket(subjects::PAUSES, None),
            bucket(subjects::CALLS, Some(CALL_AGE)),
            bucket(subjects::TOOL_VALUES, Some(TOOL_VALUE_AGE)),
        ]
    }
}

impl Pool {
    /// The pool's durable consumer.
    #[must_use]
    pub fn consumer(&self) -> ConsumerSpec {
        let slots = i64::try_from(self.slots).unwrap_or(i64::MAX);
        ConsumerSpec {
            stream: subjects::STEPS.to_owned(),
            name: subjects::pool_consumer(&self.name),
            filter: subjects::pool_filter(&self.name),
            ack_wait: self.ack_wait,
            max_ack_pending: slots.saturating_mul(2).saturating_mul(PROCESSES_PER_POOL),
        }
    }
}
