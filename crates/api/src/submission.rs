//! From a task as written to a submission: finds its plan, freezes its envelope,
//! and says everything that is wrong at once.

use std::{collections::BTreeMap, sync::Arc};

use planfleet_core::{
    plan::{
        self, Plan,
        lint::{self, Existing},
    },
    task::{self, Envelope, Mode, Submission, Task},
    tool::{Effect, ToolCatalog},
};
use planfleet_telemetry::names::{self, attribute};
use serde_json::Value;
use tracing::{Span, field::Empty, info_span};

pub use planfleet_core::task::TaskFault as Fault;

use crate::template::Template;

/// What tasks may draw on.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// Every tool there is.
    pub tools: ToolCatalog,
    /// Hosts that tools may reach.
    pub hosts: Vec<String>,
    /// Pools that steps may name besides `default` and `strong`.
    pub pools: Vec<String>,
    /// Bounds on what follows.
    pub limits: Limits,
}

/// Bounds that are frozen into an envelope.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Steps of a run over all revisions.
    pub steps_max: u32,
    /// Items of one `for_each`.
    pub items_max: u32,
    /// Attempts of one step that transient failures may use up.
    pub attempts_max: u32,
    /// Replans of a task that says nothing about them.
    pub replans: u32,
    /// Milliseconds for which a run waits for a model out of credit.
    pub quota_wait_ms: u64,
}

impl Default for Limits {
    /// Design section 12.
    fn default() -> Self {
        Self { steps_max: 1_000, items_max: 1_000, attempts_max: 5, replans: 3, quota_wait_ms: 0 }
    }
}

/// Gives the template that a task names, or says why there is none.
pub type FindTemplate<'a> = &'a dyn Fn(&str) -> Result<Arc<Template>, Vec<String>>;

/// The template that a task names, where it is written as a task: what has to be at hand
/// when it is frozen.
#[must_use]
pub fn template_of(task: &Value) -> Option<&str> {
    task.get("template").and_then(Value::as_str)
}

/// The span of a submission, of OpenTelemetry's kind `kind`; whoever knows the run's id records
/// it. A run that is submitted in it is below it.
#[must_use]
pub fn span(kind: &'static str) -> Span {
    info_span!(
        // Whatever it is part of: a batch's runs have a trace each.
        parent: None,
        names::SUBMIT.name,
        otel.name = names::SUBMIT.title,
        otel.kind = kind,
        { attribute::RUN_ID } = Empty
    )
}

/// Freezes a task: its plan, where it brings one, and its envelope.
///
/// # Errors
/// All faults, those of the task's shape first.
pub fn freeze(task: Value, scope: &Scope, templates: FindTemplate<'_>) -> Result<Submission, Vec<Fault>> {
    let written = task.clone();
    match task::from_value(task) {
        Ok(task) => freeze_task(task, scope, templates),
        Err(mut faults) => {
            let sound = sound_part(written, &faults);
            let others = sound.and_then(|task| freeze_task(task, scope, templates).err());
            faults.extend(others.unwrap_or_default());
            Err(faults)
        }
    }
}

/// A task without the fields that cannot be read, so that the others are checked too.
fn sound_part(task: Value, faults: &[Fault]) -> Option<Task> {
    let Value::Object(mut fields) = task else { return None };
    let mut unread = Vec::new();
    for Fault { path, .. } in faults {
        let field = path.split('.').next().unwrap_or_default();
        fields.remove(field);
        fields.remove(path);
        unread.push(field);
    }
    // What a plan refers to has to be known before anything can be said of it.
    if unread.contains(&"inputs") || unread.contains(&"tools") {
        fields.remove("plan");
        fields.remove("template");
    }
    fields.entry("goal").or_insert_with(|| "unknown".into());
    task::from_value(Value::Object(fields)).ok()
}

