//! What the tools' contracts say of a step.

use serde_json::Value;

use super::{Code, Fault};
use crate::{
    json,
    plan::{CriterionKind, Input, PlanStep, StepKind},
    sub_task,
    tool::{ToolCatalog, ToolSpec},
};

/// Faults of one step under the contracts of the tools it names.
pub fn step(step: &PlanStep, tools: &ToolCatalog, faults: &mut Vec<Fault>) {
    for name in &step.tools {
        if !tools.contains_key(name) {
            let have: Vec<_> = tools.keys().map(String::as_str).collect();
            let message = format!("there is no tool {name:?} for this run; there are [{}]", have.join(", "));
            faults.push(Fault::new(Code::UnknownTool, Some(step.id), message));
        }
    }
    sub_tasks(step, faults);
    let called = step.tools.first().and_then(|name| tools.get(name));
    if let (StepKind::Tool, Some(tool)) = (step.kind, called) {
        arguments(step, tool, faults);
    }
}

/// A run that is a step is waited for by nobody's model, and judged by none.
fn sub_tasks(step: &PlanStep, faults: &mut Vec<Fault>) {
    let names_it = step.tools.iter().any(|tool| tool == sub_task::NAME);
    if names_it && step.kind != StepKind::Tool {
        let message = format!("{} is for steps of kind \"tool\"; make it a step of its own", sub_task::NAME);
        faults.push(Fault::new(Code::UnknownTool, Some(step.id), message));
    }
    let judged = step.success_criteria.iter().any(|criterion| criterion.kind == CriterionKind::Judge);
    if names_it && judged {
        let message =
            format!("a step of {} cannot be judged; judge a step that uses its output", sub_task::NAME);
        faults.push(Fault::new(Code::BadCriterion, Some(step.id), message));
    }
}

fn arguments(step: &PlanStep, tool: &ToolSpec, faults: &mut Vec<Fault>) {
    for input in &step.inputs {
        match tool.argument(&input.name) {
            None if tool.takes_any() => {}
            None => {
                let message = format!("tool {} takes no argument {:?}", tool.name, input.name);
                faults.push(Fault::new(Code::UnknownArgument, Some(step.id), message));
            }
            Some(schema) => literal(step.id, input, schema, faults),
        }
    }
    for name in open_arguments(step, tool) {
        let message = format!("tool {} needs an argument {name:?}", tool.name);
        faults.push(Fault::new(Code::MissingArgument, Some(step.id), message));
    }
}

/// Required arguments that nothing gives. In a `for_each` step the item gives
/// the argument of its name, or else the one that is left open; an item that is
/// an object may give several, which only the run can tell.
fn open_arguments<'t>(step: &PlanStep, tool: &'t ToolSpec) -> Vec<&'t str> {
    let given = |name: &str| step.inputs.iter().any(|input| input.name == name);
    let open: Vec<&str> = tool.required().filter(|name| !given(name)).collect();
    if step.for_each.is_some() { Vec::new() } else { open }
}

fn literal(step: u32, input: &Input, schema: &Value, faults: &mut Vec<Fault>) {
    let Some(text) = &input.value else { return };
    if let Err(message) = coerce(text, schema) {
        let message = format!("argument {:?}: {message}", input.name);
        faults.push(Fault::new(Code::BadArgument, Some(step), message));
    }
}

/// A literal as its argument's schema wants it: text stays text where a string
/// will do, else it is parsed as JSON.
///
/// # Errors
/// Says what the schema asks for.
pub fn coerce(text: &str, schema: &Value) -> Result<Value, String> {
    let wanted = wanted_types(schema);
    if wanted.is_empty() {
        return Ok(json::parse_strict(text).unwrap_or_else(|_| text.into()));
    }
    if wanted.contains(&"string") {
        return Ok(text.into());
    }
    let value = json::parse_strict(text)
        .map_err(|_| format!("{text:?} is no JSON; the argument is of type {}", wanted.join(" or ")))?;
    let actual = json::type_name(&value);
    let integer = value.as_i64().is_some() || value.as_u64().is_some();
    if wanted.contains(&actual) || (integer && wanted.contains(&"integer")) {
        return Ok(value);
    }
    Err(format!("{text:?} is of type {actual}; the argument is of type {}", wanted.join(" or ")))
}

fn wanted_types(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::String(one) => vec![one.as_str()],
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}
