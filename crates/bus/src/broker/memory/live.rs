//! Core publish-subscribe in memory.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use super::subject::matches;
use crate::broker::{Error, Headers, LiveMessage};

/// Messages that a listener may leave unread. A test that outruns it has a listener
/// that does not listen, and loses messages as it would on a server.
const UNREAD_MAX: usize = 1024;

#[derive(Default)]
pub(super) struct Live {
    listeners: Mutex<Vec<Listener>>,
    inboxes: AtomicU64,
}

struct Listener {
    pattern: String,
    sender: mpsc::Sender<LiveMessage>,
}

impl Live {
    pub(super) fn subscribe(&self, pattern: &str) -> BoxStream<'static, LiveMessage> {
        let receiver = self.listen(pattern);
        stream::unfold(receiver, |mut receiver| async move {
            let message = receiver.recv().await?;
            Some((message, receiver))
        })
        .boxed()
    }

    /// Hands a message to all who listen; returns how many there were.
    pub(super) fn publish(&self, message: &LiveMessage) -> usize {
        let mut listeners = self.lock();
        listeners.retain(|listener| !listener.sender.is_closed());
        let hearing = listeners.iter().filter(|l| matches(&l.pattern, &message.subject));
        hearing.map(|listener| listener.hand(message)).count()
    }

    pub(super) async fn request(
        &self,
        subject: String,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, Error> {
        let until = Instant::now() + timeout;
        let Some(mut answers) = self.ask(&subject, payload) else {
            return Err(Error::NoResponder(subject));
        };
        match timeout_at(until, answers.recv()).await {
            Ok(Some(answer)) => Ok(answer.payload),
            _ => Err(Error::Unreachable(format!("{subject}: no answer within {timeout:?}"))),
        }
    }

    pub(super) async fn request_all(&self, subject: String, payload: Bytes, window: Duration) -> Vec<Bytes> {
        let until = Instant::now() + window;
        let mut gathered = Vec::new();
        if let Some(mut answers) = self.ask(&subject, payload) {
            while let Ok(Some(answer)) = timeout_at(until, answers.recv()).await {
                gathered.push(answer.payload);
            }
        }
        gathered
    }

    /// Sends a question with an inbox of its own; `None` when nobody listens.
    fn ask(&self, subject: &str, payload: Bytes) -> Option<mpsc::Receiver<LiveMessage>> {
        let inbox = format!("_INBOX.{}", self.inboxes.fetch_add(1, Ordering::Relaxed));
        let answers = self.listen(&inbox);
        let question =
            LiveMessage { subject: subject.to_owned(), reply: Some(inbox), headers: Headers::new(), payload };
        (self.publish(&question) > 0).then_some(answers)
    }

    fn listen(&self, pattern: &str) -> mpsc::Receiver<LiveMessage> {
        let (sender, receiver) = mpsc::channel(UNREAD_MAX);
        self.lock().push(Listener { pattern: pattern.to_owned(), sender });
        receiver
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Listener>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener {
    fn hand(&self, message: &LiveMessage) {
        if self.sender.try_send(message.clone()).is_err() {
            tracing::warn!(pattern = self.pattern, "too slow for a subscription, a message is lost");
        }
    }
}
