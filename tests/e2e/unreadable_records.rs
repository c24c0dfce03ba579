//! Messages that nobody can read.

use planfleet_modelsim::Rule;
use serde_json::json;

use crate::support::{Fleet, Roles as _, first_plan, free_port, http, plan, step, until};

#[test]
fn an_unreadable_record_is_set_aside_and_counted_and_the_shard_goes_on() {
    let mut fleet =
        Fleet::new(vec![first_plan(plan([step(1, "Say hello.")])), Rule::text("hello").step("Say")]);
    let port = free_port();
    let _workers = fleet.serve("planner,executor");
    fleet.rig.set(format!("health.listen=127.0.0.1:{port}"));
    let _coordinator = fleet.serve("coordinator");
    fleet.broker.publish("pf.ev.00.result", b"\xffthis is not protobuf");
    fleet.broker.publish("pf.ev.00.result", b"");

    until("the dead letters", || (fleet.broker.messages("PF_DLQ") == 2).then_some(()));
    let metrics = http::get(port, "/metrics").unwrap().body;
    let counted = metrics.lines().find(|line| line.starts_with("planfleet_dead_letters"));
    assert!(counted.is_some_and(|line| line.ends_with(" 2")), "{counted:?} in {metrics}");

    fleet.rig.set("health.listen=127.0.0.1:0");
    let document = fleet.run(&json!({"goal": "go"})).ended().code(0).json();
    assert_eq!(document["answer"], "hello");
    assert_eq!(fleet.broker.messages("PF_DLQ"), 2);
}

#[test]
fn unreadable_work_is_set_aside_and_the_pool_goes_on() {
    let fleet = Fleet::new(vec![first_plan(plan([step(1, "Say hello.")])), Rule::text("hello").step("Say")]);
    let _serving = fleet.serve("coordinator,planner,executor");
    fleet.broker.publish("pf.steps.default.1.t.00-x.1.1", b"\xffthis is not protobuf");
    until("the dead letter", || (fleet.broker.messages("PF_DLQ") == 1).then_some(()));
    fleet.run(&json!({"goal": "go"})).ended().code(0);
    until("an empty queue", || (fleet.broker.messages("PF_STEPS_0") == 0).then_some(()));
}
