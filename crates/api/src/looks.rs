//! Looks at active runs, shared by all who look: an owner that renders a large run for each of
//! two hundred dashboards would do little else.
//!
//! Nobody is given what was there before they asked. Whoever asks while a look is taken waits
//! for the next one, which is everybody's who came meanwhile; and between two looks at a run its
//! owner has a rest of three times what the last one took.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    time::Duration,
};

use axum::body::Bytes;
use planfleet_bus::client::Found;
use planfleet_core::id::RunId;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep_until};

use crate::problem::Problem;

/// A look that took long was at a run that is large or an owner that is busy: at most a quarter of
/// its time goes into being looked at.
const REST: u32 = 3;

/// Nobody waits for longer than this, however long the last look took: half of what a question may take.
const REST_MAX: Duration = Duration::from_secs(5);

/// A run as it was at a moment.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) found: Found,
    encoded: OnceLock<Encoded>,
}

/// A document as it is sent, made once for all who get it.
#[derive(Debug, Clone)]
pub(crate) struct Encoded {
    pub(crate) text: Bytes,
    /// An `ETag`, quotes included.
    pub(crate) tag: String,
}

impl Encoded {
    pub(crate) fn of(document: &Value) -> Self {
        let text = document.to_string();
        let tag = format!("\"{}\"", &hex::encode(Sha256::digest(&text))[..32]);
        Self { text: text.into(), tag }
    }
}

impl Seen {
    /// The document, or null where there is none.
    pub(crate) fn document(&self) -> &Value {
        match &self.found {
            Found::Active(document) | Found::Ended(document) => document,
            Found::Unknown => &Value::Null,
        }
    }

    pub(crate) fn encoded(&self) -> &Encoded {
        self.encoded.get_or_init(|| Encoded::of(self.document()))
    }
}

/// The last look at a run.
struct Look {
    began: Instant,
    rested: Instant,
    seen: Arc<Seen>,
}

/// One run. The lock is held while it is looked at; waiting for it is fair.
type Place = tokio::sync::Mutex<Option<Look>>;

/// Runs that somebody looks at just now.
#[derive(Default)]
pub(crate) struct Looks {
    places: Mutex<HashMap<RunId, Weak<Place>>>,
}

impl Looks {
    /// The run as it is now or a little later. `look` is how it is looked at, if
    /// nobody else does.
    pub(crate) async fn at(
        &self,
        run: &RunId,
        look: impl Future<Output = Result<Found, Problem>>,
    ) -> Result<Arc<Seen>, Problem> {
        let asked = Instant::now();
        let place = self.place(run);
        let mut last = place.lock().await;
        if let Some(look) = last.as_ref() {
            if look.began >= asked {
                return Ok(Arc::clone(&look.seen));
            }
            sleep_until(look.rested).await;
        }
        let began = Instant::now();
        let seen = Arc::new(Seen { found: look.await?, encoded: OnceLock::new() });
        let rested = Instant::now() + (began.elapsed() * REST).min(REST_MAX);
        *last = Some(Look { began, rested, seen: Arc::clone(&seen) });
        Ok(seen)
    }

    /// What nobody looks at is forgotten: there are never more of them than requests.
    fn place(&self, run: &RunId) -> Arc<Place> {
        // Each critical section leaves the map whole.
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.get(run).and_then(Weak::upgrade) {
            return place;
        }
        places.retain(|_, place| place.strong_count() > 0);
        let place = Arc::new(Place::default());
        places.insert(run.clone(), Arc::downgrade(&place));
        place
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures::future::join_all;
    use serde_json::json;
    use tokio::time::sleep;

    use super::*;

    const TAKES: Duration = Duration::from_millis(100);

    fn run() -> RunId {
        "00-a".parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_look_at_once_share_two_looks_and_none_is_older_than_its_question() {
        let (looks, taken) = (Looks::default(), AtomicU32::new(0));
        let look = async || {
            let number = taken.fetch_add(1, Ordering::Relaxed) + 1;
            sleep(TAKES).await;
            Ok(Found::Active(json!(number)))
        };
        let (begin, late) = (Instant::now(), TAKES / 2);
        let one = async |after: Duration| {
            sleep(after).await;
            let seen = looks.at(&run(), look()).await.unwrap();
            (seen.document().clone(), begin.elapsed())
        };
        let seen = join_all((0..200).map(|at| one(if at == 0 { Duration::ZERO } else { late }))).await;
        assert_eq!(seen[0], (json!(1), TAKES));
        // The first look, its rest, and the second look.
        assert!(seen[1..].iter().all(|seen| *seen == (json!(2), TAKES * 5)), "{:?}", seen[1]);
        assert_eq!(taken.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_fails_is_nobody_elses_and_what_nobody_looks_at_is_forgotten() {
        let looks = Looks::default();
        let failed = looks.at(&run(), async { Err(Problem::unknown_run("00-a")) }).await;
        assert!(failed.is_err());
        let seen = looks.at(&run(), async { Ok(Found::Unknown) }).await.unwrap();
        assert_eq!(seen.encoded().text, "null");
        let _ = looks.at(&"00-b".parse().unwrap(), async { Ok(Found::Unknown) }).await.unwrap();
        assert_eq!(looks.places.lock().unwrap().len(), 1);
    }
}
