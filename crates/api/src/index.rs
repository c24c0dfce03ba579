//! Ended runs, as a list that can be searched: an SQLite file filled from the stream that
//! keeps their documents, and rebuilt from it whenever it is gone, old or of another fleet.
//!
//! Nothing is true because it is here. A run is found by its position in that stream, so
//! the newest come first without sorting; words and filters are terms of one full-text
//! index, so any of them together cost what the rarest does (`query`); what is counted is
//! summed up as runs come and go (`write`). Active runs are not here: see [`crate::listing`].

mod counts;
mod fill;
mod place;
mod query;
mod row;
mod schema;
#[cfg(test)]
pub(crate) mod tests;
mod write;

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rusqlite::Connection;
use tokio::{sync::Notify, time::timeout};

use self::place::Place;
pub use self::place::{IndexFile, OpenError};
pub(crate) use self::{
    counts::{By, COUNTED_MAX, Count, Counts, dollars},
    fill::fill,
    query::{Filter, Hit, Order, WORDS_MAX, words},
    row::{nano, state_name},
};
use crate::{problem::Problem, view::CostRow};

/// Connections that are kept open for questions; more are opened when they are needed.
const READERS_KEPT: usize = 4;

/// Longest that one question may take. Those that a page asks take milliseconds.
const QUESTION_MAX: Duration = Duration::from_secs(10);

/// The index of one process. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Index(Arc<Inner>);

struct Inner {
    place: Place,
    readers: Mutex<Vec<Connection>>,
    writer: Mutex<Connection>,
    /// Whether all that had ended when filling began is in it.
    whole: AtomicBool,
    /// Told when the file is found to be damaged.
    damaged: Notify,
    /// How often the file was made anew: a reader of an older one is of no use.
    made: AtomicU64,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) hits: Vec<Hit>,
    /// Which of the runs that were named have ended.
    pub(crate) known: BTreeSet<String>,
}

impl Index {
    /// Opens the index, or begins an empty one.
    ///
    /// # Errors
    /// When the file cannot be had.
    pub(crate) fn open(file: &IndexFile) -> Result<Self, OpenError> {
        let place = Place::take(file)?;
        let writer = schema::open(place.path())?;
        Ok(Self(Arc::new(Inner {
            place,
            readers: Mutex::default(),
            writer: Mutex::new(writer),
            whole: AtomicBool::new(false),
            damaged: Notify::new(),
            made: AtomicU64::new(0),
        })))
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.0.whole.load(Ordering::Acquire)
    }

    fn path(&self) -> PathBuf {
        self.0.place.path().to_owned()
    }

    /// Asks on a thread that may block.
    ///
    /// # Errors
    /// When it takes too long, or the file cannot be read.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Problem> {
        let made = self.0.made.load(Ordering::Acquire);
        let reader = match locked(&self.0.readers).pop() {
            Some(reader) => reader,
            None => schema::reader(&self.path())?,
        };
        let stop = reader.get_interrupt_handle();
        let asked = tokio::task::spawn_blocking(move || (question(&reader), reader));
        let Ok(answered) = timeout(QUESTION_MAX, asked).await else {
            stop.interrupt();
            return Err(Problem::unavailable("index_slow", "the index did not answer in time; ask for less"));
        };
        let (answer, reader) = answered.map_err(|error| Problem::internal(&error))?;
        {
            let mut readers = locked(&self.0.readers);
            if readers.len() < READERS_KEPT && made == self.0.made.load(Ordering::Acquire) {
                readers.push(reader);
            }
        }
        Ok(self.looked_at(answer)?)
    }

    /// Tells who fills it when an answer shows that the file is damaged.
    fn looked_at<T>(&self, answer: rusqlite::Result<T>) -> rusqlite::Result<T> {
        answer.inspect_err(|error| {
            if schema::is_damage(error) {
                self.0.damaged.notify_one();
            }
        })
    }

    /// Begins with an empty file, which is to be filled again.
    ///
    /// # Errors
    /// When there cannot be one.
    async fn make_anew(&self) -> rusqlite::Result<()> {
        self.0.whole.store(false, Ordering::Release);
        let index = self.clone();
        let made = move |writer: &mut Connection| {
            // The old file is closed before it goes.
            *writer = Connection::open_in_memory()?;
            *writer = schema::anew(&index.path())?;
            let mut readers = locked(&index.0.readers);
            index.0.made.fetch_add(1, Ordering::AcqRel);
            readers.clear();
            Ok(())
        };
        self.change(made).await
    }

    /// A page of the runs that a filter lets through, behind `after`; and which of the
    /// `candidates` are in the index.
    ///
    /// # Errors
    /// When it takes too long, or the file cannot be read.
    pub(crate) async fn page(
        &self,
        filter: Filter,
        order: Order,
        after: Option<(i64, i64)>,
        limit: usize,
        candidates: Vec<String>,
    ) -> Result<Page, Problem> {
        self.ask(move |connection| {
            let mut known = BTreeSet::new();
            for run in candidates {
                let mut there = connection.prepare_cached("SELECT 1 FROM runs WHERE run_id = ?1")?;
                if there.exists([&run])? {
                    known.insert(run);
                }
            }
            Ok(Page { hits: query::page(connection, &filter, order, after, limit)?, known })
        })
        .await
    }

    /// How many runs a filter lets through, by the name of their state.
    ///
    /// # Errors
    /// Those of [`Index::page`].
    pub(crate) async fn counts(&self, filter: Filter) -> Result<Counts, Problem> {
        self.ask(move |connection| counts::by_state(connection, &filter, COUNTED_MAX)).await
    }

    /// What runs have cost that ended on a day or later.
    ///
    /// # Errors
    /// Those of [`Index::page`].
    pub(crate) async fn costs(
        &self,
        filter: Filter,
        by: By,
        from_day: Option<u64>,
    ) -> Result<Vec<CostRow>, Problem> {
        self.ask(move |connection| counts::costs(connection, &filter, by, from_day)).await
    }

    /// Changes it, one change at a time, on a thread that may block.
    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, rusqlite::Error> {
        let inner = Arc::clone(&self.0);
        let changed = tokio::task::spawn_blocking(move || change(&mut locked(&inner.writer))).await;
        self.looked_at(changed.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A question that panicked has rolled its transaction back.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
