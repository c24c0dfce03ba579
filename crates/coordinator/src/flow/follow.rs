//! What flow control hears: slots of workers, what other coordinators have out, and pauses.
//!
//! A message that has not changed for some time is of somebody who is gone, by this
//! process's own clock. As long as nothing was heard at all, nothing is let go: what is
//! paused must not start because a coordinator did.

use std::{collections::BTreeMap, time::Duration};

use futures::StreamExt as _;
use planfleet_bus::{
    Bus, Error,
    broker::Error as BrokerError,
    flow::{ByPool, Pause, SAY_SLOTS_EVERY, Target, Told},
};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Flow, window};
use crate::membership::Membership;

/// Signs of life of a worker that may be missed.
const SLOTS_SAID_MISSED_MAX: u32 = 4;

/// Beats of a coordinator after which what it has out is not counted any more: its
/// successor counts that.
const TAKEN_MISSED_MAX: u32 = 4;

/// Wait before the broker is asked again.
const RETRY: Duration = Duration::from_millis(500);

/// The same where its buckets are missing, which somebody has to make.
const MISSING_RETRY: Duration = Duration::from_secs(30);

/// Who hears for flow control, and tells others what is out here.
pub(crate) struct Following {
    bus: Bus,
    flow: Flow,
    membership: Membership,
    name: String,
    beat: Duration,
    workers: Said,
    others: Said,
    pauses: BTreeMap<Target, Pause>,
    /// By the keys under which they are kept: what is resumed is told by its key.
    paused: BTreeMap<String, Target>,
    told: ByPool,
}

/// What each process has said, and when.
type Said = BTreeMap<String, (ByPool, Instant)>;

impl Following {
    pub(crate) fn new(bus: Bus, flow: Flow, membership: Membership, name: &str, beat: Duration) -> Self {
        let (workers, others, pauses, paused, told) = Default::default();
        Self { bus, flow, membership, name: name.to_owned(), beat, workers, others, pauses, paused, told }
    }

    /// Until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let followed = async {
            loop {
                match self.follow().await {
                    Err(Error::Broker(BrokerError::Missing(what))) => {
                        // An older fleet has no pauses, and nobody could have said any.
                        tracing::warn!(
                            what,
                            "flow control hears nothing; is the fleet made by this version?"
                        );
                        self.hear_pauses();
                        sleep(MISSING_RETRY).await;
                    }
                    Err(error) => tracing::warn!(%error, "flow control hears nothing; asking again"),
                    Ok(()) => {}
                }
                sleep(RETRY).await;
            }
        };
        stop.run_until_cancelled(followed).await;
    }

    async fn follow(&mut self) -> Result<(), Error> {
        let mut changes = self.bus.follow_pauses().await?;
        let mut slots = self.bus.follow_slots().await?;
        // What was resumed while nobody listened is not told.
        let there = self.bus.pauses().await?;
        self.paused.retain(|_, target| there.iter().any(|pause| pause.target == *target));
        self.pauses = there.into_iter().map(|pause| (pause.target.clone(), pause)).collect();
        self.hear_pauses();
        let mut ticks = interval(self.beat);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                change = changes.next() => match change {
                    Some(change) => self.hear_pause(change?),
                    None => return Ok(()),
                },
                told = slots.next() => match told {
                    Some(told) => self.hear_slots(told?),
                    None => return Ok(()),
                },
                _ = ticks.tick() => {
                    self.forget();
                    self.tell().await;
                }
            }
        }
    }

    fn hear_pause(&mut self, (key, pause): (String, Option<Pause>)) {
        match pause {
            Some(pause) => {
                self.paused.insert(key, pause.target.clone());
                self.pauses.insert(pause.target.clone(), pause);
            }
            None => {
                if let Some(target) = self.paused.remove(&key) {
                    self.pauses.remove(&target);
                }
            }
        }
        self.hear_pauses();
    }

    fn hear_pauses(&self) {
        self.flow.lock().hear_pauses(self.pauses.values().cloned(), Instant::now());
    }

    fn hear_slots(&mut self, told: Told) {
        let (said, name, counts) = match told {
            Told::Worker(name, slots) => (&mut self.workers, name, slots),
            Told::Taken(name, _) if name == self.name => return,
            Told::Taken(name, taken) => (&mut self.others, name, taken),
        };
        match counts {
            Some(counts) => said.insert(name, (counts, Instant::now())),
            None => said.remove(&name),
        };
        self.forget();
    }

    /// Forgets who is gone.
    fn forget(&mut self) {
        let (silent, gone) = (SAY_SLOTS_EVERY * SLOTS_SAID_MISSED_MAX, self.beat * TAKEN_MISSED_MAX);
        self.workers.retain(|_, (_, at)| at.elapsed() < silent);
        self.others.retain(|_, (_, at)| at.elapsed() < gone);
        let slots = window::sum(self.workers.values().map(|(slots, _)| slots));
        let others = window::sum(self.others.values().map(|(taken, _)| taken));
        self.flow.lock().hear_outlook(&slots, &others, Instant::now());
    }

    /// Tells others what is out here. Nobody listens where nobody else is.
    async fn tell(&mut self) {
        let taken = self.flow.lock().taken();
        if self.membership.is_alone() || (taken.is_empty() && self.told.is_empty()) {
            return;
        }
        match timeout(self.beat, self.bus.say_taken(&self.name, &taken)).await {
            Ok(Ok(())) => self.told = taken,
            // Others take their own part meanwhile, and no more.
            Ok(Err(error)) => tracing::debug!(%error, "what is out here is not told"),
            Err(_) => tracing::debug!("what is out here is not told in time"),
        }
    }
}
