//! What flow control has to know of a piece of work.

use std::sync::Arc;

use planfleet_core::{
    command::{Command, PlanOrder, StepOrder},
    id::RunId,
    plan::StepKind,
    task::Priority,
};
use planfleet_proto::subjects::{PLAN_POOL, WorkKind};

use super::{FlowRoles, queue::Key};

/// A piece of work of a run, by its name.
pub(crate) type WorkName = (WorkKind, u32);

/// A piece of work, and whose turn it waits for.
#[derive(Debug, Clone)]
pub(crate) struct Ticket {
    pub(super) run: RunId,
    pub(super) work: WorkName,
    pub(super) pool: Arc<str>,
    pub(super) priority: Priority,
    pub(super) tenant: Arc<str>,
    pub(super) class: Option<Arc<str>>,
    pub(super) needs: Vec<Key>,
}

impl Ticket {
    /// That of a command which dispatches work; `class` is that of its run's task.
    pub(crate) fn of(command: &Command, class: Option<&str>, roles: &FlowRoles) -> Option<Self> {
        let class = class.map(Arc::from);
        match command {
            Command::DispatchStep(order) => Some(Self::of_step(order, class, roles)),
            Command::DispatchPlan(order) => Some(Self::of_plan(order, class, roles)),
            _ => None,
        }
    }

    fn of_step(order: &StepOrder, class: Option<Arc<str>>, roles: &FlowRoles) -> Self {
        let tools = order.spec.tools.iter().map(|tool| Key::Tool(tool.as_str().into()));
        // A model may call each of its tools: the step counts for all of them. Its own model
        // is the role's preferred one, as nobody knows now which will be paused then.
        let strong = roles.strong.as_ref().filter(|_| order.spec.tier == "strong");
        let model = match order.spec.kind {
            StepKind::Model => strong.or(roles.executor.as_ref()),
            StepKind::Tool => None,
        };
        Self {
            run: order.run.clone(),
            work: (WorkKind::Step(order.step), order.attempt),
            pool: order.pool.as_ref().into(),
            priority: order.priority,
            tenant: order.tenant.as_ref().into(),
            class,
            needs: tools.chain(model.map(|model| Key::Model(model.as_str().into()))).collect(),
        }
    }

    fn of_plan(order: &PlanOrder, class: Option<Arc<str>>, roles: &FlowRoles) -> Self {
        let task = &order.submission.task;
        Self {
            run: order.run.clone(),
            work: (WorkKind::Planning(order.draft.revision), order.draft.attempt),
            pool: PLAN_POOL.into(),
            priority: task.priority,
            tenant: task.tenant().into(),
            class,
            needs: roles.planner.iter().map(|model| Key::Model(model.as_str().into())).collect(),
        }
    }
}
