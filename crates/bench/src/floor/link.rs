//! Publishing with a bounded number of publishes in flight, whose acks come to one inbox.

use std::fmt::Display;

use async_nats::{
    Client, Message, Subject, Subscriber,
    jetstream::consumer::{AckPolicy, DeliverPolicy, push},
};
use bytes::Bytes;
use futures::StreamExt as _;

use crate::error::{Error, failed};

/// Publishes in flight over a connection: with ten times as many, those who consume
/// the same stream are starved; with a tenth, the server waits for us.
const WINDOW: usize = 1_000;

/// A connection, and what is in flight on it. Each publish leaves a note, which its
/// ack gives back.
pub(super) struct Link<T> {
    pub(super) client: Client,
    acks: Subscriber,
    replies: Vec<Subject>,
    notes: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Link<T> {
    pub(super) async fn open(url: &str) -> Result<Self, Error> {
        let client = super::connect(url).await?;
        let inbox = client.new_inbox();
        let acks = client.subscribe(format!("{inbox}.*")).await.map_err(failed("subscribe to acks"))?;
        let replies = (0..WINDOW).map(|place| Subject::from(format!("{inbox}.{place}"))).collect();
        let notes = (0..WINDOW).map(|_| None).collect();
        Ok(Self { client, acks, replies, notes, free: (0..WINDOW).rev().collect() })
    }

    /// Whether one more publish may be in flight.
    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// Whether an ack is still to come.
    pub(super) fn is_waiting(&self) -> bool {
        self.free.len() < WINDOW
    }

    /// Sends a message to be stored. There has to be room.
    pub(super) async fn publish(&mut self, subject: Subject, body: Bytes, note: T) -> Result<(), Error> {
        let place = self.free.pop().ok_or_else(|| wrong("there is no room for another publish"))?;
        self.notes[place] = Some(note);
        let sending = self.client.publish_with_reply(subject, self.replies[place].clone(), body);
        sending.await.map_err(failed("publish"))
    }

    /// Waits for the next ack, whosever it is.
    pub(super) async fn acked(&mut self) -> Result<T, Error> {
        let ack = self.acks.next().await.ok_or_else(|| wrong("the connection is closed"))?;
        if !ack.payload.starts_with(br#"{"stream""#) {
            return Err(wrong(format!("not stored: {} {:?}", text(&ack), ack.status)));
        }
        let place = ack.subject.rsplit('.').next().and_then(|place| place.parse::<usize>().ok());
        let note = place.and_then(|place| Some((place, self.notes.get_mut(place)?.take()?)));
        let (place, note) = note.ok_or_else(|| wrong("an ack of nothing"))?;
        self.free.push(place);
        Ok(note)
    }

    /// Reads logs in order from their beginning, all as one, without acks.
    pub(super) async fn read_logs(&self, streams: &[String]) -> Result<Subscriber, Error> {
        let inbox = self.client.new_inbox();
        let entries = self.client.subscribe(inbox.clone()).await.map_err(failed("subscribe to a log"))?;
        let jetstream = async_nats::jetstream::new(self.client.clone());
        for stream in streams {
            let config = push::Config {
                deliver_subject: inbox.clone(),
                deliver_policy: DeliverPolicy::All,
                ack_policy: AckPolicy::None,
                num_replicas: 1,
                memory_storage: true,
                ..push::Config::default()
            };
            let made = jetstream.create_consumer_on_stream(config, stream.clone()).await;
            made.map_err(failed(format!("read {stream}")))?;
        }
        Ok(entries)
    }
}

pub(super) fn wrong(why: impl Display) -> Error {
    Error::Failed { what: "the floor".to_owned(), why: why.to_string() }
}

pub(super) fn text(message: &Message) -> String {
    String::from_utf8_lossy(&message.payload).into_owned()
}
