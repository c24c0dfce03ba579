//! The rules of the house, checked: which crate may know which, no placeholder
//! words, no file that has grown beyond reading, nothing of anybody's machine.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its own tree has failed")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The files of the project: those that git tracks or would.
fn files() -> Vec<PathBuf> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .unwrap();
    let names = String::from_utf8(listed.stdout).unwrap();
    let files: Vec<PathBuf> =
        names.lines().map(PathBuf::from).filter(|name| root().join(name).is_file()).collect();
    assert!(files.len() > 100, "the list of files is not the project's: {}", files.len());
    files
}

fn text(name: &Path) -> Option<String> {
    fs::read_to_string(root().join(name)).ok()
}

fn sources() -> Vec<(PathBuf, String)> {
    let rust = files().into_iter().filter(|name| name.extension().is_some_and(|ending| ending == "rs"));
    rust.filter(|name| !name.ends_with("wire.rs")).map(|name| (name.clone(), text(&name).unwrap())).collect()
}

/// Which crate may depend on which others of the project. What is not listed is not allowed.
fn arrows() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let services = ["core", "proto", "bus", "runtime", "telemetry"];
    let with = |more: &[&'static str]| services.iter().chain(more).copied().collect();
    BTreeMap::from([
        ("core", BTreeSet::new()),
        ("telemetry", BTreeSet::new()),
        ("proto", BTreeSet::from(["core"])),
        ("bus", BTreeSet::from(["core", "proto", "telemetry"])),
        ("runtime", BTreeSet::from(["telemetry"])),
        ("llm", BTreeSet::from(["core", "telemetry"])),
        ("tools", BTreeSet::from(["core", "telemetry"])),
        ("modelsim", BTreeSet::from(["llm"])),
        ("planner", with(&["llm", "tools"])),
        ("executor", with(&["llm", "tools"])),
        ("coordinator", with(&[])),
        ("api", with(&[])),
        ("bench", BTreeSet::from(["core", "proto", "bus", "tools", "api"])),
        (
            "planfleet",
            with(&["llm", "tools", "planner", "executor", "coordinator", "api", "modelsim", "bench"]),
        ),
    ])
}

/// The project's packages, as cargo sees them.
fn packages() -> Vec<serde_json::Value> {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--locked", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

#[test]
fn crates_know_only_what_they_may() {
    let arrows = arrows();
    let short = |name: &str| name.strip_prefix("planfleet-").unwrap_or(name).to_owned();
    let packages = packages();
    assert_eq!(packages.len(), arrows.len(), "a crate is missing from the arrows, or has gone");
    for package in &packages {
        let name = short(package["name"].as_str().unwrap());
        let allowed = &arrows[name.as_str()];
        for dependency in package["dependencies"].as_array().unwrap() {
            let on = dependency["name"].as_str().unwrap();
            // Tests may lean on more than the crate itself.
            if on.starts_with("planfleet") && dependency["kind"].is_null() {
                assert!(allowed.contains(short(on).as_str()), "{name} must not depend on {on}");
            }
        }
    }
}

/// Bugs that are there on purpose are there for whoever asks by name, and for nobody else.
#[test]
fn nothing_is_built_with_seeded_bugs_unasked() {
    let feature = "seeded-bugs";
    let mut with_it = BTreeSet::new();
    for package in packages() {
        let name = package["name"].as_str().unwrap().to_owned();
        for (by, switched) in package["features"].as_object().unwrap() {
            if by == feature {
                with_it.insert(name.clone());
            } else {
                assert!(!switched.to_string().contains(feature), "{name}: {by} switches {feature} on");
            }
        }
        for dependency in package["dependencies"].as_array().unwrap() {
            let asked = dependency["features"].to_string();
            assert!(!asked.contains(feature), "{name} asks {} for {feature}", dependency["name"]);
        }
    }
    assert_eq!(with_it, BTreeSet::from(["planfleet".to_owned(), "planfleet-core".to_owned()]));
    let builds = [".ci", "deploy", "scripts", "examples"];
    for name in files().iter().filter(|name| builds.iter().any(|folder| name.starts_with(folder))) {
        let text = text(name).unwrap_or_default();
        for word in [feature, "--all-features"] {
            assert!(!text.contains(word), "{} builds with {word}", name.display());
        }
    }
}

#[test]
fn the_core_has_no_clock_and_no_io() {
    for (name, source) in sources().iter().filter(|(name, _)| name.starts_with("crates/core/src")) {
        for banned in
            ["std::fs", "std::net", "std::env", "std::thread", "tokio", "SystemTime::now", "Instant::now"]
        {
            assert!(!source.contains(banned), "{} uses {banned}", name.display());
        }
    }
}

#[test]
fn nobody_else_spells_a_subject() {
    for (name, source) in sources() {
        let own = name.ends_with("subjects.rs") || name.components().any(|part| part.as_os_str() == "tests");
        for literal in ["\"pf.", "\"PF_", "\"pf_"] {
            assert!(
                own || !source.contains(literal),
                "{} spells a subject: use proto::subjects",
                name.display()
            );
        }
    }
}

/// Dashboards, alerts and other people's queries know these names.
#[test]
fn nobody_else_spells_what_is_exported() {
    let names = ["gen_ai.", "messaging.", "error.type", "server.address"];
    let makers = ["_counter(\"", "_gauge(\"", "_histogram(\"", "global::meter("];
    for (name, source) in sources() {
        let own = name.starts_with("crates/telemetry/src");
        let code = source.split("#[cfg(test)]").next().unwrap_or_default();
        if own || name.components().any(|part| part.as_os_str() == "tests") || name.ends_with("tests.rs") {
            continue;
        }
        for literal in names.iter().chain(&makers) {
            let spelt =
                code.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(literal));
            assert!(!spelt, "{} spells {literal}: use telemetry::names", name.display());
        }
    }
}

