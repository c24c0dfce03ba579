//! The bytes on the wire, in both directions: what is written today gives the
//! golden bytes, and the golden bytes give what was meant. Stored logs outlive
//! programs, so a file that changes here is a new version of the wire, or a
//! mistake. `PLANFLEET_BLESS=1` writes them anew.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot read its bytes has failed"
)]

#[path = "golden/samples.rs"]
mod samples;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use planfleet_core::{
    id::StepId,
    record::{Fact, Record},
    task::Priority,
    tool::Effect,
};
use planfleet_proto::{
    Message, VERSION,
    decode::{self, Entry, Error},
    encode, wire,
};

use self::samples::Sample;

/// When the broker stored the samples.
const AT_MS: u64 = 1_700_000_000_000;

impl Sample {
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Record(record) => encode::record(record.run.as_str(), &record.fact),
            Self::Epoch { epoch, owner, logic_version } => {
                encode::epoch_opened(*epoch, owner, *logic_version)
            }
            Self::Plan(order) => encode::plan_order(order),
            Self::Step(order) => encode::step_order(order),
            Self::Finished(document) => encode::run_finished(document),
            Self::Changed(changed) => changed.encode_to_vec(),
            Self::Dead(letter) => letter.encode_to_vec(),
        }
    }

    /// What bytes of the same kind mean.
    fn decode(&self, bytes: &[u8]) -> Result<Self, Error> {
        Ok(match self {
            Self::Record(_) | Self::Epoch { .. } => match decode::entry(bytes, AT_MS)? {
                Entry::Run(record) => Self::Record(record),
                Entry::EpochOpened { epoch, owner, logic_version } => {
                    Self::Epoch { epoch, owner, logic_version }
                }
            },
            Self::Plan(_) => Self::Plan(Box::new(decode::plan_order(bytes)?)),
            Self::Step(_) => Self::Step(Box::new(decode::step_order(bytes)?)),
            // Nobody reads a document back into the core's type.
            Self::Finished(document) => {
                let finished = decode::run_finished(bytes)?;
                assert_eq!(finished.run, document.run_id);
                assert_eq!(finished.state, document.state.as_str());
                assert_eq!(finished.tenant, document.tenant);
                assert_eq!(finished.rerun.as_ref(), document.rerun.as_deref());
                assert_eq!(finished.document_json, serde_json::to_string(document).unwrap());
                Self::Finished(document.clone())
            }
            Self::Changed(_) => Self::Changed(plain(bytes)?),
            Self::Dead(_) => Self::Dead(plain(bytes)?),
        })
    }
}

fn plain<M: Message + Default>(bytes: &[u8]) -> Result<M, Error> {
    M::decode(bytes).map_err(|error| Error::Bytes(error.to_string()))
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.hex"))
}

/// Sixteen bytes a line, with their text beside them, for people who read diffs.
fn dump(bytes: &[u8]) -> String {
    let line = |bytes: &[u8]| {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x} ")).collect();
        let printable = |byte: &u8| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' };
        format!("{hex:<48}|{}\n", bytes.iter().map(printable).collect::<String>())
    };
    bytes.chunks(16).map(line).collect()
}

