//! Success criteria, compiled and checked. Adding a kind means adding it to
//! [`CriterionKind`] and to the two matches here.

use serde_json::Value;

use crate::{
    failure::{Failure, FailureClass, trim_chars},
    json,
    pattern::Pattern,
    plan::{Criterion, CriterionKind},
};

/// The steps that a search may take, a second or two at worst: a part of a run is checked where all
/// runs of its shard wait. `^[A-Z]` may be asked of 32 MiB, `.{500,}` of 130 KiB.
const SEARCH_STEPS_MAX: u64 = 1 << 26;

/// How much of an output a failed criterion shows.
const SEEN_CHARS_MAX: usize = 500;

/// How much of what was expected: errors under a schema quote the output.
const EXPECTED_CHARS_MAX: usize = 1_000;

/// A criterion whose argument cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("criterion {kind} {arg:?}: {problem}")]
pub struct BadCriterion {
    kind: &'static str,
    arg: String,
    problem: String,
}

/// A criterion that an output does not meet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{criterion} is not met: expected {expected}, seen {seen}")]
pub struct Unmet {
    /// The criterion as written in the plan.
    pub criterion: String,
    /// What would have been right.
    pub expected: String,
    /// What the output is, trimmed.
    pub seen: String,
}

impl Unmet {
    /// Unmet criteria as the failure that a planner reads.
    #[must_use]
    pub fn failure(unmet: &[Self], output: &Value) -> Failure {
        let message = unmet.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let failure = Failure {
            criterion: unmet.first().map(|unmet| unmet.criterion.clone()),
            ..Failure::new(FailureClass::InvalidOutput, message)
        };
        failure.with_seen(&json::plain_text(output))
    }
}

/// A compiled criterion.
#[derive(Debug)]
pub struct Check<'c> {
    criterion: &'c Criterion,
    test: Test,
}

#[derive(Debug)]
enum Test {
    Schema(Box<jsonschema::Validator>),
    Matches(Pattern),
    Contains,
    NotContains,
    MinLength(usize),
    MaxLength(usize),
    Equals(Option<Value>),
    Range(f64, f64),
    Judge,
}

impl<'c> Check<'c> {
    /// Reads a criterion's argument.
    ///
    /// # Errors
    /// Names the criterion and what its argument should be.
    pub fn compile(criterion: &'c Criterion) -> Result<Self, BadCriterion> {
        let test = compile(criterion.kind, &criterion.arg).map_err(|problem| BadCriterion {
            kind: criterion.kind.as_str(),
            arg: trim_chars(&criterion.arg, SEEN_CHARS_MAX),
            problem,
        })?;
        Ok(Self { criterion, test })
    }

    /// The judge's question, for criteria that only a model can check.
    #[must_use]
    pub fn question(&self) -> Option<&'c str> {
        matches!(self.test, Test::Judge).then_some(self.criterion.arg.as_str())
    }

    /// Checks an output. Criteria for a judge pass here; see [`Check::question`].
    ///
    /// # Errors
    /// Says what was expected and what was seen.
    pub fn check(&self, output: &Value) -> Result<(), Unmet> {
        self.expectation(output).map_or(Ok(()), |expected| {
            Err(Unmet {
                criterion: trim_chars(&self.criterion.to_string(), SEEN_CHARS_MAX),
                expected: trim_chars(&expected, EXPECTED_CHARS_MAX),
                seen: trim_chars(&json::plain_text(output), SEEN_CHARS_MAX),
            })
        })
    }

    /// What was expected, when the output is not it.
    fn expectation(&self, output: &Value) -> Option<String> {
        let arg = &self.criterion.arg;
        let text = || json::plain_text(output);
        match &self.test {
            Test::Schema(validator) => schema_errors(validator, output),
            Test::Matches(pattern) => mismatch(pattern, arg, &text()),
            Test::Contains => (!text().contains(arg)).then(|| format!("text that contains {arg:?}")),
            Test::NotContains => text().contains(arg).then(|| format!("text without {arg:?}")),
            Test::MinLength(min) => (length(output) < *min)
                .then(|| format!("a length of at least {min}, it is {}", length(output))),
            Test::MaxLength(max) => (length(output) > *max)
                .then(|| format!("a length of at most {max}, it is {}", length(output))),
            Test::Equals(value) => {
                let same = text() == *arg || value.as_ref() == Some(output);
                (!same).then(|| format!("exactly {arg}"))
            }
            Test::Range(low, high) => {
                let inside = number(output).is_some_and(|n| (*low..=*high).contains(&n));
                (!inside).then(|| format!("a number from {low} to {high}"))
            }
            Test::Judge => None,
        }
    }
}

fn compile(kind: CriterionKind, arg: &str) -> Result<Test, String> {
    Ok(match kind {
        CriterionKind::JsonSchema => Test::Schema(Box::new(schema(arg)?)),
        CriterionKind::Matches => Test::Matches(
            Pattern::compile(arg, false).map_err(|error| format!("not a regular expression: {error}"))?,
        ),
        CriterionKind::Contains => Test::Contains,
        CriterionKind::NotContains => Test::NotContains,
        CriterionKind::MinLength => Test::MinLength(count(arg)?),
        CriterionKind::MaxLength => Test::MaxLength(count(arg)?),
        CriterionKind::Equals => Test::Equals(json::parse_strict(arg).ok()),
        CriterionKind::Range => {
            let (low, high) = range(arg)?;
            Test::Range(low, high)
        }
        CriterionKind::Judge if arg.trim().is_empty() => {
            return Err("the judge needs a question".to_owned());
        }
        CriterionKind::Judge => Test::Judge,
    })
}

