//! Runs that are held, let go, decided about, and done again.

use planfleet_core::{
    id::RunId,
    record::{ApprovalDecided, Fact, Gate},
};
use serde_json::{Value, json};

use super::{
    NOBODY,
    rig::{Answer, Rig, answer},
};

async fn post(rig: &Rig, path: &str, body: &Value) -> Answer {
    answer(rig.post(path).body(body.to_string())).await
}

/// A run whose second revision and third step wait for a person, before a fourth step.
fn waiting() -> Value {
    json!({
        "run_id": "01-a",
        "tenant": "t",
        "state": "awaiting_approval",
        "approvals": [{"gate": "plan", "revision": 2}, {"gate": "step", "step": 3}],
        "revisions": [{"revision": 1}],
        "steps": [
            {"id": 3, "state": "waiting", "needs_approval": true},
            {"id": 4, "state": "waiting", "needs_approval": true},
            {"id": 5, "state": "waiting", "needs_approval": false},
        ],
    })
}

fn decided<const N: usize>(gates: [Gate; N], approved: bool, reason: &str) -> Fact {
    Fact::ApprovalDecided(ApprovalDecided { gates: gates.to_vec(), approved, reason: reason.to_owned() })
}

#[tokio::test]
async fn a_pause_and_a_resume_are_in_the_log() {
    let rig = Rig::start().await;
    rig.script_coordinator(waiting()).await;
    let run: RunId = "01-a".parse().unwrap();
    let paused = post(&rig, "/v1/runs/01-a/pause", &json!({"reason": "lunch"})).await;
    assert_eq!((paused.status.as_u16(), &paused.body), (202, &json!({"run_id": "01-a"})));
    assert_eq!(answer(rig.post("/v1/runs/01-a/resume")).await.status, 202);
    let facts =
        [(run.clone(), Fact::RunPauseRequested { reason: "lunch".into() }), (run, Fact::RunResumeRequested)];
    assert_eq!(rig.facts().await, facts);
    let wrong = post(&rig, "/v1/runs/01-a/pause", &json!({"why": "?"})).await;
    assert_eq!(wrong.problem(), (422, "pause_invalid"));
    rig.shut_down().await;
}

#[tokio::test]
async fn an_approval_is_about_what_it_names_or_all_that_waits() {
    let rig = Rig::start().await;
    rig.script_coordinator(waiting()).await;
    let plan = post(&rig, "/v1/runs/01-a/approve", &json!({"gate": "plan", "revision": 2})).await;
    assert_eq!(plan.body["decided"], json!([{"gate": "plan", "revision": 2}]));
    let ahead = json!({"gate": "step", "step": 4, "reason": "looked at it"});
    assert_eq!(post(&rig, "/v1/runs/01-a/approve", &ahead).await.status, 202);
    assert_eq!(answer(rig.post("/v1/runs/01-a/approve")).await.status, 202);
    let no = json!({"gate": "step", "step": 3, "reason": "not on a Friday"});
    assert_eq!(post(&rig, "/v1/runs/01-a/reject", &no).await.status, 202);
    let (plan, third) = (Gate::Plan { revision: 2 }, Gate::Step { step: 3 });
    let facts = [
        decided([plan], true, ""),
        decided([Gate::Step { step: 4 }], true, "looked at it"),
        decided([plan, third], true, ""),
        decided([third], false, "not on a Friday"),
    ];
    let run: RunId = "01-a".parse().unwrap();
    assert_eq!(rig.facts().await, facts.map(|fact| (run.clone(), fact)));
    rig.shut_down().await;
}

#[tokio::test]
async fn a_decision_that_means_nothing_is_refused() {
    let rig = Rig::start().await;
    rig.script_coordinator(waiting()).await;
    let stale = post(&rig, "/v1/runs/01-a/approve", &json!({"gate": "plan", "revision": 1})).await;
    assert_eq!(stale.problem(), (409, "not_awaiting_approval"));
    let detail = "revision 1 of the plan does not wait for approval; revision 2 of the plan, step 3 wait";
    assert_eq!(stale.body["detail"], detail);
    let plain = post(&rig, "/v1/runs/01-a/approve", &json!({"gate": "step", "step": 5})).await;
    assert_eq!(plain.problem(), (409, "not_awaiting_approval"));
    let detail = plain.body["detail"].as_str().unwrap();
    assert!(detail.starts_with("step 5 needs no approval"), "{detail}");
    for body in [
        json!({"gate": "plan"}),
        json!({"gate": "plan", "revision": 2, "step": 3}),
        json!({"step": 3}),
        json!({"gate": "tool"}),
        json!({"who": "me"}),
    ] {
        let refused = post(&rig, "/v1/runs/01-a/approve", &body).await;
        assert_eq!(refused.problem(), (422, "approval_invalid"), "{body}");
    }
    let silent = post(&rig, "/v1/runs/01-a/reject", &json!({"gate": "step", "step": 3})).await;
    assert_eq!(silent.problem(), (422, "approval_invalid"));
    assert!(silent.body["detail"].as_str().unwrap().starts_with("reason: missing"), "{silent:?}");
    assert_eq!(rig.facts().await, []);
    rig.shut_down().await;
}

