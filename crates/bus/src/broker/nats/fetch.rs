//! Pulling messages from one consumer over one inbox, with raw requests.
//!
//! Not by the client's `batch()`: its stream is never woken again once a heartbeat
//! has come in, and its errors are text. Not by its ordered consumer either: here a
//! lost connection, a lost consumer and a quiet stream must be told apart.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_nats::{
    Message, StatusCode, Subscriber,
    jetstream::{
        consumer::{
            AckPolicy, DeliverPolicy,
            pull::{BatchConfig, Config},
        },
        stream::{ConsumerError, ConsumerErrorKind},
    },
};
use futures::{FutureExt, StreamExt};
use tokio::time::timeout;

use super::{
    api::{from_wire, jetstream_error, refusal, refused},
    connection::{CONNECTION_LOST, Link},
    place::Place,
    watch::Outage,
};
use crate::broker::{Error, LogEntry};

/// A waiting request is answered at least this often, so that a request which got
/// lost with a connection is noticed long before it would have expired.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(1);

/// Silence that means the request is lost: several heartbeats, because a busy
/// machine delays them.
pub(super) const STALL: Duration = Duration::from_secs(4);

/// How long the server keeps an ephemeral consumer that nobody asks.
const EPHEMERAL_KEPT: Duration = Duration::from_secs(30);

/// Subscriptions that are kept for later: as many as a worker of 256 slots has pulls open at
/// once, and most others.
const IDLE_MAX: usize = 16;

/// What came in.
pub(super) enum Arrival {
    Message(Message),
    /// The request is alive and nothing has come.
    Heartbeat,
    /// The request is over: expired, or nothing more is there.
    Ended,
    /// Nothing came in time, not even a heartbeat.
    Silence,
    /// The request is over before its time.
    Lost(Error),
}

/// What an ephemeral consumer shows of a stream.
pub(super) struct View {
    /// Where it starts.
    pub(super) from: DeliverPolicy,
    /// The subjects it shows. Spelt out also where it shows all, because "last per
    /// subject" insists on a filter.
    pub(super) filter: String,
    /// Whether bodies are left out.
    pub(super) headers_only: bool,
}

impl View {
    /// Whole messages on all subjects.
    pub(super) fn all(from: DeliverPolicy) -> Self {
        Self { from, filter: ">".to_owned(), headers_only: false }
    }
}

/// One subscription, over which one request at a time is answered.
pub(super) struct Inbox {
    link: Arc<Link>,
    outage: Outage,
    listening: Listening,
    /// Requests so far over this subscription: each is answered on a subject of its own, so
    /// that what is left of one is not taken for an answer to the next. Messages themselves
    /// come with the subject under which they were stored.
    requests: u64,
    reply_to: String,
    ask_at: String,
    consumer: String,
}

/// A subscription that outlives its inbox.
pub(super) struct Listening {
    subscriber: Subscriber,
    inbox: String,
    requests: u64,
}

impl Inbox {
    /// Opens an inbox for a consumer that should be there, over a subscription that somebody
    /// has left behind, if there is one: a new one makes the server forget what it knows of
    /// subjects.
    pub(super) async fn open(link: &Arc<Link>, stream: &str, consumer: &str) -> Result<Self, Error> {
        // Without a connection the client would keep what is asked for and send all of
        // it later, when nobody listens to the answers any more.
        link.check_up("subscribe")?;
        let outage = link.outage();
        let listening = match link.idle.take() {
            Some(listening) => listening,
            None => Listening::begin(link).await?,
        };
        Ok(Self {
            link: link.clone(),
            outage,
            requests: listening.requests,
            reply_to: String::new(),
            listening,
            ask_at: format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"),
            consumer: consumer_name(stream, consumer),
        })
    }

    /// Opens an inbox on a new consumer that acks nothing and that the server forgets
    /// by itself. Returns how many messages wait for it, too.
    pub(super) async fn open_ephemeral(
        link: &Arc<Link>,
        stream: &str,
        view: View,
    ) -> Result<(Self, u64), Error> {
        let config = Config {
            deliver_policy: view.from,
            filter_subject: view.filter,
            headers_only: view.headers_only,
            ack_policy: AckPolicy::None,
            inactive_threshold: EPHEMERAL_KEPT,
            // It is rebuilt when it is lost, so it need not be replicated or stored.
            memory_storage: true,
            num_replicas: 1,
            ..Config::default()
        };
        let what = format!("read {stream}");
        let creating = link.jetstream.create_consumer_on_stream(config, stream);
        let consumer =
            link.limited(&what, creating).await?.map_err(|error| consumer_error(&what, stream, &error))?;
        let info = consumer.cached_info();
        Ok((Self::open(link, stream, &info.name).await?, info.num_pending))
    }

