//! The one task of a process that writes books.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use planfleet_core::{
    budget::{Amount, Book, Short},
    task::Budget,
};
use planfleet_proto::subjects;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use crate::broker::{self, Broker, CasOutcome};

/// A write is tried for as long as a record is appended: longer than an election takes.
const WRITE_MAX: Duration = Duration::from_secs(30);

/// Between two tries; processes differ by their names, so that they do not meet again.
const TRY_PAUSE_MAX_MS: u64 = 20;

/// Before a settlement is tried again that the broker has not taken.
const SETTLE_PAUSE: Duration = Duration::from_secs(1);

/// A settlement that nobody takes for so many tries is given up: the money counts as spent.
const SETTLE_TRIES: u32 = 60;

/// What is set aside is given up on when its process has not said for so long that it is
/// there. Longer than a write is tried, so that one whose outcome is not known is found.
const SILENT_MAX_MS: u64 = 45_000;

/// How often a process says so: missed twice, it is still in time.
const SAY_EVERY: Duration = Duration::from_secs(12);

/// Something wanted of a book.
pub(super) struct Op {
    pub(super) key: String,
    pub(super) wish: Wish,
}

pub(super) enum Wish {
    /// To have an amount set aside.
    Hold { cap: Option<Budget>, amount: Amount, tell: oneshot::Sender<Told> },
    /// To have what was set aside back, as far as it was not used.
    Settle { held: Amount, used: Amount },
    /// To say that what is set aside is still needed.
    Say,
}

type Told = Result<Answer, broker::Error>;

#[derive(Debug)]
pub(super) enum Answer {
    /// It is set aside.
    Held(Receipt),
    /// There is no cap, and nothing to set aside.
    NoLimit,
    /// It is not; with the cap.
    Short(Budget, Short),
}

/// What is set aside for somebody who may have gone before they hear of it.
#[derive(Debug)]
pub(super) struct Receipt {
    queue: mpsc::WeakUnboundedSender<Op>,
    key: String,
    amount: Amount,
    is_taken: bool,
}

impl Receipt {
    pub(super) fn taken(mut self) {
        self.is_taken = true;
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.upgrade().filter(|_| !self.is_taken) {
            let wish = Wish::Settle { held: self.amount, used: Amount::NONE };
            let _ended = queue.send(Op { key: std::mem::take(&mut self.key), wish });
        }
    }
}

pub(super) fn read(value: &[u8]) -> Result<Book, String> {
    serde_json::from_slice(value).map_err(|error| format!("a budget's book cannot be read: {error}"))
}

pub(super) fn write(book: &Book) -> Result<Bytes, String> {
    serde_json::to_vec(book).map(Bytes::from).map_err(|error| error.to_string())
}

/// The books of one process.
pub(super) struct Keeper {
    desk: Arc<Desk>,
    /// Books with something to do.
    pages: HashMap<String, Page>,
    writing: FuturesUnordered<BoxFuture<'static, Written>>,
    /// How many calls under way have something set aside in each book.
    under_way: BTreeMap<String, u64>,
}

/// A book that is being written, and what is to be written next.
#[derive(Default)]
struct Page {
    waiting: Vec<Wish>,
    tries: u32,
}

/// The end of a write.
struct Written {
    key: String,
    /// As it is on the broker, if that is known.
    known: Option<Known>,
    /// Settlements that were not written, for sure.
    left: Vec<Wish>,
    /// Calls for which it has set something aside.
    held: u64,
}

struct Known {
    book: Book,
    revision: u64,
}

impl Keeper {
    pub(super) fn new(
        broker: Arc<dyn Broker>,
        holder: String,
        now_ms: fn() -> u64,
        queue: mpsc::WeakUnboundedSender<Op>,
    ) -> Self {
        let desk = Arc::new(Desk { broker, holder, now_ms, queue });
        let (pages, writing, under_way) = Default::default();
        Self { desk, pages, writing, under_way }
    }

