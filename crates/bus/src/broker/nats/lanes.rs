//! Storing messages at the pace of the server.
//!
//! A server that syncs each message to disk before it answers stores a few thousand
//! a second, and as many batches: a batch costs three or four syncs, whatever is in
//! it. A server that leaves syncing for later is slowed down by exactly that. Which
//! one it is nobody tells, so it is measured, for each stream on its own: a [`Lane`]
//! sends each message as it comes, and as soon as the server cannot keep up, all
//! that has piled up while the last batch was being stored goes as the next one. Now
//! and then single messages are tried again.
//!
//! A batch is stored whole or not at all, and refused whole for one message that is
//! refused. Its messages are then sent one by one, so that each gets its own answer.

mod batch;
mod pace;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::future::join_all;
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::{Instant, timeout},
};

use self::{
    batch::{BATCH_BYTES_MAX, BATCH_MAX, BATCH_MIN, Outcome},
    pace::{Pace, Sent, TRIED},
};
use super::{
    connection::{CALL_LIMIT, Link},
    publish::{self, Attempt},
};
use crate::broker::Outgoing;

/// Unanswered messages of one stream and process. Enough to keep the server busy at
/// 100,000 messages a second and 10 ms; more would keep it from delivering, as it takes
/// in and hands out under one lock.
const IN_FLIGHT_MAX: usize = 1_024;

/// Messages that may wait for the next batch: a few batches. Beyond it publishers wait.
const QUEUE_MAX: usize = 4 * BATCH_MAX;

/// The lanes of one connection, by stream.
pub(super) struct Lanes {
    link: Arc<Link>,
    lanes: RwLock<HashMap<String, Arc<Lane>>>,
}

/// The way to one stream.
struct Lane {
    /// Whether messages pile up and go in batches.
    gathers: AtomicBool,
    in_flight: Semaphore,
    pace: Mutex<Pace>,
    queue: mpsc::Sender<Letter>,
}

/// A message that waits to be stored, and who waits for what comes of it.
struct Letter {
    message: Outgoing,
    tell: oneshot::Sender<Attempt>,
}

/// A message that is on its way alone, also if nobody waits for it any more.
struct Way<'a> {
    lane: &'a Lane,
    sent: Option<Sent>,
}

impl Way<'_> {
    fn end(&mut self, answered: Option<Instant>) {
        let Some(sent) = self.sent.take() else { return };
        if self.lane.pace().over(sent, answered) {
            tracing::debug!("the broker syncs each message; they go in batches");
            self.lane.gathers.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for Way<'_> {
    fn drop(&mut self) {
        self.end(None);
    }
}

impl Lanes {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self { link, lanes: RwLock::default() }
    }

    pub(super) const fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// Tries once to store a message.
    pub(super) async fn store(&self, message: &Outgoing) -> Attempt {
        if message.stream.is_empty() {
            return publish::single(&self.link, message).await.0;
        }
        let lane = self.lane(&message.stream);
        if lane.gathers.load(Ordering::Relaxed) {
            return lane.gather(message.clone()).await;
        }
        // As long as the server answers, a place is free soon.
        let Ok(Ok(_place)) = timeout(CALL_LIMIT, lane.in_flight.acquire()).await else {
            return Attempt::Unknown("too many messages wait for their answers".to_owned());
        };
        let mut way = Way { lane: &lane, sent: Some(lane.pace().sent(Instant::now())) };
        let (attempt, answered) = publish::single(&self.link, message).await;
        way.end(answered);
        attempt
    }

    fn lane(&self, stream: &str) -> Arc<Lane> {
        if let Some(lane) = self.lanes.read().unwrap_or_else(PoisonError::into_inner).get(stream) {
            return Arc::clone(lane);
        }
        let mut lanes = self.lanes.write().unwrap_or_else(PoisonError::into_inner);
        let lane = lanes.entry(stream.to_owned()).or_insert_with(|| Lane::open(&self.link));
        Arc::clone(lane)
    }
}

