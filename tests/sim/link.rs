//! One process's connection to the broker: everything that it asks for may be
//! held up, lost, done twice or left without an answer, as its dice say.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use planfleet_bus::broker::{
    Broker, BucketSpec, CasOutcome, ConsumerSpec, Delivery, Depth, Description, Error, Headers, KvChange,
    KvEntry, LiveMessage, LogEntry, ObjectInfo, Outgoing, Published, StreamSpec, StreamState,
    memory::MemoryBroker,
};
use planfleet_proto::subjects;
use tokio::time::sleep;

use super::{
    delivery,
    dice::{Dice, Weather},
    gate::Gate,
    witness::{Witness, shown},
};

/// A process's connection.
pub(crate) struct Link {
    pub(crate) who: String,
    pub(crate) broker: MemoryBroker,
    pub(crate) witness: Arc<Witness>,
    pub(crate) weather: Arc<Weather>,
    pub(crate) dice: Dice,
    pub(crate) gate: Gate,
    /// Writes of keys get nowhere just now, and all else works.
    pub(crate) cut: AtomicBool,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is done and answered.
    Answered,
    /// It is done twice, as the first answer was lost and the connection tried again.
    Repeated,
    /// It is done, and the answer is lost.
    Unanswered,
    /// It is lost.
    Lost,
}

impl Link {
    /// Time that passes between a process and the broker.
    pub(crate) async fn lag(&self) {
        self.gate.pass().await;
        if self.dice.chance(self.weather.odds().lag) {
            let long = self.dice.chance(60);
            sleep(if long { self.dice.millis(200, 2_500) } else { self.dice.millis(1, 60) }).await;
            self.gate.pass().await;
        }
    }

    /// Until a connection gives up.
    async fn time_out(&self, what: &str) -> Error {
        sleep(self.dice.millis(300, 6_000)).await;
        self.gate.pass().await;
        Error::Unreachable(format!("{what}: no answer in time"))
    }

    fn fate(&self, odds: u32) -> Fate {
        if !self.dice.chance(odds) {
            return Fate::Answered;
        }
        *self.dice.pick(&[Fate::Repeated, Fate::Unanswered, Fate::Lost])
    }

    /// A call that may fail, done or not done.
    async fn call<T>(&self, what: &str, done: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.lag().await;
        match self.fate(self.weather.odds().fail) {
            Fate::Answered | Fate::Repeated => {
                let answer = done.await;
                self.lag().await;
                answer
            }
            Fate::Unanswered => {
                self.witness.fault(&self.who, "calls unanswered", format_args!("{what}"));
                done.await?;
                Err(self.time_out(what).await)
            }
            Fate::Lost => {
                self.witness.fault(&self.who, "calls lost", format_args!("{what}"));
                Err(self.time_out(what).await)
            }
        }
    }

    async fn store(&self, message: &Outgoing) -> Result<Published, Error> {
        let published = self.broker.publish(message.clone()).await?;
        self.witness.stored(&self.who, message, published);
        Ok(published)
    }

    /// Whether a live message gets lost; nobody is told.
    fn is_lost(&self, subject: &str) -> bool {
        let lost = self.dice.chance(self.weather.odds().live);
        if lost {
            self.witness.fault(&self.who, "live messages lost", format_args!("{subject}"));
        }
        lost
    }
}

/// What a service holds of a link.
pub(crate) struct Connection(pub(crate) Arc<Link>);

impl std::ops::Deref for Connection {
    type Target = Arc<Link>;

    fn deref(&self) -> &Arc<Link> {
        &self.0
    }
}

#[async_trait]
impl Broker for Connection {
    async fn publish(&self, message: Outgoing) -> Result<Published, Error> {
        let subject = shown(&message.subject);
        self.gate.pass().await;
        self.witness.asks(&self.who, &message.subject);
        self.lag().await;
        match self.fate(self.weather.odds().publish) {
            Fate::Answered => {
                let published = self.store(&message).await;
                self.lag().await;
                published
            }
            Fate::Repeated => {
                self.witness.fault(&self.who, "publishes repeated", format_args!("{subject}"));
                self.store(&message).await?;
                sleep(self.dice.millis(20, 5_000)).await;
                self.gate.pass().await;
                self.store(&message).await
            }
            Fate::Unanswered => {
                self.witness.fault(&self.who, "publishes unanswered", format_args!("{subject}"));
                self.store(&message).await?;
                Err(self.time_out(&subject).await)
            }
            Fate::Lost => {
                self.witness.fault(&self.who, "publishes lost", format_args!("{subject}"));
                Err(self.time_out(&subject).await)
            }
        }
    }

