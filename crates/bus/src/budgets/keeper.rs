//! The one task of a process that writes books.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use planfleet_core::{
    budget::{Amount, Book, Short},
    task::Budget,
};
use planfleet_proto::subjects;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep},
};

use crate::broker::{self, Broker, CasOutcome};

/// A write is tried for as long as a record is appended: longer than an election takes.
const WRITE_MAX: Duration = Duration::from_secs(30);

/// Between two tries; processes differ by their names, so that they do not meet again.
const TRY_PAUSE_MAX_MS: u64 = 20;

/// Before a settlement is tried again that the broker has not taken.
const SETTLE_PAUSE: Duration = Duration::from_secs(1);

/// A settlement that nobody takes for so many tries is given up: the money counts as spent.
const SETTLE_TRIES: u32 = 20;

/// For how long a process says which of its writes was the last: longer than it tries one.
const SIGNED_MS: u64 = 120_000;

/// Something wanted of a book.
pub(super) struct Op {
    pub(super) key: String,
    pub(super) wish: Wish,
}

pub(super) enum Wish {
    Hold { cap: Option<Budget>, amount: Amount, until_ms: u64, tell: oneshot::Sender<Told> },
    Settle { held: Amount, used: Amount },
}

type Told = Result<Answer, broker::Error>;

#[derive(Debug)]
pub(super) enum Answer {
    /// It is set aside.
    Held,
    /// There is no cap, and nothing to set aside.
    NoLimit,
    /// It is not; with the cap.
    Short(Budget, Short),
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
    /// Settlements that could not be written.
    left: Vec<Wish>,
    /// The number of the write that they may have been part of all the same.
    unknown: Option<u64>,
}

impl Written {
    const fn done(key: String, known: Known) -> Self {
        Self { key, known: Some(known), left: Vec::new(), unknown: None }
    }
}

struct Known {
    book: Book,
    revision: u64,
}

impl Keeper {
    pub(super) fn new(broker: Arc<dyn Broker>, holder: String, now_ms: fn() -> u64) -> Self {
        let desk = Arc::new(Desk { broker, holder, now_ms });
        Self { desk, pages: HashMap::new(), writing: FuturesUnordered::new() }
    }

    pub(super) async fn keep(mut self, mut ops: mpsc::UnboundedReceiver<Op>) {
        loop {
            tokio::select! {
                biased;
                Some(written) = self.writing.next() => self.written(written),
                op = ops.recv() => match op {
                    Some(op) => self.take(op),
                    None => break,
                },
            }
        }
    }

    fn take(&mut self, Op { key, wish }: Op) {
        if let Some(page) = self.pages.get_mut(&key) {
            page.waiting.push(wish);
            return;
        }
        self.pages.insert(key.clone(), Page::default());
        self.begin(key, None, vec![wish]);
    }

    fn begin(&self, key: String, known: Option<Known>, wishes: Vec<Wish>) {
        let desk = Arc::clone(&self.desk);
        self.writing.push(Box::pin(async move { desk.write(key, known, wishes, None).await }));
    }

    fn begin_again(&self, key: String, left: Vec<Wish>, unknown: Option<u64>) {
        let desk = Arc::clone(&self.desk);
        self.writing.push(Box::pin(async move {
            sleep(SETTLE_PAUSE).await;
            desk.write(key, None, left, unknown).await
        }));
    }

    fn written(&mut self, Written { key, known, left, unknown }: Written) {
        let Some(page) = self.pages.get_mut(&key) else { return };
        page.tries = if left.is_empty() { 0 } else { page.tries + 1 };
        if page.tries > SETTLE_TRIES {
            tracing::warn!(key, calls = left.len(), "cannot settle a budget; it counts as spent");
        } else if !left.is_empty() {
            // By themselves: they may have been written, and what comes now cannot have been.
            return self.begin_again(key, left, unknown);
        }
        let wishes = std::mem::take(&mut page.waiting);
        if wishes.is_empty() {
            self.pages.remove(&key);
        } else {
            self.begin(key, known, wishes);
        }
    }
}

/// What it takes to write.
struct Desk {
    broker: Arc<dyn Broker>,
    holder: String,
    now_ms: fn() -> u64,
}

/// What came of a try.
enum Try {
    Done(Known, Vec<Option<Answer>>),
    /// Somebody else wrote first.
    Conflict,
    /// It may have been written as that number, with these answers.
    Unknown(u64, Vec<Option<Answer>>, broker::Error),
}

