//! The Python client of `clients/python`: installed as users install it, held to the API's
//! description, checked by types, and driven against a fleet that asks who calls.

use std::{path::Path, time::Duration};

use planfleet_modelsim::Rule;
use serde_json::{Value, json};

use crate::support::{
    Fleet, Home, Outcome, Roles as _, api_port, first_plan, plan, python_packages, replan, slow, step, until,
    within,
};

const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../clients/python");
const OPENAPI: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../crates/api/openapi.json");
const STORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/e2e/python_client.py");

/// The whole story twice, beside other tests on two cores.
const STORY_TIME: Duration = Duration::from_secs(240);

/// A script in Python, to its end.
fn python(home: &Home, args: &[&str]) -> Outcome {
    let mut script = home.start_program(Path::new("python3"), args.iter().copied());
    within(STORY_TIME, &format!("the end of {args:?}"), || script.status());
    script.ended()
}

/// Installs the client from its sources, with nothing but what is pinned.
fn install(home: &mut Home) {
    let pinned = python_packages("client");
    home.set("PYTHONPATH", &pinned);
    let target = home.path("installed");
    let to = target.to_str().unwrap();
    let how = ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"];
    python(home, &[how.as_slice(), &["--disable-pip-version-check", "--target", to, CLIENT]].concat())
        .code(0);
    assert!(target.join("planfleet/py.typed").is_file());
    let both = std::env::join_paths([target, pinned]).unwrap();
    home.set("PYTHONPATH", both);
}

#[test]
fn the_client_is_what_the_api_is_described_as_and_its_types_hold() {
    let mut home = Home::new();
    install(&mut home);
    let held = python(&home, &[&format!("{CLIENT}/tests/openapi.py"), OPENAPI]).code(0).json();
    assert!(held["operations"].as_u64().is_some_and(|count| count >= 37), "{held}");
    assert!(held["types"].as_u64().is_some_and(|count| count >= 50), "{held}");
    let cache = home.path("mypy");
    let checked = ["-m", "mypy", "--strict", "--cache-dir", cache.to_str().unwrap()];
    let sources = [&format!("{CLIENT}/src"), STORY, &format!("{CLIENT}/tests/openapi.py")];
    python(&home, &[checked.as_slice(), &sources.map(|source| source as &str)].concat()).code(0);
}

fn rules() -> Vec<Rule> {
    let failing = plan([
        step(1, "Name the river."),
        step(2, "Give its length.").uses("river", 1, "").must("matches", "^[0-9]+ km$"),
    ]);
    let mut mended = replan("the description now names the number", [step(3, "Answer 1233 km for it.")]);
    mended["drop"] = json!([2]);
    vec![
        first_plan(failing),
        Rule::json(mended).replans(),
        first_plan(plan([step(1, "Say hello.")])).when("Say hello"),
        Rule::text("the-river-Rhine").step("Name the river"),
        Rule::text("rather long").step("Give its length"),
        Rule::text("1233 km").step("Answer 1233 km"),
        Rule::text("done").step("Take your time").latency(slow(120_000)),
        // What many readers of lines take for the end of one.
        Rule::text("hello\u{2028}there").step("Say hello"),
    ]
}

#[test]
fn a_fleet_is_driven_from_python_called_and_awaited() {
    let mut fleet = Fleet::new(rules());
    install(&mut fleet.rig.home);
    fleet.rig.set("api.auth=required");
    let serving = fleet.serve("coordinator,planner,executor,api");
    let key = |args: &[&str]| {
        let made = [["admin", "keys", "create"].as_slice(), args, &["-o", "json"]].concat();
        let made: Value = fleet.rig.planfleet(&made).code(0).json();
        made["key"].as_str().unwrap_or_else(|| panic!("no key: {made}")).to_owned()
    };
    for _ in 0..3 {
        fleet.broker.publish("pf.ev.00.result", b"\xffno record");
    }
    until("the letters", || (fleet.broker.messages("PF_DLQ") == 3).then_some(()));
    let setup = json!({
        "base": format!("http://127.0.0.1:{}", api_port(&serving)),
        "readme": format!("{CLIENT}/README.md"),
        "folder": fleet.rig.home.path("tmp"),
        "keys": {
            "operator": key(&["operator", "--tenant", "acme", "--role", "operator"]),
            "other": key(&["other", "--tenant", "other", "--role", "admin"]),
            "admin": key(&["admin", "--all-tenants", "--role", "admin"]),
        },
    });
    let setup = fleet.rig.home.write("setup.json", setup.to_string());
    let seen = python(&fleet.rig.home, &[STORY, setup.to_str().unwrap()]).code(0).json();
    for way in ["called", "awaited"] {
        assert!(seen[way]["cut"].as_u64().is_some_and(|events| events >= 10), "{seen}");
    }
    assert_eq!(seen["examples"], 4, "{seen}");
}