#[tokio::test]
async fn every_body_is_read_and_what_is_wrong_with_it_said() {
    let rig = Rig::start().await;
    rig.script_coordinator(waiting()).await;
    let long = json!({"reason": "x".repeat(1_001)});
    for (what, body) in [
        ("resume", json!({"reason": "no"})),
        ("retry", json!({"from": 3})),
        ("pause", json!([])),
        ("cancel", json!("enough")),
        ("pause", json!({"reason": 7})),
        ("pause", long.clone()),
        ("approve", long),
        ("approve", json!({"gate": "step", "step": -1})),
        ("reject", json!({"gate": "step", "step": 3, "reason": " "})),
    ] {
        let refused = post(&rig, &format!("/v1/runs/01-a/{what}"), &body).await;
        let (status, code) = refused.problem();
        assert!(status == 422 && code.ends_with("_invalid"), "{what} {body}: {refused:?}");
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(!detail.contains("struct") && !detail.contains("u32"), "{detail}");
    }
    for what in ["resume", "retry"] {
        let large = post(&rig, &format!("/v1/runs/01-a/{what}"), &json!({"x": "x".repeat(3_000)})).await;
        assert_eq!(large.problem(), (413, "too_large"), "{what}");
    }
    assert_eq!(rig.facts().await, []);
    assert_eq!(post(&rig, "/v1/runs/01-a/pause", &json!({"reason": "  "})).await.status, 202);
    assert_eq!(post(&rig, "/v1/runs/01-a/resume", &json!({})).await.status, 202);
    let run: RunId = "01-a".parse().unwrap();
    let reason = "asked for over HTTP".to_owned();
    let facts = [(run.clone(), Fact::RunPauseRequested { reason }), (run, Fact::RunResumeRequested)];
    assert_eq!(rig.facts().await, facts);
    rig.shut_down().await;
}

#[tokio::test]
async fn what_is_not_there_cannot_be_steered() {
    let rig = Rig::start().await;
    rig.script_coordinator(json!({"run_id": "01-a", "state": "executing", "approvals": []})).await;
    for what in ["pause", "resume", "approve", "retry"] {
        let unknown = answer(rig.post(&format!("/v1/runs/{NOBODY}/{what}"))).await;
        assert_eq!(unknown.problem(), (404, "run_unknown"), "{what}");
    }
    let nothing = answer(rig.post("/v1/runs/01-a/approve")).await;
    assert_eq!(nothing.problem(), (409, "not_awaiting_approval"));
    let active = answer(rig.post("/v1/runs/01-a/retry")).await;
    assert_eq!(active.problem(), (409, "run_active"));
    assert_eq!(rig.facts().await, []);
    rig.shut_down().await;
}

/// Asks until the run is in that state.
async fn reach(rig: &Rig, path: &str, state: &str) -> Value {
    loop {
        let shown = rig.get(path).await;
        if shown.body["state"] == state {
            return shown.body;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_run_is_held_let_go_ended_and_done_again() {
    let rig = Rig::start().await;
    rig.start_coordinator();
    let plan = json!({"steps": [{"id": 1, "description": "say hello"}], "final": 1});
    let task = json!({"plan": plan, "approval": {"plan": true}}).to_string();
    let path = rig.submit(task).await.location.unwrap();

    let held = reach(&rig, &path, "awaiting_approval").await;
    assert_eq!(held["approvals"], json!([{"gate": "plan", "revision": 1}]));
    assert_eq!(held["steps"][0]["waits_for"], json!({"code": "plan_approval"}));
    assert_eq!(post(&rig, &format!("{path}/pause"), &json!({"reason": "lunch"})).await.status, 202);
    assert_eq!(reach(&rig, &path, "paused").await["paused"], "lunch");
    assert_eq!(answer(rig.post(&format!("{path}/resume"))).await.status, 202);
    reach(&rig, &path, "awaiting_approval").await;
    let no = json!({"gate": "plan", "revision": 1, "reason": "too short"});
    assert_eq!(post(&rig, &format!("{path}/reject"), &no).await.status, 202);
    let failed = reach(&rig, &path, "failed").await;
    assert_eq!(failed["end"]["code"], "rejected");

    for what in ["pause", "resume", "approve"] {
        let late = answer(rig.post(&format!("{path}/{what}"))).await;
        assert_eq!(late.problem(), (409, "run_ended"), "{what}");
    }
    let retry = || answer(rig.post(&format!("{path}/retry")).header("Idempotency-Key", "k"));
    let (again, once) = (retry().await, retry().await);
    assert_eq!((again.status.as_u16(), &again.body), (202, &once.body));
    let second = again.location.unwrap();
    assert_ne!(second, path);
    let held = reach(&rig, &second, "awaiting_approval").await;
    assert_eq!(held["rerun_of"], failed["run_id"]);
    rig.shut_down().await;
}
