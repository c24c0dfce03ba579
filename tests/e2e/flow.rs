//! Whose turn it is: shares, pauses, and what waits while nobody works.

use planfleet_modelsim::Rule;
use serde_json::{Value, json};

use crate::support::{Fleet, Roles as _, api_port, http, plan, slow, step, tool, until};

fn lines(tasks: impl IntoIterator<Item = Value>) -> String {
    tasks.into_iter().map(|task| format!("{task}\n")).collect()
}

/// A task of one step without a model.
fn sum(number: usize) -> Value {
    let step = tool(1, "math_eval").literal("expression", &format!("{number} + 1"));
    json!({"plan": plan([step]), "custom_id": format!("n{number}")})
}

/// `queue …` in JSON.
fn queue(fleet: &Fleet, args: &[&str]) -> Value {
    let args: Vec<&str> = ["queue"].iter().chain(args).chain(&["-o", "json"]).copied().collect();
    fleet.rig.planfleet(&args).code(0).json()
}

/// How much of a pool is ready, paused and out.
fn depth(fleet: &Fleet, pool: &str) -> (u64, u64, u64) {
    let listed = queue(fleet, &["list"]);
    let count = |pool: &Value, what: &str| pool[what].as_u64().unwrap();
    let found = listed["pools"].as_array().unwrap().iter().find(|found| found["pool"] == pool);
    found.map_or((0, 0, 0), |pool| (count(pool, "ready"), count(pool, "paused"), count(pool, "out")))
}

#[test]
fn a_large_tenant_leaves_a_small_one_its_share() {
    let answer = Rule::text("done").step("work").latency(slow(20));
    let mut fleet = Fleet::new(vec![answer]);
    fleet.rig.set("pools.default.slots=2");
    let _serving = fleet.serve("coordinator,executor");
    let ask = |tenant: &str, n: usize| {
        let steps = plan([step(1, &format!("Do the work of {tenant}, number {n}."))]);
        json!({"plan": steps, "tenant": tenant, "custom_id": format!("n{n}")})
    };
    fleet.rig.home.write("large.jsonl", lines((0..400).map(|n| ask("large", n))));
    fleet.rig.planfleet(&["batch", "submit", "large.jsonl", "--tenant", "large"]).code(0);
    fleet.rig.home.write("small.jsonl", lines((0..4).map(|n| ask("small", n))));
    fleet.rig.planfleet(&["batch", "submit", "--wait", "small.jsonl", "--tenant", "small"]).code(0);

    until("the end of everything", || (fleet.rig.sim.all().count() == 404).then_some(()));
    let all = fleet.rig.sim.executor("Do the work");
    let order: Vec<bool> = (0..404).map(|place| all.prompt(place).contains("work of small")).collect();
    let last_small = order.iter().rposition(|small| *small).unwrap();
    // First come, first served, it would be the last of all.
    assert!(last_small < 300, "the last of the small one's four went as number {last_small} of 404");
}

