//! The committed wire types are what the schema says. `PLANFLEET_BLESS=1`
//! writes them anew (`make fix` does).

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot generate has failed")]

use std::{fs, path::Path};

const FILES: [&str; 5] = ["plan", "record", "snapshot", "task", "work"];

fn generate() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let files = FILES.map(|name| format!("planfleet/v1/{name}.proto"));
    let descriptors = protox::compile(files, [root]).expect("the schema compiles");
    let out = tempfile::tempdir().unwrap();
    prost_build::Config::new()
        .btree_map(["."])
        .out_dir(out.path())
        .compile_fds(descriptors)
        .expect("the schema generates");
    fs::read_to_string(out.path().join("planfleet.v1.rs")).unwrap()
}

#[test]
fn the_committed_types_are_what_the_schema_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/wire.rs");
    let generated = generate();
    if std::env::var_os("PLANFLEET_BLESS").is_some() {
        fs::write(&path, &generated).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == generated, "crates/proto/src/wire.rs is not what proto/ says; run `make fix`");
}
