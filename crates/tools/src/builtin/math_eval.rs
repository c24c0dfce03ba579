//! `math_eval`: arithmetic in 64-bit floats.

use std::collections::BTreeMap;

use async_trait::async_trait;
use exmex::{Express, FlatEx};
use planfleet_core::tool::{Effect, ToolSpec};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::number;
use crate::tool::{CallContext, Tool, ToolError, parse_args};

/// The parser recurses on parentheses: this many levels fit any thread's stack,
/// and no formula that a person or model writes comes near.
const EXPRESSION_CHARS_MAX: usize = 1_000;

pub(crate) struct MathEval {
    spec: ToolSpec,
}

#[derive(Deserialize)]
struct Args<'a> {
    expression: &'a str,
    #[serde(default)]
    variables: BTreeMap<String, f64>,
}

impl MathEval {
    pub(crate) fn new() -> Self {
        Self {
            spec: ToolSpec {
                name: "math_eval".to_owned(),
                description: "Computes an arithmetic expression, e.g. `(a + b) / 2 * sqrt(c)` \
                              with variables a, b, c. Operators + - * / ^; functions abs, sqrt, \
                              cbrt, exp, ln, log2, log10, sin, cos, tan, floor, ceil, round, \
                              min(a, b), max(a, b); constants PI, E. As in spreadsheets, \
                              a sign binds tighter than ^ and ^ goes from left to right: \
                              -2^2 is 4; use parentheses."
                    .to_owned(),
                arguments: json!({
                    "type": "object",
                    "properties": {
                        "expression": {
                            "type": "string", "minLength": 1, "maxLength": EXPRESSION_CHARS_MAX
                        },
                        "variables": {
                            "type": "object",
                            "description": "The value of each variable of the expression.",
                            "additionalProperties": {"type": "number"}
                        }
                    },
                    "required": ["expression"],
                    "additionalProperties": false
                }),
                output: json!({
                    "type": "object",
                    "properties": {"value": {"type": "number"}},
                    "required": ["value"],
                    "additionalProperties": false
                }),
                effect: Effect::Pure,
                idempotent: true,
            },
        }
    }
}

#[async_trait]
impl Tool for MathEval {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, args: &Map<String, Value>, _: &CallContext) -> Result<Value, ToolError> {
        let Args { expression, variables } = parse_args(args)?;
        let value = evaluate(expression, &variables)?;
        match number::to_json(value) {
            Some(value) => Ok(json!({"value": value})),
            None => Err(ToolError::failed(format!(
                "`{expression}` gives {value}, which is no number; check for division by zero, \
                 roots or logarithms of negative numbers, and overflow"
            ))),
        }
    }
}

fn evaluate(expression: &str, variables: &BTreeMap<String, f64>) -> Result<f64, ToolError> {
    refuse_nested_calls(expression)?;
    let wrong = |error: exmex::ExError| ToolError::failed(format!("cannot compute `{expression}`: {error}"));
    let parsed = FlatEx::<f64>::parse(expression).map_err(wrong)?;
    let values = bind(parsed.var_names(), variables)?;
    parsed.eval(&values).map_err(wrong)
}

fn bind(names: &[String], variables: &BTreeMap<String, f64>) -> Result<Vec<f64>, ToolError> {
    let missing: Vec<_> =
        names.iter().filter(|name| !variables.contains_key(*name)).map(String::as_str).collect();
    if !missing.is_empty() {
        return Err(ToolError::failed(format!(
            "the expression uses {} without a value in `variables`",
            missing.join(", ")
        )));
    }
    Ok(names.iter().filter_map(|name| variables.get(name).copied()).collect())
}

/// The parser loses count of parentheses when the second argument of a call
/// has a comma of its own. It notices in most cases; a wrong number in the rest
/// would go unseen, so all are refused.
fn refuse_nested_calls(expression: &str) -> Result<(), ToolError> {
    // For each open parenthesis, whether its comma has been passed.
    let mut open = Vec::new();
    for character in expression.chars() {
        match character {
            '(' => open.push(false),
            ')' => {
                open.pop();
            }
            ',' if open.contains(&true) => {
                return Err(ToolError::failed(format!(
                    "`{expression}` has a call with two arguments inside the second argument of \
                     another, or a call with three; put the inner call first, or write it \
                     between its arguments in parentheses: `max(a, (b min c))`"
                )));
            }
            ',' => {
                if let Some(passed) = open.last_mut() {
                    *passed = true;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::call_in_test;

    async fn compute(expression: &str, variables: Value) -> Result<Value, String> {
        let args = json!({"expression": expression, "variables": variables});
        let output = call_in_test(MathEval::new(), args).await.map_err(|f| f.message)?;
        Ok(output["value"].clone())
    }

    #[tokio::test]
    async fn it_computes() {
        for (expression, value) in [
            ("1 + 2 * 3", json!(7)),
            ("(a + b) / 2 * sqrt(c)", json!(4.5)),
            ("10 / 4 / 5", json!(0.5)),
            ("-a ^ 2", json!(1)),
            ("2 ^ 3 ^ 2", json!(64)),
            ("max(a, b) * 2 + min(3, 4)", json!(7)),
            ("max(min(5, 4), 3)", json!(4)),
            ("max(1, (2 min 3))", json!(2)),
            ("min(max(1, 2), 1 + b)", json!(2)),
            ("round(2 * PI)", json!(6)),
            ("log10(1000)", json!(3)),
        ] {
            let variables = json!({"a": 1, "b": 2, "c": 9, "unused": 0});
            assert_eq!(compute(expression, variables).await, Ok(value), "{expression}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_computed_is_explained() {
        for (expression, text) in [
            ("1 / 0", "no number"),
            ("sqrt(-1)", "no number"),
            ("10 ^ 400", "no number"),
            ("a + x + y", "x, y without a value"),
            ("1 +", "cannot compute"),
            ("(1", "cannot compute"),
            ("2a", "cannot compute"),
            ("max(1, min(2, 3))", "inside the second argument"),
            ("max(1, 2, 3)", "a call with three"),
            ("{", "without a value"),
        ] {
            let message = compute(expression, json!({"a": 1})).await.unwrap_err();
            assert!(message.contains(text), "{expression}: {message}");
        }
    }

    #[tokio::test]
    async fn arguments_are_bounded() {
        assert!(compute(&"1".repeat(EXPRESSION_CHARS_MAX + 1), json!({})).await.is_err());
        assert!(compute("a", json!({"a": "1"})).await.is_err());
        let half = EXPRESSION_CHARS_MAX / 2 - 1;
        let deep = format!("{}1{}", "(".repeat(half), ")".repeat(half));
        assert_eq!(compute(&deep, json!({})).await, Ok(json!(1)));
        let _ = compute(&"sin ".repeat(EXPRESSION_CHARS_MAX / 4), json!({})).await;
        assert_eq!(compute(&format!("{}1", "-".repeat(998)), json!({})).await, Ok(json!(1)));
    }
}
