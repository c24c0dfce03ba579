//! A plan is written and carried out.

use planfleet_modelsim::{Latency, Rule, UsageFigures, peak_overlap};
use serde_json::{Value, json};

use crate::support::{Rig, Roles as _, at, first_plan, plan, slow, step, tool};

fn figures(prompt_tokens: u64, completion_tokens: u64, cached_tokens: u64) -> Option<UsageFigures> {
    Some(UsageFigures { prompt_tokens, completion_tokens, cached_tokens, ..UsageFigures::default() })
}

fn near(value: &Value, expected: f64) {
    let value = value.as_f64().unwrap_or_else(|| panic!("{value} is no number"));
    assert!((value - expected).abs() < 1e-9, "{value} is not {expected}");
}

/// The document has every field of DESIGN section 11; tokens are the provider's
/// own and money follows from the configured prices.
#[test]
fn a_planned_run_ends_with_a_whole_document() {
    let steps = [
        step(1, "Name the capital.").must("judge", "Is it a capital?"),
        step(2, "Describe the town.").uses("town", 1, ""),
    ];
    let rig = Rig::new(vec![
        Rule { usage: figures(1000, 200, 100), ..first_plan(plan(steps)) },
        Rule { usage: figures(50, 5, 0), ..Rule::text("Paris").step("Name the capital") },
        Rule { usage: figures(60, 15, 20), ..Rule::text("A town of light.").step("Describe the town") },
        Rule {
            usage: figures(40, 10, 0),
            ..Rule::json(json!({"pass": true, "reason": "it is"})).when_model("judge")
        },
    ]);

    let task = json!({"goal": "Describe the capital of France.", "custom_id": "case-1", "mode": "plan"});
    let document = rig.run_local(&task).code(0).json();

    assert!(document["run_id"].as_str().is_some_and(|id| id.len() <= 64), "{document:#}");
    assert_eq!(document["custom_id"], "case-1");
    assert_eq!(document["state"], "succeeded");
    assert_eq!(document["answer"], "A town of light.");
    assert_eq!((&document["partial"], &document["reason"]), (&json!(false), &Value::Null));

    let revision = &document["revisions"][0];
    assert_eq!(revision["revision"], 1);
    assert!(revision["reason"].is_string());
    assert_eq!((&revision["added"], &revision["dropped"]), (&json!([1, 2]), &json!([])));
    // 900 fresh and 100 cached tokens in, 200 out.
    near(&revision["usd"], 900.0 * 2e-6 + 100.0 * 0.5e-6 + 200.0 * 10e-6);

    let second = &document["steps"][1];
    assert_eq!((&second["id"], &second["revision"], &second["attempts"]), (&json!(2), &json!(1), &json!(1)));
    assert_eq!((&second["state"], &second["pool"]), (&json!("succeeded"), &json!("default")));
    assert_eq!((&second["description"], &second["model"]), (&json!("Describe the town."), &json!("hands")));
    assert_eq!((&second["output"], &second["error"]), (&json!("A town of light."), &Value::Null));
    assert_eq!(second["usage"]["input_tokens"], 60);
    let time =
        |name: &str| second[name].as_str().unwrap_or_else(|| panic!("no {name}: {second:#}")).to_owned();
    assert!(time("started_at") <= time("ended_at"));

    let usage = |role: &str, name: &str| document["usage"][role][name].as_u64();
    let all = |role| {
        ["calls", "input_tokens", "output_tokens", "cached_tokens"].map(|name| usage(role, name).unwrap())
    };
    assert_eq!(all("planner"), [1, 1000, 200, 100]);
    assert_eq!(all("executor"), [2, 110, 20, 20]);
    assert_eq!(all("judge"), [1, 40, 10, 0]);
    assert_eq!(all("triage"), [0, 0, 0, 0]);
    let executor = 90.0 * 0.1e-6 + 20.0 * 0.05e-6 + 20.0 * 0.4e-6;
    near(&document["usage"]["executor"]["usd"], executor);
    near(&document["usage"]["judge"]["usd"], 50e-6);
    near(&document["usd"], 0.00385 + executor + 50e-6);

    let timings = |name: &str| document["timings"][name].as_u64().unwrap_or_else(|| panic!("no {name}"));
    assert!(
        ["queued_ms", "planning_ms", "executing_ms"].map(timings).iter().all(|ms| *ms <= timings("total_ms"))
    );
}

