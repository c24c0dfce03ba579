//! How a batch stands: what is kept of it, the sums over its ended runs, and what the
//! shards' owners say of the active ones.

use std::time::Duration;

use planfleet_bus::{
    Client, Error,
    batches::{Active, Batch, Tally},
};
use planfleet_core::document::{RunState, rfc3339, usd};
use planfleet_proto::subjects;
use serde_json::{Value, json};

use super::{BatchError, Tallies};

/// A submitter of whom nothing is noted for so long is gone, however slow the broker is and
/// whatever clocks differ by.
const SUBMITTER_SILENT_MAX: Duration = Duration::from_secs(15);

/// A batch just now.
#[derive(Debug)]
pub struct Standing {
    /// What is kept of it.
    pub batch: Batch,
    /// Its ended runs.
    pub tally: Tally,
    /// Its active runs.
    pub active: Active,
    /// Whether how some of its runs have ended may not be kept any more.
    pub forgotten: bool,
}

/// Whether the log of ended runs begins later than the batch: nobody will say of every run
/// how it has ended.
pub(super) async fn forgotten(client: &Client, batch: &Batch) -> Result<bool, BatchError> {
    let done = client.bus().broker().stream_state(subjects::DONE).await.map_err(Error::from)?;
    Ok(done.first_seq > batch.done_from)
}

/// Looks at a batch. Reads the headers of its ended runs, as far as `tallies` has not counted
/// them, and nothing of others.
///
/// # Errors
/// When there is no such batch, or the broker cannot be reached.
pub async fn status(client: &Client, id: &str, tallies: &Tallies) -> Result<Standing, BatchError> {
    let bus = client.bus();
    let batch = bus.batch(id).await?.ok_or_else(|| Error::UnknownBatch(id.to_owned()))?;
    // Before the ended ones: a run that ends between the two looks is counted twice for a
    // moment, and never missed.
    let active = client.active_in_batch(id, 0).await;
    let tally = tallies.of(client, &batch).await?;
    let forgotten = forgotten(client, &batch).await?;
    Ok(Standing { batch, tally, active, forgotten })
}

/// The sums over a batch's ended runs.
pub(super) async fn tally(client: &Client, batch: &Batch) -> Result<Tally, BatchError> {
    Tallies::default().of(client, batch).await
}

impl Standing {
    /// Tasks that are submitted: as many as was noted, or as are seen where that is behind.
    #[must_use]
    pub fn submitted(&self) -> u64 {
        self.batch.submitted.max(self.tally.ended())
    }

    /// Tasks of which no try has ended yet, those that are not submitted included where it
    /// is known how many there are.
    #[must_use]
    pub fn left(&self) -> u64 {
        let tasks = self.batch.total.map_or(0, |total| total.saturating_sub(self.batch.rejected));
        tasks.max(self.submitted()).saturating_sub(self.tally.ended())
    }

