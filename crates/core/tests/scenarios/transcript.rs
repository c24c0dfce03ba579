//! Commands as lines of a transcript.

use std::fmt::Write as _;

use planfleet_core::{
    command::{Command, PlanOrder, ResolvedInput, ResolvedValue, StepOrder},
    document::{RunDocument, StepEntry},
    id::RunId,
    reason::{Cause, EndCode},
    record::{Draft, Fact, Gate, Timer},
};

pub(super) fn render(command: &Command, now_ms: u64, out: &mut String) {
    let line = match command {
        Command::DispatchPlan(order) => plan_order(order),
        Command::DispatchStep(order) => step_order(order),
        Command::ArmTimer { at_ms, timer, .. } => {
            format!("ArmTimer {} in {} ms", timer_name(*timer), at_ms - now_ms)
        }
        Command::BroadcastCancel { .. } => "BroadcastCancel".to_owned(),
        Command::AskApproval { gate: Gate::Plan { revision }, .. } => format!("AskApproval plan {revision}"),
        Command::AskApproval { gate: Gate::Step { step }, .. } => format!("AskApproval step {step}"),
        Command::TellRun { run, fact } => tell_run(run, fact),
        Command::FinishRun(document) => finish(document),
    };
    writeln!(out, "=> {line}").expect("text");
}

fn tell_run(run: &RunId, fact: &Fact) -> String {
    let said = match fact {
        Fact::TaskSubmitted(child) => {
            let parent = child.parent.as_ref().expect("whoever submits it is its parent");
            let tools: Vec<&String> = child.envelope.tools.keys().collect();
            let (goal, inputs) = (&child.task.goal, serde_json::to_string(&child.task.inputs).expect("JSON"));
            let until = parent.until_ms.map(|at_ms| format!(", until {at_ms} ms")).unwrap_or_default();
            let share =
                child.envelope.budget.tokens.map(|most| format!(", {most} tokens")).unwrap_or_default();
            let (step, attempt) = (parent.step, parent.attempt);
            let goal = goal.as_deref().unwrap_or_default();
            format!("for step {step} attempt {attempt}: {goal:?} {inputs} with {tools:?}{share}{until}")
        }
        Fact::StepFailed(failed) => format!("step {} {}", failed.attempt.step, failed.failure),
        Fact::RunCancelRequested { reason } | Fact::RunPauseRequested { reason } => format!("{reason:?}"),
        _ => String::new(),
    };
    format!("TellRun {run} {} {said}", fact.name()).trim_end().to_owned()
}

fn timer_name(timer: Timer) -> String {
    match timer {
        Timer::Deadline => "deadline".to_owned(),
        Timer::Retry { step, attempt } => format!("retry {step} attempt {attempt}"),
        Timer::StepTimeout { step, attempt } => format!("timeout of {step} attempt {attempt}"),
        Timer::Replan { revision, attempt } => format!("replan revision {revision} attempt {attempt}"),
    }
}

fn plan_order(order: &PlanOrder) -> String {
    let Draft { revision, attempt, take } = order.draft;
    assert_eq!(take, 0, "takes are the planner's");
    let mut line = format!("DispatchPlan revision {revision} attempt {attempt}");
    let Some(situation) = &order.situation else {
        return line;
    };
    let left = situation.tokens_left.map(|tokens| format!(", {tokens} tokens left"));
    write!(
        line,
        " because {}, final {}, highest id {}, {} replans left{}",
        cause(&situation.cause),
        situation.final_step,
        situation.highest_id,
        situation.replans_left,
        left.unwrap_or_default()
    )
    .expect("text");
    for standing in &situation.steps {
        let output = standing.output.as_ref().map(|output| format!(" {output:?}"));
        let failure = standing.failure.as_ref().map(|failure| format!(" {failure}"));
        let rest = output.unwrap_or_default() + &failure.unwrap_or_default();
        write!(line, "\n   | {} {}{rest}", standing.step.id, standing.state).expect("text");
    }
    line
}

fn cause(cause: &Cause) -> String {
    match cause {
        Cause::Planned | Cause::Given => cause.as_str().to_owned(),
        Cause::Rerun { run } => format!("rerun of {run}"),
        Cause::Failed { steps } => format!("failed {steps:?}"),
        Cause::Reviewed { steps } => format!("finished {steps:?}"),
        Cause::Rejected { reason } => format!("rejected {reason:?}"),
    }
}

fn step_order(order: &StepOrder) -> String {
    let inputs: Vec<String> = order.inputs.iter().map(resolved).collect();
    let (step, attempt, pool) = (order.step, order.attempt, &order.pool);
    let revision =
        if order.revision == 1 { String::new() } else { format!(" of revision {}", order.revision) };
    format!("DispatchStep {step} attempt {attempt}{revision} pool {pool} inputs {{{}}}", inputs.join(", "))
}

fn resolved(input: &ResolvedInput) -> String {
    match &input.value {
        ResolvedValue::Literal(text) => format!("{}: literal {text:?}", input.name),
        ResolvedValue::Json(json) => format!("{}: {}", input.name, json.as_str()),
        ResolvedValue::Item(json) => format!("{}: item {}", input.name, json.as_str()),
        ResolvedValue::Index(index) => format!("{}: index {index}", input.name),
    }
}

fn finish(document: &RunDocument) -> String {
    let mut line = format!("FinishRun {}", document.state.as_str());
    if let Some(answer) = &document.answer {
        write!(line, " answer {}", answer.as_str()).expect("text");
    }
    if document.partial {
        line.push_str(" partial");
    }
    if let Some((run, step)) = &document.parent {
        write!(line, " for step {step} of {run}").expect("text");
    }
    if let Some(end) = document.end.as_ref().filter(|end| end.code != EndCode::Completed) {
        write!(line, " because {} {:?}", name_of(end.code), end.message).expect("text");
    }
    for note in &document.revisions {
        let dropped =
            if note.dropped.is_empty() { String::new() } else { format!(" dropped {:?}", note.dropped) };
        let (number, why, added) = (note.revision, cause(&note.cause), &note.added);
        write!(line, "\n   | revision {number} {why}: added {added:?}{dropped}").expect("text");
    }
    for step in &document.steps {
        write!(line, "\n   | {}", entry(step)).expect("text");
    }
    line
}

fn name_of(code: EndCode) -> String {
    serde_json::to_value(code).expect("a name").as_str().expect("a text").to_owned()
}

fn entry(step: &StepEntry) -> String {
    let attempts =
        if step.attempts == 1 { String::new() } else { format!(" after {} attempts", step.attempts) };
    let output = step.output.as_ref().map(|output| format!(" {}", output.as_str()));
    let error = step.error.as_ref().map(|error| format!(" ({error})"));
    let (id, state) = (step.id.0, &step.state);
    format!("{id} {state}{attempts}{}{}", output.unwrap_or_default(), error.unwrap_or_default())
}
