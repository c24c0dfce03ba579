//! Taking work from a queue.

use std::{sync::Arc, time::Duration};

use async_nats::{
    HeaderMap, Message, Subject,
    jetstream::{AckKind, consumer::pull::BatchConfig},
};
use async_trait::async_trait;
use futures::{
    FutureExt, StreamExt,
    stream::{self, BoxStream},
};
use tokio::time::{Instant, sleep};

use super::{
    api::from_wire,
    connection::Link,
    fetch::{Arrival, HEARTBEAT, Inbox, STALL, no_place},
    place::Place,
    publish::Pauses,
    streams,
};
use crate::broker::{Delivery, Error, Settle};

/// Added to the time a pull may take, for the server's own "expired" to arrive.
const GRACE: Duration = Duration::from_secs(1);

/// Pulls shorter than this carry no heartbeat: the server wants at least two of them
/// within the request, and a short pull ends soon enough by itself.
const HEARTBEAT_FROM: Duration = STALL;

/// Asks for up to `max` messages. A consumer that is not there is the stream's first
/// item, since only the answer to the request tells.
pub(super) async fn pull(
    link: &Arc<Link>,
    stream: &str,
    consumer: &str,
    max: usize,
    expires: Duration,
    give_up: Duration,
) -> Result<BoxStream<'static, Result<Delivery, Error>>, Error> {
    if max == 0 {
        return Ok(stream::empty().boxed());
    }
    let mut inbox = Inbox::open(link, stream, consumer).await?;
    let heartbeat = if expires >= HEARTBEAT_FROM { HEARTBEAT } else { Duration::ZERO };
    let batch = BatchConfig {
        batch: max,
        expires: Some(expires),
        idle_heartbeat: heartbeat,
        ..BatchConfig::default()
    };
    inbox.request(&batch).await?;
    let pull = Pull {
        link: link.clone(),
        stream: stream.to_owned(),
        consumer: consumer.to_owned(),
        inbox: Some(inbox),
        left: max,
        until: Instant::now() + expires + GRACE,
        heartbeats: !heartbeat.is_zero(),
        give_up,
    };
    let deliveries = stream::unfold(Some(pull), |pull| async move {
        let mut pull = pull?;
        let delivery = pull.next().await?;
        // An error ends the pull: its request is gone.
        let rest = delivery.is_ok().then_some(pull);
        Some((delivery, rest))
    });
    Ok(deliveries.boxed())
}

struct Pull {
    link: Arc<Link>,
    stream: String,
    consumer: String,
    /// Until the request is over.
    inbox: Option<Inbox>,
    left: usize,
    until: Instant,
    heartbeats: bool,
    give_up: Duration,
}

impl Pull {
    async fn next(&mut self) -> Option<Result<Delivery, Error>> {
        loop {
            let inbox = self.inbox.as_mut()?;
            let rest = self.until.saturating_duration_since(Instant::now());
            let patience = if self.heartbeats { rest.min(STALL) } else { rest };
            match inbox.next(patience).await {
                Arrival::Message(message) => {
                    self.left -= 1;
                    if self.left == 0 {
                        self.over();
                    }
                    return Some(self.delivery(message));
                }
                Arrival::Heartbeat => {}
                Arrival::Ended => {
                    self.over();
                    return None;
                }
                Arrival::Silence if rest <= patience => return None,
                Arrival::Silence => return Some(Err(self.silence())),
                Arrival::Lost(error) => return Some(Err(self.explain(error).await)),
            }
        }
    }

    /// Nothing more comes in for this pull.
    fn over(&mut self) {
        if let Some(inbox) = self.inbox.take() {
            inbox.leave();
        }
    }

    fn delivery(&self, message: Message) -> Result<Delivery, Error> {
        let settled_at = message.reply.ok_or_else(no_place)?;
        let Place { deliveries, stored_ns, .. } = Place::read(&settled_at).ok_or_else(no_place)?;
        Ok(Delivery {
            subject: message.subject.into_string(),
            headers: from_wire(message.headers),
            payload: message.payload,
            deliveries,
            at_ms: stored_ns / 1_000_000,
            settle: Arc::new(Receipt { link: self.link.clone(), settled_at, give_up: self.give_up }),
        })
    }

    fn silence(&self) -> Error {
        Error::Unreachable(format!("pull from {}: silent for {STALL:?}", self.consumer))
    }

    /// A request that nobody takes looks the same for a consumer that is missing and
    /// for one whose leader is being elected; its info tells which.
    async fn explain(&self, error: Error) -> Error {
        if matches!(error, Error::Missing(_)) || !self.link.is_up() {
            return error;
        }
        match streams::consumer_info(&self.link, &self.stream, &self.consumer).await {
            Err(missing @ Error::Missing(_)) => missing,
            _ => error,
        }
    }
}

/// A pull that is dropped half-way gives back what the server had already handed
/// over; nobody would touch it before its ack wait is over.
impl Drop for Pull {
    fn drop(&mut self) {
        let Some(inbox) = &mut self.inbox else { return };
        while let Some(message) = inbox.take_buffered() {
            // Sent if the connection's queue has room; the ack wait covers the rest.
            let Some(settled_at) = message.reply else { continue };
            let sent = self.link.client.publish(settled_at, AckKind::Nak(None).into()).now_or_never();
            tracing::debug!(consumer = self.consumer, sent = sent.is_some(), "gave back unread work");
        }
    }
}

struct Receipt {
    link: Arc<Link>,
    /// Where the server takes acks of this message.
    settled_at: Subject,
    give_up: Duration,
}

impl Receipt {
    /// Sends without waiting for the server: what is lost costs a redelivery at worst.
    async fn send(&self, kind: AckKind) -> Result<(), Error> {
        // The client would send it on reconnect, when another worker may have the message.
        self.link.check_up("ack")?;
        let sending = self.link.client.publish(self.settled_at.clone(), kind.into());
        self.link.limited("ack", sending).await?.map_err(|error| Error::Unreachable(format!("ack: {error}")))
    }

    /// One ack, until the server has confirmed it. Nobody answers during an election.
    async fn confirm(&self) -> Result<(), Error> {
        self.link.check_up("ack")?;
        let asked =
            self.link.replies.ask(self.settled_at.clone(), HeaderMap::new(), AckKind::Ack.into()).await;
        asked.map(drop).map_err(|unanswered| Error::Unreachable(format!("ack: {unanswered}")))
    }
}

#[async_trait]
impl Settle for Receipt {
    /// Asks again until the server has answered: an ack that is lost in an election, with
    /// a connection or with a server has somebody else do the work a second time. A
    /// second ack of the same message is confirmed like the first.
    async fn ack(&self) -> Result<(), Error> {
        let mut pauses = Pauses::within(self.give_up);
        loop {
            let Err(error) = self.confirm().await else { return Ok(()) };
            match pauses.next() {
                Some(pause) => sleep(pause).await,
                None => return Err(error),
            }
        }
    }

    async fn progress(&self) -> Result<(), Error> {
        self.send(AckKind::Progress).await
    }

    // Never with a delay: the message would hold its slot of max_ack_pending all along.
    async fn give_back(&self) -> Result<(), Error> {
        self.send(AckKind::Nak(None)).await
    }
}
