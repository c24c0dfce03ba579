//! The dashboard of the real program in a real browser: `tests/ui/*.mjs` look, and say here what
//! they have seen.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use planfleet_modelsim::Rule;
use serde_json::{Value, json};

use crate::support::{Outcome, Process, Rig, Roles as _, first_plan, node, plan, replan, slow, step, within};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/ui/dashboard.mjs");
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../crates/api/ui");

/// A browser on two cores that others use too needs half a minute for a chapter.
const CHAPTER: Duration = Duration::from_secs(180);

/// A script in Node.js, to its end.
fn run(rig: &Rig, args: &[&str]) -> Outcome {
    let mut script = rig.home.start_program(&node(), args.iter().copied());
    within(CHAPTER, &format!("the end of {args:?}"), || script.status());
    script.ended().code(0)
}

/// A fleet in one process, and what is seen of it in a chapter of the script.
fn chapter(rig: &Rig, name: &str) -> Value {
    let mut fleet: Process = rig.start(&["dev", "--no-local-model"]);
    fleet.says("planfleet is up");
    fleet.says("dashboard at http://");
    let said = fleet.err();
    let base = said.split_once("dashboard at ").and_then(|(_, rest)| rest.split_once("/,")).unwrap().0;
    let seen = run(rig, &[SCRIPT, name, base]).json();
    fleet.terminate();
    fleet.ended().code(0);
    seen
}

#[test]
fn people_watch_a_run_heal_cancel_one_and_approve_one() {
    let failing = plan([
        step(1, "Name the river."),
        step(2, "Give its length.").uses("river", 1, "").must("matches", "^[0-9]+ km$"),
    ]);
    let mended = [step(3, "Answer 1233 km for it.").uses("river", 1, "").must("matches", "^[0-9]+ km$")];
    let counts = |expression: &str| {
        Rule::tool_call("math_eval", json!({"expression": expression})).times(1).step("Count with the tool")
    };
    let mut rig = Rig::new(vec![
        counts("6 * 7"),
        counts("7 *"),
        Rule::text("42").step("Count with the tool"),
        Rule::text("done").step("Work it out"),
        first_plan(failing),
        Rule::json(replan("the description now names the number", mended)).replans().latency(slow(1_500)),
        Rule::text("the-river-Rhine").step("Name the river"),
        Rule::text("rather long").step("Give its length"),
        Rule::text("1233 km").step("Answer 1233 km"),
        Rule::text("done").step("Take your time").latency(slow(120_000)),
        Rule::text("hello").step("Say hello"),
    ]);
    rig.set("roles.strong=hands");
    let seen = chapter(&rig, "steering");
    for run in ["healed", "cancelled", "approved", "child"] {
        assert!(seen[run].as_str().is_some_and(|id| id.len() > 10), "{seen:#}");
    }
}

#[test]
fn a_page_goes_on_where_it_was_when_the_server_or_the_key_is_away_for_a_while() {
    let rig = Rig::new(vec![
        Rule::text("done").step("Take your time").latency(slow(120_000)),
        Rule::text("hello").step("Say hello"),
    ]);
    let seen = chapter(&rig, "away");
    for run in ["cancelled", "watched"] {
        assert!(seen[run].as_str().is_some_and(|id| id.len() > 10), "{seen:#}");
    }
}

#[test]
fn what_a_model_writes_is_text_and_asks_nobody_for_anything() {
    // The provider answers with the text that the script looks for.
    let hostile = Path::new(SCRIPT).with_file_name("hostile.json");
    let answer: String = serde_json::from_str(&fs::read_to_string(hostile).unwrap()).unwrap();
    let rig = Rig::new(vec![Rule::text(answer).step("Say it")]);
    let seen = chapter(&rig, "text");
    assert!(seen["then"].as_u64() > seen["first"].as_u64(), "{seen:#}");
}

#[test]
fn every_page_can_be_read_by_everybody_and_large_plans_are_usable() {
    let seen = chapter(&Rig::new(Vec::new()), "pages");
    assert_eq!(seen["pages"], json!(51), "{seen:#}");
    println!("{seen:#}");
}

/// The files below a folder, by name.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in next.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push((path.strip_prefix(folder).unwrap().to_owned(), fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn what_is_committed_is_what_a_build_makes_and_its_own_tests_pass() {
    let rig = Rig::new(Vec::new());
    let out = rig.home.path("dist");
    let tool = |name: &str| format!("{SOURCES}/node_modules/{name}");
    let (vite, vitest, tsc) =
        (tool("vite/bin/vite.js"), tool("vitest/vitest.mjs"), tool("typescript/bin/tsc"));
    run(&rig, &[&tsc, "--noEmit", "--project", SOURCES]);
    run(&rig, &[&vitest, "run", "--root", SOURCES]);
    // The build reads its sources relative to where it is started.
    let build =
        format!("process.chdir({SOURCES:?}); process.argv.splice(1, 0, 'vite'); await import({vite:?})");
    let to = out.to_str().unwrap();
    run(&rig, &["--input-type=module", "--eval", &build, "build", "--outDir", to]);

    let (made, committed) = (files(&out), files(&Path::new(SOURCES).join("dist")));
    let names = |files: &[(PathBuf, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&made), names(&committed), "run `make ui`");
    for ((name, made), (_, committed)) in made.iter().zip(&committed) {
        assert!(made == committed, "{} is not what a build makes: run `make ui`", name.display());
    }
}
