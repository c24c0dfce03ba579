//! A step that is one tool call, with no model.

use std::{collections::BTreeSet, sync::Arc};

use planfleet_core::{
    command::StepOrder,
    failure::{Failure, FailureClass},
};
use planfleet_tools::CallContext;
use serde_json::Value;

use crate::{
    Shared, arguments,
    attempt::{self, Spent, invalid_output},
    judge,
};

pub(crate) async fn perform(shared: &Shared, order: &StepOrder, spent: &mut Spent) -> Result<Value, Failure> {
    let Some(name) = order.spec.tools.first() else {
        return Err(Failure::new(FailureClass::ToolError, "a tool step that names no tool"));
    };
    let checks = attempt::checks(order)?;
    let context = context(order);
    let arguments = match shared.tools.spec(name) {
        Some(tool) => arguments::arguments(tool, &order.inputs)?,
        // The registry's own refusal says which tools there are.
        None => serde_json::Map::new(),
    };
    let output = shared.tools.call(name, Value::Object(arguments), &context).await?;
    let broken = judge::unmet(shared, order, &checks, &output, spent).await?;
    if broken.is_empty() { Ok(output) } else { Err(invalid_output(&broken, &output)) }
}

/// What a tool call of this attempt may do.
pub(crate) fn context(order: &StepOrder) -> CallContext {
    let allowed: BTreeSet<String> = order.envelope.tools.keys().cloned().collect();
    CallContext {
        run: order.run.to_string(),
        step: order.step.to_string(),
        attempt: order.attempt,
        // The same for every attempt of a step: a repeated write is one write.
        idempotency_key: format!("{}.{}", order.run, order.step.token()),
        allowed: Some(Arc::new(allowed)),
        allowed_hosts: Some(Arc::new(order.envelope.hosts.clone())),
    }
}
