//! The beginning of a tenure: everything in the log is folded without a word,
//! then what the state still owes is emitted.

use futures::StreamExt as _;
use planfleet_core::command::Command;
use tokio::time::{Instant, Interval, interval_at};
use tokio_util::sync::CancellationToken;

use super::{Journal, Owner, Stop};

/// Looks at the tail before commands are emitted. Each round is shorter than the
/// one before, as only what came meanwhile is left.
const ROUNDS_MAX: u32 = 4;

impl Owner {
    /// Opens the epoch and folds everything there is in silence, then emits what is owed.
    pub(super) async fn replay(&mut self, stop: &CancellationToken) -> Result<Journal, Stop> {
        self.bus.open_epoch(self.id, &self.held.lease).await?;
        let from = self.held.lease.replay_from.max(1);
        let mut journal = self.bus.read_journal(self.id, from).await?;
        let mut owed = Vec::new();
        let started = Instant::now();
        let mut renewals = interval_at(Instant::now() + self.config.lease_renew, self.config.lease_renew);
        let mut tail = self.bus.journal_tail(self.id).await?;
        // What was finished while the log was read must not be dispatched again, so
        // the tail is looked at anew; a log that keeps growing is caught up with later.
        for _ in 0..ROUNDS_MAX {
            if self.folded_to >= tail {
                break;
            }
            self.replay_to(tail, &mut journal, &mut owed, &mut renewals, stop).await?;
            tail = self.bus.journal_tail(self.id).await?;
        }
        owed.extend(self.shard.owed());
        tracing::info!(
            shard = self.id,
            from,
            tail,
            active = self.shard.len(),
            owed = owed.len(),
            took_ms = started.elapsed().as_millis(),
            "log replayed"
        );
        self.emit(owed);
        Ok(journal)
    }

    /// Folds up to `tail`, keeping the ends of runs whose documents may not be kept yet.
    async fn replay_to(
        &mut self,
        tail: u64,
        journal: &mut Journal,
        owed: &mut Vec<Command>,
        renewals: &mut Interval,
        stop: &CancellationToken,
    ) -> Result<(), Stop> {
        while self.folded_to < tail {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Err(Stop::Asked),
                _ = renewals.tick() => {
                    self.renew().await?;
                    renewals.reset();
                }
                entry = journal.next() => {
                    let Some(entry) = entry else { return Err(Stop::Lost("the log ended")) };
                    let entry = entry?;
                    let kept = entry.seq <= self.held.lease.kept_to;
                    let ends = self.fold(entry).await?.into_iter().filter(|command| {
                        matches!(command, Command::FinishRun(_) | Command::BroadcastCancel { .. })
                    });
                    if kept {
                        self.forget_kept(ends);
                    } else {
                        owed.extend(ends);
                    }
                }
            }
        }
        Ok(())
    }

    /// The owner before has seen these documents kept.
    fn forget_kept(&mut self, ends: impl Iterator<Item = Command>) {
        for end in ends {
            if let Command::FinishRun(document) = end {
                self.finishing.remove(&document.run_id);
            }
        }
    }
}
