//! Templates: plans with typed slots, which a task's inputs fill.
//!
//! A template's slots are its plan's references to step 0, typed by a JSON Schema, so a
//! task that names one is a plan as soon as its inputs fit: nobody plans, and no model is
//! asked. A version is named by the digest of what is in it and never changes; the plan is
//! frozen into each submission, so a run does not notice what becomes of its template.
//! Where templates are kept and found is in [`library`], those that every planfleet brings
//! with it are in `templates/` of this crate.

pub mod library;
mod lint;

use std::sync::Arc;

use jsonschema::Validator;
use planfleet_core::{
    id::check_name,
    json,
    plan::{Plan, lint as plan_lint, parse},
};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

pub use self::{
    library::{Library, Named},
    lint::Finding,
};
use crate::submission::{Fault, fault};

/// Characters of a version as it is shown: enough to name one of many thousand.
const VERSION_SHOWN: usize = 12;

/// Largest template: it is one value of a bucket, and its plan a part of each submission.
pub const BYTES_MAX: usize = 512 * 1024;

/// A plan that a task fills in.
#[derive(Debug)]
pub struct Template {
    /// What tasks call it; files that are named by their path need none.
    pub name: Option<String>,
    /// What it does, for people.
    pub description: String,
    /// JSON Schema of the task's inputs, which are the plan's step 0.
    pub slots: Value,
    /// The plan.
    pub plan: Arc<Plan>,
    /// SHA-256 of its canonical text, in hexadecimal.
    version: String,
    validator: Validator,
}

impl Template {
    /// Reads a template as JSON or YAML.
    ///
    /// # Errors
    /// All mistakes; where the text is neither, that alone.
    pub fn parse(text: &str) -> Result<Self, Vec<String>> {
        if text.len() > BYTES_MAX {
            return Err(vec![format!("has {} bytes, more than the {BYTES_MAX} of a template", text.len())]);
        }
        let value = if text.trim_start().starts_with('{') {
            json::parse_strict(text).map_err(|error| vec![format!("not JSON: {error}")])?
        } else {
            yaml(text).map_err(|error| vec![error])?
        };
        let Value::Object(object) = value else {
            return Err(vec![format!("a template is an object, not a {}", json::type_name(&value))]);
        };
        Self::from_object(object)
    }

    fn from_object(mut object: Map<String, Value>) -> Result<Self, Vec<String>> {
        let mut faults = Vec::new();
        let name = text(&mut object, "name", &mut faults);
        if let Some(Err(error)) = name.as_deref().map(|name| check_name("name", name)) {
            faults.push(error.to_string());
        }
        let description = text(&mut object, "description", &mut faults).unwrap_or_default();
        let slots = object.remove("slots").unwrap_or_else(|| serde_json::json!({"type": "object"}));
        let validator = jsonschema::validator_for(&slots)
            .map_err(|error| faults.push(format!("slots: not a JSON Schema: {error}")))
            .ok();
        let plan = match object.remove("plan") {
            Some(plan) => parse::plan(plan).map_err(|found| {
                faults.extend(
                    found.iter().map(|fault| format!("plan: {}", plan_lint::Fault::to_string(fault))),
                );
            }),
            None => {
                faults.push(
                    "plan: missing: a template has a plan {\"steps\": [...], \"final\": id}".to_owned(),
                );
                Err(())
            }
        };
        for key in object.keys() {
            faults.push(format!("{key:?} is unknown; a template has name, description, slots and plan"));
        }
        match (plan, validator) {
            (Ok(plan), Some(validator)) if faults.is_empty() => {
                let mut template = Self {
                    name,
                    description,
                    slots,
                    plan: Arc::new(plan),
                    version: String::new(),
                    validator,
                };
                template.version = hex::encode(Sha256::digest(template.canonical().to_string()));
                Ok(template)
            }
            _ => Err(faults),
        }
    }

    /// What is in it, in one form however it was written.
    #[must_use]
    pub fn canonical(&self) -> Value {
        let mut value = serde_json::json!({
            "name": self.name,
            "description": self.description,
            "slots": self.slots,
            "plan": *self.plan,
        });
        value.sort_all_objects();
        value
    }

    /// The same under another name, which is another version.
    ///
    /// # Errors
    /// When that is no name.
    pub fn renamed(&self, name: &str) -> Result<Self, Vec<String>> {
        let mut value = self.canonical();
        value["name"] = name.into();
        Self::parse(&value.to_string())
    }

