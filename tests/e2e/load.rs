//! Much at once, and much in one piece.

use std::collections::BTreeMap;

use planfleet_modelsim::Rule;
use serde_json::{Value, json};

use crate::support::{Fleet, Rig, Roles as _, at, first_plan, plan, slow, step, tool, until};

const ITEMS: usize = 200;

/// Of two executors one is killed in mid-work; no item is lost, and only what
/// was in its hands is done again.
#[test]
fn a_long_list_survives_the_death_of_an_executor() {
    let steps = [
        tool(1, "json_transform").literal("input", &ITEMS.to_string()).literal("filter", "[range(.)]"),
        step(2, "Double the number.").for_each(at(1, "/value")),
        tool(3, "json_transform").uses("input", 2, "").literal("filter", "length"),
    ];
    let answer = Rule::text("done").step("Double the number").latency(slow(100));
    let fleet = Fleet::new(vec![first_plan(plan(steps)), answer]);
    let _others = fleet.serve("coordinator,planner");
    let mut executors = [fleet.serve("executor"), fleet.serve("executor")];
    let waiter = fleet.run(&json!({"goal": "Double."}));
    until("a good part of the list", || (fleet.rig.sim.all().count() > ITEMS / 4).then_some(()));
    executors[0].kill();

    let document = waiter.ended().code(0).json();
    assert_eq!(document["answer"]["value"], ITEMS);
    let mut calls: BTreeMap<String, usize> = BTreeMap::new();
    let all = fleet.rig.sim.executor("Double the number");
    for place in 0..all.count() {
        *calls.entry(all.prompt(place)).or_default() += 1;
    }
    assert_eq!(calls.len(), ITEMS);
    // 16 slots were in its hands.
    assert!(all.count() <= ITEMS + 16, "{} calls", all.count());
    assert!(calls.values().all(|count| *count <= 2));
}

/// Outputs too large for a message travel by reference, and arrive whole.
#[test]
fn a_large_output_arrives_whole() {
    let line = "All work and no play makes Jack a dull boy. ";
    let text = line.repeat(300 * 1024 / line.len());
    let steps = [
        tool(1, "file_read").uses("path", 0, "/path"),
        tool(2, "text_split").uses("text", 1, "/text").literal("by", "separator").literal("separator", ". "),
        tool(3, "json_transform").uses("input", 2, "/items").literal("filter", "map(length) | add"),
        step(4, "Say how much.").uses("book", 1, "/text"),
    ];
    let mut rig = Rig::new(vec![Rule::text("much").step("Say how much")]);
    rig.home.write("book.txt", &text);
    rig.set(format!("tools.roots={}", rig.home.path("").display()));
    let document =
        rig.run_local(&json!({"plan": plan(steps), "inputs": {"path": "book.txt"}})).code(0).json();
    assert_eq!(document["steps"][0]["output"]["text"], Value::String(text.clone()));
    assert_eq!(document["steps"][1]["output"]["count"], text.matches(". ").count());
    assert!(rig.sim.executor("Say how much").prompt(0).contains(&text));
}

/// Runs of one fleet do not get into each other's way.
#[test]
fn many_runs_at_once_each_get_their_own_answer() {
    let mut fleet =
        Fleet::new(vec![Rule::text("odd").step("one-or-so"), Rule::text("even").step("two-or-so")]);
    fleet.rig.set("nats.shards=4");
    let _serving = [fleet.serve("coordinator,executor"), fleet.serve("coordinator,executor")];
    let names = ["one-or-so", "two-or-so"];
    let task = |number: usize| {
        json!({
            "plan": plan([step(1, "Odd or even?").uses("number", 0, "/number")]),
            "inputs": {"number": names[number - 1]}, "custom_id": format!("case-{number}"),
        })
    };
    let runs: Vec<(usize, String)> =
        (0..20).map(|n| n % 2 + 1).map(|n| (n, fleet.submit(&task(n)))).collect();
    for (number, run) in runs {
        let document = fleet.watch(&run).code(0).json();
        assert_eq!(document["answer"], ["odd", "even"][number - 1]);
        assert_eq!(document["custom_id"], format!("case-{number}"));
    }
    let listed = fleet.rig.planfleet(&["runs", "list", "-o", "json"]).code(0).json();
    assert_eq!(listed.as_array().unwrap().len(), 20);
}
