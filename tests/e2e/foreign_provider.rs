//! The whole loop against a provider that shares no code with us: our own
//! reading of the wire must not be the only one.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::support::{Home, until};

const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/e2e/foreign_server.py");

#[test]
fn a_foreign_provider_drives_the_whole_loop() {
    let mut home = Home::new();
    home.set("FOREIGN_KEY", "sk-foreign");
    let log = home.path("requests.jsonl");
    let server = home.start_program(Path::new("python3"), [SERVER.as_ref(), log.as_os_str()]);
    let url = until("the foreign server", || server.out().lines().next().map(str::to_owned));
    let model = |name: &str, size: &str| {
        format!(
            "[models.{name}]\nbase_url = \"{url}\"\nmodel = \"foreign-{size}\"\napi_key_env = \"FOREIGN_KEY\"\n"
        )
    };
    let roles = "[roles]\nplanner = \"large\"\nexecutor = \"small\"\n";
    home.write("foreign.toml", [&model("large", "large"), &model("small", "small"), roles].concat());
    home.write("task.json", json!({"goal": "Report on a harbour.", "mode": "plan"}).to_string());

    let outcome =
        home.planfleet(["--config", "foreign.toml", "run", "--local", "-f", "task.json", "-o", "json"]);

    let log = fs::read_to_string(log).unwrap_or_default();
    let calls: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(calls.iter().all(|call| call["status"] == 200), "{outcome:#?}\n{calls:#?}");
    let document = outcome.code(0).json();
    assert_eq!(document["answer"], "In Lübeck lie 17 ships. ⚓");
    assert_eq!(document["steps"][0]["output"], "Lübeck");
    assert_eq!(document["revisions"][1]["reason"], "asks for digits now – nothing else");
    // All answers are streamed unless the settings say otherwise.
    let count = |model: &str, stream: bool| {
        calls.iter().filter(|call| call["model"] == model && call["stream"] == stream).count()
    };
    assert_eq!([count("foreign-large", true), count("foreign-small", true)], [2, 5]);
    assert_eq!(calls.len(), 7);
    let usage = |role: &str, name: &str| document["usage"][role][name].as_u64();
    assert_eq!(usage("planner", "input_tokens"), Some(2 * 321));
    assert_eq!(usage("planner", "cached_tokens"), Some(2 * 21));
    assert_eq!(usage("executor", "input_tokens"), Some(5 * 321));
    // Lübeck, "a great many" twice, 17, and the report's six words.
    assert_eq!(usage("executor", "output_tokens"), Some(1 + 3 + 3 + 1 + 6));
}
