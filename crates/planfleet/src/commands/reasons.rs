//! Why things are as they are, in words: what a step waits for, what holds a run
//! and what people can do about it, why a plan was revised, why a run ended.

use std::time::SystemTime;

use planfleet_api::approval;
use planfleet_core::{reason::Cause, record::Gate};
use serde::Deserialize as _;
use serde_json::Value;

use crate::output::{cell, line};

/// Most gates that are named one by one: nobody approves a hundred by hand.
const GATES_SHOWN_MAX: usize = 8;

/// What a step waits for, while it does.
pub(super) fn wait(step: &Value) -> Option<String> {
    let wait = &step["waits_for"];
    Some(match wait["code"].as_str()? {
        "steps" => format!("waits for {}", numbered("step", &wait["steps"])),
        "plan" => "waits for its plan to be whole".to_owned(),
        "plan_approval" => "waits for its plan to be approved".to_owned(),
        "step_approval" => "waits to be approved".to_owned(),
        "review" => "waits for the planner's review".to_owned(),
        "pause" => "waits for the run to be resumed".to_owned(),
        "retry" => format!("waits for its next attempt at {}", cell(&wait["at"])),
        "queue" => "is ready, and waits for its turn".to_owned(),
        "queue_paused" => {
            let (what, why) = (cell(&wait["what"]), cell(&wait["reason"]));
            format!("is ready, and waits for {what} to be resumed: {why}")
        }
        other => format!("waits: {other}"),
    })
}

/// The same for a table, where a time of day would be cut off and takes counting.
pub(super) fn wait_from(step: &Value, now: SystemTime) -> Option<String> {
    let wait = &step["waits_for"];
    let retry = (wait["code"] == "retry").then(|| wait["at"].as_str()).flatten();
    match retry.and_then(|at| humantime::parse_rfc3339(at).ok()) {
        Some(at) => {
            let left = at.duration_since(now).unwrap_or_default();
            Some(format!("next attempt in {} s", left.as_millis().div_ceil(1_000)))
        }
        None => self::wait(step),
    }
}

/// Why a revision of the plan was wanted.
pub(super) fn cause(note: &Value) -> String {
    match Cause::deserialize(&note["cause"]) {
        Ok(Cause::Planned) => "planned".to_owned(),
        Ok(Cause::Given) => "given".to_owned(),
        Ok(Cause::Rerun { run }) => format!("rerun of {run}"),
        Ok(Cause::Failed { .. }) => format!("{} failed", numbered("step", &note["cause"]["steps"])),
        Ok(Cause::Reviewed { .. }) => format!("review of {}", numbered("step", &note["cause"]["steps"])),
        Ok(Cause::Rejected { reason }) => format!("rejected: {}", line(&reason, 60)),
        // Written by a newer coordinator.
        Err(_) => cell(&note["cause"]["code"]),
    }
}

/// Why a run ended, in a word; plain success needs none.
pub(super) fn end_code(document: &Value) -> Option<&str> {
    document["end"]["code"].as_str().filter(|code| *code != "completed")
}

/// What there is to say of a run in one cell of a list.
pub(super) fn brief(document: &Value) -> String {
    let gates = approval::waiting(document);
    if let Some(code) = end_code(document) {
        code.to_owned()
    } else if let Some(reason) = document["paused"].as_str() {
        line(reason, 40)
    } else if gates.is_empty() {
        "-".to_owned()
    } else {
        line(&format!("approve {}", gates.iter().map(flag).collect::<Vec<_>>().join(" ")), 40)
    }
}

/// What people hold a run with, and the command that lets it go: a line each.
/// `broker` is where it can be reached, if others do not find it by themselves.
pub(super) fn holds(document: &Value, broker: Option<&str>) -> Vec<String> {
    let run = document["run_id"].as_str().unwrap_or_default();
    let reach = broker.map(|url| format!(" --set nats.url={url}")).unwrap_or_default();
    let paused = document["paused"].as_str();
    let mut lines: Vec<String> = paused
        .map(|reason| format!("paused: {}; to go on: planfleet runs resume {run}{reach}", line(reason, 80)))
        .into_iter()
        .collect();
    let gates = approval::waiting(document);
    lines.extend(gates.iter().take(GATES_SHOWN_MAX).map(|gate| {
        let (name, flag) = (approval::name(gate), flag(gate));
        format!(
            "{name} waits for approval: planfleet runs approve {run} {flag}{reach} (or reject, with --reason)"
        )
    }));
    if gates.len() > GATES_SHOWN_MAX {
        let more = gates.len() - GATES_SHOWN_MAX;
        lines.push(format!("{more} more wait; to approve all: planfleet runs approve {run}{reach}"));
    }
    lines
}

