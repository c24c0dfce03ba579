//! `sub_task`: a run as a step of another one. What it does is the fold's, see
//! [`planfleet_core::sub_task`]; here it is a contract that planners are shown.

use async_trait::async_trait;
use planfleet_core::{sub_task, tool::ToolSpec};
use serde_json::{Map, Value};

use crate::tool::{CallContext, Tool, ToolError};

pub(crate) struct SubTask;

#[async_trait]
impl Tool for SubTask {
    fn spec(&self) -> &ToolSpec {
        sub_task::spec()
    }

    /// Whoever calls it waits for an answer, and would hold a slot for as long as a run takes.
    async fn call(&self, _: &Map<String, Value>, _: &CallContext) -> Result<Value, ToolError> {
        Err(ToolError::failed(
            "`sub_task` is done by steps of kind \"tool\" in a plan; neither a model nor the command line \
             can wait for a run as for a call",
        ))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::builtin::call_in_test;

    #[tokio::test]
    async fn nobody_calls_it() {
        let failure = call_in_test(SubTask, json!({"goal": "g", "page": 1})).await.unwrap_err();
        assert!(failure.message.contains("steps of kind \"tool\""), "{}", failure.message);
    }
}
