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
    #[error("{} {why}; {}", name(gate), what_waits(waiting))]
    Gate {
        /// What was meant.
        gate: Gate,
        /// Why it cannot be decided about.
        why: &'static str,
        /// What does wait.
        waiting: Vec<Gate>,
    },
}

/// What waits for a person.
#[must_use]
pub fn waiting(document: &Value) -> Vec<Gate> {
    Vec::deserialize(&document["approvals"]).unwrap_or_default()
}

/// What a decision is about: the `wanted` gates, each once, or everything that waits.
///
/// # Errors
/// When something that is meant does not wait.
pub fn gates(document: &Value, wanted: &[Gate]) -> Result<Vec<Gate>, NotAwaiting> {
    let waiting = waiting(document);
    let mut gates: Vec<Gate> = Vec::new();
    for gate in wanted.iter().copied() {
        if gates.contains(&gate) {
            continue;
        }
        if let Some(why) = (!waiting.contains(&gate)).then(|| not_ahead(document, gate)).flatten() {
            return Err(NotAwaiting::Gate { gate, why, waiting });
        }
        gates.push(gate);
    }
    match gates.is_empty() {
        false => Ok(gates),
        true if waiting.is_empty() => Err(NotAwaiting::Anything),
        true => Ok(waiting),
    }
}

/// Why what does not wait cannot be decided about in advance either, if it cannot.
/// A step can that has not started and will be asked for, which only a plan that
/// is whole can say.
fn not_ahead(document: &Value, gate: Gate) -> Option<&'static str> {
    let step = match gate {
        Gate::Step { step } => entry(document, step),
        Gate::Plan { .. } => None,
    };
    match step {
        Some(entry) if entry["state"] != "waiting" => Some(NOT_WAITING),
        Some(_) if document["revisions"].as_array().is_none_or(Vec::is_empty) => {
            Some("cannot be decided about before its plan is whole")
        }
        Some(entry) if entry["needs_approval"] != true => Some("needs no approval"),
        Some(_) => None,
        None => Some(NOT_WAITING),
    }
}

const NOT_WAITING: &str = "does not wait for approval";

fn entry(document: &Value, step: u32) -> Option<&Value> {
    let mut steps = document["steps"].as_array().into_iter().flatten();
    steps.find(|entry| entry["id"] == step)
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
        [] => "nothing waits".to_owned(),
        [one] => format!("{} waits", name(one)),
        many => format!("{} wait", many.iter().map(name).collect::<Vec<_>>().join(", ")),
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
            "revisions": [{"revision": 1}],
            "steps": [
                {"id": 3, "state": "waiting", "needs_approval": true},
                {"id": 4, "state": "waiting", "needs_approval": true},
                {"id": 5, "state": "running", "needs_approval": false},
                {"id": 6, "state": "waiting", "needs_approval": false},
            ],
        })
    }

    #[test]
    fn a_decision_is_about_what_waits_or_has_not_started() {
        assert_eq!(gates(&document(), &[]), Ok(vec![PLAN, ASKED]));
        assert_eq!(gates(&document(), &[ASKED, AHEAD]), Ok(vec![ASKED, AHEAD]));
        assert_eq!(gates(&document(), &[AHEAD, AHEAD, ASKED]), Ok(vec![AHEAD, ASKED]), "each once");
    }

    #[test]
    fn only_what_will_be_asked_for_is_decided_in_advance() {
        let refused = |document: &Value, wanted| gates(document, &[wanted]).unwrap_err().to_string();
        let plain = refused(&document(), Gate::Step { step: 6 });
        assert_eq!(plain, "step 6 needs no approval; revision 2 of the plan, step 3 wait");
        let mut planning = document();
        planning["revisions"] = json!([]);
        planning["approvals"] = json!([]);
        let early = "step 4 cannot be decided about before its plan is whole; nothing waits";
        assert_eq!(refused(&planning, AHEAD), early);
    }

    #[test]
    fn what_does_not_wait_is_told_what_does() {
        let refused = |document: &Value, wanted: &[Gate]| gates(document, wanted).unwrap_err().to_string();
        assert_eq!(refused(&json!({}), &[]), "nothing waits for approval");
        assert_eq!(
            refused(&document(), &[Gate::Plan { revision: 1 }]),
            "revision 1 of the plan does not wait for approval; revision 2 of the plan, step 3 wait"
        );
        assert_eq!(
            refused(&json!({"approvals": []}), &[Gate::Step { step: 5 }]),
            "step 5 does not wait for approval; nothing waits"
        );
        assert!(gates(&document(), &[ASKED, Gate::Step { step: 5 }]).is_err(), "all or none");
    }
}
