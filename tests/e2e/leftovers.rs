//! Whatever happens, nothing is left behind.

use std::{collections::BTreeSet, fs, time::Duration};

use planfleet_modelsim::Rule;
use serde_json::json;

use crate::support::{
    Home, Process, Rig, Roles as _, alive, descendants, first_plan, kill, local_model, plan, slow, step,
    until, within,
};

fn slow_run() -> (Rig, Process) {
    let steps = plan([step(1, "Take your time.")]);
    let rig = Rig::new(vec![first_plan(steps), Rule::text("done").step("Take").latency(slow(700))]);
    let process = rig.start_local(&json!({"goal": "go"}));
    rig.sim.await_step("Take your time");
    (rig, process)
}

fn is_running(pid: &u32, program: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains(program))
}

/// The program itself, not the shell that watches it.
fn is_named(pid: u32, name: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name)
}

fn all_gone(children: &BTreeSet<u32>) {
    let left = || children.iter().copied().filter(|pid| alive(*pid)).collect::<Vec<_>>();
    within(Duration::from_secs(5), "the end of all children", || left().is_empty().then_some(()));
}

#[test]
fn nothing_is_left_when_a_run_ends() {
    let (rig, process) = slow_run();
    let children = descendants(process.pid());
    assert!(children.iter().any(|pid| is_running(pid, "nats-server")), "{children:?}");
    process.ended().code(0);
    all_gone(&children);
    let temporary: Vec<_> = fs::read_dir(rig.home.path("tmp")).unwrap().collect();
    assert!(temporary.is_empty(), "{temporary:?}");
}

#[test]
fn nothing_is_left_when_a_run_is_killed() {
    let (_rig, mut process) = slow_run();
    let children = descendants(process.pid());
    process.kill();
    all_gone(&children);
}

#[test]
fn a_terminated_run_stops_its_children_too() {
    let (_rig, process) = slow_run();
    let children = descendants(process.pid());
    process.terminate();
    process.ended();
    all_gone(&children);
}

/// The broker dies, which a run of its own cannot do without: it says so at once and ends.
#[test]
fn a_run_whose_broker_is_killed_ends_and_says_so() {
    let (_rig, process) = slow_run();
    let children = descendants(process.pid());
    let server = children.iter().find(|pid| is_named(**pid, "nats-server")).unwrap();
    kill(*server);
    let outcome = process.ended().code(1);
    assert!(outcome.err.lines().last().is_some_and(|line| line.contains("nats-server")), "{outcome:#?}");
    all_gone(&children);
}

#[test]
fn nothing_is_left_of_the_local_model_when_a_run_is_killed() {
    let mut home = Home::new();
    home.set("PLANFLEET_CACHE", local_model());
    let mut process = home.start(["run", "--local", "Write a long story about a lighthouse."]);
    let children = until("the local model", || {
        assert!(!process.has_ended(), "{}", process.err());
        let children = descendants(process.pid());
        children.iter().any(|pid| is_running(pid, "gguf")).then_some(children)
    });
    assert!(children.iter().any(|pid| is_running(pid, "nats-server")), "{children:?}");
    process.kill();
    all_gone(&children);
}
