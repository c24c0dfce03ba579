//! A broker that notes what one process publishes, that can be cut off from leases,
//! and that can be made to refuse large bodies.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
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

use tokio::sync::{Semaphore, watch};

/// A reader that starts over behind what it has read, once it is let go.
struct ReadAgain {
    broker: MemoryBroker,
    stream: String,
    next: u64,
    open: Option<BoxStream<'static, Result<LogEntry, Error>>>,
    held: watch::Receiver<bool>,
}

impl ReadAgain {
    async fn next(&mut self) -> Option<Result<LogEntry, Error>> {
        loop {
            if *self.held.borrow_and_update() {
                self.open = None;
                self.held.changed().await.ok()?;
                continue;
            }
            let open = match &mut self.open {
                Some(open) => open,
                none => none.insert(self.broker.read_log(&self.stream, self.next).await.ok()?),
            };
            tokio::select! {
                biased;
                changed = self.held.changed() => changed.ok()?,
                entry = open.next() => {
                    let entry = entry?;
                    self.next = entry.as_ref().map_or(self.next, |entry| entry.seq + 1);
                    return Some(entry);
                }
            }
        }
    }
}

pub(crate) struct Spy {
    broker: MemoryBroker,
    published: Mutex<Vec<(String, Published)>>,
    read: Mutex<Vec<(String, u64)>>,
    held: watch::Sender<bool>,
    cut: AtomicBool,
    no_work: AtomicBool,
    /// While it is empty, nobody is told what is queued, and logs bring nothing once it is asked.
    telling: Semaphore,
    asked_what_is_queued: AtomicBool,
    body_bytes_max: AtomicUsize,
    swept: AtomicUsize,
}

impl Spy {
    pub(crate) fn on(broker: &MemoryBroker) -> Arc<Self> {
        Arc::new(Self {
            broker: broker.clone(),
            published: Mutex::default(),
            read: Mutex::default(),
            held: watch::Sender::new(false),
            cut: AtomicBool::new(false),
            no_work: AtomicBool::new(false),
            telling: Semaphore::new(1),
            asked_what_is_queued: AtomicBool::new(false),
            body_bytes_max: AtomicUsize::new(usize::MAX),
            swept: AtomicUsize::new(0),
        })
    }

    /// Writes of leases fail from now on.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }

    /// Nobody answers whoever queues work.
    pub(crate) fn refuse_work(&self, refuse: bool) {
        self.no_work.store(refuse, Ordering::SeqCst);
    }

    /// Bodies that are larger are refused from now on, as those above the true limit are.
    pub(crate) fn limit_bodies(&self, bytes_max: usize) {
        self.body_bytes_max.store(bytes_max, Ordering::SeqCst);
    }

    /// Logs bring nothing for as long as this holds.
    pub(crate) fn hold_logs(&self, hold: bool) {
        self.held.send_replace(hold);
    }

    /// Nobody is told what is queued until [`Self::tell_what_is_queued`], and logs bring nothing
    /// from the question on.
    pub(crate) fn keep_what_is_queued(&self) {
        self.telling.forget_permits(1);
    }

    pub(crate) fn tell_what_is_queued(&self) {
        self.telling.add_permits(1);
    }

    pub(crate) fn is_asked_what_is_queued(&self) -> bool {
        self.asked_what_is_queued.load(Ordering::SeqCst)
    }

    /// From which positions a log was read, in order.
    pub(crate) fn read_from(&self, stream: &str) -> Vec<u64> {
        let all = self.read.lock().expect("a list");
        all.iter().filter(|(read, _)| read == stream).map(|(_, from)| *from).collect()
    }

    /// How often the stored bodies were listed, which is what a sweep begins with.
    pub(crate) fn swept(&self) -> usize {
        self.swept.load(Ordering::SeqCst)
    }

    /// What was published under subjects that start so, in order.
    pub(crate) fn published(&self, prefix: &str) -> Vec<(String, Published)> {
        let all = self.published.lock().expect("a list");
        all.iter().filter(|(subject, _)| subject.starts_with(prefix)).cloned().collect()
    }
}

#[async_trait]
impl Broker for Spy {
    async fn publish(&self, message: Outgoing) -> Result<Published, Error> {
        let subject = message.subject.clone();
        if subject.starts_with("pf.steps.") && self.no_work.load(Ordering::SeqCst) {
            return Err(Error::Unreachable("nobody answers".to_owned()));
        }
        let published = self.broker.publish(message).await?;
        self.published.lock().expect("a list").push((subject, published));
        Ok(published)
    }

    async fn kv_cas(
        &self,
        bucket: &str,
        key: &str,
        value: Bytes,
        expected: u64,
    ) -> Result<CasOutcome, Error> {
        if self.cut.load(Ordering::SeqCst) {
            return Err(Error::Unreachable("cut off".to_owned()));
        }
        self.broker.kv_cas(bucket, key, value, expected).await
    }

