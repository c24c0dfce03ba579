//! One inbox for all that the server answers on a connection.
//!
//! Acks of publishes and confirmations of acks come in by the tens of thousands a
//! second. The client's own requests cost a timer and several allocations each. Here
//! an answer costs one entry in a table: whoever asks gets a subject to be answered
//! on, and one task hands out what comes in.
//!
//! Nobody waits for ever: what is not answered in time, or was under way when the
//! connection broke, is told so.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_nats::{Client, HeaderMap, Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::{
    sync::oneshot,
    task::JoinSet,
    time::{Duration, Instant, MissedTickBehavior, interval, timeout},
};

use super::{
    connection::{CALL_LIMIT, CONNECTION_LOST},
    watch::Outage,
};
use crate::broker::Error;

/// How often it is looked for questions whose time is over. One timer for all of them:
/// a limit is kept to this much.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// All answers of one connection.
pub(super) struct Replies {
    client: Client,
    /// What the subjects of answers begin with, the last dot included.
    prefix: String,
    open: Arc<Open>,
    /// Ends with this.
    _reader: JoinSet<()>,
}

/// Who waits for what.
#[derive(Default)]
struct Open {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    next: u64,
    /// Whether nobody hands out answers any more.
    closed: bool,
    waiting: HashMap<u64, Waiting>,
}

/// Who waits for an answer, and until when.
///
/// Nothing is sent where nobody takes the question.
struct Waiting(oneshot::Sender<Option<Answer>>, Instant);

/// What came in, and when: whoever waits may be busy.
pub(super) struct Answer {
    pub(super) payload: Bytes,
    pub(super) at: Instant,
}

impl Replies {
    /// Listens from now on, for as long as this lives.
    pub(super) async fn open(client: &Client, outage: Outage) -> Result<Self, Error> {
        let inbox = client.new_inbox();
        let subscribed = timeout(CALL_LIMIT, client.subscribe(format!("{inbox}.*"))).await;
        let subscriber = subscribed
            .map_err(|_| Error::Unreachable(format!("subscribe: no answer within {CALL_LIMIT:?}")))?
            .map_err(|error| Error::Unreachable(format!("subscribe: {error}")))?;
        let open = Arc::new(Open::default());
        let prefix = format!("{inbox}.");
        let mut reader = JoinSet::new();
        reader.spawn(read(subscriber, prefix.len(), Arc::clone(&open), outage));
        Ok(Self { client: client.clone(), prefix, open, _reader: reader })
    }

    /// Sends a message and waits for its answer, for [`CALL_LIMIT`] at most or until the
    /// connection breaks.
    ///
    /// # Errors
    /// Why there is no answer. The message may have been sent all the same.
    pub(super) async fn ask(
        &self,
        subject: async_nats::Subject,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<Answer, Unanswered> {
        let (answer, answered) = oneshot::channel();
        let asked = Instant::now();
        let token = self.open.enter(Waiting(answer, asked + CALL_LIMIT));
        // Whoever stops waiting leaves nothing behind.
        let mut leave = Leave { open: &self.open, token: Some(token) };
        let reply = format!("{}{token}", self.prefix);
        let sending = async {
            if headers.is_empty() {
                return self.client.publish_with_reply(subject, reply, payload).await;
            }
            self.client.publish_with_reply_and_headers(subject, reply, headers, payload).await
        };
        // Handing a message over waits while the client's queue is full.
        match timeout(CALL_LIMIT, sending).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(Unanswered::NotSent(error)),
            Err(_) => return Err(Unanswered::Late),
        }
        let answered = answered.await;
        // Otherwise the table has let go of it already.
        leave.token = None;
        match answered {
            Ok(answer) => answer.ok_or(Unanswered::NobodyThere),
            Err(_) if asked.elapsed() >= CALL_LIMIT => Err(Unanswered::Late),
            Err(_) => Err(Unanswered::ConnectionLost),
        }
    }
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    #[error("{0}")]
    NotSent(async_nats::PublishError),
    #[error("no answer within {CALL_LIMIT:?}")]
    Late,
    #[error("{CONNECTION_LOST}")]
    ConnectionLost,
    /// Nobody takes the subject: during an election, nobody takes any.
    #[error("nobody takes it just now")]
    NobodyThere,
}

struct Leave<'a> {
    open: &'a Open,
    token: Option<u64>,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if let Some(token) = self.token {
            self.open.leave(token);
        }
    }
}

/// Without a reader nobody is to wait for an answer.
struct Close(Arc<Open>);

impl Drop for Close {
    fn drop(&mut self) {
        let mut table = self.0.lock();
        table.closed = true;
        table.waiting.clear();
    }
}

impl Open {
    fn enter(&self, waiting: Waiting) -> u64 {
        let mut table = self.lock();
        let token = table.next;
        table.next += 1;
        // Otherwise what it waits with is dropped here, which tells it.
        if !table.closed {
            table.waiting.insert(token, waiting);
        }
        token
    }

    fn leave(&self, token: u64) {
        self.lock().waiting.remove(&token);
    }

    /// Hands an answer to whoever waits for it. One that comes too late is nothing to anybody.
    fn hand_out(&self, token: u64, message: Message) {
        let waiting = self.lock().waiting.remove(&token);
        if let Some(Waiting(to, _)) = waiting {
            let answer = (message.status != Some(StatusCode::NO_RESPONDERS))
                .then(|| Answer { payload: message.payload, at: Instant::now() });
            // Whoever asked may have left in this moment.
            let _ = to.send(answer);
        }
    }

    /// Dropping what they wait with tells those whose time is over.
    fn expire(&self) {
        let now = Instant::now();
        self.lock().waiting.retain(|_, Waiting(_, until)| *until > now);
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Each critical section leaves the table whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read(mut subscriber: Subscriber, prefix: usize, open: Arc<Open>, mut outage: Outage) {
    let _close = Close(Arc::clone(&open));
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // What has come in counts, even if the connection broke behind it.
            biased;
            arrived = subscriber.next() => {
                let Some(message) = arrived else { return };
                if let Some(Ok(token)) = message.subject.get(prefix..).map(str::parse) {
                    open.hand_out(token, message);
                }
            }
            () = outage.begins() => open.lock().waiting.clear(),
            _ = looks.tick() => open.expire(),
        }
    }
}
