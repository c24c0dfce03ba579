//! Calls that change the world, each made once as far as anybody can know.
//!
//! A call leaves a note before it is made and its outcome afterwards, under its idempotency key.
//! Whoever gets the step again finds the outcome and uses it. A note without an outcome is that
//! of an executor that died, or is still at it: only a tool that bears it is called again then.

use planfleet_bus::{broker::CasOutcome, calls::CallNote};
use planfleet_core::{
    command::StepOrder,
    failure::{Failure, FailureClass},
};
use planfleet_tools::CallContext;
use serde_json::Value;

use crate::Shared;

/// Others who note the same call at the same moment are deliveries of the same step: there are
/// one or two of those.
const TRIES_MAX: usize = 4;

/// Calls a tool, or says what came of the call that was made before.
pub(crate) async fn call(
    shared: &Shared,
    order: &StepOrder,
    name: &str,
    arguments: Value,
    context: &CallContext,
) -> Result<Value, Failure> {
    let changes = shared.tools.spec(name).filter(|tool| !tool.effect.is_side_effect_free());
    let Some(tool) = changes.filter(|_| context.allows(name)) else {
        return shared.tools.call(name, arguments, context).await;
    };
    let key = &context.idempotency_key;
    let revision = match note(shared, key, name, order.attempt, tool.idempotent).await? {
        Noted::ToBeMade(revision) => revision,
        Noted::Made(outcome) => {
            tracing::info!(tool = name, "a call was made before; its outcome is used");
            return outcome;
        }
    };
    let outcome = shared.tools.call(name, arguments, context).await;
    let note = CallNote { attempt: order.attempt, outcome: Some(outcome.clone()) };
    // The outcome is about to be in the log. Without a note of it, a crash before that makes
    // the call one that may have happened.
    match shared.bus.note_call(key, &note, revision).await {
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
    attempt: u32,
    idempotent: bool,
) -> Result<Noted, Failure> {
    for _ in 0..TRIES_MAX {
        let known = shared.bus.call_note(key).await.map_err(|error| not_noted(name, &error))?;
        let (known, revision) = known.map_or((None, 0), |(note, revision)| (Some(note), revision));
        match decide(known, attempt, idempotent) {
            Decision::Call => {}
            Decision::Use(outcome) => return Ok(Noted::Made(outcome)),
            Decision::Stop => return Err(may_have_happened(name)),
        }
        let note = CallNote { attempt, outcome: None };
        match shared.bus.note_call(key, &note, revision).await {
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
    Stop,
}

fn decide(known: Option<CallNote>, attempt: u32, idempotent: bool) -> Decision {
    match known {
        None => Decision::Call,
        Some(CallNote { outcome: Some(Ok(output)), .. }) => Decision::Use(Ok(output)),
        // A later attempt is there because this one has failed.
        Some(CallNote { outcome: Some(Err(_)), attempt: failed }) if failed < attempt => Decision::Call,
        Some(CallNote { outcome: Some(Err(failure)), .. }) => Decision::Use(Err(failure)),
        Some(CallNote { outcome: None, .. }) if idempotent => Decision::Call,
        Some(CallNote { outcome: None, .. }) => Decision::Stop,
    }
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

    fn failed() -> Failure {
        Failure::new(FailureClass::Transient, "busy")
    }

    #[test]
    fn what_is_known_of_a_call_decides() {
        let note = |attempt, outcome| Some(CallNote { attempt, outcome });
        let done = || Some(Ok(json!(17)));
        let broken = || Some(Err(failed()));
        for (known, attempt, idempotent, expected) in [
            (None, 1, false, Decision::Call),
            (note(1, done()), 1, false, Decision::Use(Ok(json!(17)))),
            (note(1, done()), 2, false, Decision::Use(Ok(json!(17)))),
            (note(1, broken()), 1, false, Decision::Use(Err(failed()))),
            (note(1, broken()), 2, false, Decision::Call),
            (note(1, None), 1, true, Decision::Call),
            (note(1, None), 1, false, Decision::Stop),
            (note(1, None), 2, false, Decision::Stop),
        ] {
            assert_eq!(decide(known.clone(), attempt, idempotent), expected, "{known:?} {attempt}");
        }
    }
}
