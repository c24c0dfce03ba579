//! What is promised to be done within some time, how long it took, and whether that was
//! too long.

use std::fmt;

use serde_json::{Value, json};

use super::Figures;
use crate::{
    check::{index::Index, stats::Durations},
    fleet::ACK_WAIT_S,
    history::{Fault, FaultKind, Target},
};

/// For how long after its end a fault of the broker may be felt, and how much longer what
/// any fault has met may take: a cluster elects after 4 to 9 s of silence.
const ELECTION_MS: u64 = 10_000;

/// The same of other faults: a lease is stale after 3 s, and work is given away after an
/// ack wait.
const LEASE_MS: u64 = 5_000;

/// What is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Promise {
    /// From a coordinator's fault until each of its shards is opened again.
    Takeover(FaultKind),
    /// From an executor's fault until what it held is at work again.
    BegunAgain(FaultKind),
    /// From the cancel in a run's log until the last of the run's calls is over.
    CallsAfterCancel,
    /// The same from an end that nobody asked for.
    CallsAfterEnd,
}

impl Promise {
    /// How long it may take; `None` where nothing is promised.
    pub(super) const fn within_ms(self) -> Option<u64> {
        match self {
            // A coordinator that is asked to stop hands over, and others wait for a lease.
            Self::Takeover(FaultKind::Terminate) | Self::CallsAfterCancel | Self::CallsAfterEnd => {
                Some(1_000)
            }
            Self::Takeover(_) => Some(10_000),
            // Once the broker has given up waiting, and some.
            Self::BegunAgain(FaultKind::Kill) => Some((ACK_WAIT_S + 5) * 1_000),
            Self::BegunAgain(_) => None,
        }
    }

    /// Whether faults of these make it take longer.
    const fn is_hampered_by(self, target: Target) -> bool {
        match target {
            Target::Broker => true,
            Target::Coordinator => !matches!(self, Self::BegunAgain(_)),
            Target::Executor => !matches!(self, Self::Takeover(_)),
            Target::Api | Target::Planner | Target::Model => false,
        }
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Takeover(kind) => write!(f, "shards taken over after {kind:?}"),
            Self::BegunAgain(kind) => write!(f, "lost steps begun again after {kind:?}"),
            Self::CallsAfterCancel => f.write_str("calls over after a cancel"),
            Self::CallsAfterEnd => f.write_str("calls over after another end"),
        }
    }
}

/// How long it took, each time.
#[derive(Debug, Default)]
pub(crate) struct Timing {
    /// With no other fault near.
    pub(crate) clear: Durations,
    /// With another fault near that may have hampered it.
    pub(crate) hampered: Durations,
}

impl Timing {
    /// The same for programs.
    pub(super) fn json(&self) -> Value {
        json!({"clear": self.clear.json(), "hampered": self.hampered.json()})
    }
}

impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.clear.count(), self.hampered.count()) {
            (_, 0) => write!(f, "{}", self.clear),
            (0, _) => write!(f, "near other faults {}", self.hampered),
            _ => write!(f, "{}; near other faults {}", self.clear, self.hampered),
        }
    }
}

/// Something that was promised, and when the time for it began.
pub(super) struct Since<'h> {
    pub(super) promise: Promise,
    pub(super) from_ms: u64,
    /// The fault that it follows, if it follows one.
    pub(super) fault: Option<&'h Fault>,
    /// Which one, for people.
    pub(super) what: String,
}

/// The moment that it may take until, and whether others hamper it.
struct Limit {
    ms: Option<u64>,
    is_clear: bool,
}

impl Since<'_> {
    /// It was done at `done_ms`.
    pub(super) fn done(self, done_ms: u64, index: &Index<'_>, figures: &mut Figures) {
        let took_ms = done_ms.saturating_sub(self.from_ms);
        let Limit { ms, is_clear } = self.limit(index);
        let timing = figures.timings.entry(self.promise).or_default();
        if is_clear { &mut timing.clear } else { &mut timing.hampered }.add(took_ms);
        self.judge(&format!("{took_ms} ms"), took_ms, ms, figures);
    }

    /// It was not done for as long as anybody looked; true if that was long enough to say so.
    pub(super) fn never(self, index: &Index<'_>, figures: &mut Figures) -> bool {
        let waited_ms = index.ends_ms.saturating_sub(self.from_ms);
        let limit = self.limit(index).ms;
        self.judge(&format!("more than {waited_ms} ms"), waited_ms, limit, figures)
    }

    fn judge(&self, took: &str, took_ms: u64, limit_ms: Option<u64>, figures: &mut Figures) -> bool {
        let Some(limit_ms) = limit_ms.filter(|limit_ms| took_ms > *limit_ms) else { return false };
        let Self { promise, from_ms, what, .. } = self;
        figures.missed.push(format!("{promise}: {what} at {from_ms} took {took}, not {limit_ms} ms"));
        true
    }

    /// A fault is near if it is still felt when the time begins, or comes before it is over.
    /// What happens later can only meet what is late already.
    fn limit(&self, index: &Index<'_>) -> Limit {
        let within_ms = self.promise.within_ms();
        let until_ms = self.from_ms + within_ms.unwrap_or_default();
        let near = index.history.faults.iter().filter(|fault| {
            self.promise.is_hampered_by(fault.target)
                && self.fault.is_none_or(|own| !std::ptr::eq(own, *fault))
                && fault.from_ms <= until_ms
                && self.from_ms <= fault.to_ms + felt_ms(fault.target)
        });
        let lengths: Vec<u64> = near.map(|fault| fault.to_ms - fault.from_ms).collect();
        let is_clear = lengths.is_empty();
        let more_ms = if is_clear { 0 } else { lengths.iter().sum::<u64>() + ELECTION_MS };
        Limit { ms: within_ms.map(|within_ms| within_ms * index.limits.patience + more_ms), is_clear }
    }
}

/// For how long after its end a fault may be felt.
const fn felt_ms(target: Target) -> u64 {
    match target {
        Target::Broker => ELECTION_MS,
        _ => LEASE_MS,
    }
}
