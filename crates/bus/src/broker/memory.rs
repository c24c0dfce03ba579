//! The broker in memory: what [`super::nats`] does, without a server.
//!
//! For tests and for embedding. It keeps the server's rules where callers can see
//! them (refusal by name while a message is queued or in flight, redelivery after
//! the ack wait, revisions, wildcards) and its clock is tokio's, so that a paused
//! clock moves ack waits. It forgets everything with its last clone, and it ignores
//! a stream's `max_age`: nothing that runs on it lives that long.

mod bucket;
mod live;
mod objects;
mod queue;
mod reader;
mod stream;
mod subject;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use tokio::{sync::Notify, time::Instant};

pub(super) use self::subject::matches;
use self::{bucket::Bucket, live::Live, objects::Objects, stream::Stream};
use super::{
    Broker, BucketSpec, CasOutcome, ConsumerSpec, Delivery, Depth, Description, Error, Headers, KvChange,
    KvEntry, LiveMessage, LogEntry, OBJECT_BYTES_MAX, ObjectInfo, Outgoing, Published, StreamSpec,
    StreamState,
};

/// The server's default `max_payload`, so that what fits here fits there.
const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// A broker without a server. Clones are the same broker.
#[derive(Clone)]
pub struct MemoryBroker {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    live: Live,
    /// Rung at every change of a stream or queue. One bell for all: whoever waits
    /// looks for itself, and tests have few who wait. It wakes them in the order in
    /// which they came: the same actors on a paused clock do the same every time.
    bell: Notify,
    /// Rung at every change of a key: not the other one, since leases are renewed all
    /// the time, which does not concern who waits for work.
    key_bell: Notify,
    object_bytes_max: AtomicUsize,
    clock: Clock,
}

#[derive(Default)]
struct State {
    streams: BTreeMap<String, Stream>,
    buckets: BTreeMap<String, Bucket>,
    objects: BTreeMap<String, Objects>,
}

/// Wall-clock time that moves with tokio's clock.
struct Clock {
    started: Instant,
    started_ms: u64,
}

impl MemoryBroker {
    /// A broker with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::started_at(millis(since_epoch))
    }

    /// Likewise, at that time of day, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn started_at(started_ms: u64) -> Self {
        Self {
            inner: Arc::new(Inner {
                state: Mutex::default(),
                live: Live::default(),
                bell: Notify::new(),
                key_bell: Notify::new(),
                object_bytes_max: AtomicUsize::new(OBJECT_BYTES_MAX),
                clock: Clock { started: Instant::now(), started_ms },
            }),
        }
    }
}

impl MemoryBroker {
    /// Takes no larger objects from now on, so that a test shows without 64 MiB what
    /// happens above them.
    pub fn limit_objects(&self, bytes_max: usize) {
        self.inner.object_bytes_max.store(bytes_max, Ordering::SeqCst);
    }
}

impl Default for MemoryBroker {
    fn default() -> Self {
        Self::new()
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a stream and wakes whoever waits for that.
    fn change<T>(
        &self,
        stream: &str,
        change: impl FnOnce(&mut Stream) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let changed = change(self.state().stream(stream)?);
        self.bell.notify_waiters();
        changed
    }

    /// Changes a key-value bucket and wakes whoever waits for that.
    fn change_keys<T>(&self, bucket: &str, change: impl FnOnce(&mut Bucket) -> T) -> Result<T, Error> {
        let changed = change(self.state().bucket(bucket)?);
        self.key_bell.notify_waiters();
        Ok(changed)
    }

    /// Reads a stream.
    fn look<T>(&self, stream: &str, look: impl FnOnce(&Stream) -> T) -> Result<T, Error> {
        Ok(look(self.state().stream(stream)?))
    }
}

impl State {
    fn stream(&mut self, name: &str) -> Result<&mut Stream, Error> {
        self.streams.get_mut(name).ok_or_else(|| Error::Missing(name.to_owned()))
    }

    fn bucket(&mut self, name: &str) -> Result<&mut Bucket, Error> {
        let missing = || Error::Missing(format!("bucket {name}"));
        self.buckets.get_mut(name).ok_or_else(missing)
    }

