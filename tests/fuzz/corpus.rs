//! The fuzz targets as plain tests: each takes every file of its corpus, and
//! then what a seeded search makes of them, the same on every machine.
//! `PLANFLEET_FUZZ=200000` searches longer, `PLANFLEET_SEED` elsewhere.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot read its corpus has failed"
)]

#[path = "mutate.rs"]
mod mutate;
#[path = "targets.rs"]
mod targets;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use self::mutate::Mutator;

/// About a second for each target in a debug build.
const INPUTS: u64 = 5_000;

/// For one input of a few KiB, in a debug build on a busy machine; a quadratic
/// search or a pattern that explodes is far above.
const PATIENCE: Duration = Duration::from_secs(10);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz")
}

/// The corpus of a target, by name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder().join("corpus").join(target)).expect("a target has a corpus");
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    assert!(files.len() > 2, "{target} has no corpus to speak of");
    files
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Runs a target on one input. The input lies in a file meanwhile: whatever
/// ends the process, be it an exhausted stack, the file stays.
fn run(name: &str, target: fn(&[u8]), which: &str, input: &[u8]) {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}"));
    fs::write(&file, input).unwrap();
    let started = Instant::now();
    let ended = std::panic::catch_unwind(|| target(input));
    let took = started.elapsed();
    let shown = String::from_utf8_lossy(&input[..input.len().min(2_000)]);
    assert!(ended.is_ok(), "{name} breaks on {which}, kept in {}:\n{shown}", file.display());
    assert!(took < PATIENCE, "{name} takes {took:?} for {which}, kept in {}:\n{shown}", file.display());
    fs::remove_file(&file).unwrap();
}

fn search(name: &str, target: fn(&[u8])) {
    let files = corpus(name);
    for (file, bytes) in &files {
        run(name, target, file, bytes);
    }
    let seeds: Vec<Vec<u8>> = files.into_iter().map(|(_, bytes)| bytes).collect();
    let mut mutator = Mutator::new(number("PLANFLEET_SEED", 1), &seeds);
    for nth in 1..=number("PLANFLEET_FUZZ", INPUTS) {
        run(name, target, &format!("input {nth}"), &mutator.next());
    }
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                search(stringify!($name), targets::$name);
            }
        )*

        #[test]
        fn every_target_is_here_and_for_libfuzzer() {
            let here = BTreeSet::from([$(stringify!($name).to_owned()),*]);
            let names = |folder: &str, from: &str| -> BTreeSet<String> {
                let entries = fs::read_dir(self::folder().join(folder)).unwrap();
                let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
                names.map(|name| name.trim_end_matches(from).to_owned()).collect()
            };
            assert_eq!(names("corpus", ""), here);
            assert_eq!(names("fuzz_targets", ".rs"), here);
        }
    };
}

targets! {
    answer criterion elements json message name plan plan_order pointer record records step_order task
}
