//! Dispatch: each attempt has one name, and the broker takes a name once.

use planfleet_core::{
    command::{PlanOrder, StepOrder},
    seeded::{self, Bug},
};
use planfleet_proto::{encode, subjects};
use tracing::Instrument as _;

use crate::{
    Bus, Error,
    broker::{Headers, Published},
    trace,
};

/// The header that says who ordered work: the epoch, a slash, and the log position up to
/// which its owner had folded. One header, as each costs as much as a small body.
pub const ORIGIN: &str = "Pf-Origin";

/// Who ordered work, and on what grounds. Nobody acts on it; whoever looks into
/// what has happened finds the record that work followed from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Origin {
    /// The owner's epoch.
    pub epoch: u64,
    /// The log position up to which it had folded.
    pub log_seq: u64,
}

impl Origin {
    fn headers(self) -> Headers {
        let Self { epoch, log_seq } = self;
        Headers::from([(ORIGIN.to_owned(), format!("{epoch}/{log_seq}"))])
    }

    /// What the headers of a dispatch say of it.
    #[must_use]
    pub fn read(headers: &Headers) -> Option<Self> {
        let (epoch, log_seq) = headers.get(ORIGIN)?.split_once('/')?;
        Some(Self { epoch: epoch.parse().ok()?, log_seq: log_seq.parse().ok()? })
    }
}

impl Bus {
    /// Queues an attempt of a step. [`Published::Present`] means that it is
    /// queued or in flight already, which is as good.
    ///
    /// # Errors
    /// When the broker has not answered within its time limit.
    pub async fn dispatch_step(&self, order: &StepOrder, origin: Origin) -> Result<Published, Error> {
        let StepOrder { pool, priority, tenant, run, step, attempt, .. } = order;
        let other = seeded::is_on(Bug::NamesDiffer).then(|| uuid::Uuid::now_v7().to_string());
        let tenant = other.as_deref().unwrap_or(tenant);
        let subject = subjects::step(pool, *priority, tenant, run, *step, *attempt);
        let body = encode::step_order(order);
        let span = trace::publishing(run, order.traceparent.as_deref(), pool, body.len());
        self.publish(subjects::STEPS, subject, body, origin.headers()).instrument(span).await
    }

    /// Queues planning work, likewise.
    ///
    /// # Errors
    /// When the broker has not answered within its time limit.
    pub async fn dispatch_plan(&self, order: &PlanOrder, origin: Origin) -> Result<Published, Error> {
        let task = &order.submission.task;
        let draft = order.draft;
        let subject =
            subjects::planning(task.priority, task.tenant(), &order.run, draft.revision, draft.attempt);
        let (body, submitter) = (encode::plan_order(order), order.submission.traceparent.as_deref());
        let span = trace::publishing(&order.run, submitter, subjects::PLAN_POOL, body.len());
        self.publish(subjects::STEPS, subject, body, origin.headers()).instrument(span).await
    }
}
