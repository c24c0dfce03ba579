//! Plans that are used again, what that saves, and what runs have cost.

use planfleet_modelsim::{Rule, UsageFigures};
use serde_json::{Value, json};

use crate::support::{Fleet, Rig, Roles as _, first_plan, slow, until};

fn rules() -> Vec<Rule> {
    let names = json!({"id": 1, "description": "Name the capital of the country.",
        "inputs": [{"name": "country", "value": null, "from_step": 0, "path": "/country"}]});
    let usage = UsageFigures { prompt_tokens: 2_000, completion_tokens: 500, ..UsageFigures::default() };
    vec![
        Rule { usage: Some(usage), ..first_plan(json!({"steps": [names], "final": 1})) },
        Rule::text("Santiago").step("Chile"),
        Rule::text("Lima").step("Peru"),
        Rule::text("Havana").step("Cuba"),
    ]
}

fn capital(country: &str) -> Value {
    json!({"goal": "Name the capital.", "inputs": {"country": country}, "class": "capitals", "mode": "plan"})
}

#[test]
fn the_second_task_of_a_class_asks_no_planner() {
    let fleet = Fleet::new(rules());
    let _all = fleet.serve("coordinator,planner,executor");
    let first = fleet.run(&capital("Chile")).ended().code(0).json();
    assert_eq!((&first["answer"], &first["cache"]["hit"]), (&json!("Santiago"), &json!(false)));
    let second = fleet.run(&capital("Peru")).ended().code(0).json();
    assert_eq!((&second["answer"], &second["cache"]["hit"]), (&json!("Lima"), &json!(true)));
    assert_eq!((&second["cache"]["saved_tokens"], &second["class"]), (&json!(2_500), &json!("capitals")));
    assert_eq!(second["usage"]["planner"]["calls"], 0);
    assert_eq!(fleet.rig.sim.planner().count(), 1);

    let listed = || fleet.rig.planfleet(&["cache", "list", "-o", "json"]).code(0).json();
    // What came of runs is written once a second.
    let entry = until("a plan that was used", || Some(listed()[0].clone()).filter(|one| one["used"] == 1));
    assert_eq!(
        (&entry["class"], &entry["proven"], &entry["saved_tokens"]),
        (&json!("capitals"), &json!(true), &json!(2_500))
    );
    let key = entry["key"].as_str().unwrap();
    let shown = fleet.rig.planfleet(&["cache", "show", key, "-o", "json"]).code(0).json();
    assert_eq!(shown["plan"]["steps"][0]["inputs"][0]["from_step"], 0);
    fleet.rig.planfleet(&["cache", "pin", key]).code(0);
    assert_eq!(listed()[0]["pinned"], true);
    let stats = fleet.rig.planfleet(&["cache", "stats", "-o", "json"]).code(0).json();
    assert_eq!((&stats[0]["used"], &stats[0]["planned"]), (&json!(1), &json!(1)));
    fleet.rig.planfleet(&["cache", "rm", "nothing"]).code(2);
    fleet.rig.planfleet(&["cache", "rm", key]).code(0);
    assert_eq!(listed(), json!([]));
    let third = fleet.run(&capital("Cuba")).ended().code(0).json();
    assert_eq!((&third["cache"]["hit"], fleet.rig.sim.planner().count()), (&json!(false), 2));

    cost_is_told_by_what_it_was_for(&fleet);
}

/// Two planners, who know of each other by the broker alone.
#[test]
fn a_thousand_cold_tasks_of_one_kind_are_planned_once() {
    const TASKS: usize = 1_000;
    let names = json!({"id": 1, "description": "Name the country.", "kind": "tool", "tools": ["echo"],
        "inputs": [{"name": "text", "value": null, "from_step": 0, "path": "/country"}]});
    let plan = first_plan(json!({"steps": [names], "final": 1}));
    let fleet = Fleet::new(vec![plan.latency(slow(500))]);
    let _serving = [fleet.serve("coordinator,executor"), fleet.serve("planner"), fleet.serve("planner")];
    let task = |n: usize| {
        let mut task = capital(&format!("Land {n}"));
        task["custom_id"] = json!(format!("t{n}"));
        format!("{task}\n")
    };
    fleet.rig.home.write("cold.jsonl", (0..TASKS).map(task).collect::<String>());
    let submit = ["batch", "submit", "cold.jsonl", "--wait", "-o", "jsonl"];
    let outcome = fleet.rig.planfleet(&submit).code(0);
    let documents: Vec<Value> = outcome.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let calls = |document: &&Value| document["usage"]["planner"]["calls"] != 0;
    let hits = documents.iter().filter(|document| document["cache"]["hit"] == true).count();
    assert_eq!((documents.len(), hits, documents.iter().filter(calls).count()), (TASKS, TASKS - 1, 1));
    assert_eq!(fleet.rig.sim.planner().count(), 1);
    let one = documents.iter().find(|document| document["custom_id"] == "t7").unwrap();
    assert_eq!(one["answer"]["text"], "Land 7", "{one:#}");
}