    /// The digest of what is in it.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Its name with its version: what a submission says that its plan came from.
    #[must_use]
    pub fn reference(&self) -> Option<String> {
        self.name.as_ref().map(|name| format!("{name}@{}", shown(&self.version)))
    }

    /// What is wrong with inputs for its slots.
    #[must_use]
    pub fn slot_faults(&self, inputs: &Map<String, Value>) -> Vec<Fault> {
        let inputs = Value::Object(inputs.clone());
        let errors = self.validator.iter_errors(&inputs);
        errors.map(|error| fault(&format!("inputs{}", error.instance_path()), &error)).collect()
    }

    /// Everything that is wrong with it, where tasks may draw on `scope`.
    #[must_use]
    pub fn lint(&self, scope: &crate::submission::Scope) -> Vec<Finding> {
        lint::findings(self, scope)
    }
}

/// The beginning of a version, as people read it.
#[must_use]
pub fn shown(version: &str) -> &str {
    version.get(..VERSION_SHOWN).unwrap_or(version)
}

/// Whether a task's `template` is the path of a file, and no name.
#[must_use]
pub fn is_path(reference: &str) -> bool {
    reference.contains(['/', '.', '\\'])
}

fn yaml(text: &str) -> Result<Value, String> {
    let value: Value = serde_saphyr::from_str(text).map_err(|error| format!("not YAML: {error}"))?;
    if json::depth(&value) > json::DEPTH_MAX {
        return Err(format!("is nested deeper than {} levels", json::DEPTH_MAX));
    }
    Ok(value)
}

fn text(object: &mut Map<String, Value>, key: &str, faults: &mut Vec<String>) -> Option<String> {
    match object.remove(key) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text),
        Some(other) => {
            faults.push(format!("{key}: is not a text but a {}", json::type_name(&other)));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "
name: greet
description: Greets.
slots:
  type: object
  properties: {name: {type: string}}
  required: [name]
plan:
  steps:
    - id: 1
      description: Greet the person.
      inputs: [{name: person, from_step: 0, path: /name}]
";

    #[test]
    fn json_and_yaml_of_one_template_are_one_version() {
        let yaml = Template::parse(YAML).unwrap();
        let json = Template::parse(&yaml.canonical().to_string()).unwrap();
        assert_eq!(yaml.version(), json.version());
        assert_eq!(yaml.reference().unwrap(), format!("greet@{}", &yaml.version()[..12]));
        let other = Template::parse(&YAML.replace("Greets.", "Greets people.")).unwrap();
        assert_ne!(other.version(), yaml.version());
    }

    #[test]
    fn every_mistake_is_named() {
        let text =
            r#"{"name": "a b", "slots": {"type": "thing"}, "plan": {"steps": [{"id": "x"}]}, "plans": 1}"#;
        let faults = Template::parse(text).unwrap_err();
        assert_eq!(faults.len(), 4, "{faults:?}");
        for (text, expected) in [
            ("[1]", "a template is an object, not a"),
            ("{\"a\": 1, \"a\": 2}", "not JSON"),
            ("name: x\nname: y\n", "not YAML"),
            ("name: x\n", "plan: missing"),
        ] {
            let faults = Template::parse(text).unwrap_err();
            assert!(faults[0].contains(expected), "{text}: {faults:?}");
        }
    }

    #[test]
    fn inputs_are_checked_all_at_once() {
        let text = r#"{"slots": {"properties": {"a": {"type": "string"}}, "required": ["b", "c"]},
                       "plan": {"steps": [{"id": 1, "description": "x"}]}}"#;
        let template = Template::parse(text).unwrap();
        let inputs = Map::from_iter([("a".to_owned(), Value::from(1))]);
        let paths: Vec<String> = template.slot_faults(&inputs).into_iter().map(|fault| fault.path).collect();
        assert_eq!(paths.len(), 3);
        assert!(paths.contains(&"inputs/a".to_owned()), "{paths:?}");
    }

    #[test]
    fn the_template_of_the_example_is_sound() {
        let template = Template::parse(include_str!("../../../examples/feedback/template.json")).unwrap();
        assert_eq!(template.plan.steps.len(), 5);
        assert_eq!(template.slot_faults(&Map::new()).len(), 1);
        assert!(!is_path("code-review@0123abcd") && is_path("template.json"));
    }
}