fn undump(text: &str) -> Vec<u8> {
    let hex = text.lines().map(|line| line.split('|').next().unwrap());
    hex.flat_map(str::split_whitespace).map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

fn golden(name: &str) -> Vec<u8> {
    let text = fs::read_to_string(file(name)).unwrap_or_default();
    assert!(!text.is_empty(), "{name}.hex is missing; write it with PLANFLEET_BLESS=1");
    undump(&text)
}

#[test]
fn what_is_written_are_the_golden_bytes() {
    let bless = std::env::var_os("PLANFLEET_BLESS").is_some();
    for (name, sample) in samples::all() {
        let bytes = sample.encode();
        if bless {
            fs::write(file(name), dump(&bytes)).unwrap();
        }
        let golden = dump(&golden(name));
        assert!(dump(&bytes) == golden, "{name} is written otherwise:\n{}golden:\n{golden}", dump(&bytes));
    }
}

#[test]
fn the_golden_bytes_mean_what_was_meant() {
    for (name, sample) in samples::all() {
        let bytes = golden(name);
        let read = sample.decode(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(read, sample, "{name}");
        assert_eq!(dump(&read.encode()), dump(&bytes), "{name} written again");
    }
}

#[test]
fn every_file_and_every_kind_of_message_has_its_sample() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let files: BTreeSet<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "hex"))
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    let samples = samples::all();
    assert_eq!(files, samples.iter().map(|(name, _)| (*name).to_owned()).collect());

    let facts: BTreeSet<&str> = samples
        .iter()
        .filter_map(|(_, sample)| match sample {
            Sample::Record(record) => Some(record.fact.name()),
            _ => None,
        })
        .collect();
    // A new fact does not compile here until it has a line, and does not pass until it has a sample.
    let known = |fact: &Fact| match fact {
        Fact::TaskSubmitted(_)
        | Fact::StepPlanned { .. }
        | Fact::PlanSealed(_)
        | Fact::PlanFailed { .. }
        | Fact::StepSucceeded(_)
        | Fact::StepFailed(_)
        | Fact::RunCancelRequested { .. }
        | Fact::RunPauseRequested { .. }
        | Fact::RunResumeRequested
        | Fact::ApprovalDecided(_)
        | Fact::TimerFired(_) => 11,
    };
    assert_eq!(facts.len(), known(&Fact::RunCancelRequested { reason: String::new() }));
}

#[test]
fn an_old_reader_takes_what_a_newer_writer_adds() {
    // Field 1000 as a number, field 1001 as a text.
    let extra = [0xc0, 0x3e, 0x01, 0xca, 0x3e, 0x02, b'h', b'i'];
    for (name, sample) in samples::all() {
        let mut bytes = golden(name);
        bytes.extend(extra);
        assert_eq!(sample.decode(&bytes).unwrap(), sample, "{name} with more at its end");
    }
    // The same inside of a fact: RunCancelRequested, field 16 of a record.
    let mut cancel = wire::RunCancelRequested { reason: "enough".to_owned() }.encode_to_vec();
    cancel.extend(extra);
    let mut bytes = wire::Record { version: VERSION, run_id: "00-a".to_owned(), fact: None }.encode_to_vec();
    bytes.extend([0x82, 0x01, u8::try_from(cancel.len()).unwrap()]);
    bytes.extend(cancel);
    let fact = Fact::RunCancelRequested { reason: "enough".to_owned() };
    let record = Record { run: "00-a".parse().unwrap(), at_ms: AT_MS, fact };
    assert_eq!(decode::entry(&bytes, AT_MS), Ok(Entry::Run(Box::new(record))));
}

#[test]
fn a_newer_version_is_refused_as_such() {
    // Every stored message has its version in field 1: tag 08, then the number.
    for (name, sample) in samples::all() {
        if matches!(sample, Sample::Changed(_) | Sample::Dead(_)) {
            continue;
        }
        let mut bytes = golden(name);
        assert_eq!(bytes[..2], [0x08, 0x01], "{name}");
        bytes[1] = 2;
        assert_eq!(sample.decode(&bytes), Err(Error::Version(2)), "{name}");
        assert_eq!(sample.decode(&bytes[2..]), Err(Error::Version(0)), "{name} without a version");
        assert_eq!(sample.decode(&[]), Err(Error::Version(0)), "{name} without anything");
    }
}

#[test]
fn what_is_cut_short_is_refused() {
    for (name, sample) in samples::all() {
        let bytes = golden(name);
        for end in 0..bytes.len() {
            let read = sample.decode(&bytes[..end]);
            // Records are one field after the run's id: there is no place where a cut leaves a whole one.
            // Others may lose fields at their end, and then say something else.
            match (&sample, read) {
                (Sample::Record(_) | Sample::Epoch { .. }, read) => {
                    assert!(read.is_err(), "{name} cut at {end} is read as {read:?}");
                }
                (Sample::Finished(_), _) => {}
                (_, read) => assert_ne!(read.as_ref(), Ok(&sample), "{name} cut at {end}"),
            }
            if matches!(sample, Sample::Finished(_)) {
                break;
            }
        }
    }
}

