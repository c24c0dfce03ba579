//! What flow control is told: who works with how many slots, what other coordinators have
//! let go, what operators have paused, and what lies in the queue already.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt as _, future::join_all, stream::BoxStream};
use planfleet_core::id::{IdError, ShardId, check_name};
use planfleet_proto::subjects::{self, Work};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    Bus, Client, Error,
    broker::{self, CasOutcome, KvChange},
    client::Question,
};

/// How often a process says what slots it has.
pub const SAY_SLOTS_EVERY: Duration = Duration::from_secs(5);

/// A goodbye that takes longer is not worth a stop's time: who is silent is forgotten.
const GOODBYE: Duration = Duration::from_secs(2);

/// Tries of one write. Whoever has written in between has said something as new.
const WRITES_MAX: u32 = 4;

/// By pool: slots that a process has, or pieces of work that a coordinator has let go.
pub type ByPool = BTreeMap<String, usize>;

/// What a pause is of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "what", content = "name", rename_all = "snake_case")]
pub enum Target {
    /// All work of a pool.
    Pool(String),
    /// All work of a tenant.
    Tenant(String),
    /// All work of tasks of a class.
    Class(String),
}

impl Target {
    /// `pool`, `tenant` or `class`, and its name.
    #[must_use]
    pub const fn parts(&self) -> (&'static str, &String) {
        match self {
            Self::Pool(name) => ("pool", name),
            Self::Tenant(name) => ("tenant", name),
            Self::Class(name) => ("class", name),
        }
    }

    fn key(&self) -> String {
        let (what, name) = self.parts();
        subjects::pause(what, name)
    }

    /// Whether there can be such a thing.
    ///
    /// # Errors
    /// Says what is wrong with its name and what would be right.
    pub fn check(&self) -> Result<(), IdError> {
        let (what, name) = self.parts();
        check_name(what, name)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, name) = self.parts();
        write!(f, "{what} {name}")
    }
}

/// Of its target, nothing new is let go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// What is paused.
    #[serde(flatten)]
    pub target: Target,
    /// Why, in the operator's words.
    pub reason: String,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_ms: u64,
}

/// Something that flow control is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// A process has these slots; `None` when it has said goodbye.
    Worker(String, Option<ByPool>),
    /// A coordinator has let go so much that has not come back; likewise.
    Taken(String, Option<ByPool>),
}

impl Told {
    fn of(change: &KvChange) -> Option<Self> {
        let counts = match &change.entry {
            Some(entry) => Some(serde_json::from_slice(&entry.value).ok()?),
            None => None,
        };
        if let Some(name) = change.key.strip_prefix(subjects::SLOTS_WORKER) {
            return Some(Self::Worker(name.to_owned(), counts));
        }
        let name = change.key.strip_prefix(subjects::SLOTS_TAKEN)?;
        Some(Self::Taken(name.to_owned(), counts))
    }
}

impl Bus {
    /// Says now and then until `stop` how many slots a process has for each pool, then
    /// says goodbye. `name` is the process's own: `[A-Za-z0-9_-]{1,64}`.
    pub async fn keep_slots_known(&self, name: &str, slots: &ByPool, stop: CancellationToken) {
        let key = format!("{}{name}", subjects::SLOTS_WORKER);
        let mut ticks = interval(SAY_SLOTS_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let said = async {
            loop {
                ticks.tick().await;
                if let Err(error) = self.write(subjects::SLOTS, &key, slots).await {
                    tracing::warn!(%error, "cannot say how many slots there are");
                }
            }
        };
        let _ = stop.run_until_cancelled(said).await;
        let goodbye = self.broker().kv_delete(subjects::SLOTS, &key);
        if !matches!(timeout(GOODBYE, goodbye).await, Ok(Ok(()))) {
            tracing::debug!("could not say that the slots are gone");
        }
    }

    /// The slots that each process has, as it has said last and as far as that can be read; who
    /// is silent for long is left out.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn slots(&self) -> Result<BTreeMap<String, ByPool>, Error> {
        let all = self.read_all(subjects::SLOTS, |entry| read(&entry.value)).await?;
        let said = all
            .into_iter()
            .filter_map(|(key, slots)| Some((key.strip_prefix(subjects::SLOTS_WORKER)?.to_owned(), slots)));
        Ok(said.collect())
    }