    pub(super) async fn keep(mut self, mut ops: mpsc::UnboundedReceiver<Op>) {
        let mut say = interval(SAY_EVERY);
        say.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                Some(written) = self.writing.next() => self.written(written),
                op = ops.recv() => match op {
                    Some(op) => self.take(op),
                    None => break,
                },
                _ = say.tick() => self.say(),
            }
        }
    }

    /// Says of every book with calls under way that they are.
    fn say(&mut self) {
        let books: Vec<String> = self.under_way.keys().cloned().collect();
        for key in books {
            self.take(Op { key, wish: Wish::Say });
        }
    }

    fn take(&mut self, Op { key, wish }: Op) {
        if matches!(wish, Wish::Settle { .. }) {
            self.note_settled(&key);
        }
        if let Some(page) = self.pages.get_mut(&key) {
            page.waiting.push(wish);
            return;
        }
        self.pages.insert(key.clone(), Page::default());
        self.begin(key, None, vec![wish], Duration::ZERO);
    }

    fn note_settled(&mut self, key: &str) {
        let Some(calls) = self.under_way.get_mut(key) else { return };
        *calls -= 1;
        if *calls == 0 {
            self.under_way.remove(key);
        }
    }

    fn begin(&self, key: String, known: Option<Known>, wishes: Vec<Wish>, pause: Duration) {
        let desk = Arc::clone(&self.desk);
        self.writing.push(Box::pin(async move {
            if !pause.is_zero() {
                sleep(pause).await;
            }
            desk.write(key, known, wishes).await
        }));
    }

    fn written(&mut self, Written { key, known, left, held }: Written) {
        if held > 0 {
            *self.under_way.entry(key.clone()).or_default() += held;
        }
        let Some(page) = self.pages.get_mut(&key) else { return };
        let mut wishes = left;
        page.tries = if wishes.is_empty() { 0 } else { page.tries + 1 };
        if page.tries > SETTLE_TRIES {
            tracing::warn!(key, calls = wishes.len(), "cannot settle a budget; it counts as spent");
            wishes.clear();
        }
        let pause = if wishes.is_empty() { Duration::ZERO } else { SETTLE_PAUSE };
        wishes.append(&mut page.waiting);
        if wishes.is_empty() {
            self.pages.remove(&key);
        } else {
            self.begin(key, known, wishes, pause);
        }
    }
}

/// What it takes to write.
struct Desk {
    broker: Arc<dyn Broker>,
    holder: String,
    now_ms: fn() -> u64,
    queue: mpsc::WeakUnboundedSender<Op>,
}

/// What a book says to a wish.
enum Grant {
    Held(Amount),
    NoLimit,
    Short(Budget, Short),
}

/// What came of a try.
enum Try {
    Done(Known, Vec<Option<Grant>>),
    /// Somebody else wrote first.
    Conflict,
    /// It may have been written.
    Unknown(Pending, broker::Error),
}

/// A write whose outcome is not known.
struct Pending {
    number: u64,
    /// The revision that it was to replace: once that is gone it cannot be written any more.
    revision: u64,
    grants: Vec<Option<Grant>>,
}

impl Desk {
    async fn write(&self, key: String, mut known: Option<Known>, wishes: Vec<Wish>) -> Written {
        let until = Instant::now() + WRITE_MAX;
        let (mut attempt, mut pending) = (0, None::<Pending>);
        let trouble = loop {
            let now = match known.take() {
                Some(known) => Ok(known),
                None => self.look(&key).await,
            };
            let outcome = match (now, pending.take()) {
                (Err(error), still) => {
                    pending = still;
                    Err(error)
                }
                (Ok(known), Some(Pending { number, grants, .. }))
                    if known.book.signed(&self.holder) >= number =>
                {
                    Ok((known, grants))
                }
                (Ok(now), before) => {
                    // What was to replace this revision may still arrive, and is found then.
                    pending = before.filter(|pending| pending.revision == now.revision);
                    match self.write_once(&key, now, &wishes).await {
                        Try::Done(known, grants) => Ok((known, grants)),
                        Try::Conflict => {
                            Err(broker::Error::Unreachable("others write it all the time".to_owned()))
                        }
                        Try::Unknown(unknown, error) => {
                            pending = Some(unknown);
                            Err(error)
                        }
                    }
                }
            };
            let trouble = match outcome {
                Ok((known, grants)) => {
                    let held = self.tell(&key, wishes, grants);
                    return Written { key, known: Some(known), left: Vec::new(), held };
                }
                Err(trouble) => trouble,
            };
            attempt += 1;
            let pause = self.pause(attempt);
            if trouble.is_permanent() || Instant::now() + pause >= until {
                break trouble;
            }
            sleep(pause).await;
        };
        tracing::warn!(key, error = %trouble, "a budget could not be written");
        Written { key, known: None, left: give_up(wishes, &trouble, pending.is_some()), held: 0 }
    }

