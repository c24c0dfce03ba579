//! Room that all callers share, and how much of it one set of credentials takes at once:
//! waits and streams are cheap to open, and who opens all of them would keep everybody out.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::Caller;
use crate::problem::Problem;

/// One set of credentials has a quarter of the room at most: enough for a busy client, and
/// others find room beside three that are.
const PART: usize = 4;

/// How much of one kind of room each set of credentials has taken.
pub(crate) struct Shares {
    /// What there is room for, as people read it.
    what: &'static str,
    most: usize,
    taken: Mutex<HashMap<String, usize>>,
}

/// Somebody's place, until it is dropped.
pub(crate) struct Share(Option<(Arc<Shares>, String)>);

impl Shares {
    /// Shares of room for so many.
    pub(crate) fn of(room: usize, what: &'static str) -> Arc<Self> {
        Arc::new(Self { what, most: (room / PART).max(1), taken: Mutex::default() })
    }

    /// Takes a place. Whoever is not asked who they are may have them all.
    ///
    /// # Errors
    /// When the caller's credentials have as many as they may have.
    pub(crate) fn take(self: &Arc<Self>, caller: &Caller) -> Result<Share, Problem> {
        let Some(whose) = &caller.credentials else { return Ok(Share(None)) };
        let mut all = self.lock();
        let taken = all.entry(whose.clone()).or_default();
        if *taken >= self.most {
            return Err(Problem::too_many_at_once(self.most, self.what));
        }
        *taken += 1;
        Ok(Share(Some((Arc::clone(self), whose.clone()))))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, usize>> {
        // Each critical section leaves the map whole.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some((shares, whose)) = &self.0 else { return };
        let mut all = shares.lock();
        if let Some(taken) = all.get_mut(whose) {
            *taken -= 1;
            if *taken == 0 {
                all.remove(whose);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_more_than_a_quarter_and_what_is_given_back_is_there() {
        let shares = Shares::of(8, "requests");
        let caller =
            |credentials: &str| Caller { credentials: Some(credentials.to_owned()), ..Caller::local() };
        let (a, b) = (caller("a"), caller("b"));
        let first = shares.take(&a);
        let _second = shares.take(&a).unwrap();
        assert!(first.is_ok() && shares.take(&a).is_err());
        assert!(shares.take(&b).is_ok(), "others have their own");
        drop(first);
        let again = shares.take(&a);
        assert!(again.is_ok() && shares.take(&a).is_err());
        let all: Vec<_> = (0..100).map(|_| shares.take(&Caller::local()).unwrap()).collect();
        assert_eq!((all.len(), shares.lock().len()), (100, 1));
    }
}
