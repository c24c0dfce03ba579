//! What the core decides, as stories: every file in `tests/scenarios/` is a script of
//! records and the transcript of the commands that follow. `PLANFLEET_BLESS=1`
//! writes the transcripts anew; read each one that changes.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot read its story has failed"
)]

#[path = "scenarios/script.rs"]
#[allow(dead_code, reason = "one test reads the text, the other the beats")]
mod script;

use std::{
    fs,
    path::{Path, PathBuf},
};

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/scenarios");
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut stories: Vec<_> = paths.filter(|path| path.extension().is_some_and(|end| end == "txt")).collect();
    stories.sort();
    stories
}

/// The first line that differs, with its number.
fn difference(written: &str, told: &str) -> String {
    let mut lines = (1..).zip(written.lines().zip(told.lines()));
    let (at, (was, is)) = lines
        .find(|(_, (was, is))| was != is)
        .unwrap_or((written.lines().count().min(told.lines().count()), ("(the end)", "(the end)")));
    format!("line {at}\n  written: {was}\n  decided: {is}")
}

#[test]
fn every_story_goes_as_written() {
    let bless = std::env::var_os("PLANFLEET_BLESS").is_some();
    let mut wrong = Vec::new();
    for path in files() {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        println!("{name}");
        let written = fs::read_to_string(&path).unwrap();
        let told = script::tell(&written);
        assert!(!told.beats.is_empty(), "{name} has no records");
        if told.text == written {
            continue;
        }
        if bless {
            fs::write(&path, &told.text).unwrap();
        } else {
            wrong.push(format!("{name}.txt, {}", difference(&written, &told.text)));
        }
    }
    assert!(wrong.is_empty(), "decided otherwise than written:\n{}", wrong.join("\n"));
}

#[test]
fn there_are_enough_stories_to_read() {
    assert!(files().len() >= 60, "{:?}", files());
}
