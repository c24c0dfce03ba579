//! Calls that change the world, each made once as far as anybody can know.
//!
//! A call leaves a note before it is made and its outcome afterwards, under its idempotency key.
//! Whoever gets the step again finds the outcome and uses it. A note without an outcome is that
//! of an executor that died, or is still at it: only a tool that bears it is called again then.
//!
//! A plan calls with the same arguments each time. A model that is asked again may write `17.00`
//! where it wrote `17`, so its calls go by their order, and one that differs from the call that was
//! made in its place is not made: the model is told what was.

use planfleet_bus::{broker::CasOutcome, calls::CallNote};
use planfleet_core::{
    command::StepOrder,
    failure::{Failure, FailureClass, trim_chars},
};
use planfleet_tools::CallContext;
use serde_json::Value;

use crate::Shared;

/// Others who note the same call at the same moment are deliveries of the same step: there are
/// one or two of those.
const TRIES_MAX: usize = 4;

/// Enough of a call, and of what came of it, to know it again.
const SHOWN_CHARS_MAX: usize = 2_000;

/// Who has written the arguments of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Author {
    Plan,
    Model,
}

/// Calls a tool, or says what came of the call that was made before.
pub(crate) async fn call(
    shared: &Shared,
    order: &StepOrder,
    name: &str,
    arguments: Value,
    context: &CallContext,
    author: Author,
) -> Result<Value, Failure> {
    let changes = shared.tools.spec(name).filter(|tool| !tool.effect.is_side_effect_free());
    let Some(tool) = changes.filter(|_| context.allows(name)) else {
        return shared.tools.call(name, arguments, context).await;
    };
    let key = &context.idempotency_key;
    let written = (author == Author::Model).then(|| arguments.to_string());
    let mut intent = CallNote { attempt: order.attempt, arguments: written, outcome: None };
    let revision = match note(shared, key, name, &intent, tool.idempotent).await? {
        Noted::ToBeMade(revision) => revision,
        Noted::Made(outcome) => {
            tracing::info!(tool = name, "a call was made before; its outcome is used");
            return outcome;
        }
    };
    let outcome = shared.tools.call(name, arguments, context).await;
    intent.outcome = Some(outcome.clone());
    // The outcome is about to be in the log. Without a note of it, a crash before that makes
    // the call one that may have happened.
    match shared.bus.note_call(key, &intent, revision).await {
        Ok(CasOutcome::Written(_)) => {}
        Ok(CasOutcome::Conflict) => tracing::warn!(tool = name, "another delivery has noted the same call"),
        Err(error) => tracing::warn!(tool = name, %error, "the outcome of a call is not noted"),
    }
    outcome
}

enum Noted {
    /// The note stands at that revision.
    ToBeMade(u64),
    Made(Result<Value, Failure>),
}

async fn note(
    shared: &Shared,
    key: &str,
    name: &str,
    intent: &CallNote,
    idempotent: bool,
) -> Result<Noted, Failure> {
    for _ in 0..TRIES_MAX {
        let known = shared.bus.call_note(key).await.map_err(|error| not_noted(name, &error))?;
        let (known, revision) = known.map_or((None, 0), |(note, revision)| (Some(note), revision));
        match decide(known, intent, idempotent) {
            Decision::Call => {}
            Decision::Use(outcome) => return Ok(Noted::Made(outcome)),
            Decision::Tell(made) => return Ok(Noted::Made(Err(another(name, &made)))),
            Decision::Stop => return Err(may_have_happened(name)),
        }
        match shared.bus.note_call(key, intent, revision).await {
            Ok(CasOutcome::Written(revision)) => return Ok(Noted::ToBeMade(revision)),
            Ok(CasOutcome::Conflict) => {}
            Err(error) => return Err(not_noted(name, &error)),
        }
    }
    let message = format!("`{name}` was not called: other deliveries of the step note the same call");
    Err(Failure::new(FailureClass::Transient, message))
}

#[derive(Debug, PartialEq)]
enum Decision {
    Call,
    Use(Result<Value, Failure>),
    /// Another call was made in its place.
    Tell(CallNote),
    Stop,
}

fn decide(known: Option<CallNote>, intent: &CallNote, idempotent: bool) -> Decision {
    let attempt = intent.attempt;
    let differs = |note: &CallNote| note.arguments.is_some() && note.arguments != intent.arguments;
    match known {
        None => Decision::Call,
        // What has changed nothing stands in nobody's way.
        Some(CallNote { outcome: Some(Err(failure)), arguments, .. })
            if arguments != intent.arguments && is_undone(&failure) =>
        {
            Decision::Call
        }
        Some(note) if differs(&note) && note.outcome.is_some() => Decision::Tell(note),
        Some(note) if differs(&note) => Decision::Stop,
        Some(CallNote { outcome: Some(Ok(output)), .. }) => Decision::Use(Ok(output)),
        // A later attempt is there because this one has failed.
        Some(CallNote { outcome: Some(Err(_)), attempt: failed, .. }) if failed < attempt => Decision::Call,
        Some(CallNote { outcome: Some(Err(failure)), .. }) => Decision::Use(Err(failure)),
        Some(CallNote { outcome: None, .. }) if idempotent => Decision::Call,
        Some(CallNote { outcome: None, .. }) => Decision::Stop,
    }
}