/// An unknown price makes the cost unknown, never nothing.
#[test]
fn without_a_price_the_cost_is_null() {
    let mut rig = Rig::new(vec![first_plan(plan([step(1, "Say hello.")])), Rule::text("hello")]);
    rig.home.write("bare.toml", format!("[models.brain]\nbase_url = {:?}\nmodel = \"brain\"\n[roles]\nplanner = \"brain\"\nexecutor = \"brain\"\n", rig.sim.url()));
    rig.home.set("PLANFLEET_CONFIG", "bare.toml");
    let document = rig.home.planfleet(["run", "--local", "hello", "-o", "json"]).code(0).json();
    assert_eq!((&document["usd"], &document["usage"]["executor"]["usd"]), (&Value::Null, &Value::Null));
    assert!(document["usage"]["executor"]["input_tokens"].as_u64() > Some(0));
}

#[test]
fn independent_steps_overlap_and_a_dependent_starts_after_both() {
    let steps = [
        step(1, "Read the left page."),
        step(2, "Read the right page."),
        step(3, "Compare them.").uses("left", 1, "").uses("right", 2, ""),
    ];
    let rig = Rig::new(vec![
        first_plan(plan(steps)),
        Rule::text("read").step("page").latency(slow(1000)),
        Rule::text("equal").step("Compare"),
    ]);

    rig.run_local(&json!({"goal": "compare"})).code(0);

    let (left, right) = (rig.sim.executor("left page").only(), rig.sim.executor("right page").only());
    assert!(left.overlaps(&right), "{left:?} {right:?}");
    let compare = rig.sim.executor("Compare").only();
    assert!(left.ended_us.max(right.ended_us).is_some_and(|ended| ended <= compare.at_us));
}

/// No wave waits for its slowest: what depends on the quick one starts beside the slow one.
#[test]
fn a_step_starts_as_soon_as_its_own_dependencies_are_done() {
    let steps = [
        step(1, "The quick one."),
        step(2, "The slow one."),
        step(3, "After the quick.").uses("a", 1, ""),
        step(4, "After both.").uses("a", 3, "").uses("b", 2, ""),
    ];
    let rig = Rig::new(vec![
        first_plan(plan(steps)),
        Rule::text("slow").step("The slow one").latency(slow(700)),
        Rule::text("done").when_model("hands"),
    ]);

    rig.run_local(&json!({"goal": "go"})).code(0);

    let (slow, after) = (rig.sim.executor("The slow one").only(), rig.sim.executor("After the quick").only());
    assert!(after.did_not_wait_for(&slow), "{slow:?} {after:?}");
}

#[test]
fn an_executor_sees_its_step_and_the_outputs_it_refers_to_and_nothing_else() {
    let steps = [
        step(1, "Find the fruit."),
        step(2, "Find the colour."),
        step(3, "Paint the fruit.").uses("fruit", 1, "").uses("size", 0, "/size"),
        step(4, "Frame it.").uses("picture", 3, "").after(2),
    ];
    let rig = Rig::new(vec![
        first_plan(plan(steps)),
        Rule::text("fruit-canary").step("Find the fruit"),
        Rule::text("colour-canary").step("Find the colour"),
        Rule::text("picture-canary").step("Paint the fruit"),
        Rule::text("framed").step("Frame it"),
    ]);

    let inputs = json!({"size": "size-canary", "secret": "input-canary"});
    rig.run_local(&json!({"goal": "Make goal-canary art.", "inputs": inputs})).code(0);

    let painting = rig.sim.executor("Paint the fruit").only().body.to_string();
    assert!(painting.contains("fruit-canary") && painting.contains("size-canary"), "{painting}");
    for other in ["goal-canary", "colour-canary", "input-canary", "picture-canary", "Find the", "Frame"] {
        assert!(!painting.contains(other), "{other} in {painting}");
    }
    let framing = rig.sim.executor("Frame it").only().body.to_string();
    assert!(framing.contains("picture-canary"), "{framing}");
    // It waits for the colour and does not ask to see it.
    assert!(!framing.contains("colour-canary") && !framing.contains("fruit-canary"), "{framing}");
}

