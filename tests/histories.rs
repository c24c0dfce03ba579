//! Histories of each version of the fold's decisions, replayed: what followed from
//! a log has to follow from it again, to the byte, because a new version takes
//! over runs that an old one has begun. Snapshots of each version likewise.
//!
//! `tests/histories/logic-<n>/<name>.entries` is a log that the simulator has written,
//! `<name>.commands` what follows from each of its entries. A change that fails
//! here decides otherwise than before. If it was not meant, it is a bug. If it was,
//! the fold goes on deciding as before for what was submitted under the old version
//! (each `EpochOpened` tells which one an owner has), and the new decisions get the
//! next `LOGIC_VERSION` and a folder of their own:
//!
//! ```text
//! PLANFLEET_SIM_LOGS=tests/histories/logic-<n> make sim SEED=7
//! PLANFLEET_BLESS=1 cargo test -p planfleet --test histories
//! ```

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot read its own histories has failed"
)]

use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use futures::TryStreamExt as _;
use planfleet_bus::{
    Bus,
    broker::{LogEntry, memory::MemoryBroker},
    snapshots::SnapshotRef,
};
use planfleet_coordinator::LOGIC_VERSION;
use planfleet_core::{
    command::Command,
    id::RunId,
    shard::{EndedRun, Shard},
};
use planfleet_proto::{
    Message as _, SNAPSHOT_VERSION,
    decode::{self, Entry},
    encode, subjects, wire,
};
use sha2::{Digest as _, Sha256};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/histories")
}

fn bless() -> bool {
    env::var_os("PLANFLEET_BLESS").is_some()
}

/// The files of a folder with that ending, by name.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = paths.filter(|path| path.extension().is_some_and(|own| own == ending)).collect();
    files.sort();
    files
}

/// A log as it is written down: position, time, subject and bytes of each entry.
fn read(path: &Path) -> Vec<LogEntry> {
    let text = fs::read_to_string(path).unwrap();
    let entry = |line: &str| {
        let parts: Vec<&str> = line.split(' ').collect();
        let [seq, at_ms, subject, payload] = parts.as_slice() else { panic!("{}: {line}", path.display()) };
        LogEntry {
            seq: seq.parse().unwrap(),
            at_ms: at_ms.parse().unwrap(),
            subject: (*subject).to_owned(),
            headers: BTreeMap::new(),
            payload: Bytes::from(hex::decode(payload).unwrap()),
        }
    };
    text.lines().map(entry).collect()
}

/// What follows from each entry of a log.
fn replayed(log: &[LogEntry]) -> String {
    let (mut shard, mut text) = (Shard::default(), String::new());
    for entry in log {
        let decoded = decode::entry(&entry.payload, entry.at_ms);
        let decoded = decoded.unwrap_or_else(|error| panic!("entry {} cannot be read: {error}", entry.seq));
        match decoded {
            Entry::EpochOpened { epoch, owner, .. } => {
                writeln!(text, "{} EpochOpened {epoch} {owner}", entry.seq).unwrap();
            }
            Entry::Run(record) => {
                let (run, name, mut commands) = (record.run.clone(), record.fact.name(), Vec::new());
                let outcome = shard.apply(entry.seq, *record, &mut commands);
                let said =
                    outcome.map_or_else(|ignored| format!(" ignored: {}", ignored.why), |()| String::new());
                writeln!(text, "{} {name} {run}{said}", entry.seq).unwrap();
                commands.iter().for_each(|command| writeln!(text, "  {}", told(command)).unwrap());
            }
        }
    }
    text
}

/// A dispatch without the hash that follows from the rest of it, and is younger than some histories.
fn unsealed(bytes: &[u8]) -> Vec<u8> {
    let order = wire::StepOrder::decode(bytes).unwrap();
    wire::StepOrder { envelope_sha256: Vec::new(), ..order }.encode_to_vec()
}

/// A command and the digest of what it puts on the wire.
fn told(command: &Command) -> String {
    let digest = |bytes: Vec<u8>| hex::encode(Sha256::digest(bytes));
    match command {
        Command::DispatchPlan(order) => {
            format!("DispatchPlan {:?} {}", order.draft, digest(encode::plan_order(order)))
        }
        Command::DispatchStep(order) => {
            format!(
                "DispatchStep {}.{} {}",
                order.step,
                order.attempt,
                digest(unsealed(&encode::step_order(order)))
            )
        }
        Command::ArmTimer { at_ms, timer, .. } => format!("ArmTimer {at_ms} {timer:?}"),
        Command::BroadcastCancel { .. } => "BroadcastCancel".to_owned(),
        Command::AskApproval { gate, .. } => format!("AskApproval {gate:?}"),
        Command::TellRun { run, fact } => {
            format!("TellRun {run} {} {}", fact.name(), digest(encode::record(run.as_str(), fact)))
        }
        Command::FinishRun(document) => {
            format!("FinishRun {} {}", document.state.as_str(), digest(encode::run_finished(document)))
        }
    }
}