    fn objects(&mut self, name: &str) -> Result<&mut Objects, Error> {
        let missing = || Error::Missing(format!("object bucket {name}"));
        self.objects.get_mut(name).ok_or_else(missing)
    }

    fn stream_of_subject(&mut self, subject: &str) -> Option<&mut Stream> {
        self.streams.values_mut().find(|stream| stream.takes(subject))
    }
}

impl Clock {
    fn now_ms(&self) -> u64 {
        self.started_ms + millis(self.started.elapsed())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn check_size(payload: &Bytes, max: usize) -> Result<(), Error> {
    if payload.len() > max {
        return Err(Error::TooLarge { bytes: payload.len(), max });
    }
    Ok(())
}

#[async_trait]
impl Broker for MemoryBroker {
    async fn ensure_stream(&self, spec: &StreamSpec) -> Result<(), Error> {
        let mut state = self.inner.state();
        match state.streams.get(&spec.name) {
            Some(there) => there.agrees_with(spec),
            None => {
                state.streams.insert(spec.name.clone(), Stream::new(spec.clone()));
                Ok(())
            }
        }
    }

    async fn verify_stream(&self, spec: &StreamSpec) -> Result<(), Error> {
        self.inner.look(&spec.name, |stream| stream.agrees_with(spec))?
    }

    async fn ensure_consumer(&self, spec: &ConsumerSpec) -> Result<(), Error> {
        self.inner.change(&spec.stream, |stream| stream.ensure_consumer(spec))
    }

    async fn ensure_bucket(&self, spec: &BucketSpec) -> Result<(), Error> {
        self.inner.state().buckets.entry(spec.name.clone()).or_default();
        Ok(())
    }

    async fn ensure_objects(&self, bucket: &str, _replicas: usize) -> Result<(), Error> {
        self.inner.state().objects.entry(bucket.to_owned()).or_default();
        Ok(())
    }

    async fn publish(&self, message: Outgoing) -> Result<Published, Error> {
        check_size(&message.payload, PAYLOAD_BYTES_MAX)?;
        let at_ms = self.inner.clock.now_ms();
        let published = match self.inner.state().stream_of_subject(&message.subject) {
            Some(stream) => stream.publish(message, at_ms),
            None => {
                let subject = message.subject;
                return Err(Error::Unreachable(format!("{subject}: no stream takes it")));
            }
        };
        self.inner.bell.notify_waiters();
        Ok(published)
    }

    async fn pull(
        &self,
        stream: &str,
        consumer: &str,
        max: usize,
        expires: Duration,
    ) -> Result<BoxStream<'static, Result<Delivery, Error>>, Error> {
        Ok(reader::pull(self.inner.clone(), stream, consumer, max, expires))
    }

    async fn depth(&self, stream: &str, consumer: &str) -> Result<Depth, Error> {
        self.inner.look(stream, |stream| stream.depth(consumer))?
    }

    async fn read_log(
        &self,
        stream: &str,
        from_seq: u64,
    ) -> Result<BoxStream<'static, Result<LogEntry, Error>>, Error> {
        self.inner.look(stream, |stream| stream.check_start(from_seq))??;
        Ok(reader::read_log(self.inner.clone(), stream, from_seq))
    }

    async fn read_headers(
        &self,
        stream: &str,
        from_seq: u64,
    ) -> Result<BoxStream<'static, Result<LogEntry, Error>>, Error> {
        let last = self.inner.look(stream, Stream::state)?.last_seq;
        Ok(reader::read_headers(self.inner.clone(), stream, from_seq, last))
    }

    async fn stream_state(&self, stream: &str) -> Result<StreamState, Error> {
        self.inner.look(stream, Stream::state)
    }

    async fn first_on_subject(
        &self,
        stream: &str,
        subject: &str,
        from_seq: u64,
    ) -> Result<Option<LogEntry>, Error> {
        self.inner.look(stream, |stream| stream.first_on_subject(subject, from_seq))
    }

    async fn last_on_subject(&self, stream: &str, subject: &str) -> Result<Option<LogEntry>, Error> {
        self.inner.look(stream, |stream| stream.last_on_subject(subject))
    }