fn wire_record(name: &str) -> wire::Record {
    wire::Record::decode(golden(name).as_slice()).unwrap()
}

fn refusal(record: &wire::Record) -> Error {
    decode::entry(&record.encode_to_vec(), AT_MS).expect_err("it should have been refused")
}

/// The refusal of a golden record after a change to its fact.
fn refused(name: &str, change: impl FnOnce(&mut wire::record::Fact)) -> String {
    let mut record = wire_record(name);
    change(record.fact.as_mut().unwrap());
    refusal(&record).to_string()
}

macro_rules! fact {
    ($fact:expr, $kind:ident) => {
        match $fact {
            wire::record::Fact::$kind(part) => part,
            other => panic!("another kind: {other:?}"),
        }
    };
}

#[test]
fn missing_parts_are_named() {
    let mut record = wire_record("run_cancel_requested");
    record.fact = None;
    assert_eq!(refusal(&record), Error::Missing("fact"));
    // A fact of a kind that is not known here is no fact: field 60 in place of field 16.
    let mut bytes = wire::Record { fact: None, ..record }.encode_to_vec();
    bytes.extend([0xe2, 0x03, 0x00]);
    assert_eq!(decode::entry(&bytes, AT_MS), Err(Error::Missing("fact")));

    let missing = |name: &str, change: fn(&mut wire::record::Fact)| refused(name, change);
    for (seen, expected) in [
        (missing("task_submitted", |f| fact!(f, TaskSubmitted).task = None), "task"),
        (missing("task_submitted", |f| fact!(f, TaskSubmitted).envelope = None), "envelope"),
        (missing("step_planned", |f| fact!(f, StepPlanned).draft = None), "draft"),
        (missing("step_planned", |f| fact!(f, StepPlanned).step = None), "step"),
        (missing("plan_sealed_plan", |f| fact!(f, PlanSealed).decision = None), "decision"),
        (missing("plan_failed", |f| fact!(f, PlanFailed).failure = None), "failure"),
        (missing("step_succeeded", |f| fact!(f, StepSucceeded).attempt = None), "attempt"),
        (missing("step_failed", |f| fact!(f, StepFailed).failure = None), "failure"),
        (missing("timer_deadline", |f| fact!(f, TimerFired).timer = None), "timer"),
    ] {
        assert_eq!(seen, format!("{expected} is missing"));
    }
}

#[test]
fn unknown_values_are_named_and_never_taken_for_others() {
    let mut record = wire_record("run_cancel_requested");
    record.run_id = "no shard".to_owned();
    assert_eq!(refusal(&record).to_string(), "run_id has an unknown value no shard");

    let unknown = |name: &str, change: fn(&mut wire::record::Fact)| refused(name, change);
    fn task(fact: &mut wire::record::Fact) -> &mut wire::Task {
        fact!(fact, TaskSubmitted).task.as_mut().unwrap()
    }
    fn envelope(fact: &mut wire::record::Fact) -> &mut wire::Envelope {
        fact!(fact, TaskSubmitted).envelope.as_mut().unwrap()
    }
    fn step(fact: &mut wire::record::Fact) -> &mut wire::PlanStep {
        fact!(fact, StepPlanned).step.as_mut().unwrap()
    }
    for (seen, expected) in [
        (unknown("task_submitted", |f| task(f).mode = 9), "mode has an unknown value 9"),
        (unknown("task_submitted", |f| task(f).mode = 0), "mode has an unknown value 0"),
        (unknown("task_submitted", |f| task(f).priority = 9), "priority has an unknown value 9"),
        (
            unknown("task_submitted", |f| task(f).inputs_json = "[]".to_owned()),
            "inputs_json has an unknown value text that is no object",
        ),
        (unknown("task_submitted", |f| envelope(f).review = 9), "review has an unknown value 9"),
        (unknown("task_submitted", |f| envelope(f).tools[0].effect = 9), "effect has an unknown value 9"),
        (unknown("step_planned", |f| step(f).kind = 9), "kind has an unknown value 9"),
        (
            unknown("step_planned", |f| step(f).success_criteria[0].kind = "vibes".to_owned()),
            "criterion kind has an unknown value vibes",
        ),
        (
            unknown("step_failed", |f| {
                fact!(f, StepFailed).failure.as_mut().unwrap().class = "bad_luck".to_owned();
            }),
            "class has an unknown value bad_luck",
        ),
        (
            unknown("step_succeeded", |f| {
                fact!(f, StepSucceeded).attempt.as_mut().unwrap().usage[0].account = 9;
            }),
            "account has an unknown value 9",
        ),
        (
            unknown("step_succeeded", |f| fact!(f, StepSucceeded).output_json = "{".to_owned()),
            "output_json has an unknown value {",
        ),
    ] {
        assert_eq!(seen, expected);
    }
}

