//! Harm to the logs.

use fastrand::Rng;
use planfleet_core::{
    failure::FailureClass,
    id::ShardId,
    json::Json,
    record::{Fact, Record},
};
use planfleet_proto::decode::Entry;

use super::{edit::record, harm::other, mutations::Harm};
use crate::history::{History, Logged};

fn any_entry(history: &History, rng: &mut Rng) -> (ShardId, usize) {
    let shard = rng.u16(..2);
    (shard, rng.usize(..history.logs[&shard].len()))
}

pub(super) fn entry_dropped(history: &mut History, rng: &mut Rng) -> Harm {
    let (shard, at) = any_entry(history, rng);
    let gone = history.logs.get_mut(&shard).unwrap().remove(at);
    Harm::Seen(format!("log {shard}: {gone:?}"))
}

pub(super) fn entry_older(history: &mut History, rng: &mut Rng) -> Harm {
    let (shard, at) = any_entry(history, rng);
    let logged = &mut history.logs.get_mut(&shard).unwrap()[at];
    logged.at_ms -= 7_000;
    let at_ms = logged.at_ms;
    if let Some(record) = record(logged) {
        record.at_ms = at_ms;
    }
    if at == 0 {
        return Harm::Hidden("nothing is older than the beginning");
    }
    Harm::Seen(format!("log {shard}: {}", at + 1))
}

pub(super) fn result_changed(history: &mut History, rng: &mut Rng) -> Harm {
    let (shard, at) = any_entry(history, rng);
    match record(&mut history.logs.get_mut(&shard).unwrap()[at]).map(|record| &mut record.fact) {
        Some(Fact::StepSucceeded(success)) => {
            let mut output = success.output.value();
            other(&mut output, rng);
            success.output = Json::from_value(&output);
            Harm::Seen(format!("{:?}", success.attempt))
        }
        _ => Harm::None,
    }
}

pub(super) fn failure_changed(history: &mut History, rng: &mut Rng) -> Harm {
    let (shard, at) = any_entry(history, rng);
    match record(&mut history.logs.get_mut(&shard).unwrap()[at]).map(|record| &mut record.fact) {
        Some(Fact::StepFailed(failed)) => {
            let class = &mut failed.failure.class;
            *class = match class {
                FailureClass::Transient => FailureClass::ToolError,
                _ => FailureClass::Transient,
            };
            Harm::Seen(format!("{:?}", failed.attempt))
        }
        _ => Harm::None,
    }
}

/// Two records of one run that follow one another there change places.
pub(super) fn entries_swapped(history: &mut History, rng: &mut Rng) -> Harm {
    let (shard, at) = any_entry(history, rng);
    let log = history.logs.get_mut(&shard).unwrap();
    let Some(first) = record(&mut log[at]).cloned() else { return Harm::None };
    let of_run = |logged: &mut Logged| record(logged).is_some_and(|record| record.run == first.run);
    let Some(next) = (at + 1..log.len()).find(|next| of_run(&mut log[*next])) else { return Harm::None };
    let second = record(&mut log[next]).cloned().unwrap();
    let hidden = commute(&first, &second);
    let what = format!("{} at {} and {} at {}", first.fact.name(), at + 1, second.fact.name(), next + 1);
    put(&mut log[at], second);
    put(&mut log[next], first);
    hidden.map_or(Harm::Seen(what), Harm::Hidden)
}

fn put(logged: &mut Logged, record: Record) {
    logged.entry = Ok(Entry::Run(Box::new(Record { at_ms: logged.at_ms, ..record })));
}

/// Why two records of a run may come in either order.
fn commute(first: &Record, second: &Record) -> Option<&'static str> {
    match (&first.fact, &second.fact) {
        (Fact::StepPlanned { draft: one, .. }, Fact::StepPlanned { draft: two, .. }) if one == two => {
            Some("the steps of a draft come in any order")
        }
        (Fact::StepPlanned { .. }, Fact::PlanSealed(_)) => Some("a seal waits for the steps of its draft"),
        (Fact::StepSucceeded(_), Fact::PlanSealed(_)) => {
            Some("a step that starts early is done before or after its plan is whole")
        }
        (Fact::StepSucceeded(_), Fact::StepPlanned { .. }) => {
            Some("a step that starts early is done in one draft or in the next")
        }
        _ => None,
    }
}