#[test]
fn there_are_no_placeholders() {
    // Written in pieces, so that this list does not find itself.
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("#[", "ignore"),
    ];
    for (name, source) in sources() {
        for word in words {
            assert!(!source.contains(word), "{} has a {word}", name.display());
        }
    }
}

#[test]
fn nothing_of_anybody_s_machine_is_in_the_project() {
    let paths = [concat!("/ro", "ot/"), concat!("/wo", "rk/")];
    for name in files() {
        let Some(text) = text(&name) else { continue };
        for path in paths {
            assert!(!text.contains(path), "{} contains {path}", name.display());
        }
    }
}

#[test]
fn the_pinned_model_server_is_the_one_that_is_looked_for() {
    let pins = text(Path::new("scripts/requirements-model.txt")).unwrap();
    let pin = pins.lines().find_map(|line| line.strip_prefix("xllamacpp==")).unwrap();
    let version = pin.split_whitespace().next().unwrap();
    let program = text(Path::new("crates/planfleet/src/embedded/model.rs")).unwrap();
    assert!(
        program.contains(&format!("\"xllamacpp-{version}\"")),
        "embedded/model.rs looks for another version"
    );
}

/// Production lines: without the tests at the end of a file.
fn production_lines(source: &str) -> usize {
    source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().lines().count()
}

#[test]
fn files_can_be_read_in_one_sitting() {
    const GROSS: usize = 500;
    let mut sizes: Vec<(usize, String)> = sources()
        .iter()
        .filter(|(name, _)| name.components().all(|part| part.as_os_str() != "tests"))
        .map(|(name, source)| (production_lines(source), name.display().to_string()))
        .collect();
    sizes.sort();
    for (lines, name) in sizes.iter().rev().take(5) {
        println!("{lines:>5} {name}");
    }
    let gross: Vec<_> = sizes.iter().filter(|(lines, _)| *lines > GROSS).collect();
    assert!(gross.is_empty(), "over {GROSS} lines: {gross:?}");
}

#[test]
fn every_module_says_what_it_is() {
    for (name, source) in sources() {
        let test = name.components().any(|part| part.as_os_str() == "tests")
            || name.to_string_lossy().ends_with("tests.rs");
        assert!(test || source.starts_with("//!"), "{} has no module head", name.display());
    }
}