    /// Asks for messages; answers to an earlier request must have ended.
    pub(super) async fn request(&mut self, batch: &BatchConfig) -> Result<(), Error> {
        self.link.check_up("pull")?;
        let body = serde_json::to_vec(batch).map_err(|error| refused("pull", &error))?;
        self.requests += 1;
        self.reply_to = format!("{}.{}", self.listening.inbox, self.requests);
        let (ask_at, reply_to) = (self.ask_at.clone(), self.reply_to.clone());
        let sending = self.link.client.publish_with_reply(ask_at, reply_to, body.into());
        self.link.limited("pull", sending).await?.map_err(|error| Error::Unreachable(error.to_string()))
    }

    /// Waits for the next thing to come in.
    pub(super) async fn next(&mut self, patience: Duration) -> Arrival {
        let lost = || Arrival::Lost(Error::Unreachable(CONNECTION_LOST.to_owned()));
        tokio::select! {
            // What has come in counts, even if the connection broke behind it.
            biased;
            arrived = timeout(patience, self.listening.arrived(&self.reply_to)) => match arrived {
                Ok(Some(message)) => self.classify(message),
                Ok(None) => lost(),
                Err(_) => Arrival::Silence,
            },
            () = self.outage.begins() => lost(),
        }
    }

    /// Leaves the subscription to the next who needs one. Only when the request is over.
    pub(super) fn leave(self) {
        let Self { link, listening, requests, .. } = self;
        link.idle.put(Listening { requests, ..listening });
    }

    /// What has come in already, without waiting.
    pub(super) fn take_buffered(&mut self) -> Option<Message> {
        let message = self.listening.subscriber.next().now_or_never()??;
        message.status.is_none().then_some(message)
    }

    fn classify(&self, message: Message) -> Arrival {
        let description = message.description.as_deref().unwrap_or_default();
        match message.status {
            None | Some(StatusCode::OK) => Arrival::Message(message),
            Some(StatusCode::IDLE_HEARTBEAT) => Arrival::Heartbeat,
            Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND) => Arrival::Ended,
            Some(StatusCode::REQUEST_TERMINATED) if description == "Batch Completed" => Arrival::Ended,
            Some(StatusCode::REQUEST_TERMINATED) if description == "Consumer Deleted" => {
                Arrival::Lost(Error::Missing(self.consumer.clone()))
            }
            Some(status) => Arrival::Lost(Error::Unreachable(format!(
                "pull from {}: {status} {description}",
                self.consumer
            ))),
        }
    }
}

impl Listening {
    async fn begin(link: &Link) -> Result<Self, Error> {
        let inbox = link.client.new_inbox();
        let subscribing = link.client.subscribe(format!("{inbox}.*"));
        let subscriber = link
            .limited("subscribe", subscribing)
            .await?
            .map_err(|error| Error::Unreachable(error.to_string()))?;
        Ok(Self { subscriber, inbox, requests: 0 })
    }

    /// The next message, or word of the request that is answered on `reply_to`.
    async fn arrived(&mut self, reply_to: &str) -> Option<Message> {
        loop {
            let message = self.subscriber.next().await?;
            if message.status.is_none() || *message.subject == *reply_to {
                return Some(message);
            }
        }
    }
}

/// Subscriptions that nobody uses just now.
#[derive(Default)]
pub(super) struct Idle(Mutex<Vec<Listening>>);

impl Idle {
    fn take(&self) -> Option<Listening> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn put(&self, listening: Listening) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(listening);
        }
    }
}

/// A consumer as messages name it.
pub(super) fn consumer_name(stream: &str, consumer: &str) -> String {
    format!("consumer {consumer} of {stream}")
}

/// What a failure to create a consumer means.
pub(super) fn consumer_error(what: &str, stream: &str, error: &ConsumerError) -> Error {
    if let ConsumerErrorKind::JetStream(said) = error.kind() {
        return refusal(what, stream, &said);
    }
    match jetstream_error(error) {
        Some(said) => refusal(what, stream, said),
        None => Error::Unreachable(format!("{what}: {error}")),
    }
}

/// A stored message as a log entry, with its place in the consumer's deliveries.
pub(super) struct Stored {
    pub(super) entry: LogEntry,
    /// Counts this consumer's deliveries from 1, without gaps.
    pub(super) delivery: u64,
    /// How many messages wait behind it.
    pub(super) pending: u64,
}

impl Stored {
    pub(super) fn read(message: Message) -> Result<Self, Error> {
        let place = message.reply.as_deref().and_then(Place::read).ok_or_else(no_place)?;
        let Place { stream_seq, consumer_seq: delivery, pending, .. } = place;
        let entry = LogEntry {
            seq: stream_seq,
            at_ms: place.stored_ns / 1_000_000,
            subject: message.subject.into_string(),
            headers: from_wire(message.headers),
            payload: message.payload,
        };
        Ok(Self { entry, delivery, pending })
    }
}

/// A delivery that does not say where it stands.
pub(super) fn no_place() -> Error {
    refused("read a delivery", "the subject of its acks is not of a form that is known")
}

/// Nanoseconds since the Unix epoch as milliseconds; 0 for what lies before it.
pub(super) fn unix_ms(nanos: i128) -> u64 {
    u64::try_from(nanos / 1_000_000).unwrap_or(0)
}
