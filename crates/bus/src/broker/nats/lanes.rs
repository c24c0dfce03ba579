//! Storing messages at the pace of the server.
//!
//! A server that syncs each message to disk before it answers stores a few thousand
//! a second, and a batch costs three or four syncs, whatever is in it. A server that
//! leaves syncing for later is slowed down by exactly that. Which one it is only its
//! monitoring endpoint tells; where nobody has asked there, it is measured, for each
//! stream on its own. To a server that syncs, a [`Lane`] sends all that has piled up
//! while the last batch was being stored as the next one, and one alone at once.
//!
//! A batch is stored whole or not at all, and refused whole for one message that is
//! refused. Its messages are then sent one by one, so that each gets its own answer.

mod batch;
mod pace;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::future::join_all;
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::JoinSet,
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

/// Unanswered messages of one connection: enough to keep a link of 10 ms at 400,000 messages
/// a second, and a quarter of the answers that may wait to be read.
const IN_FLIGHT_MAX: usize = 4_096;

/// Messages that may wait for the next batch: a few batches. Beyond it publishers wait.
const QUEUE_MAX: usize = 4 * BATCH_MAX;

/// So many times in a row too few for a batch, and messages go alone again.
const SMALL_MAX: u32 = 256;

/// The lanes of one connection, by stream.
pub(super) struct Lanes {
    link: Arc<Link>,
    lanes: RwLock<HashMap<String, Arc<Lane>>>,
    in_flight: Semaphore,
    syncs: Arc<Syncs>,
    /// One for each lane; they end with this.
    carriers: Mutex<JoinSet<()>>,
}

/// Whether the server syncs each message, where somebody knows.
#[derive(Debug, Default)]
struct Syncs(OnceLock<bool>);

impl Syncs {
    fn known(&self) -> Option<bool> {
        self.0.get().copied()
    }
}

/// The way to one stream.
struct Lane {
    /// Whether messages pile up and go in batches.
    gathers: AtomicBool,
    /// Whether the stream takes no batches.
    refuses: AtomicBool,
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
        if self.lane.pace().over(sent, answered) && !self.lane.refuses.load(Ordering::Relaxed) {
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
        let (lanes, syncs, carriers) = Default::default();
        Self { link, lanes, in_flight: Semaphore::new(IN_FLIGHT_MAX), syncs, carriers }
    }

    /// Somebody knows whether the server syncs each message: it need not be found out.
    pub(super) fn note_sync(&self, each: bool) {
        let _ = self.syncs.0.set(each);
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
        let known = self.syncs.known();
        if lane.gathers(known) {
            return lane.gather(message.clone()).await;
        }
        // As long as the server answers, a place is free soon.
        let Ok(Ok(_place)) = timeout(CALL_LIMIT, self.in_flight.acquire()).await else {
            return Attempt::Unknown("too many messages wait for their answers".to_owned());
        };
        if known.is_some() {
            return publish::single(&self.link, message).await.0;
        }
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
        let lane = lanes.entry(stream.to_owned()).or_insert_with(|| self.open_lane());
        Arc::clone(lane)
    }

    fn open_lane(&self) -> Arc<Lane> {
        let (queue, letters) = mpsc::channel(QUEUE_MAX);
        let lane = Arc::new(Lane {
            gathers: AtomicBool::new(false),
            refuses: AtomicBool::new(false),
            pace: Mutex::default(),
            queue,
        });
        let carrier = carry(Arc::clone(&self.link), Arc::clone(&lane), letters, Arc::clone(&self.syncs));
        self.carriers.lock().unwrap_or_else(PoisonError::into_inner).spawn(carrier);
        lane
    }
}

impl Lane {
    fn gathers(&self, known: Option<bool>) -> bool {
        known.unwrap_or_else(|| self.gathers.load(Ordering::Relaxed)) && !self.refuses.load(Ordering::Relaxed)
    }

    async fn gather(&self, message: Outgoing) -> Attempt {
        let (tell, told) = oneshot::channel();
        let letter = Letter { message, tell };
        match timeout(CALL_LIMIT, self.queue.send(letter)).await {
            Ok(Ok(())) => {}
            _ => return Attempt::Unknown("too many messages wait to be stored".to_owned()),
        }
        // A letter that nobody waits for any more is not sent.
        match timeout(CALL_LIMIT, told).await {
            Ok(Ok(attempt)) => attempt,
            Ok(Err(_)) => Attempt::Unknown("the connection is closed".to_owned()),
            Err(_) => Attempt::Unknown(format!("no answer within {CALL_LIMIT:?}")),
        }
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
                self.refuses.store(true, Ordering::Relaxed);
                reason
            }
            Outcome::NotKnown(reason) => {
                tracing::warn!(reason, "the broker knows no batches; messages go one by one");
                self.refuses.store(true, Ordering::Relaxed);
                return letters
                    .into_iter()
                    .for_each(|letter| letter.answer(Attempt::Unknown(reason.clone())));
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
async fn carry(link: Arc<Link>, lane: Arc<Lane>, mut letters: mpsc::Receiver<Letter>, syncs: Arc<Syncs>) {
    let mut held = None;
    let mut small = 0;
    while let Some(first) = next(&mut held, &mut letters).await {
        // What is being sent in this moment comes along.
        tokio::task::yield_now().await;
        let mut gathered = gather(first, &mut held, &mut letters);
        let measures = syncs.known().is_none();
        small = if gathered.len() < BATCH_MIN { small + 1 } else { 0 };
        if small > SMALL_MAX {
            // There is no need for batches.
            lane.gathers.store(false, Ordering::Relaxed);
        }
        if measures && lane.pace().tries_singles(gathered.len(), Instant::now()) {
            let tried = gathered.drain(..gathered.len().min(TRIED)).collect();
            let sent = Instant::now();
            let answered = one_by_one(&link, tried).await;
            if lane.pace().are_quick(sent, answered) {
                lane.gathers.store(false, Ordering::Relaxed);
            }
        }
        gathered.retain(Letter::is_wanted);
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

/// What waits, as much as a batch may hold.
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
    gathered
}

/// Stores messages each for itself, all at once; says when each was answered.
async fn one_by_one(link: &Link, letters: Vec<Letter>) -> Vec<Instant> {
    let wanted = letters.into_iter().filter(Letter::is_wanted);
    let answered = join_all(wanted.map(|letter| async move {
        let (attempt, answered) = publish::single(link, &letter.message).await;
        letter.answer(attempt);
        answered
    }))
    .await;
    answered.into_iter().flatten().collect()
}

impl Letter {
    /// Somebody still waits for it. Work whose outcome has come meanwhile must not be queued.
    fn is_wanted(&self) -> bool {
        !self.tell.is_closed()
    }

    fn bytes(&self) -> usize {
        self.message.payload.len() + self.message.subject.len()
    }

    fn answer(self, attempt: Attempt) {
        // Nobody may be waiting any more.
        let _ = self.tell.send(attempt);
    }
}
