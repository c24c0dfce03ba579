//! One trace per run, through all processes and revisions.

use std::collections::BTreeSet;

use planfleet_modelsim::Rule;
use serde_json::json;

use crate::support::{Fleet, Receiver, Roles as _, Span, first_plan, plan, replan, step, until};

#[test]
fn a_run_that_replanned_is_one_trace() {
    let receiver = Receiver::start();
    let number = |id, text: &str| step(id, text).must("matches", "^[0-9]+$");
    let mended = number(3, "Say it better.").with_tool("math_eval");
    let mut fleet = Fleet::new(vec![
        first_plan(plan([step(1, "Say hello."), number(2, "Say a number.").uses("x", 1, "")])),
        Rule::json(replan("again", [mended])).replans(),
        Rule::text("hello").step("Say hello"),
        Rule::text("many").step("Say a number"),
        Rule::tool_call("math_eval", json!({"expression": "6*7"})).step("Say it better").times(1),
        Rule::text("42").step("Say it better"),
    ]);
    fleet.rig.set(format!("telemetry.otlp_endpoint={}", receiver.endpoint));
    let services = ["coordinator", "planner", "executor"].map(|role| fleet.serve(role));
    let document = fleet.run(&json!({"goal": "go"})).ended().code(0).json();
    // Ended processes have sent what they had.
    services.iter().for_each(|service| service.terminate());
    for service in services {
        service.ended().code(0);
    }

    let run = document["run_id"].as_str().unwrap();
    let spans = until("the trace", || {
        let root = receiver.spans().into_iter().find(|span| span.name.starts_with("invoke_workflow"))?;
        let spans = receiver.spans().into_iter().filter(|span| span.trace == root.trace);
        Some(spans.collect::<Vec<_>>())
    });
    let named = |name: &str| spans.iter().filter(|span| span.name.starts_with(name)).collect::<Vec<&Span>>();
    let plans = named("plan");
    let revisions: BTreeSet<_> = plans.iter().map(|span| span.attribute("revision")).collect();
    assert_eq!((plans.len(), revisions.len()), (2, 2), "the plan and its revision: {spans:#?}");
    let steps = named("invoke_agent step");
    assert_eq!(steps.len(), 3, "{spans:#?}");
    assert!(steps.iter().chain(&plans).all(|span| span.attribute("run_id") == Some(run)), "{spans:#?}");
    // Two plans, one good step, one and its repair, one before its tool and one after.
    assert_eq!(named("chat brain").len(), 2);
    assert_eq!(named("chat hands").len(), 5);
    assert_eq!(named("execute_tool math_eval").len(), 1, "{spans:#?}");

    // Nothing hangs in the air: every parent is in the trace, and there is one root.
    let ids: BTreeSet<&Vec<u8>> = spans.iter().map(|span| &span.id).collect();
    let roots: Vec<_> = spans.iter().filter(|span| !ids.contains(&span.parent)).collect();
    assert_eq!(roots.len(), 1, "{roots:#?}");
    // And no span of this run is in another trace.
    let strays = receiver.spans().into_iter().filter(|span| span.attribute("run_id") == Some(run));
    assert!(strays.into_iter().all(|span| span.trace == spans[0].trace));
}