    fn pause(&self, attempt: u64) -> Duration {
        let own: u64 = self.holder.bytes().map(u64::from).sum();
        Duration::from_millis(own.wrapping_mul(attempt) % TRY_PAUSE_MAX_MS + 1)
    }

    async fn write_once(&self, key: &str, known: Known, wishes: &[Wish]) -> Try {
        let Known { book: before, revision } = known;
        let now_ms = (self.now_ms)();
        let mut book = before.clone();
        let grants = wishes.iter().map(|wish| self.grant(&mut book, wish, now_ms)).collect();
        let says = wishes.iter().any(|wish| matches!(wish, Wish::Say));
        if book == before && !says {
            return Try::Done(Known { book, revision }, grants);
        }
        let number = book.sign(&self.holder, now_ms.saturating_add(SILENT_MAX_MS));
        let written = match write(&book) {
            Ok(value) => self.broker.kv_cas(subjects::BUDGETS, key, value, revision).await,
            Err(reason) => Err(refused(key, reason)),
        };
        match written {
            Ok(CasOutcome::Written(revision)) => Try::Done(Known { book, revision }, grants),
            Ok(CasOutcome::Conflict) => Try::Conflict,
            Err(error) => Try::Unknown(Pending { number, revision, grants }, error),
        }
    }

    async fn look(&self, key: &str) -> Result<Known, broker::Error> {
        let Some(entry) = self.broker.kv_get(subjects::BUDGETS, key).await? else {
            return Ok(Known { book: Book::default(), revision: 0 });
        };
        let book = read(&entry.value).map_err(|reason| refused(key, reason))?;
        Ok(Known { book, revision: entry.revision })
    }

    /// What comes of a wish; `None` where nobody waits for it.
    fn grant(&self, book: &mut Book, wish: &Wish, now_ms: u64) -> Option<Grant> {
        match wish {
            Wish::Settle { held, used } => {
                book.settle(&self.holder, *held, *used);
                None
            }
            Wish::Say => None,
            Wish::Hold { tell, .. } if tell.is_closed() => None,
            Wish::Hold { cap, amount, .. } => Some(match cap.or(book.cap) {
                None => Grant::NoLimit,
                Some(cap) => {
                    let until_ms = now_ms.saturating_add(SILENT_MAX_MS);
                    match book.hold(&cap, &self.holder, *amount, until_ms, now_ms) {
                        Ok(()) => Grant::Held(*amount),
                        Err(short) => Grant::Short(cap, short),
                    }
                }
            }),
        }
    }

    /// Tells everybody what came of their wishes; says for how many something is set aside.
    fn tell(&self, key: &str, wishes: Vec<Wish>, grants: Vec<Option<Grant>>) -> u64 {
        let mut held = 0;
        for (wish, grant) in wishes.into_iter().zip(grants) {
            let (Wish::Hold { tell, .. }, Some(grant)) = (wish, grant) else { continue };
            let answer = match grant {
                Grant::Held(amount) => {
                    held += 1;
                    let (queue, key) = (self.queue.clone(), key.to_owned());
                    Answer::Held(Receipt { queue, key, amount, is_taken: false })
                }
                Grant::NoLimit => Answer::NoLimit,
                Grant::Short(cap, short) => Answer::Short(cap, short),
            };
            // Who does not wait for it any more gives it back, as it is dropped.
            let _gone = tell.send(Ok(answer));
        }
        held
    }
}

/// Nobody gets what they wanted. Settlements that may have been written all the same are not
/// tried again, as twice would set too much free: then what they held counts as spent.
fn give_up(wishes: Vec<Wish>, trouble: &broker::Error, may_be_written: bool) -> Vec<Wish> {
    let mut left = Vec::new();
    for wish in wishes {
        match wish {
            Wish::Hold { tell, .. } => drop(tell.send(Err(trouble.clone()))),
            Wish::Settle { .. } if !may_be_written => left.push(wish),
            Wish::Settle { .. } | Wish::Say => {}
        }
    }
    left
}

fn refused(key: &str, reason: String) -> broker::Error {
    broker::Error::Refused { what: format!("the book {key}"), reason }
}