/// Of the three runs above: two plans at 2,000 tokens in and 500 out, three steps.
fn cost_is_told_by_what_it_was_for(fleet: &Fleet) {
    let report = |by: &str| fleet.rig.planfleet(&["cost", "report", "--by", by, "-o", "json"]).code(0).json();
    let models = report("model");
    assert_eq!((&models[0]["model"], &models[0]["calls"]), (&json!("brain"), &json!(2)));
    // 2 USD a million in and 10 out.
    assert_eq!(models[0]["usd"], json!(0.018), "{models:#}");
    let roles = report("role");
    assert_eq!((&roles[0]["role"], &roles[1]["role"]), (&json!("planner"), &json!("executor")));
    for by in ["class", "day", "tenant", "batch"] {
        let rows = report(by);
        assert_eq!((rows.as_array().unwrap().len(), &rows[0]["runs"]), (1, &json!(3)), "{by}: {rows:#}");
        assert_eq!(rows[0]["saved_usd"], json!(0.009));
    }
    assert_eq!(report("run").as_array().unwrap().len(), 3);
    let none = fleet.rig.planfleet(&["cost", "report", "--tenant", "acme", "-o", "json"]).code(0).json();
    assert_eq!(none, json!([]));
}

#[test]
fn the_same_tasks_are_compared_in_three_ways() {
    let mut all = rules();
    all.push(Rule::text("It is Santiago.").when_model("judge").when("Chile"));
    all.push(Rule::text("It is Quito.").when_model("judge").when("Peru"));
    let mut rig = Rig::new(all);
    rig.set("roles.strong=judge");
    let task = |country: &str, expected: &str| {
        json!({"goal": "Name the capital.", "inputs": {"country": country}, "expected": expected}).to_string()
    };
    rig.home.write("tasks.jsonl", [task("Chile", "Santiago"), task("Peru", "Lima")].join("\n"));
    let compared = rig.planfleet(&["compare", "tasks.jsonl", "-o", "json"]).code(0).json();
    let way = |at: usize, field: &str| compared["ways"][at][field].clone();
    assert_eq!([way(0, "way"), way(1, "way"), way(2, "way")], ["direct", "plan", "plan+cache"]);
    assert_eq!([way(0, "right"), way(1, "right"), way(2, "right")], [1, 2, 2].map(|right| json!(right)));
    let calls = |at: usize| way(at, "tokens")["planner"]["calls"].clone();
    assert_eq!([calls(0), calls(1), calls(2)], [0, 2, 1].map(|calls| json!(calls)));
    assert!(way(2, "usd").as_f64() < way(1, "usd").as_f64(), "{compared:#}");
    let words = compared["in_words"].as_array().unwrap();
    assert_eq!(words.len(), 3, "{words:?}");

    let recorded = rig.planfleet(&["compare", "tasks.jsonl", "--record", "tape.jsonl", "-o", "json"]);
    let (recorded, asked) = (recorded.code(0).json(), rig.sim.all().count());
    rig.set("models.brain.api_key_env=NOT_SET");
    let replayed = rig.planfleet(&["compare", "tasks.jsonl", "--replay", "tape.jsonl", "-o", "json"]);
    let replayed = replayed.code(0).json();
    assert_eq!(rig.sim.all().count(), asked, "nobody is asked");
    for at in 0..3 {
        for field in ["right", "usd", "tokens"] {
            assert_eq!(replayed["ways"][at][field], recorded["ways"][at][field], "{field} of way {at}");
        }
    }
    rig.set("models.brain.api_key_env=E2E_KEY");

    let table = rig.planfleet(&["compare", "tasks.jsonl", "--modes", "plan", "--limit", "1"]).code(0).out;
    assert!(table.contains("1/1") && !table.contains("direct"), "{table}");
    rig.home.write("tasks.jsonl", r#"{"goal": "g", "mode": "plan"}"#);
    let refused = rig.planfleet(&["compare", "tasks.jsonl"]).code(2).err;
    assert!(refused.contains("line 1") && refused.contains("mode"), "{refused}");
}