#[test]
fn what_followed_from_a_log_follows_from_it_again() {
    let current = root().join(format!("logic-{LOGIC_VERSION}"));
    assert!(current.is_dir(), "decisions of version {LOGIC_VERSION} have no histories");
    for folder in fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path()) {
        if !folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("logic-")) {
            continue;
        }
        let logs = files(&folder, "entries");
        assert!(logs.len() >= 5, "{} has only {} histories", folder.display(), logs.len());
        for log in logs {
            let (replayed, commands) = (replayed(&read(&log)), log.with_extension("commands"));
            if bless() && folder == current {
                fs::write(&commands, &replayed).unwrap();
            }
            let kept = fs::read_to_string(&commands).unwrap_or_default();
            for (line, (is, was)) in (1..).zip(replayed.lines().zip(kept.lines())) {
                assert_eq!(is, was, "{} decides otherwise at line {line}", commands.display());
            }
            assert_eq!(replayed.lines().count(), kept.lines().count(), "{}", commands.display());
        }
    }
}

#[test]
fn histories_hold_everything_that_can_happen() {
    let folder = root().join(format!("logic-{LOGIC_VERSION}"));
    let all: String =
        files(&folder, "commands").iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    for happening in [
        "TaskSubmitted",
        "StepPlanned",
        "PlanSealed",
        "PlanFailed",
        "StepSucceeded",
        "StepFailed",
        "RunCancelRequested",
        "RunPauseRequested",
        "RunResumeRequested",
        "ApprovalDecided",
        "TimerFired",
        "EpochOpened",
        "DispatchPlan Draft { revision: 2",
        "ArmTimer",
        "AskApproval",
        "TellRun",
        "FinishRun succeeded",
        "FinishRun failed",
        "FinishRun cancelled",
        "FinishRun expired",
    ] {
        assert!(all.contains(happening), "no history has {happening:?}");
    }
}

/// A snapshot's objects as they are written down, by name.
async fn store(bus: &Bus, folder: &Path) -> SnapshotRef {
    bus.broker().ensure_objects(subjects::SNAPSHOTS, 1).await.unwrap();
    let mut names = Vec::new();
    for path in files(folder, "hex") {
        let name = path.file_stem().unwrap().to_string_lossy().replace('_', "/");
        let body = hex::decode(fs::read_to_string(&path).unwrap().trim()).unwrap();
        bus.broker().object_put(subjects::SNAPSHOTS, &name, Bytes::from(body)).await.unwrap();
        names.push(name);
    }
    let name = names.into_iter().min_by_key(String::len).expect("a manifest");
    let folded_to = name.split(['/', '.']).nth(1).unwrap().parse().unwrap();
    SnapshotRef { name, folded_to }
}

/// A history as a snapshot holds it: with the headers that entries have.
fn with_headers(log: Vec<LogEntry>) -> Vec<LogEntry> {
    let blob = "0f".repeat(32);
    let headers = |entry: &LogEntry| {
        let run = decode::run_of(&entry.payload).map(|run| ("Pf-Run".to_owned(), run.to_string()));
        let body = entry.seq.is_multiple_of(5).then(|| ("Pf-Blob".to_owned(), blob.clone()));
        run.into_iter().chain(body).collect()
    };
    log.into_iter().map(|entry| LogEntry { headers: headers(&entry), ..entry }).collect()
}

fn ended() -> Vec<EndedRun> {
    let run = |name: &str| RunId::new(0, name).unwrap();
    vec![
        EndedRun { run: run("one"), at_ms: 1_700_000_000_001, first_seq: 3 },
        EndedRun { run: run("other"), at_ms: 1_700_000_000_002, first_seq: 1 },
    ]
}

/// Writes a snapshot of a history.
async fn write(bus: &Bus, folder: &Path, log: &[LogEntry]) {
    bus.broker().ensure_objects(subjects::SNAPSHOTS, 1).await.unwrap();
    let mut writer = bus.write_snapshot(0, 1, log.last().unwrap().seq);
    for entry in log {
        writer.push(entry.clone()).await.unwrap();
    }
    writer.finish(ended()).await.unwrap();
    fs::create_dir_all(folder).unwrap();
    let mut objects = bus.broker().object_list(subjects::SNAPSHOTS).await.unwrap();
    while let Some(object) = objects.try_next().await.unwrap() {
        let body = bus.broker().object_get(subjects::SNAPSHOTS, &object.name).await.unwrap().unwrap();
        let path = folder.join(format!("{}.hex", object.name.replace('/', "_")));
        fs::write(path, format!("{}\n", hex::encode(body))).unwrap();
    }
}

#[tokio::test]
async fn a_snapshot_of_each_version_is_read() {
    let logs = files(&root().join("logic-6"), "entries");
    let log = with_headers(read(logs.first().expect("a history")));
    for version in 1..=SNAPSHOT_VERSION {
        let folder = root().join(format!("snapshot-{version}"));
        if bless() && version == SNAPSHOT_VERSION {
            write(&Bus::new(Arc::new(MemoryBroker::new()), 1), &folder, &log).await;
        }
        let bus = Bus::new(Arc::new(MemoryBroker::new()), 1);
        let kept = store(&bus, &folder).await;
        let snapshot = bus.snapshot(&kept).await.unwrap();
        assert_eq!(snapshot.ended(), ended(), "version {version}");
        assert_eq!(snapshot.blobs().collect::<Vec<_>>(), ["0f".repeat(32)], "version {version}");
        let entries: Vec<LogEntry> = snapshot.log().try_collect().await.unwrap();
        let whole = |entries: &[LogEntry]| -> Vec<_> {
            let told = |entry: &LogEntry| {
                let LogEntry { seq, at_ms, subject, headers, payload } = entry.clone();
                (seq, at_ms, subject, headers, payload)
            };
            entries.iter().map(told).collect()
        };
        assert_eq!(whole(&entries), whole(&log), "version {version}");
    }
}
