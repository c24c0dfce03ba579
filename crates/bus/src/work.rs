//! Dispatch: each attempt has one name, and the broker takes a name once.

use planfleet_core::command::{PlanOrder, StepOrder};
use planfleet_proto::{encode, subjects};

use crate::{Bus, Error, broker::Published};

impl Bus {
    /// Queues an attempt of a step. [`Published::Present`] means that it is
    /// queued or in flight already, which is as good.
    ///
    /// # Errors
    /// When the broker has not answered within its time limit.
    pub async fn dispatch_step(&self, order: &StepOrder) -> Result<Published, Error> {
        let StepOrder { pool, priority, tenant, run, step, attempt, .. } = order;
        let subject = subjects::step(pool, *priority, tenant, run, *step, *attempt);
        self.publish(subject, encode::step_order(order)).await
    }

    /// Queues planning work, likewise.
    ///
    /// # Errors
    /// When the broker has not answered within its time limit.
    pub async fn dispatch_plan(&self, order: &PlanOrder) -> Result<Published, Error> {
        let task = &order.submission.task;
        let draft = order.draft;
        let subject =
            subjects::planning(task.priority, task.tenant(), &order.run, draft.revision, draft.attempt);
        self.publish(subject, encode::plan_order(order)).await
    }
}
