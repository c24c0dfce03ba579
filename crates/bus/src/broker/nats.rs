//! The broker over NATS JetStream.
//!
//! Everything here ends: each call has a time limit, and a lost connection, an
//! election or a restart of the server is [`Error::Unreachable`] or is waited
//! out, never a hang. Nothing here may assume that silence means failure: an
//! unanswered publish may well have been stored.
//!
//! Start with [`connection`] for how the connections behave, [`watch`] for what is
//! known of their troubles, [`lanes`] for how messages are stored, [`fetch`] for
//! how they are read, and [`api`] for what the server's errors become.

mod api;
mod connection;
mod fetch;
mod grant;
mod headers;
mod identity;
mod kv;
mod lanes;
mod live;
mod log;
mod objects;
mod place;
mod publish;
mod pull;
mod replies;
mod scan;
mod streams;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use self::{connection::Link, lanes::Lanes, objects::Objects};
use super::{
    Broker, BucketSpec, CasOutcome, ConsumerSpec, Delivery, Depth, Description, Error, Headers, KvChange,
    KvEntry, LiveMessage, LogEntry, ObjectInfo, Outgoing, Published, StreamSpec, StreamState,
    trouble::Trouble,
};

pub use self::{
    grant::{Grant, Permissions},
    identity::inbox,
};

/// Whom to trust, and how to prove who one is, by certificates in PEM files.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Certificates of the authorities that servers' certificates come from; with them, a
    /// server that offers no TLS is refused. Without, `tls://` trusts those of the system.
    pub ca: Option<PathBuf>,
    /// The client's own certificate, where servers ask for one.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

/// How to reach a NATS server.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// `nats://host:port` or `tls://host:port`, several separated by commas.
    pub url: String,
    /// A credentials file (user JWT and NKey seed).
    pub creds_file: Option<PathBuf>,
    /// A file with the seed of a user's NKey; wins over credentials.
    pub nkey_file: Option<PathBuf>,
    /// What the subjects of answers begin with; `None` is [`inbox`] of the NKey, or the
    /// client's own.
    pub inbox_prefix: Option<String>,
    /// Certificates.
    pub tls: Tls,
    /// What the server shows in its list of connections.
    pub name: String,
    /// How long the first connection may take, name resolution and TLS included. Each
    /// server of the URL has its share of it, so that one which hangs leaves time for
    /// the others.
    pub connect_timeout: Duration,
    /// How long a publish or an ack is tried again before it fails.
    pub publish_give_up: Duration,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            url: "nats://127.0.0.1:4222".to_owned(),
            creds_file: None,
            nkey_file: None,
            inbox_prefix: None,
            tls: Tls::default(),
            name: "planfleet".to_owned(),
            connect_timeout: Duration::from_secs(5),
            // Three times the longest silence measured: a hung leader is replaced within 10 s.
            publish_give_up: Duration::from_secs(30),
        }
    }
}

/// A NATS server or cluster. Clones share the connections.
#[derive(Clone)]
pub struct NatsBroker {
    /// Publishes, requests, key-value and live messages.
    sending: Arc<Link>,
    /// Where messages to be stored go.
    lanes: Arc<Lanes>,
    /// Pulls, log readers and acks. A connection of its own, because one task does
    /// all I/O of a connection: a flood of deliveries must not delay a lease renewal.
    consuming: Arc<Link>,
    /// Leases and membership. A connection of its own, because publishes wait for
    /// their turn in a window: a renewal must not stand behind thousands of dispatches.
    control: Arc<Link>,
    objects: Arc<Objects>,
    publish_give_up: Duration,
}

impl NatsBroker {
    /// Connects, once: a server that is not there is an error, not something to wait for.
    pub async fn connect(options: ConnectOptions) -> Result<Self, Error> {
        let sending = Arc::new(Link::open(&options, "send").await?);
        let consuming = Arc::new(Link::open(&options, "consume").await?);
        Ok(Self {
            objects: Arc::new(Objects::new(sending.clone())),
            lanes: Arc::new(Lanes::new(sending.clone())),
            control: Arc::new(Link::open(&options, "control").await?),
            sending,
            consuming,
            publish_give_up: options.publish_give_up,
        })
    }

    fn links(&self) -> [&Link; 3] {
        [&self.sending, &self.consuming, &self.control]
    }
}

#[async_trait]
impl Broker for NatsBroker {
    async fn ensure_stream(&self, spec: &StreamSpec) -> Result<(), Error> {
        streams::ensure(&self.sending, spec).await
    }

    async fn verify_stream(&self, spec: &StreamSpec) -> Result<(), Error> {
        streams::verify(&self.sending, spec).await
    }

    async fn ensure_consumer(&self, spec: &ConsumerSpec) -> Result<(), Error> {
        streams::ensure_consumer(&self.sending, spec).await
    }

    async fn ensure_bucket(&self, spec: &BucketSpec) -> Result<(), Error> {
        kv::ensure(&self.control, spec).await
    }

    async fn ensure_objects(&self, bucket: &str, replicas: usize) -> Result<(), Error> {
        self.objects.ensure(bucket, replicas).await
    }

    async fn publish(&self, message: Outgoing) -> Result<Published, Error> {
        publish::publish(&self.lanes, &message, self.publish_give_up).await
    }