impl Desk {
    async fn write(
        &self,
        key: String,
        mut known: Option<Known>,
        wishes: Vec<Wish>,
        unknown: Option<u64>,
    ) -> Written {
        let until = Instant::now() + WRITE_MAX;
        let mut attempt = 0;
        let mut unknown = unknown.map(|number| (number, Vec::new()));
        let trouble = loop {
            let now = match known.take() {
                Some(known) => Ok(known),
                None => self.look(&key).await,
            };
            let trouble = match (now, unknown.take()) {
                (Err(error), still) => {
                    unknown = still;
                    error
                }
                (Ok(known), Some((number, answers))) if known.book.signed(&self.holder) >= number => {
                    tell(&key, wishes, answers);
                    return Written::done(key, known);
                }
                (Ok(now), _) => match self.write_once(&key, now, &wishes).await {
                    Try::Done(known, answers) => {
                        tell(&key, wishes, answers);
                        return Written::done(key, known);
                    }
                    Try::Conflict => {
                        broker::Error::Unreachable("the budget is being written by others".to_owned())
                    }
                    Try::Unknown(number, answers, error) => {
                        unknown = Some((number, answers));
                        error
                    }
                },
            };
            attempt += 1;
            let pause = self.pause(attempt);
            if trouble.is_permanent() || Instant::now() + pause >= until {
                break trouble;
            }
            sleep(pause).await;
        };
        tracing::warn!(key, error = %trouble, "a budget could not be written");
        let mut left = Vec::new();
        for wish in wishes {
            match wish {
                Wish::Hold { tell, .. } => drop(tell.send(Err(trouble.clone()))),
                settle @ Wish::Settle { .. } => left.push(settle),
            }
        }
        Written { key, known: None, left, unknown: unknown.map(|(number, _)| number) }
    }

    fn pause(&self, attempt: u64) -> Duration {
        let own: u64 = self.holder.bytes().map(u64::from).sum();
        Duration::from_millis(own.wrapping_mul(attempt) % TRY_PAUSE_MAX_MS + 1)
    }

    async fn write_once(&self, key: &str, known: Known, wishes: &[Wish]) -> Try {
        let Known { book: before, revision } = known;
        let now_ms = (self.now_ms)();
        let mut book = before.clone();
        let answers = wishes.iter().map(|wish| self.grant(&mut book, wish, now_ms)).collect();
        if book == before {
            return Try::Done(Known { book, revision }, answers);
        }
        let number = book.sign(&self.holder, now_ms.saturating_add(SIGNED_MS));
        let written = match write(&book) {
            Ok(value) => self.broker.kv_cas(subjects::BUDGETS, key, value, revision).await,
            Err(reason) => Err(refused(key, reason)),
        };
        match written {
            Ok(CasOutcome::Written(revision)) => Try::Done(Known { book, revision }, answers),
            Ok(CasOutcome::Conflict) => Try::Conflict,
            Err(error) => Try::Unknown(number, answers, error),
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
    fn grant(&self, book: &mut Book, wish: &Wish, now_ms: u64) -> Option<Answer> {
        match wish {
            Wish::Settle { held, used } => {
                book.settle(&self.holder, *held, *used);
                None
            }
            Wish::Hold { tell, .. } if tell.is_closed() => None,
            Wish::Hold { cap, amount, until_ms, .. } => Some(match cap.or(book.cap) {
                None => Answer::NoLimit,
                Some(cap) => match book.hold(&cap, &self.holder, *amount, *until_ms, now_ms) {
                    Ok(()) => Answer::Held,
                    Err(short) => Answer::Short(cap, short),
                },
            }),
        }
    }
}

fn refused(key: &str, reason: String) -> broker::Error {
    broker::Error::Refused { what: format!("the book {key}"), reason }
}

fn tell(key: &str, wishes: Vec<Wish>, answers: Vec<Option<Answer>>) {
    for (wish, answer) in wishes.into_iter().zip(answers) {
        let (Wish::Hold { tell, .. }, Some(answer)) = (wish, answer) else { continue };
        if tell.send(Ok(answer)).is_err() {
            // Whoever asked has gone between the write and now: the hold runs out and
            // counts as spent, which is rare and never too little.
            tracing::debug!(key, "nobody waits for a hold any more");
        }
    }
}
