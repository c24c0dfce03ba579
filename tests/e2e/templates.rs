//! Templates: found by name, frozen as plans, and never planned.

use std::{collections::BTreeMap, path::Path};

use planfleet_modelsim::Rule;
use serde_json::{Value, json};

use crate::support::{Fleet, Home, Rig, Roles as _, until};

/// Runs a template that ships with planfleet on a fleet of its own.
fn run(rig: &Rig, template: &str, inputs: Value) -> Value {
    let document = rig.run_local(&json!({"template": template, "inputs": inputs})).code(0).json();
    assert_eq!(document["usage"]["planner"]["calls"], 0, "{document:#}");
    assert_eq!(rig.sim.planner().count(), 0);
    document
}

fn rig(rules: Vec<Rule>) -> Rig {
    let mut rig = Rig::new(rules);
    rig.set(format!("tools.roots={}", rig.home.path("").display()));
    rig
}

#[test]
fn a_code_review_looks_at_a_file_from_three_sides() {
    let rig = rig(vec![
        Rule::text("Names are fine.").step("Review the style"),
        Rule::text("Off by one in line 2.").step("Review the logic"),
        Rule::text("None.").step("Review the security"),
        Rule::text("Mend the off by one in line 2.").step("Sum up these three reviews"),
    ]);
    rig.home.write("sum.py", "def total(xs):\n    return sum(xs[1:])\n");
    let document = run(&rig, "code-review", json!({"path": "sum.py"}));
    assert_eq!(document["answer"], "Mend the off by one in line 2.");
    assert_eq!(rig.sim.executor("Review the").count(), 3);
    for side in ["style", "logic", "security"] {
        assert!(rig.sim.executor(&format!("Review the {side}")).prompt(0).contains("xs[1:]"), "{side}");
    }
    let prompt = rig.sim.executor("Sum up these three").prompt(0);
    assert!(prompt.contains("Names are fine.") && prompt.contains("Off by one in line 2."), "{prompt}");
}

#[test]
fn a_long_text_is_summarised_piece_by_piece() {
    let rig = rig(vec![
        Rule::text("A piece about rain.").step("Summarise this piece"),
        Rule::text("It rains all the time.").step("summaries of the pieces of one text"),
    ]);
    rig.home.write("book.txt", "It rained. ".repeat(100));
    let document = run(&rig, "map-summarise", json!({"path": "book.txt", "piece_chars": 300}));
    assert_eq!(document["answer"], "It rains all the time.");
    assert_eq!(rig.sim.executor("Summarise this piece").count(), 4);
    let refused = rig.run_local(&json!({"template": "map-summarise", "inputs": {"piece_chars": 1}})).code(2);
    assert!(refused.err.contains("inputs/piece_chars") && refused.err.contains("path"), "{}", refused.err);
}

#[test]
fn a_table_is_made_of_what_each_record_says() {
    let cells = |name: &str, year: Value| json!({"cells": [{"column": "name", "value": name}, {"column": "year", "value": year}]});
    let rig = rig(vec![
        Rule::json(cells("Ada", "1815".into())).step("Ada was born"),
        Rule::json(cells("Alan \"Turing\"", Value::Null)).step("Alan"),
    ]);
    rig.home.write("people.txt", "Ada was born in 1815.\n\nAlan never says when.\n");
    let inputs = json!({"path": "people.txt", "columns": ["name", "year"]});
    let answer = run(&rig, "extract-table", inputs)["answer"]["value"].clone();
    assert_eq!(answer["columns"], json!(["name", "year"]));
    assert_eq!(answer["rows"][1], json!({"name": "Alan \"Turing\"", "year": null}));
    assert_eq!(answer["csv"], "\"name\",\"year\"\n\"Ada\",\"1815\"\n\"Alan \"\"Turing\"\"\",");
}

