//! `wait`: lets time pass.

use std::time::Duration;

use async_trait::async_trait;
use planfleet_core::tool::{Effect, ToolSpec};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::tool::{CallContext, Tool, ToolError, parse_args};

/// An hour: a step holds an executor's slot while it waits, and a longer pause
/// is a matter for scheduling, not for a step.
const MS_MAX: u64 = 3_600_000;

pub(crate) struct Wait {
    spec: ToolSpec,
}

#[derive(Deserialize)]
struct Args {
    ms: u64,
}

impl Wait {
    pub(crate) fn new() -> Self {
        let ms = json!({"type": "integer", "minimum": 0, "maximum": MS_MAX});
        Self {
            spec: ToolSpec {
                name: "wait".to_owned(),
                description: "Waits for `ms` milliseconds (one hour at most), e.g. before asking \
                              a slow service again."
                    .to_owned(),
                arguments: json!({
                    "type": "object",
                    "properties": {"ms": ms},
                    "required": ["ms"],
                    "additionalProperties": false
                }),
                output: json!({
                    "type": "object",
                    "properties": {"waited_ms": ms},
                    "required": ["waited_ms"],
                    "additionalProperties": false
                }),
                effect: Effect::Pure,
                idempotent: true,
            },
        }
    }
}

#[async_trait]
impl Tool for Wait {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, args: &Map<String, Value>, _: &CallContext) -> Result<Value, ToolError> {
        let Args { ms } = parse_args(args)?;
        tokio::time::sleep(Duration::from_millis(ms)).await;
        Ok(json!({"waited_ms": ms}))
    }

    /// Longer than the longest wait that may be asked for.
    fn timeout(&self) -> Duration {
        Duration::from_millis(MS_MAX) + Duration::from_secs(30)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::call_in_test;

    #[tokio::test]
    async fn it_waits_as_long_as_asked() {
        let start = std::time::Instant::now();
        let output = call_in_test(Wait::new(), json!({"ms": 20})).await.unwrap();
        assert_eq!(output, json!({"waited_ms": 20}));
        assert!(start.elapsed() >= Duration::from_millis(20));
    }

    #[tokio::test]
    async fn bad_times_are_refused() {
        for ms in [json!(-1), json!(3_600_001), json!(1.5), json!("1"), json!(null)] {
            assert!(call_in_test(Wait::new(), json!({"ms": ms})).await.is_err());
        }
        assert!(Wait::new().timeout() > Duration::from_millis(MS_MAX));
    }
}
