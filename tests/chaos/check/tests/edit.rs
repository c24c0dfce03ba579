//! Changes to a history, by tag and step: how the tests do harm.

use planfleet_core::{
    id::{RunId, StepId},
    json::Json,
    record::{Fact, Record, StepSucceeded},
};
use planfleet_proto::{decode::Entry, subjects::WorkKind};
use serde_json::{Value, json};

use super::good::good;
use crate::history::{Call, Dispatch, Effect, History, Kept, Logged, What};

/// A good history with one thing done to it.
pub(super) fn spoilt(harm: impl FnOnce(&mut History)) -> History {
    let mut history = good();
    harm(&mut history);
    history
}

pub(super) fn run(history: &History, tag: &str) -> RunId {
    let of_tag = |kept: &&Kept| kept.document["custom_id"] == tag;
    history.documents.iter().find(of_tag).unwrap().run.clone()
}

pub(super) fn record(logged: &mut Logged) -> Option<&mut Record> {
    match &mut logged.entry {
        Ok(Entry::Run(record)) => Some(record),
        _ => None,
    }
}

/// A run's records.
pub(super) fn records<'h>(history: &'h mut History, tag: &str) -> Vec<&'h mut Logged> {
    let run = run(history, tag);
    let log = history.logs.get_mut(&run.shard()).unwrap();
    let of_run = |logged: &&mut Logged| matches!(&logged.entry, Ok(Entry::Run(record)) if record.run == run);
    log.iter_mut().filter(of_run).collect()
}

/// The record of a success.
pub(super) fn success<'h>(
    history: &'h mut History,
    tag: &str,
    id: StepId,
    attempt: u32,
) -> &'h mut StepSucceeded {
    let mut facts =
        records(history, tag).into_iter().filter_map(|logged| record(logged).map(|record| &mut record.fact));
    facts
        .find_map(|fact| match fact {
            Fact::StepSucceeded(success)
                if success.attempt.step == id && success.attempt.attempt == attempt =>
            {
                Some(success.as_mut())
            }
            _ => None,
        })
        .unwrap()
}

/// The position and time of a success.
pub(super) fn stored(history: &mut History, tag: &str, id: StepId) -> (u64, u64) {
    let is_it = |logged: &&mut Logged| match &logged.entry {
        Ok(Entry::Run(record)) => {
            matches!(&record.fact, Fact::StepSucceeded(success) if success.attempt.step == id)
        }
        _ => false,
    };
    let found = records(history, tag).into_iter().find(is_it).unwrap();
    (found.seq, found.at_ms)
}

pub(super) fn dispatch<'h>(
    history: &'h mut History,
    tag: &str,
    id: StepId,
    attempt: u32,
) -> &'h mut Dispatch {
    let run = run(history, tag);
    let is_it = |dispatch: &&mut Dispatch| {
        let work = &dispatch.work;
        work.run == run && work.what == WorkKind::Step(id) && work.attempt == attempt
    };
    history.dispatches.iter_mut().find(is_it).unwrap()
}

/// Adds a message to the queue that is like one that is there, right after it.
pub(super) fn again(history: &mut History, tag: &str, id: StepId, change: impl FnOnce(&mut Dispatch)) {
    let mut copy = dispatch(history, tag, id, 1).clone();
    copy.seq = 1_000;
    copy.at_ms += 1;
    change(&mut copy);
    history.dispatches.push(copy);
}

pub(super) fn effect<'h>(history: &'h mut History, tag: &str, node: &str) -> &'h mut Effect {
    history.effects.iter_mut().find(|effect| effect.tag == tag && effect.node == node).unwrap()
}

pub(super) fn kept<'h>(history: &'h mut History, tag: &str) -> &'h mut Kept {
    let run = run(history, tag);
    history.documents.iter_mut().find(|kept| kept.run == run).unwrap()
}

/// Changes a document, and what clients were told of it.
pub(super) fn rewrite(history: &mut History, tag: &str, change: impl Fn(&mut Value)) {
    let of = run(history, tag);
    change(&mut kept(history, tag).document);
    for call in &mut history.clients {
        match &mut call.what {
            What::Ended { run, document } if *run == of => change(document),
            _ => {}
        }
    }
}

/// A client's calls about a run.
pub(super) fn calls<'h>(history: &'h mut History, tag: &str, client: u32) -> Vec<&'h mut Call> {
    let of = run(history, tag);
    let about = |call: &&mut Call| match &call.what {
        What::Submit { run, .. } => run.as_ref() == Some(&of),
        What::Cancel { run, .. } | What::Read { run, .. } | What::Ended { run, .. } => *run == of,
    };
    history.clients.iter_mut().filter(|call| call.client == client).filter(about).collect()
}

/// A read some time after everything else, by a client.
pub(super) fn read(history: &mut History, tag: &str, client: u32, state: &str, revision: u32, done: u32) {
    let began_ms = history.clients.iter().map(|call| call.ended_ms).max().unwrap() + 10;
    let (run, state, steps_done) = (run(history, tag), state.to_owned(), Some(done));
    let what = What::Read { run, state, revision, steps_done };
    history.clients.push(Call { client, began_ms, ended_ms: began_ms + 1, what });
}

pub(super) fn output(value: impl Into<Value>) -> Json {
    let value: Value = value.into();
    Json::from_value(&json!({"json": {"value": value}}))
}