    async fn pull(
        &self,
        stream: &str,
        consumer: &str,
        max: usize,
        expires: Duration,
    ) -> Result<BoxStream<'static, Result<Delivery, Error>>, Error> {
        pull::pull(&self.consuming, stream, consumer, max, expires, self.publish_give_up).await
    }

    async fn depth(&self, stream: &str, consumer: &str) -> Result<Depth, Error> {
        streams::depth(&self.sending, stream, consumer).await
    }

    async fn read_log(
        &self,
        stream: &str,
        from_seq: u64,
    ) -> Result<BoxStream<'static, Result<LogEntry, Error>>, Error> {
        log::read(self.consuming.clone(), stream, ">", from_seq).await
    }

    async fn read_subject(
        &self,
        stream: &str,
        subject: &str,
        from_seq: u64,
    ) -> Result<BoxStream<'static, Result<LogEntry, Error>>, Error> {
        log::read(self.consuming.clone(), stream, subject, from_seq).await
    }

    async fn read_headers(
        &self,
        stream: &str,
        from_seq: u64,
    ) -> Result<BoxStream<'static, Result<LogEntry, Error>>, Error> {
        headers::read(self.consuming.clone(), stream, ">", from_seq).await
    }

    async fn read_headers_of(
        &self,
        stream: &str,
        subject: &str,
        from_seq: u64,
    ) -> Result<BoxStream<'static, Result<LogEntry, Error>>, Error> {
        headers::read(self.consuming.clone(), stream, subject, from_seq).await
    }

    async fn subjects(&self, stream: &str, pattern: &str) -> Result<BTreeSet<String>, Error> {
        streams::subjects(&self.sending, stream, pattern).await
    }

    async fn stream_state(&self, stream: &str) -> Result<StreamState, Error> {
        streams::state(&self.sending, stream).await
    }

    async fn first_on_subject(
        &self,
        stream: &str,
        subject: &str,
        from_seq: u64,
    ) -> Result<Option<LogEntry>, Error> {
        streams::first_on_subject(&self.sending, stream, subject, from_seq).await
    }

    async fn last_on_subject(&self, stream: &str, subject: &str) -> Result<Option<LogEntry>, Error> {
        streams::last_on_subject(&self.sending, stream, subject).await
    }

    async fn trim(&self, stream: &str, below_seq: u64) -> Result<(), Error> {
        streams::trim(&self.sending, stream, below_seq).await
    }

    async fn remove(&self, stream: &str, seq: u64) -> Result<bool, Error> {
        streams::remove(&self.sending, stream, seq).await
    }

    async fn kv_get(&self, bucket: &str, key: &str) -> Result<Option<KvEntry>, Error> {
        kv::get(&self.control, bucket, key).await
    }

    async fn kv_cas(
        &self,
        bucket: &str,
        key: &str,
        value: Bytes,
        expected: u64,
    ) -> Result<CasOutcome, Error> {
        kv::compare_and_set(&self.control, bucket, key, value, expected).await
    }

    async fn kv_delete(&self, bucket: &str, key: &str) -> Result<(), Error> {
        kv::delete(&self.control, bucket, key).await
    }

    async fn kv_all(&self, bucket: &str) -> Result<BTreeMap<String, KvEntry>, Error> {
        kv::all(&self.control, bucket).await
    }

    async fn kv_changes(&self, bucket: &str) -> Result<BoxStream<'static, Result<KvChange, Error>>, Error> {
        kv::changes(self.consuming.clone(), bucket).await
    }

    async fn object_put(&self, bucket: &str, name: &str, body: Bytes) -> Result<(), Error> {
        self.objects.put(bucket, name, body).await
    }

    async fn object_get(&self, bucket: &str, name: &str) -> Result<Option<Bytes>, Error> {
        self.objects.get(bucket, name).await
    }

    async fn object_touch(&self, bucket: &str, name: &str) -> Result<bool, Error> {
        self.objects.touch(bucket, name).await
    }

    async fn object_list(
        &self,
        bucket: &str,
    ) -> Result<BoxStream<'static, Result<ObjectInfo, Error>>, Error> {
        self.objects.list(bucket).await
    }

    async fn object_delete(&self, bucket: &str, name: &str, revision: Option<u64>) -> Result<bool, Error> {
        self.objects.delete(bucket, name, revision).await
    }

    async fn object_leftovers(&self, bucket: &str, before_ms: u64, remove: bool) -> Result<u64, Error> {
        self.objects.leftovers(bucket, before_ms, remove).await
    }

    async fn publish_live(&self, subject: String, headers: Headers, payload: Bytes) -> Result<(), Error> {
        live::publish(&self.sending, subject, &headers, payload).await
    }

    async fn subscribe(&self, subject: &str) -> Result<BoxStream<'static, LiveMessage>, Error> {
        live::subscribe(&self.sending, subject).await
    }

    async fn request(&self, subject: String, payload: Bytes, timeout: Duration) -> Result<Bytes, Error> {
        live::request(&self.sending, subject, payload, timeout).await
    }

    async fn request_all(
        &self,
        subject: String,
        payload: Bytes,
        window: Duration,
    ) -> Result<Vec<Bytes>, Error> {
        live::request_all(&self.sending, subject, payload, window).await
    }

    async fn flush(&self) -> Result<(), Error> {
        futures::try_join!(self.sending.round_trip(), self.consuming.round_trip())?;
        Ok(())
    }

    fn connected(&self) -> bool {
        self.links().into_iter().all(|link| link.is_up())
    }

    fn troubles(&self) -> Vec<Trouble> {
        self.links().into_iter().flat_map(|link| link.watch.troubles()).collect()
    }

    fn note_sync(&self, each: bool) {
        self.lanes.note_sync(each);
    }

    async fn describe(&self) -> Result<Description, Error> {
        self.sending.describe().map(Description::Server)
    }
}
