//! What users submit: a task, and the envelope that is frozen around it.

mod read;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use self::read::{TaskFault, from_json, from_value};
use crate::{
    id::{RunId, StepId},
    json::Json,
    plan::{Criterion, Plan},
    tool::{Effect, ToolCatalog},
    usage::NanoUsd,
};

/// Whether a task is planned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Plans.
    #[default]
    Auto,
    /// Plans.
    Plan,
    /// One executor call with the whole task, no plan.
    Direct,
}

/// When the planner looks at a run again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Review {
    /// When a step has failed and its failure is the planner's to mend.
    #[default]
    OnFailure,
    /// Whenever steps have finished, too: it sees their results before anything
    /// new is started, and may adjust what is left.
    AfterEachStep,
    /// Never: a failed step fails the run.
    Never,
}

/// What waits until a person has said yes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Every revision of the plan that has steps to start: none of them starts before.
    #[serde(default)]
    pub plan: bool,
    /// Steps that may use one of these tools.
    #[serde(default)]
    pub tools: BTreeSet<String>,
}

/// What a run may spend.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// In nano-USD.
    pub nano_usd: Option<NanoUsd>,
    /// Input and output tokens of all roles.
    pub tokens: Option<u64>,
}

/// A run's place in line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Before the others.
    High,
    /// Unless said.
    #[default]
    Normal,
    /// After the others.
    Low,
}

impl Priority {
    /// The priority as a token of a subject; lower comes first.
    #[must_use]
    pub const fn token(self) -> &'static str {
        match self {
            Self::High => "0",
            Self::Normal => "1",
            Self::Low => "2",
        }
    }
}

/// A task as its user wrote it, checked. [`from_json`] reads one.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Task {
    /// What is to be reached, in words; `None` only where a plan or template stands for it.
    pub goal: Option<String>,
    /// Named values that steps refer to as outputs of step 0.
    pub inputs: Map<String, Value>,
    /// The user's own name for it.
    pub custom_id: Option<String>,
    /// An inline plan: no planner is called.
    pub plan: Option<Plan>,
    /// A template's file name: no planner is called.
    pub template: Option<String>,
    /// The kind of task, for the plan cache and for reports.
    pub class: Option<String>,
    /// Whether it is planned.
    pub mode: Mode,
    /// The tools it may use; `None` means every one without side effects.
    pub tools: Option<Vec<String>>,
    /// What it may spend.
    pub budget: Budget,
    /// Seconds from submit to the end, whatever is done by then.
    pub deadline_s: Option<u64>,
    /// How often the planner may revise.
    pub max_replans: Option<u32>,
    /// When the planner looks at it again.
    pub review: Review,
    /// What waits until a person has said yes.
    pub approval: Approval,
    /// Seconds from the dispatch of an attempt to its result, where its step does not say.
    pub step_timeout_s: Option<u32>,
    /// Its place in line.
    pub priority: Priority,
    /// Whose it is; `default` unless said.
    pub tenant: Option<String>,
    /// For filters and reports.
    pub labels: BTreeMap<String, String>,
}

/// What is left of a task when its envelope and its plan have been taken out of
/// it: what the run is for, and whose.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Brief {
    /// What is to be reached, in words; `None` only where a plan or template stands for it.
    pub goal: Option<String>,
    /// Named values that steps refer to as outputs of step 0.
    pub inputs: Map<String, Value>,
    /// The user's own name for it.
    pub custom_id: Option<String>,
    /// The template that its plan came from.
    pub template: Option<String>,
    /// The kind of task, for the plan cache and for reports.
    pub class: Option<String>,
    /// Whether it is planned.
    pub mode: Mode,
    /// Whose it is; `default` unless said.
    pub tenant: Option<String>,
    /// Its place in line.
    pub priority: Priority,
    /// For filters and reports.
    pub labels: BTreeMap<String, String>,
    /// The batch that it was submitted with: never a word of the task's own, as its
    /// budget is charged for what the run spends.
    pub batch: Option<String>,
}

