//! Templates: plans with typed slots, which a task's inputs fill.

use planfleet_core::{
    json,
    plan::{Plan, lint, parse},
};
use serde_json::{Map, Value};

use crate::submission::{Fault, FindTemplate, fault};

/// A plan that a task fills in.
#[derive(Debug)]
pub struct Template {
    /// JSON Schema of the task's inputs, which are the plan's step 0.
    pub slots: Value,
    /// The plan.
    pub plan: Plan,
}

/// The plan of the template that a task names, if the task's inputs fit its slots.
pub(crate) fn plan(
    name: &str,
    inputs: &Map<String, Value>,
    find: FindTemplate<'_>,
) -> Result<Plan, Vec<Fault>> {
    let text = find(name).map_err(|reason| vec![fault("template", reason)])?;
    let template = parse_text(&text).map_err(|found| {
        found.iter().map(|found| fault("template", format!("{name}: {found}"))).collect::<Vec<_>>()
    })?;
    let faults = slot_faults(&template.slots, inputs);
    if faults.is_empty() { Ok(template.plan) } else { Err(faults) }
}

/// Reads a template.
///
/// # Errors
/// All mistakes; where the text is no JSON, that alone.
pub fn parse_text(text: &str) -> Result<Template, Vec<String>> {
    let value = json::parse_strict(text).map_err(|error| vec![format!("not JSON: {error}")])?;
    let Value::Object(mut object) = value else { return Err(vec!["a template is an object".to_owned()]) };
    let slots = object.remove("slots").unwrap_or_else(|| serde_json::json!({"type": "object"}));
    let plan = object.remove("plan").ok_or_else(|| vec!["a template has a \"plan\"".to_owned()])?;
    let plan =
        parse::plan(plan).map_err(|faults| faults.iter().map(lint::Fault::to_string).collect::<Vec<_>>())?;
    jsonschema::validator_for(&slots).map_err(|error| vec![format!("slots: not a JSON Schema: {error}")])?;
    Ok(Template { slots, plan })
}

/// What is wrong with the inputs for a template's slots.
#[must_use]
pub fn slot_faults(slots: &Value, inputs: &Map<String, Value>) -> Vec<Fault> {
    let Ok(validator) = jsonschema::validator_for(slots) else { return Vec::new() };
    let inputs = Value::Object(inputs.clone());
    let errors = validator.iter_errors(&inputs);
    errors.map(|error| fault(&format!("inputs{}", error.instance_path()), &error)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_template_is_sound() {
        let template = parse_text(include_str!("../../../examples/feedback/template.json")).unwrap();
        assert_eq!(template.plan.steps.len(), 5);
        assert_eq!(slot_faults(&template.slots, &Map::new()).len(), 1);
        let inputs = Map::from_iter([("path".to_owned(), Value::from("x"))]);
        assert_eq!(slot_faults(&template.slots, &inputs), []);
    }
}