    /// Where it stands, in a word: `submitting`, `running`, `completed`, `cancelling` or
    /// `cancelled`.
    #[must_use]
    pub fn state(&self) -> &'static str {
        let at_work = self.active.count > 0 || !self.active.silent.is_empty();
        let all_submitted =
            self.batch.total.is_some_and(|total| self.submitted() + self.batch.rejected >= total);
        match (self.batch.cancelled.is_some(), at_work) {
            (true, true) => "cancelling",
            (true, false) => "cancelled",
            (false, _) if !all_submitted => "submitting",
            // Ends that are not kept are not waited for.
            (false, false) if self.left() == 0 || self.forgotten => "completed",
            (false, _) => "running",
        }
    }

    /// How long nobody has submitted what is left to submit: whoever did it notes every second how
    /// far he has come.
    #[must_use]
    pub fn abandoned_for(&self, now_ms: u64) -> Option<Duration> {
        let silent = Duration::from_millis(now_ms.saturating_sub(self.batch.updated_at_ms));
        (self.state() == "submitting" && silent > SUBMITTER_SILENT_MAX).then_some(silent)
    }

    /// All of it as JSON: `batch_id`, `state`, counts by state, cost, rate and the seconds
    /// that are left.
    #[must_use]
    pub fn to_json(&self, now_ms: u64) -> Value {
        let Self { batch, tally, active, forgotten } = self;
        let done = matches!(self.state(), "completed" | "cancelled");
        let rate = (tally.rate_per_s(now_ms) * 10.0).round() / 10.0;
        json!({
            "batch_id": batch.id,
            "tenant": batch.tenant,
            "state": self.state(),
            "created_at": rfc3339(batch.created_at_ms),
            "updated_at": rfc3339(batch.updated_at_ms.max(tally.last_at_ms)),
            "total": batch.total,
            "submitted": self.submitted(),
            "rejected": batch.rejected,
            "active": active.count,
            "succeeded": tally.succeeded,
            "failed": tally.count(RunState::Failed),
            "cancelled": tally.count(RunState::Cancelled),
            "expired": tally.count(RunState::Expired),
            "retried": tally.retried,
            "usd": usd(Some(tally.nano_usd)),
            "unpriced": tally.unpriced,
            "tokens": tally.tokens,
            "budget": {"usd": usd(batch.budget.nano_usd), "tokens": batch.budget.tokens},
            "rate_per_s": if done { Value::Null } else { json!(rate) },
            "eta_s": if done { None } else { tally.eta_s(self.left(), now_ms) },
            "reason": batch.cancelled,
            "labels": batch.labels,
            "ends_forgotten": forgotten,
            "shards_silent": active.silent.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use planfleet_bus::batches::End;
    use planfleet_core::task::Budget;

    use super::*;

    fn standing(total: Option<u64>, submitted: u64, ended: u64, active: u64) -> Standing {
        let batch = Batch {
            id: "b".to_owned(),
            tenant: "t".to_owned(),
            created_at_ms: 0,
            updated_at_ms: 0,
            done_from: 1,
            total,
            submitted,
            rejected: 1,
            rejections: Vec::new(),
            budget: Budget::default(),
            labels: Default::default(),
            cancelled: None,
        };
        let mut tally = Tally::default();
        for at_ms in 0..ended {
            tally.add(&End {
                run: "00-a".parse().unwrap(),
                custom_id: None,
                rerun_of: None,
                state: RunState::Succeeded,
                code: None,
                nano_usd: None,
                tokens: 0,
                at_ms,
                seq: at_ms,
            });
        }
        Standing { batch, tally, active: Active { count: active, ..Active::default() }, forgotten: false }
    }

    #[test]
    fn where_a_batch_stands_follows_from_what_is_known() {
        for (standing, state, left) in [
            (standing(None, 5, 2, 3), "submitting", 3),
            (standing(Some(9), 5, 2, 3), "submitting", 6),
            (standing(Some(6), 5, 2, 3), "running", 3),
            (standing(Some(6), 5, 5, 0), "completed", 0),
            // Something is tried again.
            (standing(Some(6), 5, 5, 1), "running", 0),
            // Its submitting was not noted to the end.
            (standing(Some(6), 1, 5, 0), "completed", 0),
        ] {
            assert_eq!((standing.state(), standing.left()), (state, left), "{standing:?}");
        }
        let mut old = standing(Some(6), 6, 4, 0);
        assert_eq!(old.state(), "running");
        old.forgotten = true;
        assert_eq!(old.state(), "completed", "two ends are not kept any more");
        old.active.count = 1;
        assert_eq!(old.state(), "running");

        let begun = standing(Some(9), 5, 2, 3);
        assert_eq!(begun.abandoned_for(15_000), None);
        assert_eq!(begun.abandoned_for(90_000), Some(Duration::from_secs(90)));
        assert_eq!(standing(Some(6), 5, 2, 3).abandoned_for(90_000), None, "nothing is left to submit");

        let mut cancelled = standing(Some(9), 5, 2, 3);
        cancelled.batch.cancelled = Some("enough".to_owned());
        assert_eq!(cancelled.state(), "cancelling");
        cancelled.active.count = 0;
        assert_eq!(cancelled.state(), "cancelled");
        assert_eq!(cancelled.to_json(0)["reason"], "enough");
    }
}
