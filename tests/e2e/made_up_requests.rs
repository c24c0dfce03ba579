//! Requests that a machine makes up from the API's own description, right and wrong ones: no
//! answer is a fault of the server's, and each is as described.

use std::{path::Path, time::Duration};

use planfleet_modelsim::Rule;

use crate::support::{Fleet, Roles as _, api_port, first_plan, plan, python_packages, step, within};

const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/e2e");

/// A minute on two cores, most of which the API waits for runs that are not there.
const PATIENCE: Duration = Duration::from_secs(400);

#[test]
fn the_api_keeps_to_its_description_whatever_it_is_asked() {
    let mut fleet = Fleet::new(vec![
        first_plan(plan([step(1, "Say hello.")])),
        Rule::text("hello").step("Say hello"),
        Rule::text("done"),
    ]);
    fleet.rig.set("api.auth=required");
    fleet.rig.set("api.requests_per_minute=0");
    let packages = python_packages("schemathesis");
    let path = std::env::join_paths([packages.as_path(), Path::new(TESTS)]).unwrap();
    fleet.rig.home.set("PYTHONPATH", path);
    let serving = fleet.serve("coordinator,planner,executor,api");
    let create = ["admin", "keys", "create", "all", "--all-tenants", "--role", "admin", "-o", "json"];
    let made = fleet.rig.planfleet(&create).code(0).json();
    let key = format!("Authorization: Bearer {}", made["key"].as_str().unwrap());

    let settings = format!("{TESTS}/schemathesis.toml");
    let described = format!("http://127.0.0.1:{}/openapi.json", api_port(&serving));
    let args = ["-m", "schemathesis.cli", "--config-file", &settings, "run", &described];
    let how = ["--header", &key, "--continue-on-failure", "--no-color"];
    let mut run = fleet.rig.home.start_program(Path::new("python3"), args.iter().chain(&how).copied());
    within(PATIENCE, "the end of the made-up requests", || run.status());
    let seen = run.ended().code(0);

    // Of each phase something has come, and of all operations.
    let number = |name: &str| {
        let found = seen.out.lines().find_map(|line| line.trim().strip_prefix(name)?.split('/').next());
        found.unwrap_or_else(|| panic!("no {name} in {}", seen.out)).to_owned()
    };
    assert_eq!(number("Selected: "), number("Tested: "), "{}", seen.out);
    let made_up =
        seen.out.lines().find_map(|line| line.trim().split_once(" generated,")?.0.parse::<u32>().ok());
    assert!(made_up.is_some_and(|cases| cases > 1_000), "{}", seen.out);
}
