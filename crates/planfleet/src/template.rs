//! Template files: a plan with typed slots.

use std::path::{Path, PathBuf};

use planfleet_core::{
    json,
    plan::{Plan, lint, parse},
};
use serde_json::{Map, Value};

/// A plan that a task fills in.
#[derive(Debug)]
pub(crate) struct Template {
    /// JSON Schema of the task's inputs, which are the plan's step 0.
    pub(crate) slots: Value,
    /// The plan.
    pub(crate) plan: Plan,
}

/// Reads the template that a task names: a path, beside the task's file or from
/// the working directory.
pub(crate) fn read(name: &str, beside: Option<&Path>) -> Result<Template, Vec<String>> {
    let path = find(name, beside).ok_or_else(|| {
        vec![format!("template: there is no file {name:?}; give its path, from the task's file or the working directory")]
    })?;
    let text = std::fs::read_to_string(&path)
        .map_err(|error| vec![format!("template {}: {error}", path.display())])?;
    parse_text(&text)
        .map_err(|faults| faults.into_iter().map(|fault| format!("template {name}: {fault}")).collect())
}

fn find(name: &str, beside: Option<&Path>) -> Option<PathBuf> {
    let candidates = [beside.map(|folder| folder.join(name)), Some(PathBuf::from(name))];
    candidates.into_iter().flatten().find(|path| path.is_file())
}

fn parse_text(text: &str) -> Result<Template, Vec<String>> {
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
pub(crate) fn slot_faults(slots: &Value, inputs: &Map<String, Value>) -> Vec<String> {
    let Ok(validator) = jsonschema::validator_for(slots) else { return Vec::new() };
    let inputs = Value::Object(inputs.clone());
    validator.iter_errors(&inputs).map(|error| format!("inputs{}: {error}", error.instance_path())).collect()
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
        assert_eq!(slot_faults(&template.slots, &inputs), [""; 0]);
    }

    #[test]
    fn a_missing_file_is_named() {
        assert!(read("nowhere.json", None).unwrap_err()[0].contains("nowhere.json"));
    }
}