/// Whether calls of a tool change something.
pub(crate) fn changes(shared: &Shared, name: &str) -> bool {
    shared.tools.spec(name).is_some_and(|tool| !tool.effect.is_side_effect_free())
}

/// Whether a call may have changed something, now or when it was made before.
pub(crate) fn may_have_changed(
    shared: &Shared,
    name: &str,
    context: &CallContext,
    result: &Result<Value, Failure>,
) -> bool {
    changes(shared, name) && context.allows(name) && !result.as_ref().is_err_and(is_undone)
}

/// Whether a call that failed so has changed nothing, as far as its tool knows.
const fn is_undone(failure: &Failure) -> bool {
    matches!(failure.class, FailureClass::Transient | FailureClass::Denied)
}

fn another(name: &str, made: &CallNote) -> Failure {
    let arguments = trim_chars(made.arguments.as_deref().unwrap_or_default(), SHOWN_CHARS_MAX);
    let outcome = match &made.outcome {
        Some(Ok(output)) => trim_chars(&output.to_string(), SHOWN_CHARS_MAX),
        Some(Err(failure)) => format!("the failure {failure}"),
        None => "no outcome yet".to_owned(),
    };
    let message = format!(
        "this call was not made: in its place this step has called `{name}` before with {arguments}, which \
         gave {outcome}, and that stands; call again only if something else is to be done besides"
    );
    Failure::new(FailureClass::ToolError, message)
}

fn may_have_happened(name: &str) -> Failure {
    let message = format!(
        "`{name}` may have been called: whoever was at it is gone, and the tool does not bear being called \
         twice; look at whether it has happened, and plan from there"
    );
    Failure::new(FailureClass::Lost, message)
}

fn not_noted(name: &str, error: &planfleet_bus::Error) -> Failure {
    let class = if error.is_permanent() { FailureClass::ToolError } else { FailureClass::Transient };
    Failure::new(class, format!("`{name}` was not called, as the call cannot be noted first: {error}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_known_of_a_call_decides() {
        let note = |attempt, arguments: &str, outcome| {
            Some(CallNote { attempt, arguments: Some(arguments.to_owned()), outcome })
        };
        let done = || Some(Ok(json!(17)));
        let broken = || Some(Err(Failure::new(FailureClass::ToolError, "500")));
        let busy = || Some(Err(Failure::new(FailureClass::Transient, "busy")));
        let broke = || broken().expect("an outcome");
        for (known, attempt, idempotent, expected) in [
            (None, 1, false, Decision::Call),
            (note(1, "17", done()), 1, false, Decision::Use(Ok(json!(17)))),
            (note(1, "17", done()), 2, false, Decision::Use(Ok(json!(17)))),
            (note(1, "17", broken()), 1, false, Decision::Use(broke())),
            (note(1, "17", broken()), 2, false, Decision::Call),
            (note(1, "17", busy()), 1, false, Decision::Use(busy().expect("an outcome"))),
            (note(1, "17", None), 1, true, Decision::Call),
            (note(1, "17", None), 1, false, Decision::Stop),
            (note(1, "17", None), 2, false, Decision::Stop),
            // Another call in the place of this one.
            (note(1, "17.00", done()), 1, true, Decision::Tell(note(1, "17.00", done()).expect("a note"))),
            (note(1, "17.00", done()), 2, false, Decision::Tell(note(1, "17.00", done()).expect("a note"))),
            (
                note(1, "17.00", broken()),
                2,
                false,
                Decision::Tell(note(1, "17.00", broken()).expect("a note")),
            ),
            (note(1, "17.00", busy()), 2, false, Decision::Call),
            (note(1, "17.00", None), 1, true, Decision::Stop),
        ] {
            let intent = CallNote { attempt, arguments: Some("17".to_owned()), outcome: None };
            assert_eq!(decide(known.clone(), &intent, idempotent), expected, "{known:?} {attempt}");
        }
        let planned = CallNote { attempt: 1, arguments: None, outcome: None };
        let known = CallNote { outcome: done(), ..planned.clone() };
        assert_eq!(decide(Some(known), &planned, false), Decision::Use(Ok(json!(17))));
    }
}
