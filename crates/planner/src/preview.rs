//! Planning without running: what `planfleet plan` and the API's preview show.

use std::sync::Arc;

use planfleet_core::{
    failure::Failure,
    plan::Plan,
    record::Decision,
    task::Submission,
    tool::ToolCatalog,
    usage::{Account, Usage},
};
use planfleet_llm::{ModelHandle, Purse};

use crate::{
    answer::Answer,
    ask::{self, Ask},
};

/// Asks the model for a plan, with repairs, and runs nothing. What calls may cost is set aside in
/// `purse` first.
///
/// # Errors
/// When the model fails, its plan is not sound after the repairs, or the purse is too empty.
pub async fn plan(
    model: &ModelHandle,
    submission: &Submission,
    tools: &ToolCatalog,
    purse: Option<Arc<dyn Purse>>,
) -> Result<(Plan, Usage), Failure> {
    let model = model.best();
    let mut ask = Ask::new(submission, None, tools, model.dialect().small_model, false);
    let mut usage = Usage::NONE;
    let mut takes_left = ask::TAKES;
    loop {
        takes_left -= 1;
        let tally = model.tally().on_account(Account::Planner).paid_from(purse.clone());
        let called = model.call_tallied(ask.request(), &tally).await;
        usage.add(&called.usage);
        let text = called.result?.text;
        match ask.read(&text) {
            Ok(answer) => return Ok((whole(answer), usage)),
            Err(faults) if takes_left == 0 => return Err(ask::unsound(&faults)),
            Err(faults) => ask.mend(text, &faults),
        }
    }
}

/// A first plan's answer is a plan; its last step is final unless it says otherwise.
fn whole(answer: Answer) -> Plan {
    let last = answer.steps.last().map_or(0, |step| step.id);
    let final_step = match answer.decision {
        Decision::Plan { final_step } => final_step,
        Decision::Revise { final_step, .. } => final_step.unwrap_or(last),
        Decision::Finish { .. } | Decision::GiveUp => last,
    };
    Plan { steps: answer.steps, final_step }
}
