//! `json_transform`: jq over one value.
//!
//! A filter is written by a model and may loop, recurse or grow for ever, and
//! the interpreter has no bounds of its own. So it runs on a thread of its own
//! with a large stack, and stops at its next evaluation step once a bound is
//! passed or the caller is gone; see `budget`.
//!
//! What `+` and `*` make of texts and lists is bounded too (`rewrite`).
//!
//! **What this cannot do**: interrupt one single operation, count all memory, or
//! see how deep a value is. A filter written to do harm can still fill the
//! memory (`tojson` of a value that holds one part a million times), overflow
//! the stack with a value wrapped many times per step, or keep its thread busy past the call's timeout with one quadratic
//! operation. Each costs the process at worst, never data: the attempt counts
//! as lost and the delivery limit ends it. Only a process of its own, with
//! limits of its own, would be a tight wall.

mod budget;
mod convert;
mod engine;
mod rewrite;

use std::time::{Duration, Instant};

use async_trait::async_trait;
use planfleet_core::failure::trim_chars;
use planfleet_core::tool::{Effect, ToolSpec};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

use super::StopOnDrop;
use crate::tool::{CallContext, Tool, ToolError, parse_args};
use budget::{Budget, STACK_BYTES};

/// A filter is a line or ten; the parser recurses on its nesting.
const FILTER_CHARS_MAX: usize = 8 << 10;

/// Enough of a filter to know it again.
const FILTER_QUOTED_CHARS_MAX: usize = 200;

/// Many times what all the steps of a budget take: a filter that is still at
/// work then spends its time on something worse than steps.
const TIME_MAX: Duration = Duration::from_secs(10);

pub(crate) struct JsonTransform {
    spec: ToolSpec,
    output_bytes_max: usize,
}

#[derive(Deserialize)]
struct Args<'a> {
    filter: &'a str,
    #[serde(default)]
    input: Value,
}

impl JsonTransform {
    pub(crate) fn new(output_bytes_max: usize) -> Self {
        Self {
            output_bytes_max,
            spec: ToolSpec {
                name: "json_transform".to_owned(),
                description: "Runs a jq filter over `input`, e.g. `.items | map(select(.n > 1)) | \
                              length`. `value` is the first output (null if there is none), \
                              `values` are all of them. No variables, files, environment or clock."
                    .to_owned(),
                arguments: json!({
                    "type": "object",
                    "properties": {
                        "filter": {
                            "type": "string", "minLength": 1, "maxLength": FILTER_CHARS_MAX
                        },
                        "input": {"description": "Any JSON value."}
                    },
                    "required": ["filter", "input"],
                    "additionalProperties": false
                }),
                output: json!({
                    "type": "object",
                    "properties": {
                        "value": {"description": "The first output, or null."},
                        "values": {"type": "array", "description": "All outputs."}
                    },
                    "required": ["value", "values"],
                    "additionalProperties": false
                }),
                effect: Effect::Pure,
                idempotent: true,
            },
        }
    }
}

#[async_trait]
impl Tool for JsonTransform {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, args: &Map<String, Value>, _: &CallContext) -> Result<Value, ToolError> {
        let Args { filter, input } = parse_args(args)?;
        let values = evaluate(filter.to_owned(), input, self.output_bytes_max).await.map_err(|fault| {
            let filter = trim_chars(filter, FILTER_QUOTED_CHARS_MAX);
            ToolError::failed(format!("filter `{filter}`: {fault}"))
        })?;
        let first = values.first().cloned().unwrap_or(Value::Null);
        Ok(json!({"value": first, "values": values}))
    }
}

/// Runs the filter on its own thread. Dropping the future stops the thread at
/// its next step; there are at most as many threads as calls in flight.
async fn evaluate(filter: String, input: Value, bytes_max: usize) -> Result<Vec<Value>, String> {
    let (sender, receiver) = oneshot::channel();
    let abandoned = StopOnDrop::default();
    let flag = abandoned.0.clone();
    std::thread::Builder::new()
        .name("json_transform".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            let budget = Budget::new(Instant::now() + TIME_MAX, flag);
            // Nobody listens any more when the call was dropped.
            let _ = sender.send(engine::run(&filter, input, &budget, bytes_max));
        })
        .map_err(|error| format!("cannot start a thread for it: {error}"))?;
    receiver.await.unwrap_or_else(|_| Err("its thread ended without an answer".to_owned()))
}

#[cfg(test)]
mod tests;