fn schema(arg: &str) -> Result<jsonschema::Validator, String> {
    let schema = json::parse_strict(arg).map_err(|error| format!("not JSON: {error}"))?;
    jsonschema::validator_for(&schema).map_err(|error| format!("not a JSON Schema: {error}"))
}

fn count(arg: &str) -> Result<usize, String> {
    arg.trim().parse().map_err(|_| "not a whole number".to_owned())
}

fn range(arg: &str) -> Result<(f64, f64), String> {
    let bound = |text: &str| text.trim().parse::<f64>().ok().filter(|n| n.is_finite());
    arg.split_once("..")
        .and_then(|(low, high)| Some((bound(low)?, bound(high)?)))
        .filter(|(low, high)| low <= high)
        .ok_or_else(|| "not a range like 1..10".to_owned())
}

fn mismatch(pattern: &Pattern, arg: &str, text: &str) -> Option<String> {
    let bytes_max = pattern.bytes_max(SEARCH_STEPS_MAX);
    if text.len() > bytes_max {
        let bytes = text.len();
        return Some(format!(
            "at most {bytes_max} bytes of text for a pattern as large as {arg}, it is {bytes}"
        ));
    }
    (!pattern.regex().is_match(text)).then(|| format!("text that matches {arg}"))
}

/// Errors shown of one schema: enough to mend an answer, few enough to read.
const SCHEMA_ERRORS_MAX: usize = 5;

fn schema_errors(validator: &jsonschema::Validator, output: &Value) -> Option<String> {
    let errors: Vec<String> = validator
        .iter_errors(output)
        .take(SCHEMA_ERRORS_MAX)
        .map(|error| match error.instance_path().as_str() {
            "" => error.to_string(),
            path => format!("{error} (at {path})"),
        })
        .collect();
    (!errors.is_empty()).then(|| format!("a value valid under the schema, but {}", errors.join("; ")))
}

/// Characters of a text, items of a list, keys of an object, characters of anything else's JSON.
fn length(output: &Value) -> usize {
    match output {
        Value::Array(items) => items.len(),
        Value::Object(map) => map.len(),
        Value::String(text) => text.chars().count(),
        other => other.to_string().chars().count(),
    }
}

fn number(output: &Value) -> Option<f64> {
    match output {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn verdict(kind: CriterionKind, arg: &str, output: Value) -> bool {
        let criterion = Criterion { kind, arg: arg.into() };
        Check::compile(&criterion).unwrap().check(&output).is_ok()
    }

    #[test]
    fn every_kind_accepts_and_refuses() {
        use CriterionKind as K;
        for (kind, arg, good, bad) in [
            (K::JsonSchema, r#"{"type":"array"}"#, json!([]), json!("x")),
            (K::Matches, "^[A-Z]", json!("Ada"), json!("ada")),
            (K::Contains, "da", json!("Ada"), json!("Bob")),
            (K::NotContains, "da", json!("Bob"), json!("Ada")),
            (K::MinLength, "2", json!("äö"), json!("ä")),
            (K::MaxLength, "2", json!([1, 2]), json!([1, 2, 3])),
            (K::Equals, "4", json!(4), json!("5")),
            (K::Range, "1..10", json!("7.5"), json!(11)),
        ] {
            assert!(verdict(kind, arg, good.clone()), "{kind:?} {good}");
            assert!(!verdict(kind, arg, bad.clone()), "{kind:?} {bad}");
        }
        assert!(verdict(K::Equals, "yes", json!("yes")));
        assert!(!verdict(K::Range, "1..10", json!("many")));
    }

    #[test]
    fn bad_arguments_are_named() {
        for (kind, arg) in [
            (CriterionKind::Matches, "("),
            (CriterionKind::JsonSchema, "{"),
            (CriterionKind::JsonSchema, r#"{"type": 3}"#),
            (CriterionKind::MinLength, "-1"),
            (CriterionKind::Range, "10..1"),
            (CriterionKind::Judge, " "),
        ] {
            let criterion = Criterion { kind, arg: arg.into() };
            assert!(Check::compile(&criterion).is_err(), "{kind:?} {arg}");
        }
    }

    #[test]
    fn a_search_that_would_take_long_is_refused() {
        let text = json!("ab".repeat(1 << 20));
        let large = Criterion { kind: CriterionKind::Matches, arg: "(?:[a-c]{1,60}){60}d".into() };
        let unmet = Check::compile(&large).unwrap().check(&text).unwrap_err();
        assert!(unmet.expected.starts_with("at most 9318 bytes of text"), "{unmet}");
        assert!(verdict(CriterionKind::Matches, "^[a-z]+$", text));
    }

    #[test]
    fn an_unmet_criterion_says_what_was_seen() {
        let criterion = Criterion { kind: CriterionKind::MinLength, arg: "3".into() };
        let unmet = Check::compile(&criterion).unwrap().check(&json!("ab")).unwrap_err();
        assert_eq!(
            unmet.to_string(),
            "min_length 3 is not met: expected a length of at least 3, it is 2, seen ab"
        );
    }

    #[test]
    fn an_unmet_criterion_is_short_whatever_the_output() {
        let long = "x".repeat(100_000);
        for (kind, arg) in [
            (CriterionKind::JsonSchema, r#"{"type":"object"}"#.to_owned()),
            (CriterionKind::Contains, "y".repeat(100_000)),
        ] {
            let criterion = Criterion { kind, arg };
            let unmet = Check::compile(&criterion).unwrap().check(&json!(long)).unwrap_err();
            assert!(unmet.to_string().len() < 3_000, "{kind:?}: {}", unmet.to_string().len());
        }
    }
}