fn flag(gate: &Gate) -> String {
    match gate {
        Gate::Plan { revision } => format!("--plan {revision}"),
        Gate::Step { step } => format!("--step {step}"),
    }
}

/// `step 3`, or `steps 3, 4`.
fn numbered(what: &str, numbers: &Value) -> String {
    let numbers: Vec<String> = numbers.as_array().into_iter().flatten().map(cell).collect();
    let plural = if numbers.len() == 1 { "" } else { "s" };
    line(&format!("{what}{plural} {}", numbers.join(", ")), 60)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use planfleet_core::{id::StepId, reason::Wait};
    use serde_json::json;

    use super::*;

    /// What the core may say, and nothing that it does not.
    #[test]
    fn every_wait_has_words() {
        let words = |wait: Wait| self::wait(&json!({"waits_for": wait})).unwrap();
        assert_eq!(words(Wait::Steps { steps: vec![1] }), "waits for step 1");
        assert_eq!(words(Wait::Steps { steps: vec![1, 2] }), "waits for steps 1, 2");
        let at = "waits for its next attempt at 1970-01-01T00:00:01.000Z";
        assert_eq!(words(Wait::Retry { at_ms: 1_000 }), at);
        for wait in [Wait::Plan, Wait::PlanApproval, Wait::StepApproval, Wait::Review, Wait::Pause] {
            let shown = words(wait.clone());
            assert!(!shown.starts_with("waits:"), "{wait:?} has no words of its own");
        }
        assert_eq!(self::wait(&json!({"waits_for": null, "id": StepId::plain(1).step})), None);
    }

    #[test]
    fn a_next_attempt_is_counted_down_to() {
        let step = json!({"waits_for": Wait::Retry { at_ms: 10_000 }});
        let shown = |at_ms| wait_from(&step, SystemTime::UNIX_EPOCH + Duration::from_millis(at_ms)).unwrap();
        assert_eq!(shown(7_500), "next attempt in 3 s");
        assert_eq!(shown(11_000), "next attempt in 0 s");
        let paused = json!({"waits_for": Wait::Pause});
        assert_eq!(wait_from(&paused, SystemTime::UNIX_EPOCH), wait(&paused));
    }

    #[test]
    fn every_cause_has_words() {
        let words = |cause: Cause| self::cause(&json!({"cause": cause}));
        assert_eq!(words(Cause::Given), "given");
        assert_eq!(words(Cause::Failed { steps: vec![3] }), "step 3 failed");
        assert_eq!(words(Cause::Reviewed { steps: vec![1, 2] }), "review of steps 1, 2");
        assert_eq!(words(Cause::Rejected { reason: "too long".to_owned() }), "rejected: too long");
        assert_eq!(words(Cause::Rerun { run: "00-a".parse().unwrap() }), "rerun of 00-a");
        assert_eq!(self::cause(&json!({"cause": {"code": "improved"}})), "improved");
    }

    #[test]
    fn what_holds_a_run_is_said_with_the_command_that_lets_it_go() {
        let gates = [Gate::Plan { revision: 2 }, Gate::Step { step: 3 }];
        let document = json!({"run_id": "00-a", "paused": "lunch", "approvals": gates});
        let said = [
            "paused: lunch; to go on: planfleet runs resume 00-a",
            "revision 2 of the plan waits for approval: planfleet runs approve 00-a --plan 2 (or reject, with --reason)",
            "step 3 waits for approval: planfleet runs approve 00-a --step 3 (or reject, with --reason)",
        ];
        assert_eq!(holds(&document, None), said);
        assert!(holds(&document, Some("nats://x:1"))[0].ends_with("resume 00-a --set nats.url=nats://x:1"));
        assert_eq!(holds(&json!({"run_id": "00-a", "paused": null}), None), [""; 0]);
    }

    #[test]
    fn many_gates_are_approved_at_once() {
        let gates: Vec<Gate> = (1..=20).map(|step| Gate::Step { step }).collect();
        let said = holds(&json!({"run_id": "00-a", "approvals": gates}), None);
        assert_eq!(said.len(), GATES_SHOWN_MAX + 1);
        assert_eq!(said[GATES_SHOWN_MAX], "12 more wait; to approve all: planfleet runs approve 00-a");
    }

    #[test]
    fn a_list_says_it_in_a_cell() {
        let gate = Gate::Step { step: 3 };
        for (document, said) in [
            (json!({"end": {"code": "completed"}}), "-"),
            (json!({"end": {"code": "no_goal"}}), "no_goal"),
            (json!({"paused": "lunch", "approvals": [gate]}), "lunch"),
            (json!({"paused": null, "approvals": [gate]}), "approve --step 3"),
        ] {
            assert_eq!(brief(&document), said);
        }
    }
}
