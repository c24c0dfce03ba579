//! `regex_extract`: what matches in a text, with its groups.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use planfleet_core::pattern::Pattern;
use planfleet_core::tool::{Effect, ToolSpec};
use regex::Captures;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::StopOnDrop;
use crate::tool::{CallContext, Tool, ToolError, parse_args};

/// A pattern is a line; the limit on its compiled size does the rest.
const PATTERN_CHARS_MAX: usize = 2_000;

/// The steps that one search may take, some ten seconds at worst: it cannot be interrupted.
const SEARCH_STEPS_MAX: u64 = 1 << 28;

/// Each match begins a search, which may go through all that is left of the text. So between
/// matches the time is looked at; this much is many times what a text of megabytes takes.
const TIME_MAX: Duration = Duration::from_secs(10);

/// As many as the largest plan has steps: more could not be fanned out over.
const MATCHES_MAX: usize = 100_000;

pub(crate) struct RegexExtract {
    spec: ToolSpec,
    output_bytes_max: usize,
}

#[derive(Deserialize)]
struct Args {
    text: String,
    pattern: String,
    #[serde(default)]
    ignore_case: bool,
    #[serde(default = "matches_max")]
    max_matches: usize,
}

fn matches_max() -> usize {
    MATCHES_MAX
}

impl RegexExtract {
    pub(crate) fn new(output_bytes_max: usize) -> Self {
        Self {
            output_bytes_max,
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
        let args: Args = parse_args(args)?;
        let bytes_max = self.output_bytes_max;
        let abandoned = StopOnDrop::default();
        let flag = abandoned.0.clone();
        // A search takes a core for as long as it lasts, and other calls are not to wait for it.
        let found =
            tokio::task::spawn_blocking(move || search(&args, bytes_max, Instant::now() + TIME_MAX, &flag));
        found
            .await
            .unwrap_or_else(|error| Err(format!("the search broke off: {error}")))
            .map_err(ToolError::failed)
    }
}

fn search(args: &Args, bytes_max: usize, deadline: Instant, abandoned: &AtomicBool) -> Result<Value, String> {
    let pattern = Pattern::compile(&args.pattern, args.ignore_case)
        .map_err(|error| format!("the pattern cannot be used: {error}"))?;
    let regex = pattern.regex();
    // The places of all groups are carried along.
    let text_max = pattern.bytes_max(SEARCH_STEPS_MAX / regex.captures_len() as u64);
    if args.text.len() > text_max {
        return Err(format!(
            "the pattern is so large that it is searched for in at most {text_max} bytes, and the text \
             has {}; take a smaller one, with fewer repetitions and groups, or split the text",
            args.text.len()
        ));
    }
    let names: Vec<Option<&str>> = regex.capture_names().skip(1).collect();
    let (mut matches, mut bytes, mut truncated) = (Vec::new(), 0, false);
    for captures in regex.captures_iter(&args.text) {
        if matches.len() == args.max_matches {
            truncated = true;
            break;
        }
        bytes += captures.iter().flatten().map(|group| group.len()).sum::<usize>();
        if bytes > bytes_max {
            return Err(format!(
                "the matches are more than {bytes_max} bytes (tools.output_bytes_max); take fewer or \
                 shorter ones"
            ));
        }
        if Instant::now() > deadline || abandoned.load(Ordering::Relaxed) {
            return Err(format!(
                "the search takes more than {} s; take a simpler pattern",
                TIME_MAX.as_secs()
            ));
        }
        matches.push(shown(&captures, &names));
    }
    let item = |found: &Value| found["groups"].get(0).unwrap_or(&found["match"]).clone();
    let items: Vec<Value> = matches.iter().map(item).collect();
    let first = items.first().cloned().unwrap_or(Value::Null);
    let count = matches.len();
    Ok(json!({
        "first": first, "items": items, "matches": matches, "count": count, "truncated": truncated
    }))
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
        call_in_test(RegexExtract::new(8 << 20), args).await.unwrap()
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
    async fn searches_are_bounded() {
        for (text, pattern, says) in [
            // Half a minute for one search.
            ("ab".repeat(1 << 17), "(?:[a-c]{1,60}){60}d", "split the text"),
            ("ab".repeat(1 << 20), "((((((.*))))))", "output_bytes_max"),
        ] {
            let args = json!({"text": text, "pattern": pattern});
            let failure = call_in_test(RegexExtract::new(8 << 20), args).await.unwrap_err();
            assert!(failure.message.contains(says), "{pattern}: {failure}");
        }
        // Each match looks at the rest of the text for a b.
        let args = json!({"text": "a".repeat(1 << 16), "pattern": "a.*b|a"});
        let search = |deadline: Instant, abandoned: bool| {
            let args: Args = parse_args(args.as_object().unwrap()).unwrap();
            search(&args, 8 << 20, deadline, &AtomicBool::new(abandoned)).unwrap_err()
        };
        let later = Instant::now() + Duration::from_secs(3_600);
        for stopped in [search(Instant::now(), false), search(later, true)] {
            assert!(stopped.contains("takes more than"), "{stopped}");
        }
    }

    #[tokio::test]
    async fn bad_and_costly_patterns_are_refused() {
        for pattern in ["(", r"(?=a)", r"(a)\1", r"\w{500}{500}"] {
            let args = json!({"text": "x", "pattern": pattern});
            let failure = call_in_test(RegexExtract::new(8 << 20), args).await.unwrap_err();
            assert!(failure.message.contains("cannot be used"), "{pattern}: {failure}");
        }
    }
}
