//! What an owner owes when it begins: nobody knows whether it has been said.
//!
//! Saying it again is harmless as long as a message of that name is in the queue.
//! Once its outcome is in the log the name is free again, and the work would be
//! done twice. So debts are paid a few at a time, each only if it is still owed
//! then, and the log is read in between: what is at work while shards change hands
//! is settled by the thousand.

use std::collections::VecDeque;

use planfleet_core::command::Command;

use super::Owner;

/// Debts paid in one go: few enough to be looked at just before they are on the
/// wire, and enough for some hundred thousand a second.
const AT_ONCE: usize = 64;

/// What has not been said yet, in order.
#[derive(Default)]
pub(super) struct Debts(VecDeque<Command>);

impl Debts {
    pub(super) fn add(&mut self, owed: Vec<Command>) {
        self.0.extend(owed);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Owner {
    /// Pays some of what is owed.
    pub(super) fn pay_debts(&mut self) {
        let count = self.debts.0.len().min(AT_ONCE);
        let due: Vec<Command> = self.debts.0.drain(..count).collect();
        let owed = |command: &Command| self.follower.shard.still_owes(command);
        let owed = due.into_iter().filter(owed).collect();
        self.emit(owed);
    }
}
