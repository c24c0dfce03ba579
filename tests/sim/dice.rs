//! Chance, all of it from the seed: dice for each actor, and the weather of a
//! seed, which says how often what goes wrong.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// One actor's source of chance.
pub(crate) struct Dice(Mutex<fastrand::Rng>);

impl Dice {
    /// The dice of the actor of that name in that seed's world.
    pub(crate) fn of(seed: u64, actor: &str) -> Self {
        // FNV-1a: the same on every machine and in every release.
        let mixed = actor.bytes().fold(0xcbf2_9ce4_8422_2325_u64 ^ seed, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(Mutex::new(fastrand::Rng::with_seed(mixed)))
    }

    fn roll<T>(&self, roll: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        roll(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// True `per_mille` times of a thousand.
    pub(crate) fn chance(&self, per_mille: u32) -> bool {
        per_mille > 0 && self.roll(|rng| rng.u32(0..1_000)) < per_mille
    }

    /// A number of that range, both ends included.
    pub(crate) fn number(&self, from: u64, to: u64) -> u64 {
        self.roll(|rng| rng.u64(from..=to))
    }

    /// A small number of that range, both ends included.
    pub(crate) fn count(&self, from: usize, to: usize) -> usize {
        self.roll(|rng| rng.usize(from..=to))
    }

    /// A time between so many milliseconds.
    pub(crate) fn millis(&self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.number(from, to))
    }

    /// One of them.
    pub(crate) fn pick<'t, T>(&self, of: &'t [T]) -> &'t T {
        &of[self.count(0, of.len() - 1)]
    }
}

/// How often what goes wrong in one seed, in times of a thousand. Not every seed
/// has every trouble: one kind alone finds what a mixture hides.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Odds {
    /// An operation or its answer is held up.
    pub(crate) lag: u32,
    /// A call fails, done or not done.
    pub(crate) fail: u32,
    /// A publish is lost, stored without an answer, or stored twice.
    pub(crate) publish: u32,
    /// An ack, a progress ack or what is given back is lost.
    pub(crate) ack: u32,
    /// A delivery is lost on its way, or made to two workers.
    pub(crate) delivery: u32,
    /// A live message is lost.
    pub(crate) live: u32,
}

/// The weather of one seed.
pub(crate) struct Weather {
    odds: Odds,
    calm: AtomicBool,
}

impl Weather {
    pub(crate) fn draw(dice: &Dice) -> Self {
        let odd = |most: u64| match dice.count(0, 3) {
            0 => 0,
            1 => u32::try_from(most / 4).unwrap_or(0),
            _ => u32::try_from(dice.number(1, most)).unwrap_or(0),
        };
        let odds = Odds {
            lag: odd(120),
            fail: odd(40),
            publish: odd(120),
            ack: odd(150),
            delivery: odd(150),
            live: odd(200),
        };
        Self { odds, calm: AtomicBool::new(false) }
    }

    /// Nothing goes wrong any more.
    pub(crate) fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    pub(crate) fn odds(&self) -> Odds {
        if self.calm.load(Ordering::Relaxed) { Odds::default() } else { self.odds }
    }
}
