//! From a planner model's text to a decision, with all faults at once.

use std::sync::Arc;

use planfleet_core::{
    command::Situation,
    json::{self, Json},
    plan::{
        Input, Plan, PlanStep, StepKind,
        lint::{self, Code, Existing, Fault, Scope},
        parse,
        revision::{self, Change},
    },
    record::Decision,
    task::Submission,
};
use serde_json::{Map, Value};

/// What a planner has answered, sound by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The decision.
    pub decision: Decision,
    /// The steps that it adds.
    pub steps: Vec<Arc<PlanStep>>,
    /// Why, in the planner's words.
    pub reason: String,
}

/// Reads a first plan.
///
/// # Errors
/// Every fault.
pub fn plan(text: &str, scope: &Scope<'_>) -> Result<Answer, Vec<Fault>> {
    let plan = parse::plan(object(text)?)?;
    sound(&plan, &Existing::default(), scope)?;
    Ok(Answer {
        decision: Decision::Plan { final_step: plan.final_step },
        steps: plan.steps,
        reason: "planned".to_owned(),
    })
}

/// Reads a small model's plan, whose steps are text and order only.
///
/// # Errors
/// Every fault.
pub fn positional(text: &str, submission: &Submission, scope: &Scope<'_>) -> Result<Answer, Vec<Fault>> {
    let mut plan = parse::plan(object(text)?)?;
    for step in &mut plan.steps {
        complete(Arc::make_mut(step), submission);
    }
    sound(&plan, &Existing::default(), scope)?;
    Ok(Answer {
        decision: Decision::Plan { final_step: plan.final_step },
        steps: plan.steps,
        reason: "planned".to_owned(),
    })
}

/// Gives a step of a small model's plan the inputs that its dependencies imply,
/// and the goal, without which its few words would mean nothing.
pub fn complete(step: &mut PlanStep, submission: &Submission) {
    step.kind = StepKind::Model;
    step.depends_on.sort_unstable();
    step.depends_on.dedup();
    let input = |name: String, value, from_step: Option<u32>, path: String| Input {
        name,
        value,
        from_step,
        path: from_step.map(|_| path),
    };
    let goal = submission.task.goal.clone().unwrap_or_default();
    step.inputs = vec![input("goal".to_owned(), Some(goal), None, String::new())];
    let of_task = submission.task.inputs.keys().map(|name| {
        let path = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        input(name.clone(), None, Some(0), path)
    });
    step.inputs.extend(of_task);
    let of_steps =
        step.depends_on.iter().map(|on| input(format!("step_{on}"), None, Some(*on), String::new()));
    step.inputs.extend(of_steps.collect::<Vec<_>>());
}

/// Reads the answer to a replan request.
///
/// # Errors
/// Every fault.
pub fn replan(text: &str, situation: &Situation, scope: &Scope<'_>) -> Result<Answer, Vec<Fault>> {
    let Value::Object(mut object) = object(text)? else { return Err(malformed("the answer is no object")) };
    let mut faults = Vec::new();
    let reason = kept(reason(&object), &mut faults).unwrap_or_default();
    let decision = object.get("decision").and_then(Value::as_str).map(str::to_owned);
    let answer = match decision.as_deref() {
        Some("revise") => revise(&mut object, reason, situation, scope),
        Some("finish") => finish(&object, reason),
        Some("give_up") => Ok(Answer { decision: Decision::GiveUp, steps: Vec::new(), reason }),
        _ => Err(malformed("\"decision\" is one of revise, finish, give_up")),
    };
    match answer {
        Ok(answer) if faults.is_empty() => Ok(answer),
        Ok(_) => Err(faults),
        Err(others) => Err(faults.into_iter().chain(others).collect()),
    }
}

fn revise(
    object: &mut Map<String, Value>,
    reason: String,
    situation: &Situation,
    scope: &Scope<'_>,
) -> Result<Answer, Vec<Fault>> {
    let (steps, drop, final_step) = changes(object)?;
    let change = Change { drop: &drop, final_step, steps: &steps };
    let revised = revision::revise(situation, &change).map_err(|mut structural| {
        structural.extend(tool_faults(&steps, scope));
        structural
    })?;
    let existing = revision::existing(situation, &revised.dropped);
    let plan = Plan { steps: steps.clone(), final_step: revised.final_step };
    sound(&plan, &existing, scope)?;
    Ok(Answer { decision: Decision::Revise { drop, final_step }, steps, reason })
}

