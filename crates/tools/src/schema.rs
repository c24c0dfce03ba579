//! JSON Schemas, compiled once and reported in full.

use std::fmt::Write as _;

use jsonschema::Validator;
use planfleet_core::failure::trim_chars;
use serde_json::Value;

/// A planner mends what it is shown; more than this many faults is one fault
/// with many faces, and would crowd its prompt.
const FAULTS_MAX: usize = 20;

/// A fault's text quotes the schema, which may be long.
const FAULT_CHARS_MAX: usize = 300;

/// Compiles a schema. References to other documents are not followed: the
/// validator is built without any retriever.
pub(crate) fn compile(schema: &Value) -> Result<Validator, String> {
    jsonschema::validator_for(schema).map_err(|error| error.to_string())
}

/// Every fault of `value`, one per line with its JSON Pointer; `None` when valid.
///
/// Values are masked: an argument may be megabytes long, or secret.
pub(crate) fn faults(validator: &Validator, value: &Value) -> Option<String> {
    let mut errors = validator.iter_errors(value);
    let mut text = String::new();
    for error in errors.by_ref().take(FAULTS_MAX) {
        let path = match error.instance_path().as_str() {
            "" => "(root)",
            path => path,
        };
        let fault = trim_chars(&error.masked().to_string(), FAULT_CHARS_MAX);
        let _ = write!(text, "\n- {path}: {fault}");
    }
    if errors.next().is_some() {
        let _ = write!(text, "\n- and more than {FAULTS_MAX} faults in all");
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn all_faults_are_named_with_their_places() {
        let schema = compile(&json!({
            "type": "object",
            "properties": {
                "a": {"type": "integer"},
                "b": {"type": "array", "items": {"type": "string"}},
                "c": {}
            },
            "required": ["c"],
            "additionalProperties": false
        }))
        .unwrap();
        let text = faults(&schema, &json!({"a": "x", "b": ["ok", 1], "d": 0})).unwrap();
        for part in ["- /a: ", "- /b/1: ", "\"c\"", "'d'"] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        assert_eq!(faults(&schema, &json!({"c": 1})), None);
    }

    #[test]
    fn many_faults_are_cut() {
        let schema = compile(&json!({"items": {"type": "string"}})).unwrap();
        let text = faults(&schema, &json!(vec![1; 100])).unwrap();
        assert_eq!(text.lines().count(), 1 + FAULTS_MAX + 1);
    }

    #[test]
    fn remote_references_are_refused() {
        assert!(compile(&json!({"$ref": "http://127.0.0.1:1/schema"})).is_err());
        assert!(compile(&json!({"$ref": "file:///etc/passwd"})).is_err());
    }
}
