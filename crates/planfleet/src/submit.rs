//! From a task as written to a submission: reads it, finds its plan, freezes its
//! envelope, and says everything that is wrong at once.

use std::{
    collections::BTreeMap,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use planfleet_core::{
    plan::{
        self, Plan,
        lint::{self, Existing, Scope},
    },
    task::{self, Envelope, Mode, Submission, Task},
    tool::{Effect, ToolCatalog},
};
use planfleet_runtime::config::Settings;
use serde_json::{Map, Value};

use crate::{exit::Failure, template};

/// A task and where relative paths in it start.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) task: Task,
    folder: Option<PathBuf>,
}

/// Reads a task from a file (`-` is standard input), or makes one of a goal.
pub(crate) fn read(
    goal: Option<&str>,
    file: Option<&Path>,
    inputs: &[String],
    bytes_max: u64,
) -> Result<Source, Failure> {
    let mut value = match (goal, file) {
        (Some(goal), _) => Value::Object(Map::from_iter([("goal".to_owned(), goal.into())])),
        (None, Some(path)) => parse(&slurp(path, bytes_max)?, path)?,
        (None, None) => return Err(Failure::usage("give a goal or a task file")),
    };
    merge_inputs(&mut value, inputs)?;
    let task =
        task::from_value(value).map_err(|faults| all("the task", faults.iter().map(ToString::to_string)))?;
    let folder = file.filter(|path| path.as_os_str() != "-").and_then(Path::parent).map(Path::to_owned);
    Ok(Source { task, folder })
}

fn parse(text: &str, path: &Path) -> Result<Value, Failure> {
    planfleet_core::json::parse_strict(text)
        .map_err(|error| Failure::usage(format!("{}: not JSON: {error}", path.display())))
}

/// A file's text, with a limit; `-` is standard input.
pub(crate) fn slurp(path: &Path, bytes_max: u64) -> Result<String, Failure> {
    let unreadable = |error| Failure::usage(format!("cannot read {}: {error}", path.display()));
    let mut text = String::new();
    let limit = bytes_max + 1;
    let read = if path.as_os_str() == "-" {
        std::io::stdin().lock().take(limit).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text))
    };
    match read.map_err(unreadable)? as u64 {
        size if size > bytes_max => Err(Failure::usage(format!(
            "{} is larger than the {bytes_max} bytes of limits.task_bytes",
            path.display()
        ))),
        _ => Ok(text),
    }
}

fn merge_inputs(task: &mut Value, inputs: &[String]) -> Result<(), Failure> {
    for input in inputs {
        let (name, text) = input
            .split_once('=')
            .ok_or_else(|| Failure::usage(format!("--input {input}: use NAME=VALUE, as path=notes.txt")))?;
        let value = planfleet_core::json::parse_strict(text).unwrap_or_else(|_| text.into());
        if let Some(object) = task.as_object_mut() {
            let inputs = object.entry("inputs").or_insert_with(|| Value::Object(Map::new()));
            if let Some(inputs) = inputs.as_object_mut() {
                inputs.insert(name.to_owned(), value);
            }
        }
    }
    Ok(())
}

/// Freezes a task: its plan, where it brings one, and its envelope.
pub(crate) fn freeze(
    source: Source,
    settings: &Settings,
    catalog: &ToolCatalog,
) -> Result<Submission, Failure> {
    let Source { mut task, folder } = source;
    let (envelope, mut faults) = envelope(&task, settings, catalog);
    let plan = match plan_of(&mut task, folder.as_deref(), &envelope) {
        Ok(plan) => plan,
        Err(found) => {
            faults.extend(found);
            None
        }
    };
    if let Some(plan) = &plan {
        faults.extend(plan_faults(plan, &task, &envelope, catalog));
    }
    if !faults.is_empty() {
        return Err(all("the task", faults));
    }
    Ok(Submission {
        task,
        envelope: Arc::new(envelope),
        plan,
        traceparent: planfleet_bus::trace::traceparent(),
    })
}

/// The plan that the task brings with it, if it does.
fn plan_of(task: &mut Task, folder: Option<&Path>, envelope: &Envelope) -> Result<Option<Plan>, Vec<String>> {
    if let Some(plan) = task.plan.take() {
        return Ok(Some(plan));
    }
    if let Some(name) = &task.template {
        let template = template::read(name, folder)?;
        let faults = template::slot_faults(&template.slots, &task.inputs);
        return if faults.is_empty() { Ok(Some(template.plan)) } else { Err(faults) };
    }
    match (task.mode, &task.goal) {
        (Mode::Direct, Some(goal)) => {
            let names: Vec<String> = task.inputs.keys().cloned().collect();
            let tools = envelope.tools.keys().cloned().collect();
            Ok(Some(plan::direct(goal, &names, tools, "strong")))
        }
        _ => Ok(None),
    }
}

fn plan_faults(plan: &Plan, task: &Task, envelope: &Envelope, catalog: &ToolCatalog) -> Vec<String> {
    let tools = envelope.narrow(catalog);
    let scope = Scope {
        tools: &tools,
        inputs: Some(&task.inputs),
        pools: &envelope.pools,
        steps_max: envelope.steps_max as usize,
    };
    lint::full(plan, &Existing::default(), &scope).iter().map(|fault| format!("plan: {fault}")).collect()
}

fn envelope(task: &Task, settings: &Settings, catalog: &ToolCatalog) -> (Envelope, Vec<String>) {
    let (tools, faults) = tools(task, catalog);
    let limits = &settings.limits;
    let own_pools = settings.pools.keys().filter(|name| *name != "plan" && *name != "default");
    let envelope = Envelope {
        tools,
        hosts: settings.tools.hosts.clone(),
        pools: own_pools.cloned().collect(),
        budget: task.budget,
        deadline_ms: task.deadline_s.map(|seconds| seconds * 1_000),
        replans_max: task.max_replans.unwrap_or(limits.replans),
        steps_max: limits.steps_per_plan,
        items_max: limits.for_each_items,
        attempts_max: limits.attempts,
        review: task.review,
    };
    (envelope, faults)
}

/// The named tools; unless any are named, all that leave no traces.
fn tools(task: &Task, catalog: &ToolCatalog) -> (BTreeMap<String, Effect>, Vec<String>) {
    let Some(names) = &task.tools else {
        let free = catalog.values().filter(|tool| tool.effect.is_side_effect_free());
        return (free.map(|tool| (tool.name.clone(), tool.effect)).collect(), Vec::new());
    };
    let (mut tools, mut faults) = (BTreeMap::new(), Vec::new());
    for name in names {
        match catalog.get(name) {
            Some(tool) => {
                tools.insert(name.clone(), tool.effect);
            }
            None => {
                let have: Vec<&str> = catalog.keys().map(String::as_str).collect();
                faults.push(format!("tools: there is no tool {name:?}; there are {}", have.join(", ")));
            }
        }
    }
    (tools, faults)
}

/// All mistakes of something, as one failure.
pub(crate) fn all(what: &str, faults: impl IntoIterator<Item = String>) -> Failure {
    let lines: Vec<String> = faults.into_iter().map(|fault| format!("  - {fault}")).collect();
    let count = if lines.len() == 1 { "1 mistake".to_owned() } else { format!("{} mistakes", lines.len()) };
    Failure::usage(format!("{what} has {count}:\n{}", lines.join("\n")))
}