#[test]
fn a_report_is_written_from_pages() {
    let mut rig = rig(vec![
        Rule::text("http://page: it has rules.").step("bears on the question"),
        Rule::text("There are models (http://page).").step("Answer the question in a report"),
    ]);
    rig.set("tools.allow_loopback=true");
    rig.set("tools.hosts=[\"127.0.0.1\"]");
    // The simulator's own list of models is a page as good as any.
    let url = format!("{}/models", rig.sim.url());
    let document = run(&rig, "research-report", json!({"question": "What is there?", "urls": [url, url]}));
    assert_eq!(document["answer"], "There are models (http://page).");
    let notes = rig.sim.executor("bears on the question");
    assert_eq!(notes.count(), 2);
    assert!(notes.prompt(0).contains("modelsim") && notes.prompt(0).contains(&url), "{}", notes.prompt(0));
}

const GREET: &str = "
name: greet
description: Greets somebody.
slots:
  type: object
  properties: {who: {type: string}}
  required: [who]
  additionalProperties: false
plan:
  steps:
    - {id: 1, description: Greet the person., inputs: [{name: who, from_step: 0, path: /who}]}
";

#[test]
fn templates_of_a_fleet_have_versions_that_stay() {
    let fleet = Fleet::new(vec![
        Rule::text("Good day, Ada.").step("Greet the person politely."),
        Rule::text("Hi Ada.").step("Greet the person."),
    ]);
    let _serving = fleet.serve("coordinator,executor,planner");
    let home = &fleet.rig.home;
    home.write("greet.yaml", GREET);
    home.write("polite.yaml", GREET.replace("the person.", "the person politely."));
    home.write("bad.yaml", GREET.replace("/who}", "/whom}").replace("id: 1,", "id: 1, tier: huge,"));
    let planfleet = |args: &[&str]| fleet.rig.planfleet(args);

    let linted = planfleet(&["templates", "lint", "./bad.yaml", "-o", "json"]).code(2).json();
    let codes: Vec<&Value> =
        linted["faults"].as_array().unwrap().iter().map(|fault| &fault["code"]).collect();
    assert_eq!(codes, ["unknown_tier", "unknown_slot", "unused_slot"]);
    let refused = planfleet(&["templates", "add", "bad.yaml"]).code(2);
    assert!(
        refused.err.contains("./bad.yaml has 3 mistakes") || refused.err.contains("bad.yaml has 3 mistakes")
    );
    planfleet(&["templates", "lint", "./greet.yaml"]).code(0);

    let first = planfleet(&["templates", "add", "greet.yaml"]).code(0).out.trim().to_owned();
    let second = planfleet(&["templates", "add", "polite.yaml"]).code(0).out.trim().to_owned();
    assert!(first.starts_with("greet@") && second.starts_with("greet@") && first != second);
    let again = planfleet(&["templates", "add", "polite.yaml", "-o", "json"]).code(0).json();
    assert_eq!((&again["new"], &again["template"]), (&json!(false), &json!(second)));

    let run = |template: &str| {
        let task = json!({"template": template, "inputs": {"who": "Ada"}});
        fleet.run(&task).ended().code(0).json()["answer"].clone()
    };
    assert_eq!(run("greet"), "Good day, Ada.");
    assert_eq!(run(&first), "Hi Ada.");
    assert_eq!(fleet.rig.sim.planner().count(), 0);

    let listed = planfleet(&["templates", "list", "-o", "json"]).code(0).json();
    let rows: Vec<(&str, &str)> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["name"].as_str().unwrap(), row["origin"].as_str().unwrap()))
        .collect();
    let shipped = |name| (name, "shipped");
    assert_eq!(
        rows,
        [
            shipped("code-review"),
            shipped("extract-table"),
            ("greet", "added"),
            ("greet", "added"),
            shipped("map-summarise"),
            shipped("research-report")
        ]
    );
    let diff = planfleet(&["templates", "diff", &first, "greet"]).code(0);
    assert!(diff.out.contains("-    description: Greet the person.\n"), "{}", diff.out);
    assert!(diff.out.contains("+    description: Greet the person politely.\n"), "{}", diff.out);
    let shown = planfleet(&["templates", "show", "greet", "-o", "json"]).code(0).json();
    assert_eq!(shown["plan"]["steps"][0]["description"], "Greet the person politely.");
    // What is shown as YAML is a template.
    home.write("shown.yaml", planfleet(&["templates", "show", "greet"]).code(0).out);
    let same = planfleet(&["templates", "diff", "./shown.yaml", "greet"]).code(0);
    assert!(same.out.contains("no differences"), "{}", same.out);

    planfleet(&["templates", "rm", &second]).code(0);
    assert_eq!(run("greet"), "Hi Ada.");
    planfleet(&["templates", "rm", "greet"]).code(0);
    let gone = fleet.run(&json!({"template": "greet"})).ended().code(2);
    assert!(gone.err.contains("there is no template \"greet\""), "{}", gone.err);
    let stays = planfleet(&["templates", "rm", "code-review"]).code(2);
    assert!(stays.one_line().contains("ships with planfleet"), "{}", stays.err);
}