impl Lane {
    fn open(link: &Arc<Link>) -> Arc<Self> {
        let (queue, letters) = mpsc::channel(QUEUE_MAX);
        let lane = Arc::new(Self {
            gathers: AtomicBool::new(false),
            in_flight: Semaphore::new(IN_FLIGHT_MAX),
            pace: Mutex::default(),
            queue,
        });
        // It holds the lane weakly, and ends when the lane is dropped.
        tokio::spawn(carry(Arc::clone(link), Arc::downgrade(&lane), letters));
        lane
    }

    async fn gather(&self, message: Outgoing) -> Attempt {
        let (tell, told) = oneshot::channel();
        let letter = Letter { message, tell };
        match timeout(CALL_LIMIT, self.queue.send(letter)).await {
            Ok(Ok(())) => {}
            _ => return Attempt::Unknown("too many messages wait to be stored".to_owned()),
        }
        // Whoever carries it answers within the limit of each exchange.
        told.await.unwrap_or_else(|_| Attempt::Unknown("the connection is closed".to_owned()))
    }

    async fn carry_batch(&self, link: &Link, letters: Vec<Letter>) {
        let reason = match batch::store(link, &letters).await {
            Outcome::Answered(attempts) => {
                return letters
                    .into_iter()
                    .zip(attempts)
                    .for_each(|(letter, attempt)| letter.answer(attempt));
            }
            Outcome::Refused(reason) => reason,
            Outcome::NeverTaken(reason) => {
                self.pace().never_batches();
                self.gathers.store(false, Ordering::Relaxed);
                reason
            }
        };
        tracing::debug!(count = letters.len(), reason, "a batch is refused; its messages go one by one");
        one_by_one(link, letters).await;
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        // Each critical section leaves it whole.
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stores what piles up on a lane, one batch after the other.
async fn carry(link: Arc<Link>, lane: std::sync::Weak<Lane>, mut letters: mpsc::Receiver<Letter>) {
    let mut held = None;
    while let Some(first) = next(&mut held, &mut letters).await {
        // What is being sent in this moment comes along.
        tokio::task::yield_now().await;
        let mut gathered = gather(first, &mut held, &mut letters);
        let Some(lane) = lane.upgrade() else { return };
        if lane.pace().tries_singles(gathered.len(), Instant::now()) {
            let tried = gathered.drain(..gathered.len().min(TRIED)).collect();
            if pace::are_quick(Instant::now(), one_by_one(&link, tried).await) {
                lane.gathers.store(false, Ordering::Relaxed);
            }
        }
        if gathered.len() < BATCH_MIN {
            one_by_one(&link, gathered).await;
        } else {
            lane.carry_batch(&link, gathered).await;
        }
    }
}

async fn next(held: &mut Option<Letter>, letters: &mut mpsc::Receiver<Letter>) -> Option<Letter> {
    match held.take() {
        Some(letter) => Some(letter),
        None => letters.recv().await,
    }
}

/// What waits, as much as a batch may hold, without what nobody waits for any more.
fn gather(first: Letter, held: &mut Option<Letter>, letters: &mut mpsc::Receiver<Letter>) -> Vec<Letter> {
    let mut bytes = first.bytes();
    let mut gathered = vec![first];
    while gathered.len() < BATCH_MAX {
        let Ok(letter) = letters.try_recv() else { break };
        bytes += letter.bytes();
        if bytes > BATCH_BYTES_MAX {
            *held = Some(letter);
            break;
        }
        gathered.push(letter);
    }
    gathered.retain(|letter| !letter.tell.is_closed());
    gathered
}

/// Stores messages each for itself, all at once; says when each was answered.
async fn one_by_one(link: &Link, letters: Vec<Letter>) -> Vec<Instant> {
    let answered = join_all(letters.into_iter().map(|letter| async move {
        let (attempt, answered) = publish::single(link, &letter.message).await;
        letter.answer(attempt);
        answered
    }))
    .await;
    answered.into_iter().flatten().collect()
}

impl Letter {
    fn bytes(&self) -> usize {
        self.message.payload.len() + self.message.subject.len()
    }

    fn answer(self, attempt: Attempt) {
        // Nobody may be waiting any more.
        let _ = self.tell.send(attempt);
    }
}