#[test]
fn the_first_step_starts_while_the_planner_still_writes() {
    let later = "A long description of something to do later. ".repeat(8);
    let steps =
        (1..=5).map(|id| if id == 1 { step(1, "Start early.") } else { step(id, &later).after(id - 1) });
    let pace = Latency { tokens_per_s: Some(400.0), ..Latency::default() };
    let rig = Rig::new(vec![first_plan(plan(steps)).latency(pace), Rule::text("done").when_model("hands")]);

    rig.run_local(&json!({"goal": "go"})).code(0);

    let (planning, early) = (rig.sim.planner().only(), rig.sim.executor("Start early").only());
    assert!(planning.body["stream"] == true);
    let last = planning.sent.last().expect("the plan was streamed");
    assert!(
        early.at_us < last.at_us,
        "asked for at {} and the plan's last token was sent at {}",
        early.at_us,
        last.at_us
    );
}

#[test]
fn a_list_known_only_at_run_time_is_worked_on_item_by_item() {
    let steps = [
        tool(1, "text_split").uses("text", 0, "/text").literal("by", "lines"),
        step(2, "Shout the word.").for_each(at(1, "/items")),
        tool(3, "json_transform").uses("input", 2, "").literal("filter", "map(ascii_upcase) | join(\" \")"),
        step(4, "Say it.").uses("words", 3, "/value"),
    ];
    let mut rules = vec![first_plan(plan(steps)), Rule::text("said").step("Say it")];
    let words = ["antelope", "bumblebee", "caterpillar", "dolphin", "earwig"];
    rules
        .extend(words.map(|word| Rule::text(format!("{word}!")).step("Shout").when(word).latency(slow(200))));
    let rig = Rig::new(rules);

    let document =
        rig.run_local(&json!({"goal": "shout", "inputs": {"text": words.join("\n")}})).code(0).json();

    let steps = document["steps"].as_array().unwrap();
    let find =
        |id: Value| steps.iter().find(|step| step["id"] == id).unwrap_or_else(|| panic!("no step {id}"));
    assert_eq!(find(json!(2))["output"], json!(words.map(|word| format!("{word}!"))));
    assert_eq!(find(json!("2[3]"))["output"], "dolphin!");
    let shouted = words.map(|word| format!("{}!", word.to_uppercase())).join(" ");
    assert_eq!(find(json!(3))["output"]["value"], shouted);
    assert!(rig.sim.executor("Say it").prompt(0).contains(&shouted));
    let calls = rig.sim.executor("Shout").0;
    assert_eq!((calls.len(), peak_overlap(&calls)), (5, 5));
}

#[test]
fn an_empty_list_gives_an_empty_list() {
    let steps = [
        tool(1, "json_transform").uses("input", 0, "/words").literal("filter", "."),
        step(2, "Shout the word.").for_each(at(1, "/value")),
    ];
    let rig = Rig::new(vec![first_plan(plan(steps))]);
    let document = rig.run_local(&json!({"goal": "shout", "inputs": {"words": []}})).code(0).json();
    assert_eq!((&document["answer"], &document["partial"]), (&json!([]), &json!(false)));
    assert_eq!(rig.sim.executor("").count(), 0);
}

/// With a plan of its own a task needs no planner.
#[test]
fn a_plan_that_comes_with_the_task_is_run_as_it_stands() {
    let rig = Rig::new(vec![Rule::text("hello").step("Greet")]);
    let task = json!({"plan": plan([step(1, "Greet.").uses("who", 0, "/who")]), "inputs": {"who": "Ada"}});
    let document = rig.run_local(&task).code(0).json();
    assert_eq!(document["answer"], "hello");
    assert_eq!((rig.sim.planner().count(), rig.sim.all().count()), (0, 1));
    assert!(rig.sim.executor("Greet").prompt(0).contains("Ada"));
}

/// A model with tools calls them itself, within its step.
#[test]
fn a_model_step_may_call_the_tools_that_the_plan_gives_it() {
    let planned = plan([step(1, "What is six times seven?").with_tool("math_eval")]);
    let rig = Rig::new(vec![
        first_plan(planned),
        Rule::tool_call("math_eval", json!({"expression": "6*7"})).step("six times seven").times(1),
        Rule::text("It is 42.").step("six times seven").when("42"),
    ]);
    let document = rig.run_local(&json!({"goal": "calculate"})).code(0).json();
    assert_eq!(document["answer"], "It is 42.");
    assert_eq!(document["usage"]["executor"]["calls"], 2);
}
