//! More work than a fleet gets done.

use std::time::Duration;

use planfleet_modelsim::Rule;
use serde_json::{Value, json};

use crate::support::{Fleet, Roles as _, api_port, ended_within, http, plan, slow, step, until};

/// What is refused is refused with a time, what is accepted is done, and there is room again.
#[test]
fn a_full_fleet_says_when_to_come_again_and_does_what_it_has_taken() {
    let mut fleet = Fleet::new(vec![Rule::text("done").step("Wait").latency(slow(300))]);
    fleet.rig.set("nats.shards=1");
    fleet.rig.set("limits.active_runs=40");
    fleet.rig.set("limits.active_runs_per_tenant=30");
    fleet.rig.set("pools.default.slots=4");
    let serving = fleet.serve("coordinator,executor,api");
    let port = api_port(&serving);
    fleet.wait_for_an_owner();

    let submit = |key: usize| {
        let task = json!({"plan": plan([step(1, "Wait.")]), "tenant": "acme"}).to_string();
        let answer = http::post(port, "/v1/runs", &key.to_string(), &task, Duration::from_secs(30)).unwrap();
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        (answer, body)
    };
    let (mut accepted, mut refused) = (Vec::new(), 0);
    for key in 0..400 {
        let (answer, body) = submit(key);
        if answer.status == 202 {
            accepted.push(body["run_id"].as_str().unwrap().to_owned());
            continue;
        }
        let known = [(503, "fleet_full"), (429, "tenant_full")];
        assert!(
            known.iter().any(|&(status, code)| answer.status == status && body["code"] == code),
            "{answer:?}"
        );
        let wait =
            answer.head.lines().find_map(|line| line.strip_prefix("retry-after: ")?.parse::<u64>().ok());
        assert!(wait.is_some_and(|seconds| (1..=30).contains(&seconds)), "{answer:?}");
        refused += 1;
    }
    assert!(refused > 0 && accepted.len() >= 30, "{refused} refused, {} accepted", accepted.len());
    for run in &accepted {
        let document: Value = ended_within(Duration::from_secs(60), port, run);
        assert_eq!(document["state"], "succeeded", "{document}");
    }
    until("room again", || (submit(400).0.status == 202).then_some(()));
}
