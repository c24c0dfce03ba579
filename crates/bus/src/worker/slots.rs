//! How much a worker does at once, and how much it asks for.
//!
//! A slot is for work, such as a model's call; asking for the next job and recording the last
//! one are not. So a worker with short jobs asks a little ahead of its free slots, for as much
//! as it is about to finish in the time that asking takes. With long jobs that is nothing: what
//! one worker holds without doing it, another could have begun.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::lock;

/// How far ahead work is asked for: about what a pull and a record take on a busy broker.
const AHEAD: Duration = Duration::from_millis(10);

/// At most one job in so many slots is held ahead: a bound on what a stop has to hand back.
const SLOTS_PER_JOB_AHEAD: usize = 4;

/// How often the pace is looked at: long enough for a few jobs, short enough to notice that
/// they have become long.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long a job waits for a slot. It was asked for as slots came free every few
/// milliseconds; if none does for so long, another worker may be better off.
const SLOT_WAIT: Duration = Duration::from_secs(1);

/// The slots of one worker; clones share them.
#[derive(Clone)]
pub(super) struct Slots {
    /// For working.
    work: Arc<Semaphore>,
    /// For being held: asked for, waiting, at work, being recorded.
    held: Arc<Semaphore>,
    /// How many of `held` are ahead of those for working.
    ahead: Arc<Mutex<usize>>,
    finished: Arc<AtomicUsize>,
    count: usize,
}

/// Adapts to the pace of a worker's jobs how many of them it holds ahead.
pub(super) struct Pace {
    slots: Slots,
    looked: Instant,
}

/// The slot that a job works in, until it is over or says that it has no more use for it.
#[derive(Debug, Clone, Default)]
pub struct Slot(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Slot {
    /// Leaves the slot to the next job.
    pub fn free(&self) {
        lock(&self.0).take();
    }
}

impl Slots {
    /// So many jobs at once, and one at least.
    pub(super) fn new(slots: usize) -> Self {
        let count = slots.max(1);
        let semaphore = || Arc::new(Semaphore::new(count));
        Self { work: semaphore(), held: semaphore(), ahead: Arc::default(), finished: Arc::default(), count }
    }

    /// Room for at least so many more jobs, and all that there is then; not before `from`.
    pub(super) async fn room(&self, wanted: usize, from: Instant) -> OwnedSemaphorePermit {
        if Instant::now() < from {
            sleep_until(from).await;
        }
        let count = |jobs: usize| u32::try_from(jobs).unwrap_or(u32::MAX);
        let Ok(mut room) = Arc::clone(&self.held).acquire_many_owned(count(wanted)).await else {
            // Nobody closes it.
            return std::future::pending().await;
        };
        if let Ok(rest) = Arc::clone(&self.held).try_acquire_many_owned(count(self.held.available_permits()))
        {
            room.merge(rest);
        }
        room
    }

    /// A slot for a job that is held; `None` when it is to be given back.
    pub(super) async fn slot(&self, stop: &CancellationToken) -> Option<Slot> {
        // Those who come first work first.
        let slot = tokio::select! {
            biased;
            slot = timeout(SLOT_WAIT, Arc::clone(&self.work).acquire_owned()) => slot.ok()?.ok()?,
            () = stop.cancelled() => return None,
        };
        Some(Slot(Arc::new(Mutex::new(Some(slot)))))
    }

    /// A job that was held ahead has got no slot: no other one is held in its place. It would
    /// be the same one, again and again, and each delivery of it is counted.
    pub(super) fn not_begun(&self, room: OwnedSemaphorePermit) {
        let mut ahead = lock(&self.ahead);
        if *ahead > 0 {
            *ahead -= 1;
            room.forget();
        }
    }

    /// A job is done and recorded.
    pub(super) fn finished(&self, room: OwnedSemaphorePermit) {
        self.finished.fetch_add(1, Ordering::Relaxed);
        drop(room);
    }
}

impl Pace {
    pub(super) fn of(slots: &Slots) -> Self {
        Self { slots: slots.clone(), looked: Instant::now() }
    }

    /// Looks at the pace, if it is time to, and allows for as many jobs ahead as it asks for.
    pub(super) fn look(&mut self) {
        let passed = self.looked.elapsed();
        if passed < LOOK_EVERY {
            return;
        }
        self.looked += passed;
        let Slots { held, finished, count, .. } = &self.slots;
        let wanted = ahead(finished.swap(0, Ordering::Relaxed), passed).min(count / SLOTS_PER_JOB_AHEAD);
        let mut ahead = lock(&self.slots.ahead);
        if wanted > *ahead {
            held.add_permits(wanted - *ahead);
            *ahead = wanted;
        } else {
            // Those that are held now stay; there is another look.
            *ahead -= held.forget_permits(*ahead - wanted);
        }
    }
}

/// How many jobs come to their end within [`AHEAD`], where so many did in the time passed.
fn ahead(finished: usize, passed: Duration) -> usize {
    let many = finished as u128 * AHEAD.as_micros() / passed.as_micros().max(1);
    usize::try_from(many).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn held(slots: &Slots) -> usize {
        let room = slots.room(1, Instant::now()).await;
        room.num_permits()
    }

    async fn finish(slots: &Slots, jobs: usize) {
        for _ in 0..jobs {
            slots.finished(slots.room(1, Instant::now()).await);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn short_jobs_are_asked_for_ahead_and_long_ones_are_not() {
        let slots = Slots::new(100);
        let mut pace = Pace::of(&slots);
        assert_eq!(held(&slots).await, 100);
        for (jobs, room) in [(50, 102), (10_000, 125), (24, 100), (25, 101), (0, 100)] {
            finish(&slots, jobs).await;
            // Not yet.
            pace.look();
            tokio::time::advance(LOOK_EVERY).await;
            pace.look();
            assert_eq!(held(&slots).await, room, "{jobs} jobs in {LOOK_EVERY:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_ahead_is_not_taken_away() {
        let slots = Slots::new(8);
        let mut pace = Pace::of(&slots);
        finish(&slots, 100).await;
        tokio::time::advance(LOOK_EVERY).await;
        pace.look();
        let all = slots.room(1, Instant::now()).await;
        assert_eq!(all.num_permits(), 10);
        tokio::time::advance(LOOK_EVERY).await;
        pace.look();
        drop(all);
        assert_eq!(held(&slots).await, 10);
        tokio::time::advance(LOOK_EVERY).await;
        pace.look();
        assert_eq!(held(&slots).await, 8);
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_gets_no_slot_is_given_back() {
        let (slots, stop) = (Slots::new(1), CancellationToken::new());
        let first = slots.slot(&stop).await;
        assert!(slots.slot(&stop).await.is_none());
        first.unwrap().free();
        let second = slots.slot(&stop).await;
        assert!(second.is_some());
        stop.cancel();
        assert!(slots.slot(&stop).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_got_no_slot_is_not_held_ahead_again() {
        let slots = Slots::new(8);
        let mut pace = Pace::of(&slots);
        finish(&slots, 100).await;
        tokio::time::advance(LOOK_EVERY).await;
        pace.look();
        let mut all = slots.room(1, Instant::now()).await;
        assert_eq!(all.num_permits(), 10);
        for _ in 0..3 {
            // There are but two ahead.
            slots.not_begun(all.split(1).expect("room"));
        }
        drop(all);
        assert_eq!(held(&slots).await, 8);
        tokio::time::advance(LOOK_EVERY).await;
        pace.look();
        assert_eq!(held(&slots).await, 8);
    }
}