fn freeze_task(mut task: Task, scope: &Scope, templates: FindTemplate<'_>) -> Result<Submission, Vec<Fault>> {
    let mut faults = Vec::new();
    let envelope = envelope(&task, scope, &mut faults);
    let plan = plan_of(&mut task, &envelope, templates).unwrap_or_else(|found| {
        faults.extend(found);
        None
    });
    if let Some(plan) = &plan {
        faults.extend(plan_faults(plan, &task, &envelope, &scope.tools));
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(Submission {
        task: task.into(),
        envelope: Arc::new(envelope),
        plan,
        traceparent: planfleet_bus::trace::traceparent(),
        carried: None,
        parent: None,
    })
}

/// The plan that the task brings with it, if it does.
fn plan_of(
    task: &mut Task,
    envelope: &Envelope,
    templates: FindTemplate<'_>,
) -> Result<Option<Arc<Plan>>, Vec<Fault>> {
    if let Some(plan) = task.plan.take() {
        return Ok(Some(Arc::new(plan)));
    }
    if let Some(name) = &task.template {
        let reasons = |reasons: Vec<String>| reasons.iter().map(|reason| fault("template", reason)).collect();
        let template = templates(name).map_err::<Vec<Fault>, _>(reasons)?;
        let faults = template.slot_faults(&task.inputs);
        // What the name stands for now is what the run has, whatever it stands for later.
        task.template = template.reference().or_else(|| task.template.take());
        return if faults.is_empty() { Ok(Some(Arc::clone(&template.plan))) } else { Err(faults) };
    }
    match (task.mode, &task.goal) {
        (Mode::Direct, Some(goal)) => {
            let names: Vec<String> = task.inputs.keys().cloned().collect();
            let tools = envelope.tools.keys().cloned().collect();
            Ok(Some(Arc::new(plan::direct(goal, &names, tools, "strong"))))
        }
        _ => Ok(None),
    }
}

fn plan_faults(plan: &Plan, task: &Task, envelope: &Envelope, catalog: &ToolCatalog) -> Vec<Fault> {
    let tools = envelope.narrow(catalog);
    let scope = lint::Scope {
        tools: &tools,
        inputs: Some(&task.inputs),
        pools: &envelope.pools,
        steps_max: envelope.steps_max as usize,
    };
    lint::full(plan, &Existing::default(), &scope).iter().map(|found| fault("plan", found)).collect()
}

fn envelope(task: &Task, scope: &Scope, faults: &mut Vec<Fault>) -> Envelope {
    let limits = &scope.limits;
    let tools = tools(task, &scope.tools, faults);
    for name in task.approval.tools.iter().filter(|name| !tools.contains_key(*name)) {
        faults.push(fault("approval.tools", format!("{name:?} is none of the task's tools")));
    }
    Envelope {
        tools,
        hosts: scope.hosts.clone(),
        pools: scope.pools.clone(),
        budget: task.budget,
        deadline_ms: task.deadline_s.map(|seconds| seconds * 1_000),
        replans_max: task.max_replans.unwrap_or(limits.replans),
        steps_max: limits.steps_max,
        items_max: limits.items_max,
        attempts_max: limits.attempts_max,
        review: task.review,
        approval: task.approval.clone(),
        step_timeout_ms: task.step_timeout_s.map(|seconds| u64::from(seconds) * 1_000),
        quota_wait_ms: limits.quota_wait_ms,
        lineage: Vec::new(),
    }
}

/// The named tools; unless any are named, all that leave no traces.
fn tools(task: &Task, catalog: &ToolCatalog, faults: &mut Vec<Fault>) -> BTreeMap<String, Effect> {
    let Some(names) = &task.tools else {
        let free = catalog.values().filter(|tool| tool.effect.is_side_effect_free());
        return free.map(|tool| (tool.name.clone(), tool.effect)).collect();
    };
    let mut tools = BTreeMap::new();
    for name in names {
        if let Some(tool) = catalog.get(name) {
            tools.insert(name.clone(), tool.effect);
        } else {
            let have: Vec<&str> = catalog.keys().map(String::as_str).collect();
            faults.push(fault("tools", format!("there is no tool {name:?}; there are {}", have.join(", "))));
        }
    }
    tools
}

pub(crate) fn fault(path: &str, message: impl ToString) -> Fault {
    Fault { path: path.to_owned(), message: message.to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(task: Value) -> Vec<String> {
        let none = |name: &str| Err(vec![format!("there is no {name}")]);
        let faults = freeze(task, &Scope::default(), &none).unwrap_err();
        faults.into_iter().map(|fault| fault.path).collect()
    }

    #[test]
    fn shape_tools_template_and_plan_are_checked_in_one_go() {
        assert_eq!(
            faults(json!({"goal": 3, "deadline_s": -1, "tools": ["nope"]})),
            ["goal", "deadline_s", "tools"]
        );
        assert_eq!(
            faults(json!({"template": "t", "tools": ["nope"], "colour": 1})),
            ["colour", "tools", "template"]
        );
        let plan = json!({"steps": [{"id": 1, "description": "x", "depends_on": [7]}], "final": 1});
        assert_eq!(
            faults(json!({"plan": plan, "mode": "x", "budget": {"eur": 1}})),
            ["mode", "budget.eur", "plan"]
        );
    }

    #[test]
    fn a_plan_is_not_blamed_for_inputs_that_cannot_be_read() {
        let input = json!({"name": "a", "value": null, "from_step": 0, "path": "/a"});
        let plan = json!({"steps": [{"id": 1, "description": "x", "inputs": [input]}], "final": 1});
        assert_eq!(faults(json!({"plan": plan, "inputs": 3})), ["inputs"]);
    }
}
