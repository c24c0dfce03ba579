//! The providers' own Python SDKs talk to the simulator: our reading of the wires must not be the
//! only one. `make test` installs them (scripts/setup.sh --sdks), pinned by hash.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a rig that cannot do its work has failed")]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use planfleet_modelsim::{Fault, FaultKind, Limits, Reply, Rule, Script, Simulator, StatusFault};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::process::Command;

/// A Python that imports a large SDK on a busy machine, and then a dozen stories.
const PATIENCE: Duration = Duration::from_secs(120);

/// The stories that each script tells.
const STORIES: usize = 12;

fn from_root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Where scripts/setup.sh has put the SDKs.
fn sdks() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let base = || variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
    let cache = variable("PLANFLEET_CACHE").or_else(|| base().map(|base| base.join("planfleet")));
    let pins = std::fs::read(from_root("scripts/requirements-sdks.txt")).unwrap();
    let digest: String = Sha256::digest(&pins)[..6].iter().map(|byte| format!("{byte:02x}")).collect();
    let folder =
        cache.expect("neither PLANFLEET_CACHE nor HOME is set").join(format!("python-sdks-{digest}"));
    assert!(folder.is_dir(), "{} is missing: run scripts/setup.sh --sdks", folder.display());
    folder
}

fn script() -> Script {
    let fault = |text: &str, kind| {
        Rule::text("a text that is long enough to be cut in two").when(text).fault(Fault::Kind(kind))
    };
    let unlucky = StatusFault { status: 429, retry_after_s: Some(0.01), ..StatusFault::default() };
    let rules = vec![
        Rule::text("Paris, of course, and for ever.").when("capital of France"),
        Rule::text("It is mild.").when("18 degrees"),
        Rule::tool_call("get_weather", json!({"city": "Paris"})).when("weather"),
        Rule::json(json!({"name": "Ada", "age": 36})).when("a person"),
        Rule::reply(Reply::Refusal("I would rather not.".to_owned())).when("be rude"),
        Rule::default().when("twice unlucky").times(2).fault(Fault::Status(unlucky)),
        Rule::text("at last").when("twice unlucky"),
        Rule::default().when("fault-429").fault(Fault::Kind(FaultKind::RateLimit)),
        fault("fault-quota", FaultKind::Quota),
        fault("fault-500", FaultKind::ServerError),
        fault("fault-529", FaultKind::Overloaded),
        fault("fault-hang", FaultKind::Hang),
        fault("fault-error-mid-stream", FaultKind::ErrorMidStream),
        fault("fault-cut-mid-stream", FaultKind::CutMidStream),
    ];
    let mut script = Script { rules, ..Script::default() };
    script.models.push("large".to_owned());
    script.faults.retry_after_s = 0.01;
    script
}

async fn stories(sdk: &str) {
    let limits = Limits { requests_per_minute: Some(2), tokens_per_minute: Some(1000), ..Limits::default() };
    let limited = Script { limits, ..script() };
    let free = Simulator::builder().script(script()).require_key("sk-right").bind("127.0.0.1:0");
    let limited = Simulator::builder().script(limited).bind("127.0.0.1:0");
    let ((free, free_server), (limited, limited_server)) = (free.await.unwrap(), limited.await.unwrap());
    let origin = |simulator: &Simulator| format!("http://{}", simulator.addr());
    let python = Command::new("python3")
        .arg(from_root(&format!("crates/modelsim/tests/sdks/{sdk}.py")))
        .args([origin(&free), origin(&limited)])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("PYTHONPATH", sdks())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::select! {
        output = tokio::time::timeout(PATIENCE, python) => output.expect("the SDK is stuck").unwrap(),
        ended = free_server.serve(std::future::pending()) => panic!("{ended:?}"),
        ended = limited_server.serve(std::future::pending()) => panic!("{ended:?}"),
    };
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "after {told}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(told.lines().count(), STORIES, "{told}");
    assert!(free.received() > 20 && limited.received() == 3, "it was us who answered");
}

#[tokio::test]
async fn openai_s_sdk_understands_every_answer() {
    stories("openai_sdk").await;
}

#[tokio::test]
async fn anthropic_s_sdk_understands_every_answer() {
    stories("anthropic_sdk").await;
}