    async fn trim(&self, stream: &str, below_seq: u64) -> Result<(), Error> {
        self.inner.change(stream, |stream| {
            stream.trim(below_seq);
            Ok(())
        })
    }

    async fn remove(&self, stream: &str, seq: u64) -> Result<bool, Error> {
        self.inner.change(stream, |stream| Ok(stream.remove(seq)))
    }

    async fn kv_get(&self, bucket: &str, key: &str) -> Result<Option<KvEntry>, Error> {
        Ok(self.inner.state().bucket(bucket)?.get(key))
    }

    async fn kv_cas(
        &self,
        bucket: &str,
        key: &str,
        value: Bytes,
        expected: u64,
    ) -> Result<CasOutcome, Error> {
        check_size(&value, PAYLOAD_BYTES_MAX)?;
        self.inner.change_keys(bucket, |bucket| bucket.compare_and_set(key, value, expected))
    }

    async fn kv_delete(&self, bucket: &str, key: &str) -> Result<(), Error> {
        self.inner.change_keys(bucket, |bucket| bucket.delete(key))
    }

    async fn kv_all(&self, bucket: &str) -> Result<BTreeMap<String, KvEntry>, Error> {
        Ok(self.inner.state().bucket(bucket)?.all())
    }

    async fn kv_changes(&self, bucket: &str) -> Result<BoxStream<'static, Result<KvChange, Error>>, Error> {
        self.inner.state().bucket(bucket)?;
        Ok(reader::kv_changes(self.inner.clone(), bucket))
    }

    async fn object_put(&self, bucket: &str, name: &str, body: Bytes) -> Result<(), Error> {
        check_size(&body, self.inner.object_bytes_max.load(Ordering::SeqCst))?;
        let now_ms = self.inner.clock.now_ms();
        self.inner.state().objects(bucket)?.put(name, body, now_ms);
        Ok(())
    }

    async fn object_get(&self, bucket: &str, name: &str) -> Result<Option<Bytes>, Error> {
        Ok(self.inner.state().objects(bucket)?.get(name))
    }

    async fn object_touch(&self, bucket: &str, name: &str) -> Result<bool, Error> {
        let now_ms = self.inner.clock.now_ms();
        Ok(self.inner.state().objects(bucket)?.touch(name, now_ms))
    }

    async fn object_list(
        &self,
        bucket: &str,
    ) -> Result<BoxStream<'static, Result<ObjectInfo, Error>>, Error> {
        let listed = self.inner.state().objects(bucket)?.list();
        Ok(futures::stream::iter(listed).map(Ok).boxed())
    }

    async fn object_delete(&self, bucket: &str, name: &str, revision: Option<u64>) -> Result<bool, Error> {
        Ok(self.inner.state().objects(bucket)?.delete(name, revision))
    }

    async fn object_leftovers(&self, bucket: &str, _before_ms: u64, _remove: bool) -> Result<u64, Error> {
        // Nothing here dies on its way.
        self.inner.state().objects(bucket)?;
        Ok(0)
    }

    async fn publish_live(&self, subject: String, headers: Headers, payload: Bytes) -> Result<(), Error> {
        check_size(&payload, PAYLOAD_BYTES_MAX)?;
        self.inner.live.publish(&LiveMessage { subject, reply: None, headers, payload });
        Ok(())
    }

    async fn subscribe(&self, subject: &str) -> Result<BoxStream<'static, LiveMessage>, Error> {
        Ok(self.inner.live.subscribe(subject))
    }

    async fn request(&self, subject: String, payload: Bytes, timeout: Duration) -> Result<Bytes, Error> {
        self.inner.live.request(subject, payload, timeout).await
    }

    async fn request_all(
        &self,
        subject: String,
        payload: Bytes,
        window: Duration,
    ) -> Result<Vec<Bytes>, Error> {
        Ok(self.inner.live.request_all(subject, payload, window).await)
    }

    async fn flush(&self) -> Result<(), Error> {
        Ok(())
    }

    fn connected(&self) -> bool {
        true
    }

    async fn describe(&self) -> Result<Description, Error> {
        Ok(Description::Memory)
    }
}
