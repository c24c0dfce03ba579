//! `planfleet dev`: everything in one process, whose data survives it.

use planfleet_modelsim::Rule;

use crate::support::{
    Process, Rig, Roles as _, alive, descendants, first_plan, plan, slow, step, tool, until,
};

fn dev(rig: &Rig) -> Process {
    let mut process = rig.start(&["dev", "--no-local-model"]);
    process.says("planfleet is up");
    process
}

fn rig() -> Rig {
    let mut rig = Rig::new(vec![
        first_plan(plan([
            step(1, "Say hello."),
            // By its end the first step has left the queue, and no crash can bring it back.
            tool(2, "wait").literal("ms", "200").after(1),
            step(3, "Take your time.").after(2),
        ])),
        Rule::text("hello").step("Say hello"),
        Rule::text("done").step("Take your time").latency(slow(1_200)),
    ]);
    let data = rig.home.path("fleet data");
    rig.set(format!("data.dir={}", data.display()));
    rig
}

#[test]
fn runs_survive_a_restart() {
    let rig = rig();
    let first = dev(&rig);
    let document = rig.planfleet(&["run", "go", "-o", "json"]).code(0).json();
    let id = document["run_id"].as_str().unwrap();
    first.terminate();
    first.ended().code(0);

    let _second = dev(&rig);
    assert_eq!(rig.planfleet(&["runs", "get", id, "-o", "json"]).code(0).json(), document);
    assert_eq!(rig.planfleet(&["runs", "watch", id, "-o", "json"]).code(0).json()["answer"], "done");
    let listed = rig.planfleet(&["runs", "list", "-o", "json"]).code(0).json();
    assert_eq!(listed[0]["run_id"], id);
}

/// Killed with its children in the middle of a run, it goes on where it was.
#[test]
fn a_run_goes_on_after_a_crash_of_everything() {
    let rig = rig();
    let mut first = dev(&rig);
    let submitted = rig.planfleet(&["run", "go", "--detach"]).code(0);
    rig.sim.await_step("Take your time");
    let children = descendants(first.pid());
    first.kill();
    until("the end of the children", || (!children.iter().any(|pid| alive(*pid))).then_some(()));

    let _second = dev(&rig);
    let document = rig.planfleet(&["runs", "watch", submitted.out.trim(), "-o", "json"]).code(0).json();
    assert_eq!(document["answer"], "done");
    rig.sim.executor("Say hello").only();
}

#[test]
fn a_second_one_on_the_same_data_is_refused() {
    let rig = rig();
    let _first = dev(&rig);
    let second = rig.planfleet(&["dev", "--no-local-model", "--quiet"]).code(2);
    assert!(second.one_line().contains("in use"), "{second:#?}");
}
