//! A step that is one tool call, with no model.

use planfleet_core::{
    command::StepOrder,
    criteria::Unmet,
    failure::{Failure, FailureClass},
};
use serde_json::Value;

use crate::{
    Shared, arguments,
    attempt::{self, Spent},
    envelope, judge,
    once::{self, Author},
};

pub(crate) async fn perform(shared: &Shared, order: &StepOrder, spent: &mut Spent) -> Result<Value, Failure> {
    let Some(name) = order.spec.tools.first() else {
        return Err(Failure::new(FailureClass::ToolError, "a tool step that names no tool"));
    };
    let checks = attempt::checks(order)?;
    let context = envelope::context(order);
    let arguments = match shared.tools.spec(name) {
        Some(tool) => arguments::arguments(tool, &order.inputs)?,
        // The registry's own refusal says which tools there are.
        None => serde_json::Map::new(),
    };
    let output = once::call(shared, order, name, Value::Object(arguments), &context, Author::Plan).await?;
    let broken = judge::unmet(shared, order, &checks, &output, spent).await?;
    if broken.is_empty() { Ok(output) } else { Err(Unmet::failure(&broken, &output)) }
}
