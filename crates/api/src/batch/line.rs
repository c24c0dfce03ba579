//! From a line to a task: planfleet's own form, or a request in the form of OpenAI's
//! batch files.

use std::collections::BTreeSet;

use planfleet_core::{id::check_name, json};
use serde_json::{Map, Value};

use super::envelope;

/// A task of a batch, as written.
#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    /// Its name in the batch; that of its line where it has none of its own.
    pub(super) custom_id: String,
    /// The task.
    pub(super) task: Map<String, Value>,
    /// What was said about the model's call and is not the task's to say.
    pub(super) unused: BTreeSet<String>,
}

/// What is wrong with a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The name of its task, where that could be read.
    pub(super) custom_id: Option<String>,
    pub(super) messages: Vec<String>,
}

/// Reads a line. What is wrong inside a task is for freezing it to say.
pub(super) fn read(number: u64, text: &str, tenant: &str) -> Result<Entry, Fault> {
    let fault =
        |custom_id: Option<&str>, messages| Fault { custom_id: custom_id.map(str::to_owned), messages };
    let value = json::parse_strict(text).map_err(|error| fault(None, vec![format!("not JSON: {error}")]))?;
    let Value::Object(mut object) = value else {
        let message =
            format!("a line is an object, a task or a request, and not a {}", json::type_name(&value));
        return Err(fault(None, vec![message]));
    };
    let given = object.get("custom_id").filter(|name| !name.is_null()).cloned();
    let custom_id = match &given {
        None => format!("line-{number}"),
        Some(Value::String(name)) => name.clone(),
        Some(other) => {
            return Err(fault(None, vec![format!("custom_id: is a {}, not a text", json::type_name(other))]));
        }
    };
    check_name("custom_id", &custom_id).map_err(|error| fault(None, vec![error.to_string()]))?;
    let mut unused = BTreeSet::new();
    if envelope::is_one(&object) {
        let mapped = envelope::task(object).map_err(|messages| fault(Some(&custom_id), messages))?;
        (object, unused) = (mapped.task, mapped.unused);
    }
    object.insert("custom_id".to_owned(), custom_id.clone().into());
    match object.get("tenant").filter(|of| !of.is_null()) {
        None => drop(object.insert("tenant".to_owned(), tenant.into())),
        Some(of) if of == tenant => {}
        Some(of) => {
            let message = format!("tenant: {of} is not the batch's, which is {tenant:?}");
            return Err(fault(Some(&custom_id), vec![message]));
        }
    }
    Ok(Entry { custom_id, task: object, unused })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_task_has_its_own_name_or_that_of_its_line() {
        let entry = read(7, r#"{"goal": "g"}"#, "t").unwrap();
        let named = json!({"goal": "g", "custom_id": "line-7", "tenant": "t"});
        assert_eq!((entry.custom_id.as_str(), Value::Object(entry.task)), ("line-7", named));
        let entry = read(7, r#"{"goal": "g", "custom_id": "a", "tenant": "t"}"#, "t").unwrap();
        assert_eq!(entry.custom_id, "a");
    }

    #[test]
    fn a_line_that_is_no_task_says_why() {
        for (text, custom_id, expected) in [
            ("{\"goal\": ", None, "not JSON"),
            (r#"{"goal": "a", "goal": "b"}"#, None, "not JSON"),
            ("[1]", None, "a line is an object"),
            (r#"{"custom_id": 3}"#, None, "custom_id: is a"),
            (r#"{"custom_id": "a b"}"#, None, "use 1 to 64 of"),
            (r#"{"custom_id": "a", "tenant": "u"}"#, Some("a"), "is not the batch's"),
            (r#"{"custom_id": "a", "url": "/v1/embeddings"}"#, Some("a"), "url:"),
        ] {
            let fault = read(1, text, "t").unwrap_err();
            assert_eq!(fault.custom_id.as_deref(), custom_id, "{text}");
            assert!(fault.messages.join("; ").contains(expected), "{text}: {:?}", fault.messages);
        }
    }
}
