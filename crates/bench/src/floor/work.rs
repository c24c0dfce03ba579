//! Pulling from the work queue with several requests outstanding.

use async_nats::{Message, Subscriber};
use bytes::Bytes;
use futures::StreamExt as _;
use planfleet_proto::subjects;
use serde_json::json;

use super::link::{Link, wrong};
use crate::error::{Error, failed};

/// Messages of one request.
const BATCH: usize = 500;

/// Requests that the server always has at hand.
const REQUESTS: usize = 3;

/// The work of the default pool.
pub(super) struct Work {
    client: async_nats::Client,
    inbox: String,
    messages: Subscriber,
    request: Bytes,
    subject: String,
    /// Messages that outstanding requests may still bring.
    left: usize,
}

impl Work {
    pub(super) async fn open<T>(link: &Link<T>) -> Result<Self, Error> {
        let client = link.client.clone();
        let inbox = client.new_inbox();
        let messages = client.subscribe(inbox.clone()).await.map_err(failed("subscribe to work"))?;
        let consumer = subjects::pool_consumer("default");
        Ok(Self {
            client,
            inbox,
            messages,
            request: json!({"batch": BATCH}).to_string().into(),
            subject: format!("$JS.API.CONSUMER.MSG.NEXT.{}.{consumer}", subjects::STEPS),
            left: 0,
        })
    }

    /// The next message. Cancel safe: a request that was sent is counted.
    pub(super) async fn next(&mut self) -> Result<Message, Error> {
        while self.left <= BATCH * (REQUESTS - 1) {
            let asking = self.client.publish_with_reply(
                self.subject.clone(),
                self.inbox.clone(),
                self.request.clone(),
            );
            asking.await.map_err(failed("ask for work"))?;
            self.left += BATCH;
        }
        let message = self.messages.next().await.ok_or_else(|| wrong("the connection is closed"))?;
        if let Some(status) = message.status {
            return Err(wrong(format!("no work: {status} {:?}", message.description)));
        }
        self.left -= 1;
        Ok(message)
    }
}
