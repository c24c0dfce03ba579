//! Every protobuf message: whatever is read is written, and read again as it was.

use std::sync::Arc;

use planfleet_core::{
    command::{PlanOrder, Situation, StepOrder},
    plan::{
        lint,
        revision::{self, Change},
    },
    record::Record,
};
use planfleet_proto::{
    Message,
    decode::{self, Entry, Error},
    encode, wire,
};

use super::plans;

/// When the broker stored a record.
const AT_MS: u64 = 1_700_000_000_000;

fn told(error: &Error) {
    assert!(!error.to_string().is_empty());
}

pub fn record(bytes: &[u8]) {
    match decode::entry(bytes, AT_MS) {
        Ok(Entry::Run(record)) => {
            assert_eq!(decode::run_of(bytes).as_ref(), Some(&record.run));
            assert_eq!(again(&record), *record);
        }
        Ok(Entry::EpochOpened { epoch, owner, logic_version }) => {
            let written = encode::epoch_opened(epoch, &owner, logic_version);
            let opened = Entry::EpochOpened { epoch, owner, logic_version };
            assert_eq!(decode::entry(&written, AT_MS), Ok(opened));
        }
        Err(error) => told(&error),
    }
}

/// A record, written and read.
pub fn again(record: &Record) -> Record {
    let written = encode::record(record.run.as_str(), &record.fact);
    match decode::entry(&written, record.at_ms) {
        Ok(Entry::Run(again)) => *again,
        other => panic!("{record:?} is read again as {other:?}"),
    }
}

pub fn plan_order(bytes: &[u8]) {
    match decode::plan_order(bytes) {
        Ok(order) => {
            planned(&order);
            if let Some(situation) = &order.situation {
                let plan = order.submission.plan.as_ref();
                revised(situation, plan.map_or(&[], |plan| plan.steps.as_slice()));
            }
        }
        Err(error) => told(&error),
    }
}

/// Planning work arrives as it was sent.
pub fn planned(order: &PlanOrder) {
    assert_eq!(decode::plan_order(&encode::plan_order(order)).as_ref(), Ok(order));
}

/// A revision is sound, or its planner is told why not.
fn revised(situation: &Situation, steps: &[Arc<planfleet_core::plan::PlanStep>]) {
    for final_step in [None, steps.last().map(|step| step.id)] {
        let change = Change { drop: situation.frontier(), final_step, steps };
        match revision::revise(situation, &change) {
            Ok(revised) => {
                let kept = revision::existing(situation, &revised.dropped).kept;
                let output = |id: &u32| {
                    situation.steps.iter().any(|step| step.step.id == *id && step.output.is_some())
                };
                assert!(revised.dropped.intersection(&kept).all(output), "what is gone has no output");
                let added = steps.iter().any(|step| step.id == revised.final_step);
                assert!(added || kept.contains(&revised.final_step), "the final step is gone");
            }
            Err(faults) => {
                assert!(!faults.is_empty(), "refused for nothing: {}", lint::describe(&faults));
                plans::told(&faults);
            }
        }
    }
}

pub fn step_order(bytes: &[u8]) {
    match decode::step_order(bytes) {
        Ok(order) => ordered(&order),
        Err(error) => told(&error),
    }
}

/// A step's work arrives as it was sent, with those tools that are its own.
/// Where it was queued is its subject's matter.
pub fn ordered(order: &StepOrder) {
    let arrived = decode::step_order(&encode::step_order(order)).expect("what was written reads");
    let mut sent = order.clone();
    let mut envelope = (*sent.envelope).clone();
    envelope.tools.retain(|name, _| sent.spec.tools.contains(name));
    sent.envelope = envelope.into();
    sent.pool.clone_from(&arrived.pool);
    sent.priority = arrived.priority;
    assert_eq!(arrived, sent);
}

/// The messages that travel as they are, and every other as its own kind.
pub fn message(bytes: &[u8]) {
    if let Err(error) = decode::run_finished(bytes) {
        told(&error);
    }
    reads_again::<wire::RunFinished>(bytes);
    reads_again::<wire::RunChanged>(bytes);
    reads_again::<wire::DeadLetter>(bytes);
    reads_again::<wire::Record>(bytes);
    reads_again::<wire::PlanOrder>(bytes);
    reads_again::<wire::StepOrder>(bytes);
    reads_again::<wire::Submission>(bytes);
    reads_again::<wire::Plan>(bytes);
    reads_again::<wire::Attempt>(bytes);
    reads_again::<wire::Failure>(bytes);
}

fn reads_again<M: Message + Default + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(message) = M::decode(bytes) {
        let written = message.encode_to_vec();
        assert_eq!(written.len(), message.encoded_len());
        assert_eq!(M::decode(written.as_slice()).as_ref(), Ok(&message));
    }
}
