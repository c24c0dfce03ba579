//! Planning without running: what `planfleet plan` shows.

use planfleet_core::{
    failure::{Failure, FailureClass},
    plan::{
        Plan,
        lint::{self, Scope},
    },
    record::Decision,
    task::Submission,
    tool::ToolCatalog,
    usage::Usage,
};
use planfleet_llm::{ChatRequest, JsonSchemaFormat, Message, ModelHandle};

use crate::{answer, prompt, schema};

/// Asks the model for a plan, with one repair, and runs nothing.
///
/// # Errors
/// When the model fails or its plan is not sound after the repair.
pub async fn plan(
    model: &ModelHandle,
    submission: &Submission,
    tools: &ToolCatalog,
) -> Result<(Plan, Usage), Failure> {
    let tools = submission.envelope.narrow(tools);
    let envelope = &submission.envelope;
    let scope = Scope {
        tools: &tools,
        inputs: Some(&submission.task.inputs),
        pools: &envelope.pools,
        steps_max: envelope.steps_max as usize,
    };
    let positional = model.dialect().small_model;
    let mut messages =
        if positional { prompt::positional(submission) } else { prompt::plan(submission, &tools) };
    let schema = if positional { schema::positional() } else { schema::plan() };
    let mut usage = Usage::NONE;
    let mut faults = Vec::new();
    for _ in 0..2 {
        let request = ChatRequest {
            messages: messages.clone(),
            response_format: Some(JsonSchemaFormat {
                name: "plan".to_owned(),
                schema: schema.clone(),
                strict: true,
            }),
            temperature: Some(0.0),
            ..ChatRequest::default()
        };
        let called = model.call(request).await;
        usage.add(&called.usage);
        let text = called.result?.text;
        let read = if positional {
            answer::positional(&text, submission, &scope)
        } else {
            answer::plan(&text, &scope)
        };
        match read {
            Ok(answer::Answer { decision: Decision::Plan { final_step }, steps, .. }) => {
                return Ok((Plan { steps, final_step }, usage));
            }
            Ok(_) => break,
            Err(found) => faults = found,
        }
        messages.push(Message::assistant(text, Vec::new()));
        messages.push(prompt::mend(&lint::describe(&faults)));
    }
    let message = format!("the plan still has faults after a repair:\n{}", lint::describe(&faults));
    Err(Failure::new(FailureClass::InvalidOutput, message))
}
