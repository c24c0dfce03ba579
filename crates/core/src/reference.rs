//! JSON Pointers (RFC 6901) into outputs: resolved once, structurally.
//! Text is never scanned for placeholders, so no output can pull in another.

use serde_json::{Map, Value};

use crate::json;

/// How many existing keys an error names: enough to spot the typo.
const KEYS_SHOWN_MAX: usize = 20;

/// A pointer that leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("path {path:?} of step {step} does not exist: {found}")]
pub struct Unresolved {
    /// The step whose output was looked into; 0 is the task itself.
    pub step: u32,
    /// The whole pointer.
    pub path: String,
    /// What is there instead, with the keys that do exist.
    pub found: String,
}

/// Whether `path` is a JSON Pointer at all: empty, or starting with a slash.
#[must_use]
pub fn is_pointer(path: &str) -> bool {
    path.is_empty() || path.starts_with('/')
}

/// What `path` points to in the output of `step`.
///
/// # Errors
/// Names the step, the path and the keys that do exist where it broke off.
pub fn resolve<'v>(step: u32, output: &'v Value, path: &str) -> Result<&'v Value, Unresolved> {
    let unresolved = |found: String| Unresolved { step, path: path.to_owned(), found };
    if !is_pointer(path) {
        return Err(unresolved("a path is empty or starts with \"/\"".to_owned()));
    }
    let mut here = output;
    for raw in path.split('/').skip(1) {
        let token = raw.replace("~1", "/").replace("~0", "~");
        here = child(here, &token).ok_or_else(|| unresolved(describe(here, &token)))?;
    }
    Ok(here)
}

/// What `path` points to in the inputs of the task, which are the output of step 0.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_input<'v>(inputs: &'v Map<String, Value>, path: &str) -> Result<&'v Value, Unresolved> {
    let unresolved = |found: String| Unresolved { step: 0, path: path.to_owned(), found };
    let Some(rest) = path.strip_prefix('/') else {
        return Err(unresolved("a path into the task's inputs starts with \"/\"".to_owned()));
    };
    let (raw, below) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let token = raw.replace("~1", "/").replace("~0", "~");
    let input = inputs.get(&token).ok_or_else(|| unresolved(missing_key(inputs, &token)))?;
    resolve(0, input, below).map_err(|error| Unresolved { path: path.to_owned(), ..error })
}

fn missing_key(map: &Map<String, Value>, token: &str) -> String {
    let keys: Vec<_> = map.keys().take(KEYS_SHOWN_MAX).map(String::as_str).collect();
    format!("no key {token:?}; the keys are {}", keys.join(", "))
}

fn child<'v>(value: &'v Value, token: &str) -> Option<&'v Value> {
    match value {
        Value::Object(map) => map.get(token),
        Value::Array(items) => array_index(token).and_then(|index| items.get(index)),
        _ => None,
    }
}

/// RFC 6901: digits without a leading zero.
fn array_index(token: &str) -> Option<usize> {
    let canonical = token == "0" || !token.starts_with('0');
    let digits = !token.is_empty() && token.bytes().all(|b| b.is_ascii_digit());
    (canonical && digits).then(|| token.parse().ok()).flatten()
}

fn describe(value: &Value, token: &str) -> String {
    match value {
        Value::Object(map) => missing_key(map, token),
        Value::Array(items) => format!("no item {token:?}; the list has {} items", items.len()),
        other => format!("{token:?} looks into a {}, which has no parts", json::type_name(other)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rfc_6901_examples() {
        let doc = json!({"foo": ["bar", "baz"], "": 0, "a/b": 1, "m~n": 8});
        assert_eq!(resolve(1, &doc, "").unwrap(), &doc);
        assert_eq!(resolve(1, &doc, "/foo/0").unwrap(), "bar");
        assert_eq!(resolve(1, &doc, "/").unwrap(), &json!(0));
        assert_eq!(resolve(1, &doc, "/a~1b").unwrap(), &json!(1));
        assert_eq!(resolve(1, &doc, "/m~0n").unwrap(), &json!(8));
    }

    #[test]
    fn a_dead_end_names_what_is_there() {
        let doc = json!({"title": "x", "text": "y"});
        let error = resolve(4, &doc, "/titel").unwrap_err().to_string();
        assert_eq!(
            error,
            "path \"/titel\" of step 4 does not exist: no key \"titel\"; the keys are text, title"
        );
        let error = resolve(4, &doc, "/text/0").unwrap_err().to_string();
        assert!(error.ends_with("\"0\" looks into a string, which has no parts"), "{error}");
        assert!(resolve(4, &json!([1, 2]), "/01").is_err());
    }
}