#[test]
fn what_ships_is_sound_and_listed_without_a_fleet() {
    let mut rig = Rig::new(Vec::new());
    rig.set("nats.url=nats://127.0.0.1:9");
    rig.set("nats.connect_timeout_s=1");
    let listed = rig.planfleet(&["templates", "list", "-o", "json"]).code(0).json();
    let names = listed.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap());
    for name in names {
        let linted = rig.planfleet(&["templates", "lint", name, "-o", "json"]).code(0).json();
        assert_eq!(linted, json!({"ok": true, "faults": []}), "{name}");
    }
}

/// Every example runs: three as a batch, and the one that needs a page.
#[test]
fn the_examples_run() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/templates");
    let example = |name: &str| examples.join(name).to_str().unwrap().to_owned();
    let home = Home::new();
    let simulator = home.start(["modelsim".to_owned(), example("simulator.toml")]);
    let url = until("the simulator", || {
        let said: Value = serde_json::from_str(simulator.out().lines().next()?).ok()?;
        Some(said["base_url"].as_str().unwrap().to_owned())
    });
    let planfleet = |args: &[String]| {
        let config = ["--config".to_owned(), example("planfleet.toml")];
        let settings =
            [format!("models.modelsim.base_url={url}"), format!("tools.roots={}", examples.display())];
        let settings = settings.into_iter().flat_map(|setting| ["--set".to_owned(), setting]);
        home.planfleet(config.into_iter().chain(settings).chain(args.iter().cloned()))
    };
    let owned = |args: &[&str]| args.iter().map(ToString::to_string).collect::<Vec<_>>();
    let batch =
        [owned(&["batch", "submit", "--local", "--wait", "-o", "jsonl"]), vec![example("tasks.jsonl")]];
    let outcome = planfleet(&batch.concat()).code(0);
    let answers: BTreeMap<String, Value> = outcome
        .out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|document| (document["custom_id"].as_str().unwrap().to_owned(), document["answer"].clone()))
        .collect();
    assert_eq!(answers.len(), 3);
    assert!(answers["review"].as_str().unwrap().contains("SQL parameters"));
    assert!(answers["minutes"].as_str().unwrap().contains("180 euros"));
    let csv = answers["orders"]["value"]["csv"].as_str().unwrap();
    assert!(csv.starts_with("\"customer\",\"item\",\"quantity\"\n\"Petra Lindqvist\","), "{csv}");
    let report = [owned(&["run", "--local", "-o", "json", "-f"]), vec![example("research-report.json")]];
    let page = [owned(&["--input"]), vec![format!("urls=[\"{url}/models\"]")]];
    let document = planfleet(&[report, page].concat().concat()).code(0).json();
    assert!(document["answer"].as_str().unwrap().contains("modelsim"), "{document:#}");
    for (name, template) in [
        ("code-review.json", "code-review"),
        ("map-summarise.json", "map-summarise"),
        ("extract-table.json", "extract-table"),
    ] {
        let planned = planfleet(&[owned(&["plan", "-o", "json", "-f"]), vec![example(name)]].concat());
        let shown = planfleet(&owned(&["templates", "show", template, "-o", "json"])).code(0).json();
        assert_eq!(planned.code(0).json(), shown["plan"], "{name}");
    }
}
