//! `regex_extract`: what matches in a text, with its groups.

use async_trait::async_trait;
use planfleet_core::tool::{Effect, ToolSpec};
use regex::{Captures, RegexBuilder};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::tool::{CallContext, Tool, ToolError, parse_args};

/// A pattern is a line; the limit on its compiled size does the rest.
const PATTERN_CHARS_MAX: usize = 2_000;

/// Compiled, a pattern such as `\w{1000}` takes megabytes.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// As many as the largest plan has steps: more could not be fanned out over.
const MATCHES_MAX: usize = 100_000;

pub(crate) struct RegexExtract {
    spec: ToolSpec,
}

#[derive(Deserialize)]
struct Args<'a> {
    text: &'a str,
    pattern: &'a str,
    #[serde(default)]
    ignore_case: bool,
    #[serde(default = "matches_max")]
    max_matches: usize,
}

fn matches_max() -> usize {
    MATCHES_MAX
}

impl RegexExtract {
    pub(crate) fn new() -> Self {
        Self {
            spec: ToolSpec {
                name: "regex_extract".to_owned(),
                description: "Finds all matches of a regular expression in a text (Rust's syntax: no \
                              look-around, no back-references; (?m) for line-wise ^ and $). `first` \
                              is the first match, or its first group where the pattern has groups; \
                              `items` are all of those; `matches` have every group by number and name."
                    .to_owned(),
                arguments: json!({
                    "type": "object",
                    "properties": {
                        "text": {"type": "string"},
                        "pattern": {"type": "string", "minLength": 1, "maxLength": PATTERN_CHARS_MAX},
                        "ignore_case": {"type": "boolean"},
                        "max_matches": {"type": "integer", "minimum": 1, "maximum": MATCHES_MAX}
                    },
                    "required": ["text", "pattern"],
                    "additionalProperties": false
                }),
                output: output(),
                effect: Effect::Pure,
                idempotent: true,
            },
        }
    }
}

fn output() -> Value {
    json!({
        "type": "object",
        "properties": {
            "first": {"type": ["string", "null"]},
            "items": {"type": "array", "items": {"type": ["string", "null"]}},
            "matches": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "match": {"type": "string"},
                        "groups": {
                            "type": "array", "items": {"type": ["string", "null"]},
                            "description": "From group 1 on; null where a group took no part."
                        },
                        "named": {"type": "object", "additionalProperties": {"type": ["string", "null"]}}
                    },
                    "required": ["match", "groups", "named"],
                    "additionalProperties": false
                }
            },
            "count": {"type": "integer"},
            "truncated": {"type": "boolean", "description": "Whether there are more matches."}
        },
        "required": ["first", "items", "matches", "count", "truncated"],
        "additionalProperties": false
    })
}

#[async_trait]
impl Tool for RegexExtract {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, args: &Map<String, Value>, _: &CallContext) -> Result<Value, ToolError> {
        let Args { text, pattern, ignore_case, max_matches } = parse_args(args)?;
        let regex = RegexBuilder::new(pattern)
            .case_insensitive(ignore_case)
            .size_limit(COMPILED_BYTES_MAX)
            .build()
            .map_err(|error| ToolError::failed(format!("the pattern cannot be used: {error}")))?;
        let names: Vec<Option<&str>> = regex.capture_names().skip(1).collect();
        let mut found = regex.captures_iter(text);
        let matches: Vec<Value> =
            found.by_ref().take(max_matches).map(|captures| shown(&captures, &names)).collect();
        let truncated = found.next().is_some();
        let item = |found: &Value| found["groups"].get(0).unwrap_or(&found["match"]).clone();
        let items: Vec<Value> = matches.iter().map(item).collect();
        let first = items.first().cloned().unwrap_or(Value::Null);
        let count = matches.len();
        Ok(json!({
            "first": first, "items": items, "matches": matches, "count": count, "truncated": truncated
        }))
    }
}

fn shown(captures: &Captures<'_>, names: &[Option<&str>]) -> Value {
    let group = |number: usize| captures.get(number).map(|group| group.as_str());
    let groups: Vec<Option<&str>> = (1..captures.len()).map(group).collect();
    let named: Map<String, Value> = names
        .iter()
        .zip(&groups)
        .filter_map(|(name, group)| Some((name.as_ref()?.to_string(), json!(group))))
        .collect();
    json!({"match": group(0), "groups": groups, "named": named})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::call_in_test;

    async fn extract(args: Value) -> Value {
        call_in_test(RegexExtract::new(), args).await.unwrap()
    }

    #[tokio::test]
    async fn matches_come_with_their_groups() {
        let output = extract(json!({"text": "a=1, b=22", "pattern": r"(?<key>\w)=(\d+)"})).await;
        assert_eq!((&output["first"], &output["items"]), (&json!("a"), &json!(["a", "b"])));
        let second = json!({"match": "b=22", "groups": ["b", "22"], "named": {"key": "b"}});
        assert_eq!((&output["matches"][1], &output["count"]), (&second, &json!(2)));
        let output = extract(json!({"text": "Ab aB", "pattern": "ab", "ignore_case": true})).await;
        assert_eq!(output["items"], json!(["Ab", "aB"]));
        let output = extract(json!({"text": "b", "pattern": "(a)|b"})).await;
        assert_eq!((&output["first"], &output["matches"][0]["match"]), (&json!(null), &json!("b")));
    }

    #[tokio::test]
    async fn nothing_is_no_error_and_much_is_cut() {
        let output = extract(json!({"text": "x", "pattern": "y"})).await;
        assert_eq!((&output["first"], &output["count"]), (&json!(null), &json!(0)));
        let output = extract(json!({"text": "aaaa", "pattern": "a", "max_matches": 3})).await;
        assert_eq!((&output["count"], &output["truncated"]), (&json!(3), &json!(true)));
    }

    #[tokio::test]
    async fn bad_and_costly_patterns_are_refused() {
        for pattern in ["(", r"(?=a)", r"(a)\1", r"\w{500}{500}"] {
            let args = json!({"text": "x", "pattern": pattern});
            let failure = call_in_test(RegexExtract::new(), args).await.unwrap_err();
            assert!(failure.message.contains("cannot be used"), "{pattern}: {failure}");
        }
    }
}
