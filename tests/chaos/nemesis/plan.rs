//! What goes wrong when: a function of the seed.

use std::time::Duration;

use fastrand::Rng;

use crate::history::{FaultKind, Target};

/// A kind of fault and what it befalls.
pub(crate) type Named = (FaultKind, Target);

/// Everything that is known to go wrong, the most telling first: a short campaign names
/// the first few.
pub(crate) const ALL: [Named; 24] = [
    (FaultKind::Kill, Target::Coordinator),
    (FaultKind::Kill, Target::Executor),
    (FaultKind::Kill, Target::Broker),
    (FaultKind::Freeze, Target::Coordinator),
    (FaultKind::Terminate, Target::Coordinator),
    (FaultKind::Cut, Target::Coordinator),
    (FaultKind::Freeze, Target::Executor),
    (FaultKind::Kill, Target::Planner),
    (FaultKind::Kill, Target::Api),
    (FaultKind::Terminate, Target::Executor),
    (FaultKind::DiskFull, Target::Broker),
    (FaultKind::Terminate, Target::Api),
    (FaultKind::Refuse, Target::Coordinator),
    (FaultKind::BadModel, Target::Model),
    (FaultKind::Freeze, Target::Broker),
    (FaultKind::Terminate, Target::Broker),
    (FaultKind::Cut, Target::Executor),
    (FaultKind::Delay, Target::Coordinator),
    (FaultKind::Drip, Target::Coordinator),
    (FaultKind::Delay, Target::Executor),
    (FaultKind::Refuse, Target::Executor),
    (FaultKind::Drip, Target::Executor),
    (FaultKind::Terminate, Target::Planner),
    (FaultKind::Freeze, Target::Planner),
];

/// A campaign proves nothing by one fault of a kind.
pub(crate) const OF_EACH: usize = 2;

/// From this length on there is time for faults that last.
const LONG: Duration = Duration::from_secs(60);

/// One fault to come.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    /// From the campaign's beginning.
    pub(crate) at: Duration,
    pub(crate) kind: FaultKind,
    pub(crate) target: Target,
    /// Which one of these, by a number to be taken modulo how many there are.
    pub(crate) which: usize,
    /// How long it lasts, or how long a new process is waited with.
    pub(crate) lasts: Duration,
    /// A number for whatever else is open.
    pub(crate) detail: u64,
}

/// The faults of a campaign: twice each of as many kinds as there is time for, in a random
/// order but for the last, at random moments, one in each period.
pub(crate) fn plan(
    seed: u64,
    length: Duration,
    every: Duration,
    possible: impl Fn(&Named) -> bool,
) -> Vec<Planned> {
    let mut rng = Rng::with_seed(seed ^ 0x6e65_6d65);
    let count = usize::try_from(length.as_millis() / every.as_millis().max(1)).unwrap_or(usize::MAX);
    let kinds: Vec<Named> = ALL.into_iter().filter(possible).take(count / OF_EACH).collect();
    let mut named: Vec<Named> = kinds.iter().copied().cycle().take(count).collect();
    rng.shuffle(&mut named);
    // Last comes one that leaves work in flight: without a broker or an owner there soon is
    // none, and a campaign proves nothing when there is nothing to go on with.
    let leaves_work =
        |named: &Named| matches!(named, (FaultKind::Kill | FaultKind::Freeze, Target::Executor));
    if let (Some(at), Some(last)) = (named.iter().rposition(leaves_work), named.len().checked_sub(1)) {
        named.swap(at, last);
    }
    let patient = length >= LONG;
    let period = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
    (0u64..)
        .zip(named)
        .map(|(place, (kind, target))| Planned {
            at: Duration::from_millis(place * period + rng.u64(..=period / 2)),
            kind,
            target,
            which: rng.usize(..),
            lasts: Duration::from_millis(lasts(kind, target, patient, &mut rng)),
            detail: rng.u64(..),
        })
        .collect()
}

/// Milliseconds; `patient` where the campaign is long enough for the longest.
fn lasts(kind: FaultKind, target: Target, patient: bool, rng: &mut Rng) -> u64 {
    match (kind, target) {
        // Longer than a lease, an ack wait and an election: a zombie.
        (FaultKind::Freeze, _) if patient => rng.u64(5_000..30_000),
        // A frozen broker is felt by everybody, and a short campaign has to go on.
        (FaultKind::Freeze, Target::Broker) => rng.u64(1_000..6_000),
        // Longer than a lease, and than an ack wait, still.
        (FaultKind::Freeze, _) => rng.u64(4_000..8_000),
        // A new process comes after this.
        (FaultKind::Kill | FaultKind::Terminate, _) => rng.u64(100..4_000),
        (FaultKind::Cut, _) => 0,
        (FaultKind::Refuse, _) => rng.u64(1_000..6_000),
        (FaultKind::Delay | FaultKind::Drip, _) => rng.u64(2_000..6_000),
        (FaultKind::DiskFull, _) => rng.u64(1_500..4_000),
        // Shorter than a planning's own attempts take.
        (FaultKind::BadModel, _) => rng.u64(1_500..4_000),
    }
}

/// A kind as people read it.
pub(crate) fn shown((kind, target): Named) -> String {
    format!("{kind:?} {target:?}").to_lowercase()
}
