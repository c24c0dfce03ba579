//! Batches and templates.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// A batch: what is kept of it, and how its runs stand.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Batch {
    pub(crate) batch_id: String,
    pub(crate) tenant: String,
    /// `submitting`, `running`, `completed`, `cancelling` or `cancelled`.
    pub(crate) state: String,
    pub(crate) created_at: String,
    pub(crate) updated_at: String,
    /// Its tasks, refused ones included, once all lines are read.
    pub(crate) total: Option<u64>,
    pub(crate) submitted: u64,
    pub(crate) rejected: u64,
    pub(crate) active: u64,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
    pub(crate) expired: u64,
    pub(crate) retried: u64,
    pub(crate) usd: Option<f64>,
    /// Runs whose cost is not known.
    pub(crate) unpriced: u64,
    pub(crate) tokens: u64,
    pub(crate) budget: BudgetView,
    pub(crate) rate_per_s: Option<f64>,
    /// Seconds that are left at this pace.
    pub(crate) eta_s: Option<u64>,
    /// Why it was cancelled, if it was.
    pub(crate) reason: Option<String>,
    pub(crate) labels: BTreeMap<String, String>,
    /// Shards that say nothing of its active runs just now.
    pub(crate) shards_silent: u64,
}

/// What may be spent; null is without limit.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BudgetView {
    pub(crate) usd: Option<f64>,
    pub(crate) tokens: Option<u64>,
}

/// A batch in a list: what is kept of it, without a look at its runs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchListed {
    pub(crate) batch_id: String,
    pub(crate) tenant: String,
    pub(crate) created_at: String,
    pub(crate) updated_at: String,
    pub(crate) total: Option<u64>,
    pub(crate) submitted: u64,
    pub(crate) rejected: u64,
    pub(crate) budget: BudgetView,
    pub(crate) labels: BTreeMap<String, String>,
    /// Why it was cancelled, if it was.
    pub(crate) cancelled: Option<String>,
}

/// Batches, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Batches {
    pub(crate) batches: Vec<BatchListed>,
}

/// A batch that is taken.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchAccepted {
    pub(crate) batch_id: String,
    /// Lines that are tasks of the batch now.
    pub(crate) submitted: u64,
    /// Of them, those that were not before.
    pub(crate) new: u64,
    pub(crate) rejected: u64,
    /// The first hundred refused lines.
    pub(crate) rejections: Vec<RejectedLine>,
}

/// A line that was refused.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RejectedLine {
    /// From 1.
    pub(crate) line: u64,
    pub(crate) custom_id: Option<String>,
    pub(crate) message: String,
}

/// A cancelled batch.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchCancelled {
    pub(crate) batch_id: String,
    /// Active runs that were asked to end.
    pub(crate) cancelled_runs: u64,
}

/// What of a batch is tried again.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchRetried {
    pub(crate) batch_id: String,
    pub(crate) runs: Vec<Rerun>,
    pub(crate) refused: Vec<NotRerun>,
}

/// A new run and the one that it goes on from.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Rerun {
    pub(crate) run_id: String,
    pub(crate) rerun_of: String,
}

/// A run that cannot be tried again.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NotRerun {
    pub(crate) run_id: String,
    pub(crate) message: String,
}

/// A version of a template in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TemplateListed {
    pub(crate) name: String,
    /// SHA-256 of what is in it, in hexadecimal.
    pub(crate) version: String,
    /// Whether the name alone stands for it.
    pub(crate) latest: bool,
    /// `shipped` with planfleet, or `added` to the fleet.
    pub(crate) origin: String,
    pub(crate) added_at: Option<String>,
}

/// Templates by name, the newest version of each first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Templates {
    pub(crate) templates: Vec<TemplateListed>,
}

/// A template, whole.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TemplateView {
    pub(crate) name: Option<String>,
    pub(crate) version: String,
    pub(crate) description: String,
    /// JSON Schema of a task's inputs.
    pub(crate) slots: Value,
    pub(crate) plan: Map<String, Value>,
}

/// A template that was added.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TemplateAdded {
    /// What tasks call this version.
    pub(crate) template: String,
    pub(crate) version: String,
    /// Whether it was not there before.
    pub(crate) new: bool,
}

/// Versions that are gone.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TemplateRemoved {
    pub(crate) name: String,
    pub(crate) removed: Vec<String>,
}