/// What a revision adds, drops and ends with. What cannot be read is a fault: left
/// out, it would make another revision of it than the planner meant.
type Changes = (Vec<Arc<PlanStep>>, Vec<u32>, Option<u32>);

fn changes(object: &mut Map<String, Value>) -> Result<Changes, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut steps = Vec::new();
    match object.remove("steps") {
        Some(Value::Array(items)) => {
            let read = items.into_iter().filter_map(|item| kept(parse::step(item), &mut faults));
            steps.extend(read.map(Arc::new));
        }
        _ => faults.extend(malformed("\"steps\" is a list")),
    }
    let drop = dropped(object.get("drop"), &mut faults);
    let final_step = kept(final_step(object.get("final")), &mut faults).flatten();
    if faults.is_empty() { Ok((steps, drop, final_step)) } else { Err(faults) }
}

/// The steps to drop; none where there is no list at all.
fn dropped(written: Option<&Value>, faults: &mut Vec<Fault>) -> Vec<u32> {
    match written {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(entries)) => {
            let read = entries.iter().map(|entry| {
                id(entry)
                    .ok_or_else(|| fault(format!("\"drop\" has {entry}; it lists ids of steps, such as 3")))
            });
            read.filter_map(|read| kept(read, faults)).collect()
        }
        Some(other) => {
            faults.push(fault(format!("\"drop\" is {other}; it is a list of ids of steps, such as [3, 4]")));
            Vec::new()
        }
    }
}

/// The new final step; `None` keeps the current one.
fn final_step(written: Option<&Value>) -> Result<Option<u32>, Fault> {
    match written {
        None | Some(Value::Null) => Ok(None),
        Some(value) => id(value).map(Some).ok_or_else(|| {
            fault(format!(
                "\"final\" is {value}; it is the id of a step, such as 3, or null to keep the current one"
            ))
        }),
    }
}

fn reason(object: &Map<String, Value>) -> Result<String, Fault> {
    match object.get("reason").and_then(Value::as_str) {
        Some(reason) if !reason.trim().is_empty() => Ok(reason.to_owned()),
        _ => Err(fault("\"reason\" says why, in a sentence".to_owned())),
    }
}

fn id(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}

/// What could be read; its fault is put to the others.
fn kept<T>(read: Result<T, Fault>, faults: &mut Vec<Fault>) -> Option<T> {
    read.map_err(|fault| faults.push(fault)).ok()
}

/// Faults that the tools' schemas show, for a plan whose structure is broken as well.
fn tool_faults(steps: &[Arc<PlanStep>], scope: &Scope<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for step in steps {
        lint::tools::step(step, scope.tools, &mut faults);
    }
    faults
}

fn finish(object: &Map<String, Value>, reason: String) -> Result<Answer, Vec<Fault>> {
    match object.get("answer") {
        Some(Value::Null) | None => Err(malformed("\"finish\" needs an \"answer\"")),
        Some(answer) => Ok(Answer {
            decision: Decision::Finish { answer: Json::from_value(answer) },
            steps: Vec::new(),
            reason,
        }),
    }
}

fn sound(plan: &Plan, existing: &Existing, scope: &Scope<'_>) -> Result<(), Vec<Fault>> {
    let faults = lint::full(plan, existing, scope);
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

fn malformed(message: &str) -> Vec<Fault> {
    vec![fault(message.to_owned())]
}

fn fault(message: String) -> Fault {
    Fault::new(Code::Malformed, None, message)
}

/// The JSON object in a text: the whole of it, or what is left without the words
/// and the code fence that some models put around it.
fn object(text: &str) -> Result<Value, Vec<Fault>> {
    let text = text.trim();
    let whole = json::parse_strict(text);
    let inner = || {
        let (from, to) = (text.find('{')?, text.rfind('}')?);
        json::parse_strict(text.get(from..=to)?).ok()
    };
    match whole {
        Ok(value) => Ok(value),
        Err(error) => inner().ok_or_else(|| malformed(&format!("the answer is not JSON: {error}"))),
    }
}