    /// Says how much a coordinator has let go that has not come back.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn say_taken(&self, name: &str, taken: &ByPool) -> Result<(), Error> {
        self.write(subjects::SLOTS, &format!("{}{name}", subjects::SLOTS_TAKEN), taken).await
    }

    /// What was said of slots, then whatever is said, without end.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn follow_slots(&self) -> Result<BoxStream<'static, Result<Told, Error>>, Error> {
        let changes = self.broker().kv_changes(subjects::SLOTS).await?;
        let told = |change: KvChange| Ok(Told::of(&change));
        Ok(understood(changes.map(move |change| change.map_err(Error::from).and_then(told))))
    }

    /// Pauses a pool, a tenant or a class, in every coordinator's eyes and until it is
    /// resumed; a pause that is there gets the new reason.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn pause(&self, pause: &Pause) -> Result<(), Error> {
        self.write(subjects::PAUSES, &pause.target.key(), pause).await
    }

    /// Ends a pause; says whether there was one.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn resume(&self, target: &Target) -> Result<bool, Error> {
        let there = self.broker().kv_get(subjects::PAUSES, &target.key()).await?.is_some();
        if there {
            self.broker().kv_delete(subjects::PAUSES, &target.key()).await?;
        }
        Ok(there)
    }

    /// All that is paused, as far as it can be read.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn pauses(&self) -> Result<Vec<Pause>, Error> {
        let all = self.read_all(subjects::PAUSES, |entry| read(&entry.value)).await?;
        Ok(all.into_values().collect())
    }

    /// All that is paused by its key, then each change, without end: `None` for what is
    /// resumed.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn follow_pauses(
        &self,
    ) -> Result<BoxStream<'static, Result<(String, Option<Pause>), Error>>, Error> {
        let changes = self.broker().kv_changes(subjects::PAUSES).await?;
        let pause = |KvChange { key, entry }| match entry.map(|entry| read(&entry.value)).transpose() {
            Ok(pause) => Some((key, pause)),
            Err(error) => {
                // Written by a later version, perhaps; the other pauses hold all the same.
                tracing::warn!(key, %error, "a pause that cannot be read is left out");
                None
            }
        };
        Ok(understood(changes.map(move |change| change.map(pause).map_err(Error::from))))
    }

    /// The work of a shard's runs that is in the queue or with a worker, by its names alone.
    ///
    /// # Errors
    /// When the broker cannot be reached: then nobody knows all of it.
    pub async fn work_in_queue(&self, shard: ShardId) -> Result<BTreeSet<Work>, Error> {
        let queued = self.broker().subjects(subjects::STEPS, subjects::STEPS_FILTER).await?;
        let work = queued.iter().filter_map(|subject| subjects::work(subject));
        Ok(work.filter(|work| work.run.shard() == shard).collect())
    }

    /// Writes a key, whatever it held.
    async fn write<T: Serialize + Sync>(&self, bucket: &str, key: &str, value: &T) -> Result<(), Error> {
        let value = serde_json::to_vec(value).map_err(|error| Error::Answer(error.to_string()))?;
        let value = Bytes::from(value);
        for _ in 0..WRITES_MAX {
            let last = self.broker().kv_get(bucket, key).await?.map_or(0, |entry| entry.revision);
            let outcome = self.broker().kv_cas(bucket, key, value.clone(), last).await?;
            if matches!(outcome, CasOutcome::Written(_)) {
                return Ok(());
            }
        }
        let reason = "others write it again and again".to_owned();
        Err(broker::Error::Refused { what: format!("{bucket}/{key}"), reason }.into())
    }
}

impl Client {
    /// How the queues of all coordinators stand that own a shard, by coordinator, and how
    /// many shards have not answered: one that is being taken over does not hide the others.
    pub async fn queues(&self) -> (BTreeMap<String, Value>, usize) {
        let asked = (0..self.shards()).map(|shard| self.ask(shard, &Question::Queues));
        let (mut queues, mut silent) = (BTreeMap::new(), 0);
        for answer in join_all(asked).await {
            match answer {
                Ok(Some(queue)) if queue["coordinator"].is_string() => {
                    queues.insert(queue["coordinator"].as_str().unwrap_or_default().to_owned(), queue);
                }
                Ok(_) | Err(_) => silent += 1,
            }
        }
        (queues, silent)
    }
}

fn read<T: DeserializeOwned>(value: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(value).map_err(|error| Error::Answer(error.to_string()))
}

/// Leaves out what is not understood.
fn understood<T: Send + 'static>(
    changes: impl futures::Stream<Item = Result<Option<T>, Error>> + Send + 'static,
) -> BoxStream<'static, Result<T, Error>> {
    changes.filter_map(|change| async move { change.transpose() }).boxed()
}
