//! What a person can decide about just now, by a run's document: the API and the
//! command line check it here before they append a decision.

use planfleet_core::record::Gate;
use serde::Deserialize as _;
use serde_json::Value;

/// What was to be decided does not wait for a decision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAwaiting {
    /// Everything that waits was meant, and nothing does.
    #[error("nothing waits for approval")]
    Anything,
    /// This was meant, and only others wait.
    #[error("{} does not wait for approval; {}", name(gate), what_waits(waiting))]
    Gate {
        /// What was meant.
        gate: Gate,
        /// What does wait.
        waiting: Vec<Gate>,
    },
}

/// What waits for a person.
#[must_use]
pub fn waiting(document: &Value) -> Vec<Gate> {
    Vec::deserialize(&document["approvals"]).unwrap_or_default()
}

/// What a decision is about: the `wanted` gates, or everything that waits.
///
/// # Errors
/// When something that is meant does not wait.
pub fn gates(document: &Value, wanted: &[Gate]) -> Result<Vec<Gate>, NotAwaiting> {
    let waiting = waiting(document);
    let astray = wanted.iter().find(|gate| !waiting.contains(gate) && !is_ahead(document, **gate));
    match astray {
        Some(gate) => Err(NotAwaiting::Gate { gate: *gate, waiting }),
        None if !wanted.is_empty() => Ok(wanted.to_vec()),
        None if waiting.is_empty() => Err(NotAwaiting::Anything),
        None => Ok(waiting),
    }
}

/// A step that has not started may be decided about before it is asked for. Its
/// document does not say whether its tools need approval: the run knows.
fn is_ahead(document: &Value, gate: Gate) -> bool {
    let Gate::Step { step } = gate else { return false };
    let mut steps = document["steps"].as_array().into_iter().flatten();
    steps.any(|entry| entry["id"] == step && entry["state"] == "waiting")
}

/// A gate in words.
#[must_use]
pub fn name(gate: &Gate) -> String {
    match gate {
        Gate::Plan { revision } => format!("revision {revision} of the plan"),
        Gate::Step { step } => format!("step {step}"),
    }
}

fn what_waits(waiting: &[Gate]) -> String {
    match waiting {
        [] => "nothing does".to_owned(),
        [one] => format!("{} does", name(one)),
        many => format!("{} do", many.iter().map(name).collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PLAN: Gate = Gate::Plan { revision: 2 };
    const ASKED: Gate = Gate::Step { step: 3 };
    const AHEAD: Gate = Gate::Step { step: 4 };

    fn document() -> Value {
        json!({
            "approvals": [{"gate": "plan", "revision": 2}, {"gate": "step", "step": 3}],
            "steps": [
                {"id": 3, "state": "waiting"}, {"id": 4, "state": "waiting"}, {"id": 5, "state": "running"},
            ],
        })
    }

    #[test]
    fn a_decision_is_about_what_waits_or_has_not_started() {
        assert_eq!(gates(&document(), &[]), Ok(vec![PLAN, ASKED]));
        assert_eq!(gates(&document(), &[ASKED, AHEAD]), Ok(vec![ASKED, AHEAD]));
    }

    #[test]
    fn what_does_not_wait_is_told_what_does() {
        let refused = |document: &Value, wanted: &[Gate]| gates(document, wanted).unwrap_err().to_string();
        assert_eq!(refused(&json!({}), &[]), "nothing waits for approval");
        assert_eq!(
            refused(&document(), &[Gate::Plan { revision: 1 }]),
            "revision 1 of the plan does not wait for approval; revision 2 of the plan, step 3 do"
        );
        assert_eq!(
            refused(&json!({"approvals": []}), &[Gate::Step { step: 5 }]),
            "step 5 does not wait for approval; nothing does"
        );
        assert!(gates(&document(), &[ASKED, Gate::Step { step: 5 }]).is_err(), "all or none");
    }
}
