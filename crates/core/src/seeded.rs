//! Bugs that are put in on purpose, to see that the chaos campaign finds them.
//!
//! A checker that never fails proves nothing. Each [`Bug`] takes one safeguard away, in
//! one line where that safeguard is, and `make chaos-bugs` shows that a campaign with it
//! breaks the rule that it should.
//!
//! Which bug is on is a global, the only one that a decision of this crate may depend on,
//! and only in a build with the feature `seeded-bugs`: it is set once, before anything
//! is folded. Without the feature [`is_on`] is a constant, and the compiler removes every
//! site. **Invariant:** no default feature switches `seeded-bugs` on, and a build that has it
//! says so when it starts.

#[cfg(feature = "seeded-bugs")]
use std::sync::atomic::{AtomicUsize, Ordering};

/// The variable that names the bug to be switched on, for whoever has an environment.
pub const VARIABLE: &str = "PLANFLEET_SEEDED_BUG";

/// A safeguard that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// A `for_each` counts as done while one of its items is still at work.
    ItemsOffByOne,
    /// A run that is cancelled goes on.
    CancelIgnored,
    /// An item is given the value of the last one.
    LastItemForAll,
    /// A new owner does not say again what the one before may not have said.
    TakeoverOwesNothing,
    /// A new owner speaks before it has read its log to the tail.
    TakeoverBeforeTail,
    /// An owner goes on although its lease is somebody else's.
    ZombieOwner,
    /// A new owner goes on under the epoch of the one before.
    EpochKept,
    /// A run that its owner does not know any more is not looked for among those that have ended.
    EndNotLookedUp,
    /// A message whose outcome nobody knows is taken for stored.
    UnknownIsStored,
    /// A run's document is kept under a second name as well.
    SecondDocument,
    /// A submit starts a run of its own, whatever its key.
    KeyIgnored,
    /// The same work has another name each time, so that the broker takes copies.
    NamesDiffer,
    /// Work leaves the queue when it is begun instead of when its outcome is recorded.
    AckBeforeWork,
    /// Work that is done is handed back, and so done again.
    DoneHandedBack,
    /// Work that is delivered again is taken for done.
    RedeliveryDropped,
    /// An executor reports the number of the delivery as that of the attempt.
    DeliveryAsAttempt,
    /// A failed attempt is recorded as a success.
    FailureAsSuccess,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::ItemsOffByOne,
        Self::CancelIgnored,
        Self::LastItemForAll,
        Self::TakeoverOwesNothing,
        Self::TakeoverBeforeTail,
        Self::ZombieOwner,
        Self::EpochKept,
        Self::EndNotLookedUp,
        Self::UnknownIsStored,
        Self::SecondDocument,
        Self::KeyIgnored,
        Self::NamesDiffer,
        Self::AckBeforeWork,
        Self::DoneHandedBack,
        Self::RedeliveryDropped,
        Self::DeliveryAsAttempt,
        Self::FailureAsSuccess,
    ];

    /// The name by which it is switched on.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ItemsOffByOne => "items-off-by-one",
            Self::CancelIgnored => "cancel-ignored",
            Self::LastItemForAll => "last-item-for-all",
            Self::TakeoverOwesNothing => "takeover-owes-nothing",
            Self::TakeoverBeforeTail => "takeover-before-tail",
            Self::ZombieOwner => "zombie-owner",
            Self::EpochKept => "epoch-kept",
            Self::EndNotLookedUp => "end-not-looked-up",
            Self::UnknownIsStored => "unknown-is-stored",
            Self::SecondDocument => "second-document",
            Self::KeyIgnored => "key-ignored",
            Self::NamesDiffer => "names-differ",
            Self::AckBeforeWork => "ack-before-work",
            Self::DoneHandedBack => "done-handed-back",
            Self::RedeliveryDropped => "redelivery-dropped",
            Self::DeliveryAsAttempt => "delivery-as-attempt",
            Self::FailureAsSuccess => "failure-as-success",
        }
    }
}

/// The number of the bug that is on; none at first.
#[cfg(feature = "seeded-bugs")]
static ON: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Whether a bug is on.
#[cfg(feature = "seeded-bugs")]
#[must_use]
pub fn is_on(bug: Bug) -> bool {
    ON.load(Ordering::Relaxed) == bug as usize
}

/// Whether a bug is on: never, in a build without them.
#[cfg(not(feature = "seeded-bugs"))]
#[must_use]
pub const fn is_on(_bug: Bug) -> bool {
    false
}

/// Switches the bug of that name on, and every other one off.
///
/// # Errors
/// When there is none of that name; says which there are.
#[cfg(feature = "seeded-bugs")]
pub fn switch_on(name: &str) -> Result<(), String> {
    let Some(bug) = Bug::ALL.into_iter().find(|bug| bug.name() == name) else {
        let names = Bug::ALL.map(Bug::name).join(", ");
        return Err(format!("no seeded bug is called {name:?}; there are {names}"));
    };
    ON.store(bug as usize, Ordering::Relaxed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_bug_has_a_name_of_its_own_and_is_off() {
        let names: BTreeSet<_> = Bug::ALL.map(Bug::name).into();
        assert_eq!(names.len(), Bug::ALL.len());
        assert!(!Bug::ALL.into_iter().any(is_on));
    }
}