#[test]
fn a_paused_tenant_starts_nothing_until_it_is_resumed_and_others_go_on() {
    let fleet = Fleet::new(Vec::new());
    let coordinator = fleet.serve("coordinator");
    let _executor = fleet.serve("executor");
    let paused = queue(&fleet, &["pause", "--tenant", "acme", "--reason", "audit"]);
    assert_eq!(paused["pause"]["reason"], "audit");
    let of = |tenant: &str| {
        let mut task = sum(1);
        task["tenant"] = json!(tenant);
        task
    };
    let held = fleet.submit(&of("acme"));
    assert_eq!(fleet.run(&of("other")).ended().code(0).json()["answer"]["value"], 2);
    until("what is held", || (depth(&fleet, "default") == (0, 1, 0)).then_some(()));
    let waits = |id: &str| {
        let document = fleet.rig.planfleet(&["runs", "get", id, "-o", "json"]).code(0).json();
        document["steps"][0]["waits_for"].clone()
    };
    assert_eq!(waits(&held), json!({"code": "queue_paused", "what": "tenant acme", "reason": "audit"}));
    let shown = fleet.rig.planfleet(&["queue", "list"]).code(0).out;
    assert!(shown.contains("tenant acme is paused: audit"), "{shown}");

    // Another coordinator knows it too.
    coordinator.terminate();
    coordinator.ended().code(0);
    let _next = fleet.serve("coordinator");
    fleet.wait_for_an_owner();
    until("what is held by the next", || (depth(&fleet, "default") == (0, 1, 0)).then_some(()));

    assert_eq!(queue(&fleet, &["resume", "--tenant", "acme"])["was_paused"], true);
    assert_eq!(fleet.watch(&held).code(0).json()["answer"]["value"], 2);
    assert_eq!(queue(&fleet, &["resume", "--tenant", "acme"])["was_paused"], false);
    let two = fleet.rig.planfleet(&["queue", "pause", "--tenant", "a", "--pool", "b"]).code(2);
    assert!(two.err.contains("cannot be used with"), "{}", two.err);
    let bad = fleet.rig.planfleet(&["queue", "pause", "--class", "a b"]).code(2);
    assert!(bad.err.contains("use 1 to 64 of A-Z a-z 0-9 _ -"), "{}", bad.err);
}

#[test]
fn what_has_waited_for_executors_only_gets_less_when_one_comes() {
    const TASKS: u64 = 200;
    let mut fleet = Fleet::new(Vec::new());
    fleet.rig.set("pools.default.slots=1");
    let _coordinator = fleet.serve("coordinator");
    fleet.rig.home.write("tasks.jsonl", lines((0..TASKS as usize).map(sum)));
    fleet.rig.planfleet(&["batch", "submit", "tasks.jsonl"]).code(0);
    // A little is let go, so that it is seen at the broker that there is work.
    until("the backlog", || (depth(&fleet, "default") == (TASKS - 64, 0, 64)).then_some(()));
    let _executor = fleet.serve("executor");
    let mut last = TASKS;
    until("an empty queue", || {
        let (ready, paused, out) = depth(&fleet, "default");
        let left = ready + paused + out;
        assert!(left <= last, "{left} after {last}");
        last = left;
        (left == 0).then_some(())
    });
}

#[test]
fn a_pool_is_held_back_and_let_go_on_over_http() {
    let fleet = Fleet::new(Vec::new());
    let serving = fleet.serve("coordinator,executor,api");
    let port = api_port(&serving);
    let post = |path: &str, body: &str| -> Value {
        let answer = http::post_with(port, path, &[], body).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        serde_json::from_str(&answer.body).unwrap()
    };
    let queues = || -> Value { serde_json::from_str(&http::get(port, "/v1/queues").unwrap().body).unwrap() };
    let ready = |queues: &Value| {
        let pools = queues["pools"].as_array().unwrap();
        pools.iter().find(|pool| pool["pool"] == "default").unwrap()["ready_backlog"].clone()
    };
    let paused = post("/v1/queues:pause", r#"{"pool": "default", "reason": "audit"}"#);
    assert_eq!((&paused["what"], &paused["name"]), (&json!("pool"), &json!("default")));
    let held: Vec<String> = (0..3).map(|n| fleet.submit(&sum(n))).collect();
    let seen = until("what is held", || Some(queues()).filter(|queues| ready(queues) == 3));
    assert_eq!((&seen["pauses"][0]["reason"], &seen["backlog"]), (&json!("audit"), &json!(3)), "{seen:#}");
    assert_eq!(post("/v1/queues:resume", r#"{"pool": "default"}"#)["was_paused"], true);
    for (n, run) in held.iter().enumerate() {
        assert_eq!(fleet.watch(run).code(0).json()["answer"]["value"], n + 1);
    }
    let after = queues();
    assert_eq!((ready(&after), &after["pauses"]), (json!(0), &json!([])), "{after:#}");
}
