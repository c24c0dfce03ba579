//! The JSON Schemas that planner models answer under.
//!
//! The subset that every provider's structured output takes: all properties
//! required, nullable instead of optional, no maps, no additional properties.

use planfleet_core::plan::CriterionKind;
use serde_json::{Value, json};

/// The schema of a first plan.
#[must_use]
pub fn plan() -> Value {
    object(&[("steps", json!({"type": "array", "items": step()})), ("final", json!({"type": "integer"}))])
}

/// The schema of the answer to a replan request.
#[must_use]
pub fn replan() -> Value {
    object(&[
        ("decision", json!({"type": "string", "enum": ["revise", "finish", "give_up"]})),
        ("reason", json!({"type": "string"})),
        ("drop", json!({"type": "array", "items": {"type": "integer"}})),
        ("steps", json!({"type": "array", "items": step()})),
        ("final", json!({"type": ["integer", "null"]})),
        ("answer", json!({"type": ["string", "null"]})),
    ])
}

fn step() -> Value {
    let text = json!({"type": "string"});
    let nullable = |kind: &str| json!({"type": [kind, "null"]});
    let input = object(&[
        ("name", text.clone()),
        ("value", nullable("string")),
        ("from_step", nullable("integer")),
        ("path", nullable("string")),
    ]);
    let for_each = object(&[
        ("from_step", json!({"type": "integer"})),
        ("path", text.clone()),
        ("as", nullable("string")),
    ]);
    let kinds: Vec<&str> = CriterionKind::ALL.into_iter().map(CriterionKind::as_str).collect();
    let criterion = object(&[("kind", json!({"type": "string", "enum": kinds})), ("arg", text.clone())]);
    object(&[
        ("id", json!({"type": "integer"})),
        ("description", text.clone()),
        ("kind", json!({"type": "string", "enum": ["tool", "model"]})),
        ("tools", json!({"type": "array", "items": text})),
        ("inputs", json!({"type": "array", "items": input})),
        ("for_each", json!({"anyOf": [for_each, {"type": "null"}]})),
        ("depends_on", json!({"type": "array", "items": {"type": "integer"}})),
        ("expected_output", text),
        ("success_criteria", json!({"type": "array", "items": criterion})),
        ("tier", json!({"type": "string", "enum": ["default", "strong"]})),
    ])
}

fn object(properties: &[(&str, Value)]) -> Value {
    let names: Vec<&str> = properties.iter().map(|(name, _)| *name).collect();
    let properties: serde_json::Map<String, Value> =
        properties.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({"type": "object", "properties": properties, "required": names, "additionalProperties": false})
}

/// Steps of a plan by a small model: the schema fixes the number.
pub const POSITIONAL_STEPS: u32 = 4;

/// Earlier steps that a step of a small model's plan may depend on.
const POSITIONAL_DEPENDENCIES_MAX: usize = 2;

/// The schema for small models behind llama.cpp: one sub-schema per position,
/// with the id a constant and the dependencies one of the subsets of earlier
/// ids, so that the plan cannot have a cycle. An enumeration of whole lists,
/// because an enumeration of items lets a small model name one twice.
#[must_use]
pub fn positional() -> Value {
    let steps: Vec<Value> = (1..=POSITIONAL_STEPS).map(positional_step).collect();
    let steps = json!({
        "type": "array", "prefixItems": steps, "minItems": POSITIONAL_STEPS, "maxItems": POSITIONAL_STEPS
    });
    object(&[("steps", steps)])
}

fn positional_step(id: u32) -> Value {
    object(&[
        ("id", json!({"type": "integer", "const": id})),
        ("description", json!({"type": "string", "minLength": 8, "maxLength": 120})),
        ("depends_on", json!({"enum": earlier_subsets(id)})),
    ])
}

fn earlier_subsets(id: u32) -> Vec<Vec<u32>> {
    let mut subsets = vec![Vec::new()];
    for earlier in 1..id {
        let extended = subsets.iter().filter(|subset| subset.len() < POSITIONAL_DEPENDENCIES_MAX);
        let with: Vec<Vec<u32>> =
            extended.map(|subset| subset.iter().copied().chain([earlier]).collect()).collect();
        subsets.extend(with);
    }
    subsets.sort_by_key(|subset| (subset.len(), subset.clone()));
    subsets
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What structured output of every provider asks of a schema.
    fn check(schema: &Value, path: &str) {
        if let Some(properties) = schema["properties"].as_object() {
            let required: Vec<&str> =
                schema["required"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            assert!(properties.keys().all(|key| required.contains(&key.as_str())), "{path}: all required");
            assert_eq!(schema["additionalProperties"], false, "{path}");
        }
        for (key, value) in schema.as_object().into_iter().flatten() {
            assert!(
                !["oneOf", "patternProperties", "default", "$ref"].contains(&key.as_str()),
                "{path}/{key}"
            );
            check(value, &format!("{path}/{key}"));
        }
        for (at, value) in schema.as_array().into_iter().flatten().enumerate() {
            check(value, &format!("{path}/{at}"));
        }
    }

    #[test]
    fn schemas_keep_to_the_common_subset() {
        check(&plan(), "plan");
        check(&replan(), "replan");
    }

    #[test]
    fn positions_can_only_depend_on_earlier_ones() {
        assert_eq!(earlier_subsets(1), [Vec::<u32>::new()]);
        assert_eq!(earlier_subsets(3), [vec![], vec![1], vec![2], vec![1, 2]]);
        assert_eq!(earlier_subsets(4).len(), 7);
    }

    #[test]
    fn the_documented_example_is_valid_under_the_schema() {
        let mut example: Value = serde_json::from_str(crate::prompt::EXAMPLE).unwrap();
        let validator = jsonschema::validator_for(&plan()).unwrap();
        assert!(
            validator.is_valid(&example),
            "{:?}",
            validator.iter_errors(&example).next().map(|e| e.to_string())
        );
        example["steps"][0]["kind"] = "dance".into();
        assert!(!validator.is_valid(&example));
    }
}