#[test]
fn work_that_is_not_whole_is_refused() {
    let mut step = wire::StepOrder::decode(golden("step_order_item").as_slice()).unwrap();
    step.inputs[0].value = None;
    let read = decode::step_order(&step.encode_to_vec());
    assert_eq!(read, Err(Error::Missing("value")));
    step.spec = None;
    assert_eq!(decode::step_order(&step.encode_to_vec()), Err(Error::Missing("spec")));

    let mut plan = wire::PlanOrder::decode(golden("plan_order_replan").as_slice()).unwrap();
    plan.situation.as_mut().unwrap().steps[0].state = "pending".to_owned();
    let read = decode::plan_order(&plan.encode_to_vec()).unwrap_err();
    assert_eq!(read.to_string(), "state has an unknown value pending");
    plan.submission = None;
    assert_eq!(decode::plan_order(&plan.encode_to_vec()), Err(Error::Missing("submission")));
}

#[test]
fn an_executor_gets_its_step_and_nothing_else() {
    let Some((_, Sample::Step(order))) =
        samples::all().into_iter().find(|(name, _)| *name == "step_order_item")
    else {
        panic!("no such sample");
    };
    let mut wider = order.clone();
    // Where it is queued is its subject's matter, and other tools are none of its business.
    wider.pool = "strong".to_owned();
    wider.priority = Priority::High;
    let mut envelope = (*wider.envelope).clone();
    envelope.tools.insert("send".to_owned(), Effect::Write);
    wider.envelope = std::sync::Arc::new(envelope);
    assert_eq!(encode::step_order(&wider), encode::step_order(&order));
    assert_eq!(order.step, StepId::item(3, 0));
}

/// Marsaglia's xorshift64 (Journal of Statistical Software 8(14), 2003).
fn roll(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    usize::try_from(*state >> 11).unwrap_or_default()
}

#[test]
fn random_bytes_never_panic_and_what_is_read_survives_writing() {
    let samples = samples::all();
    let golden: Vec<Vec<u8>> = samples.iter().map(|(name, _)| golden(name)).collect();
    let mut read_again = 0;
    for seed in 1..=20_000u64 {
        let mut dice = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let at = roll(&mut dice) % samples.len();
        let mut bytes = golden[at].clone();
        if seed % 4 == 0 {
            bytes = (0..roll(&mut dice) % 200).map(|_| roll(&mut dice).to_le_bytes()[0]).collect();
        } else {
            for _ in 0..1 + roll(&mut dice) % 3 {
                let place = roll(&mut dice) % bytes.len();
                bytes[place] ^= 1 << (roll(&mut dice) % 8);
            }
        }
        let (name, sample) = &samples[at];
        if matches!(sample, Sample::Finished(_)) {
            let _whatever = decode::run_finished(&bytes);
        } else if let Ok(read) = sample.decode(&bytes) {
            // Writing is what may leave something out (an executor's envelope is narrowed), so
            // the second writing is compared, not the second reading.
            let written = read.encode();
            let again = sample.decode(&written).map(|again| again.encode());
            assert_eq!(again, Ok(written), "{name}, seed {seed}");
            read_again += 1;
        }
    }
    assert!(read_again > 1_000, "{read_again}");
}