impl Brief {
    /// Whose it is.
    #[must_use]
    pub fn tenant(&self) -> &str {
        self.tenant.as_deref().unwrap_or("default")
    }
}

impl From<Task> for Brief {
    fn from(task: Task) -> Self {
        Self {
            goal: task.goal,
            inputs: task.inputs,
            custom_id: task.custom_id,
            template: task.template,
            class: task.class,
            mode: task.mode,
            tenant: task.tenant,
            priority: task.priority,
            labels: task.labels,
            batch: None,
        }
    }
}

/// What a run may use, frozen when it is submitted. A replan can only narrow it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// Allowed tools and what a call of each does.
    pub tools: BTreeMap<String, Effect>,
    /// Hosts that tools may reach.
    pub hosts: Vec<String>,
    /// Pools that steps may name besides `default`.
    pub pools: Vec<String>,
    /// What it may spend.
    pub budget: Budget,
    /// Milliseconds from submit to the end.
    pub deadline_ms: Option<u64>,
    /// How often the planner may revise.
    pub replans_max: u32,
    /// Most steps over all revisions.
    pub steps_max: u32,
    /// Most items of one `for_each`.
    pub items_max: u32,
    /// Attempts of one step that a transient failure may use up.
    pub attempts_max: u32,
    /// When the planner looks at it again.
    pub review: Review,
    /// What waits until a person has said yes.
    pub approval: Approval,
    /// Milliseconds from the dispatch of an attempt to its result, where its step does not say.
    pub step_timeout_ms: Option<u64>,
    /// Milliseconds for which a run waits, without getting on, for a model that has
    /// run out of credit; 0 ends it at once.
    pub quota_wait_ms: u64,
    /// The runs that it is a part of, the outermost first: what it spends, they spend.
    #[serde(default)]
    pub lineage: Vec<Ancestor>,
}

/// A run that another one is a part of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ancestor {
    /// The run.
    pub run: RunId,
    /// What it and all its parts may spend.
    pub budget: Budget,
}

impl Envelope {
    /// Whether every tool of a list may be called before its plan is whole.
    #[must_use]
    pub fn side_effect_free(&self, tools: &[String]) -> bool {
        tools.iter().all(|tool| self.tools.get(tool).is_some_and(|effect| effect.is_side_effect_free()))
    }

    /// The part of a catalog that the envelope allows.
    #[must_use]
    pub fn narrow(&self, catalog: &ToolCatalog) -> ToolCatalog {
        catalog
            .iter()
            .filter(|(name, _)| self.tools.contains_key(*name))
            .map(|(n, s)| (n.clone(), s.clone()))
            .collect()
    }
}

/// A task and all that was decided when it was submitted.
#[derive(Debug, Clone, PartialEq)]
pub struct Submission {
    /// What it is for.
    pub task: Brief,
    /// What the run may use.
    pub envelope: Arc<Envelope>,
    /// The plan, where no planner is needed: inline, from a template, or direct.
    pub plan: Option<Arc<Plan>>,
    /// W3C `traceparent` of the run's root span.
    pub traceparent: Option<String>,
    /// What a run that has ended had reached already, where this one goes on from there.
    pub carried: Option<Box<Carried>>,
    /// The step that it is carried out for, where it is a part of another run.
    pub parent: Option<Box<Parent>>,
}

/// Whom a child run is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    /// The run.
    pub run: RunId,
    /// The step or item.
    pub step: StepId,
    /// The attempt.
    pub attempt: u32,
    /// When nobody waits for it any more, in milliseconds since the Unix epoch.
    pub until_ms: Option<u64>,
    /// What the step asks of the answer.
    pub criteria: Vec<Criterion>,
}

/// What a rerun takes over from the run before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// The run before.
    pub run: RunId,
    /// Outputs of steps of the plan, and of items of those that are not done.
    pub outputs: BTreeMap<StepId, Json>,
}