    async fn pull(
        &self,
        stream: &str,
        consumer: &str,
        max: usize,
        expires: Duration,
    ) -> Result<BoxStream<'static, Result<Delivery, Error>>, Error> {
        let pulled = self.call("pull", self.broker.pull(stream, consumer, max, expires)).await?;
        Ok(delivery::watched(Arc::clone(&self.0), pulled))
    }

    async fn read_log(
        &self,
        name: &str,
        from_seq: u64,
    ) -> Result<BoxStream<'static, Result<LogEntry, Error>>, Error> {
        let entries = self.call("read_log", self.broker.read_log(name, from_seq)).await?;
        let reader = (Arc::clone(&self.0), entries);
        Ok(stream::unfold(reader, |(link, mut entries)| async move {
            let entry = entries.next().await?;
            link.lag().await;
            Some((entry, (link, entries)))
        })
        .boxed())
    }

    async fn kv_cas(
        &self,
        bucket: &str,
        key: &str,
        value: Bytes,
        expected: u64,
    ) -> Result<CasOutcome, Error> {
        if self.cut.load(Ordering::Relaxed) {
            return Err(self.time_out("kv_cas").await);
        }
        let written = async {
            let before = self.broker.kv_get(bucket, key).await?;
            let outcome = self.broker.kv_cas(bucket, key, value.clone(), expected).await?;
            if bucket == subjects::SHARDS && matches!(outcome, CasOutcome::Written(_)) {
                let before = before.map(|entry| entry.value).unwrap_or_default();
                self.witness.lease_written(&self.who, key, &before, &value);
            }
            Ok(outcome)
        };
        self.call("kv_cas", written).await
    }

    async fn kv_get(&self, bucket: &str, key: &str) -> Result<Option<KvEntry>, Error> {
        self.call("kv_get", self.broker.kv_get(bucket, key)).await
    }

    async fn kv_delete(&self, bucket: &str, key: &str) -> Result<(), Error> {
        self.call("kv_delete", self.broker.kv_delete(bucket, key)).await
    }

    async fn kv_all(&self, bucket: &str) -> Result<BTreeMap<String, KvEntry>, Error> {
        self.call("kv_all", self.broker.kv_all(bucket)).await
    }

    async fn stream_state(&self, stream: &str) -> Result<StreamState, Error> {
        self.call("stream_state", self.broker.stream_state(stream)).await
    }

    async fn first_on_subject(
        &self,
        stream: &str,
        subject: &str,
        from_seq: u64,
    ) -> Result<Option<LogEntry>, Error> {
        self.call("first_on_subject", self.broker.first_on_subject(stream, subject, from_seq)).await
    }

    async fn last_on_subject(&self, stream: &str, subject: &str) -> Result<Option<LogEntry>, Error> {
        self.call("last_on_subject", self.broker.last_on_subject(stream, subject)).await
    }

    async fn publish_live(&self, subject: String, headers: Headers, payload: Bytes) -> Result<(), Error> {
        self.lag().await;
        if self.is_lost(&subject) {
            return Ok(());
        }
        self.broker.publish_live(subject, headers, payload).await
    }

    async fn subscribe(&self, subject: &str) -> Result<BoxStream<'static, LiveMessage>, Error> {
        self.lag().await;
        let messages = self.broker.subscribe(subject).await?;
        let listener = (Arc::clone(&self.0), messages);
        Ok(stream::unfold(listener, |(link, mut messages)| async move {
            loop {
                let message = messages.next().await?;
                link.lag().await;
                if !link.is_lost(&message.subject) {
                    return Some((message, (link, messages)));
                }
            }
        })
        .boxed())
    }

    async fn request(&self, subject: String, payload: Bytes, timeout: Duration) -> Result<Bytes, Error> {
        self.call("request", self.broker.request(subject, payload, timeout)).await
    }

    async fn request_all(
        &self,
        subject: String,
        payload: Bytes,
        window: Duration,
    ) -> Result<Vec<Bytes>, Error> {
        self.call("request_all", self.broker.request_all(subject, payload, window)).await
    }

    async fn trim(&self, stream: &str, below_seq: u64) -> Result<(), Error> {
        let trimmed = async {
            self.witness.trimmed(stream, below_seq).await?;
            self.broker.trim(stream, below_seq).await
        };
        self.call("trim", trimmed).await
    }

    async fn remove(&self, stream: &str, seq: u64) -> Result<bool, Error> {
        self.call("remove", self.broker.remove(stream, seq)).await
    }

    async fn object_put(&self, bucket: &str, name: &str, body: Bytes) -> Result<(), Error> {
        if bucket == subjects::SNAPSHOTS {
            self.witness.counter.count("snapshot objects");
        }
        self.call("object_put", self.broker.object_put(bucket, name, body)).await
    }

    async fn object_get(&self, bucket: &str, name: &str) -> Result<Option<Bytes>, Error> {
        if bucket == subjects::SNAPSHOTS {
            self.witness.counter.count("snapshot objects read");
        }
        self.call("object_get", self.broker.object_get(bucket, name)).await
    }

    async fn read_headers(
        &self,
        stream: &str,
        from_seq: u64,
    ) -> Result<BoxStream<'static, Result<LogEntry, Error>>, Error> {
        self.call("read_headers", self.broker.read_headers(stream, from_seq)).await
    }

    async fn kv_changes(&self, bucket: &str) -> Result<BoxStream<'static, Result<KvChange, Error>>, Error> {
        let changes = self.call("kv_changes", self.broker.kv_changes(bucket)).await?;
        let watcher = (Arc::clone(&self.0), changes);
        Ok(stream::unfold(watcher, |(link, mut changes)| async move {
            let change = changes.next().await?;
            link.lag().await;
            Some((change, (link, changes)))
        })
        .boxed())
    }

    async fn object_touch(&self, bucket: &str, name: &str) -> Result<bool, Error> {
        self.call("object_touch", self.broker.object_touch(bucket, name)).await
    }

    async fn object_list(
        &self,
        bucket: &str,
    ) -> Result<BoxStream<'static, Result<ObjectInfo, Error>>, Error> {
        self.call("object_list", self.broker.object_list(bucket)).await
    }

    async fn object_delete(&self, bucket: &str, name: &str, revision: Option<u64>) -> Result<bool, Error> {
        self.call("object_delete", self.broker.object_delete(bucket, name, revision)).await
    }

    async fn object_leftovers(&self, bucket: &str, before_ms: u64, remove: bool) -> Result<u64, Error> {
        self.call("object_leftovers", self.broker.object_leftovers(bucket, before_ms, remove)).await
    }

    async fn depth(&self, stream: &str, consumer: &str) -> Result<Depth, Error> {
        self.broker.depth(stream, consumer).await
    }

    async fn ensure_stream(&self, spec: &StreamSpec) -> Result<(), Error> {
        self.broker.ensure_stream(spec).await
    }

    async fn verify_stream(&self, spec: &StreamSpec) -> Result<(), Error> {
        self.broker.verify_stream(spec).await
    }

    async fn ensure_consumer(&self, spec: &ConsumerSpec) -> Result<(), Error> {
        self.broker.ensure_consumer(spec).await
    }

    async fn ensure_bucket(&self, spec: &BucketSpec) -> Result<(), Error> {
        self.broker.ensure_bucket(spec).await
    }

    async fn ensure_objects(&self, bucket: &str, replicas: usize) -> Result<(), Error> {
        self.broker.ensure_objects(bucket, replicas).await
    }

    async fn flush(&self) -> Result<(), Error> {
        self.broker.flush().await
    }

    fn connected(&self) -> bool {
        self.broker.connected()
    }

    async fn describe(&self) -> Result<Description, Error> {
        self.broker.describe().await
    }
}
