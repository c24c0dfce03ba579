//! What is asked for with a batch, what happens on the way, and what comes of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::future::BoxFuture;
use planfleet_bus::{
    Client, Error,
    batches::{Batch, End, Rejection, Tally},
    budgets::{Budgets, Owner},
};
use planfleet_core::{
    budget::Amount,
    task::{Budget, Mode},
};

use super::{BatchError, status::tally};
use crate::{submission::Scope, template::Template};

/// Most runs open at once: owners hold each in memory.
pub const WINDOW_MAX: u32 = 100_000;

/// A template, or why there is none.
pub type Found = Result<Arc<Template>, Vec<String>>;

/// Finds the template that a task names; fails where nobody can say.
pub type Find<'a> = &'a (dyn Fn(String) -> BoxFuture<'a, Result<Found, Error>> + Send + Sync);

/// What tasks are frozen and submitted with.
pub struct Desk<'a> {
    /// The fleet.
    pub client: &'a Client,
    /// What tasks may draw on.
    pub scope: &'a Scope,
    /// Where templates are found.
    pub templates: Find<'a>,
}

/// What is asked for with a batch.
#[derive(Debug, Clone)]
pub struct Order {
    /// The batch.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    /// What all its runs together may spend.
    pub budget: Budget,
    /// Labels of all its runs; a task's own go before them.
    pub labels: BTreeMap<String, String>,
    /// The mode of tasks that have a goal and say nothing about it.
    pub mode: Option<Mode>,
    /// Most runs open at once.
    pub window: usize,
    /// How many tasks there are, if that is known.
    pub total: Option<u64>,
    /// Whether the ends of all runs are waited for.
    pub wait: bool,
    /// Whether documents are wanted.
    pub documents: bool,
    /// Now, in milliseconds since the Unix epoch.
    pub now_ms: fn() -> u64,
}

/// What happens on the way.
#[derive(Debug)]
pub enum Event<'a> {
    /// The batch is there, and was there before if it is not new.
    Opened {
        /// The batch.
        batch: &'a Batch,
        /// Whether nobody has submitted it before.
        new: bool,
    },
    /// A line was refused; the others go on.
    Refused(&'a Rejection),
    /// Requests said these things about models, which the fleet decides itself.
    Unused(&'a BTreeSet<String>),
    /// A run has ended.
    Ended {
        /// How.
        end: &'a End,
        /// Its document as JSON text, or why it cannot be read; where it was asked for.
        document: Option<Result<String, Error>>,
    },
    /// How far it has come; told every second at least.
    Progress(&'a Progress),
}

/// How far submitting has come.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// Lines that are tasks of the batch now.
    pub submitted: u64,
    /// Of them, those that were submitted just now.
    pub new: u64,
    /// Lines that were refused.
    pub rejected: u64,
    /// Runs that are not seen to have ended.
    pub open: u64,
    /// Whether all lines are read.
    pub read: bool,
    /// How many tasks there are, if that is known.
    pub total: Option<u64>,
    /// How runs have ended so far.
    pub tally: Tally,
}

/// What has come of it.
#[derive(Debug)]
pub struct Outcome {
    /// The batch as it is kept now.
    pub batch: Batch,
    /// How far it has come.
    pub progress: Progress,
    /// Whether somebody asked to stop before it was done.
    pub stopped: bool,
}
/// Makes the batch, or takes it up again.
pub(super) async fn open(
    client: &Client,
    order: &Order,
    on: &mut (dyn FnMut(Event<'_>) + Send),
) -> Result<Batch, BatchError> {
    let now_ms = (order.now_ms)();
    let asked = Batch {
        id: order.id.clone(),
        tenant: order.tenant.clone(),
        created_at_ms: now_ms,
        updated_at_ms: now_ms,
        done_from: 0,
        total: order.total,
        submitted: 0,
        rejected: 0,
        rejections: Vec::new(),
        budget: order.budget,
        labels: order.labels.clone(),
        cancelled: None,
    };
    let (mut batch, new) = client.bus().open_batch(asked).await?;
    if batch.tenant != order.tenant {
        let message = format!("the batch id {:?} is taken; submit under another id", order.id);
        return Err(BatchError::Refused(message));
    }
    if let Some(reason) = &batch.cancelled {
        let message = format!(
            "batch {:?} was cancelled ({reason}); to run its tasks, submit under another id",
            order.id
        );
        return Err(BatchError::Refused(message));
    }
    let mut spent = Amount::NONE;
    if !new && order.budget != Budget::default() && order.budget != batch.budget {
        if batch.budget == Budget::default() {
            // Nothing was counted as long as nothing limited it. What runs have used that are
            // still active is not known; they are held to the budget from now on.
            let tally = tally(client, &batch).await?;
            spent = Amount { nano_usd: tally.nano_usd, tokens: tally.tokens };
        }
        batch = client.bus().change_batch(&order.id, |batch| batch.budget = order.budget).await?;
    }
    if batch.budget != Budget::default() {
        // Before the first run: calls are held against the book of the batch.
        let owner = Owner::Batch { tenant: batch.tenant.clone(), batch: batch.id.clone() };
        let books = Budgets::new(Arc::clone(client.bus().broker()), order.id.clone(), order.now_ms);
        books.set_cap(&owner, batch.budget, spent).await?;
    }
    on(Event::Opened { batch: &batch, new });
    Ok(batch)
}