    async fn object_put(&self, bucket: &str, name: &str, body: Bytes) -> Result<(), Error> {
        let max = self.body_bytes_max.load(Ordering::SeqCst);
        if body.len() > max {
            return Err(Error::TooLarge { bytes: body.len(), max });
        }
        self.broker.object_put(bucket, name, body).await
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
    async fn pull(
        &self,
        stream: &str,
        consumer: &str,
        max: usize,
        expires: Duration,
    ) -> Result<BoxStream<'static, Result<Delivery, Error>>, Error> {
        self.broker.pull(stream, consumer, max, expires).await
    }
    async fn depth(&self, stream: &str, consumer: &str) -> Result<Depth, Error> {
        self.broker.depth(stream, consumer).await
    }
    async fn read_log(
        &self,
        stream: &str,
        from_seq: u64,
    ) -> Result<BoxStream<'static, Result<LogEntry, Error>>, Error> {
        self.read.lock().expect("a list").push((stream.to_owned(), from_seq));
        let reader = ReadAgain {
            broker: self.broker.clone(),
            stream: stream.to_owned(),
            next: from_seq,
            open: None,
            held: self.held.subscribe(),
        };
        Ok(stream::unfold(reader, |mut reader| async move {
            let entry = reader.next().await?;
            Some((entry, reader))
        })
        .boxed())
    }
    async fn stream_state(&self, stream: &str) -> Result<StreamState, Error> {
        self.broker.stream_state(stream).await
    }
    async fn first_on_subject(
        &self,
        stream: &str,
        subject: &str,
        from_seq: u64,
    ) -> Result<Option<LogEntry>, Error> {
        self.broker.first_on_subject(stream, subject, from_seq).await
    }
    async fn last_on_subject(&self, stream: &str, subject: &str) -> Result<Option<LogEntry>, Error> {
        self.broker.last_on_subject(stream, subject).await
    }
    async fn trim(&self, stream: &str, below_seq: u64) -> Result<(), Error> {
        self.broker.trim(stream, below_seq).await
    }
    async fn remove(&self, stream: &str, seq: u64) -> Result<bool, Error> {
        self.broker.remove(stream, seq).await
    }
    async fn kv_get(&self, bucket: &str, key: &str) -> Result<Option<KvEntry>, Error> {
        self.broker.kv_get(bucket, key).await
    }
    async fn kv_delete(&self, bucket: &str, key: &str) -> Result<(), Error> {
        self.broker.kv_delete(bucket, key).await
    }
    async fn kv_all(&self, bucket: &str) -> Result<BTreeMap<String, KvEntry>, Error> {
        self.broker.kv_all(bucket).await
    }
    async fn object_get(&self, bucket: &str, name: &str) -> Result<Option<Bytes>, Error> {
        self.broker.object_get(bucket, name).await
    }
    async fn subjects(&self, stream: &str, pattern: &str) -> Result<BTreeSet<String>, Error> {
        if self.telling.available_permits() == 0 {
            self.hold_logs(true);
        }
        self.asked_what_is_queued.store(true, Ordering::SeqCst);
        let _telling = self.telling.acquire().await.expect("it is never closed");
        self.broker.subjects(stream, pattern).await
    }
    async fn read_headers(
        &self,
        stream: &str,
        from_seq: u64,
    ) -> Result<BoxStream<'static, Result<LogEntry, Error>>, Error> {
        self.broker.read_headers(stream, from_seq).await
    }
    async fn kv_changes(&self, bucket: &str) -> Result<BoxStream<'static, Result<KvChange, Error>>, Error> {
        self.broker.kv_changes(bucket).await
    }
    async fn object_touch(&self, bucket: &str, name: &str) -> Result<bool, Error> {
        self.broker.object_touch(bucket, name).await
    }
    async fn object_list(
        &self,
        bucket: &str,
    ) -> Result<BoxStream<'static, Result<ObjectInfo, Error>>, Error> {
        if bucket == planfleet_proto::subjects::BLOBS {
            self.swept.fetch_add(1, Ordering::SeqCst);
        }
        self.broker.object_list(bucket).await
    }
    async fn object_delete(&self, bucket: &str, name: &str, revision: Option<u64>) -> Result<bool, Error> {
        self.broker.object_delete(bucket, name, revision).await
    }
    async fn object_leftovers(&self, bucket: &str, before_ms: u64, remove: bool) -> Result<u64, Error> {
        self.broker.object_leftovers(bucket, before_ms, remove).await
    }
    async fn publish_live(&self, subject: String, headers: Headers, payload: Bytes) -> Result<(), Error> {
        self.broker.publish_live(subject, headers, payload).await
    }
    async fn subscribe(&self, subject: &str) -> Result<BoxStream<'static, LiveMessage>, Error> {
        self.broker.subscribe(subject).await
    }
    async fn request(&self, subject: String, payload: Bytes, timeout: Duration) -> Result<Bytes, Error> {
        self.broker.request(subject, payload, timeout).await
    }
    async fn request_all(
        &self,
        subject: String,
        payload: Bytes,
        window: Duration,
    ) -> Result<Vec<Bytes>, Error> {
        self.broker.request_all(subject, payload, window).await
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
