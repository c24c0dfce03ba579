//! What the chart in `deploy/helm` comes to, by the renders that are kept in `golden/`: our own
//! rules for it, beside those of Kubernetes' schemas that `make test-deploy` checks when it renders
//! them anew; and the dashboards and alerts, by the metrics that the program has.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot read its own tree has failed")]

mod metrics;
mod pods;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

const RENDERS: [&str; 3] = ["laptop", "minimal", "production"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn read(name: &str) -> String {
    let path = root().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The resources of one render.
fn render(name: &str) -> Vec<Value> {
    let text = read(&format!("tests/deploy/golden/{name}.yaml"));
    let all: Vec<Option<Value>> = serde_saphyr::from_multiple(&text).unwrap();
    let all: Vec<Value> = all.into_iter().flatten().collect();
    assert!(all.len() >= 4, "{name} has {} resources", all.len());
    all
}

fn of_kind<'a>(resources: &'a [Value], kind: &str) -> Vec<&'a Value> {
    resources.iter().filter(|resource| resource["kind"] == kind).collect()
}

/// The program's configuration in one render.
fn configuration(name: &str) -> toml::Table {
    configuration_text(&render(name)).parse().unwrap()
}

fn configuration_text(resources: &[Value]) -> String {
    let maps = of_kind(resources, "ConfigMap");
    maps.iter().find_map(|map| map["data"]["planfleet.toml"].as_str()).unwrap().to_owned()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}"))
}

/// Every file below a folder, links followed, by its name there.
fn files(folder: &Path, below: &str, found: &mut BTreeMap<String, PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let name = format!("{below}{}", entry.file_name().to_string_lossy());
        let path = entry.path();
        if path.is_dir() {
            files(&path, &format!("{name}/"), found);
        } else {
            found.insert(name, path);
        }
    }
}

#[test]
fn the_renders_are_those_of_the_chart_as_it_is() {
    let mut found = BTreeMap::new();
    files(&root().join("deploy/helm/planfleet"), "", &mut found);
    let mut digest = Sha256::new();
    let own = |name: &str| !name.starts_with("charts/") && !name.starts_with("Chart.lock");
    for (name, path) in found.iter().filter(|(name, _)| own(name)) {
        digest.update(name);
        digest.update(b"\0");
        digest.update(fs::read(path).unwrap());
        digest.update(b"\0");
    }
    let kept = read("tests/deploy/golden/chart.sha256");
    assert_eq!(hex::encode(digest.finalize()), kept.trim(), "run `make test-deploy BLESS=1`");
}

/// The program takes the configurations that the chart writes, and that of the compose file.
#[test]
fn the_configuration_is_sound() {
    let mut all = vec![("compose", read("deploy/docker/planfleet.toml"))];
    for name in RENDERS {
        all.push((name, configuration_text(&render(name))));
    }
    for (name, configuration) in all {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("planfleet.toml");
        fs::write(&file, configuration).unwrap();
        let checked = Command::new(env!("CARGO_BIN_EXE_planfleet"))
            .arg("--config")
            .arg(&file)
            .args(["config", "check"])
            .env_clear()
            .env("HOME", home.path())
            .envs([("OPENAI_API_KEY", "sk-test"), ("GITHUB_TOKEN", "ghp-test")])
            .output()
            .unwrap();
        assert!(checked.status.success(), "{name}: {}", String::from_utf8_lossy(&checked.stderr));
    }
}

/// Containers of the compose file may as little as pods, and are given the time to stop.
#[test]
fn compose_is_as_strict_as_the_chart() {
    let compose: Value = serde_saphyr::from_str(&read("deploy/docker/compose.yaml")).unwrap();
    let configuration: toml::Table = read("deploy/docker/planfleet.toml").parse().unwrap();
    let graces = configuration["pools"].as_table().unwrap().values();
    let longest = graces.map(|pool| pool["grace_s"].as_integer().unwrap()).max().unwrap();
    let services = compose["services"].as_object().unwrap();
    assert_eq!(services.len(), 5, "{:?}", services.keys());
    for (name, service) in services {
        assert_eq!(
            (&service["read_only"], &service["cap_drop"][0]),
            (&Value::from(true), &Value::from("ALL")),
            "{name}"
        );
        assert!(service["ports"].is_null(), "{name} is reachable from outside without a key");
        if name != "nats" {
            let patience = text(&service["stop_grace_period"]).trim_end_matches('s').parse::<i64>().unwrap();
            assert!(patience >= longest + 10, "{name}: {patience} s");
        }
    }
}

/// The image is built from what is locked and hashed, has no shell and is not root.
#[test]
fn the_image_is_pinned_and_bare() {
    let image = read("deploy/docker/Dockerfile");
    let stages: Vec<&str> = image.lines().filter(|line| line.starts_with("FROM ")).collect();
    assert_eq!(stages.len(), 2, "{stages:?}");
    assert!(stages[1].contains("distroless/static") && stages[1].ends_with(":nonroot"), "{}", stages[1]);
    for needed in [
        "--locked",
        "--require-hashes",
        "USER 65532:65532",
        "x86_64-unknown-linux-musl",
        "aarch64-unknown-linux-musl",
    ] {
        assert!(image.contains(needed), "{needed}");
    }
    let rust = read("Cargo.toml");
    let version = rust
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = "))
        .unwrap()
        .trim_matches('"')
        .to_owned();
    assert!(stages[0].contains(&format!("rust:{version}-")), "{}: not {version}", stages[0]);
}
