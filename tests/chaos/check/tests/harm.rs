//! Harm to what was seen outside the logs.

use fastrand::Rng;
use planfleet_core::{
    id::RunId,
    record::{Fact, Timer},
};
use planfleet_proto::{decode::Entry, subjects::WorkKind};
use serde_json::{Value, json};

use super::{
    edit::{records, rewrite},
    mutations::Harm,
};
use crate::history::{Dispatch, Fate, History, What};

/// A number that is another one.
pub(super) fn other(value: &mut Value, rng: &mut Rng) -> bool {
    match value {
        Value::Number(number) => {
            let number = number.as_i64().unwrap_or_default() + rng.i64(1..9);
            *value = json!(number);
            true
        }
        Value::Array(items) => items.first_mut().is_some_and(|item| other(item, rng)),
        Value::Object(fields) => fields.values_mut().next().is_some_and(|field| other(field, rng)),
        _ => false,
    }
}

fn any(count: usize, rng: &mut Rng) -> usize {
    rng.usize(..count)
}

fn tag_of(history: &History, document: usize) -> String {
    history.documents[document].document["custom_id"].as_str().unwrap().to_owned()
}

pub(super) fn document_dropped(history: &mut History, rng: &mut Rng) -> Harm {
    let kept = history.documents.remove(any(history.documents.len(), rng));
    Harm::Seen(format!("of run {}", kept.run))
}

pub(super) fn document_twice(history: &mut History, rng: &mut Rng) -> Harm {
    let kept = history.documents[any(history.documents.len(), rng)].clone();
    history.documents.push(kept);
    Harm::Seen("one more".to_owned())
}

pub(super) fn document_late(history: &mut History, rng: &mut Rng) -> Harm {
    let at = any(history.documents.len(), rng);
    history.documents[at].at_ms += 400_000;
    Harm::Seen("by 400 s".to_owned())
}

pub(super) fn answer_changed(history: &mut History, rng: &mut Rng) -> Harm {
    let at = any(history.documents.len(), rng);
    if !other(&mut history.documents[at].document["answer"], rng) {
        return Harm::None;
    }
    Harm::Seen(tag_of(history, at))
}

fn done_step(history: &History, rng: &mut Rng) -> Option<(String, usize)> {
    let document = any(history.documents.len(), rng);
    let steps = history.documents[document].document["steps"].as_array().unwrap();
    let step = any(steps.len(), rng);
    (steps[step]["state"] == "succeeded").then(|| (tag_of(history, document), step))
}

pub(super) fn output_changed(history: &mut History, rng: &mut Rng) -> Harm {
    let Some((tag, step)) = done_step(history, rng) else { return Harm::None };
    let seed = rng.u64(..);
    rewrite(history, &tag, |document| {
        other(&mut document["steps"][step]["output"], &mut Rng::with_seed(seed));
    });
    Harm::Seen(format!("{tag}, entry {step}"))
}

pub(super) fn attempts_changed(history: &mut History, rng: &mut Rng) -> Harm {
    let Some((tag, step)) = done_step(history, rng) else { return Harm::None };
    rewrite(history, &tag, |document| {
        let attempts = &mut document["steps"][step]["attempts"];
        *attempts = json!(attempts.as_u64().unwrap() + 1);
    });
    Harm::Seen(format!("{tag}, entry {step}"))
}

pub(super) fn dispatch_dropped(history: &mut History, rng: &mut Rng) -> Harm {
    history.dispatches.remove(any(history.dispatches.len(), rng));
    Harm::Hidden("the witness misses what a leader dies with")
}

/// The positions at which an order may have been given: from the record from which
/// it follows until the one that answers it, in its epoch.
fn window(history: &mut History, dispatch: &Dispatch) -> std::ops::Range<u64> {
    let tag = tag_of_run(history, &dispatch.work.run);
    let mut from = 0;
    let mut to = u64::MAX;
    let (what, number) = (dispatch.work.what, dispatch.work.attempt);
    for logged in records(history, &tag) {
        let Ok(Entry::Run(record)) = &logged.entry else { continue };
        let (asks, answers) = match (&record.fact, what) {
            (Fact::TaskSubmitted(_), _) => (true, false),
            (Fact::RunCancelRequested { .. }, _) => (false, true),
            (Fact::StepPlanned { step, .. }, WorkKind::Step(id)) => (step.id == id.step, false),
            // A revision's steps are there when it is whole.
            (Fact::PlanSealed(sealed), WorkKind::Step(id)) => {
                (sealed.draft.revision == 2 && id.step == 3, false)
            }
            (Fact::StepSucceeded(success), WorkKind::Step(id)) => {
                let order = dispatch.order.as_ref().unwrap();
                let own = success.attempt.step == id && success.attempt.attempt == number;
                (order.spec.dependencies().contains(&success.attempt.step.step), own)
            }
            (Fact::StepFailed(failed), WorkKind::Step(id)) => {
                (false, failed.attempt.step == id && failed.attempt.attempt == number)
            }
            (Fact::TimerFired(Timer::Retry { step, attempt }), WorkKind::Step(id)) => {
                (*step == id && *attempt == number, false)
            }
            (Fact::StepFailed(_), WorkKind::Planning(revision)) => (revision == 2, false),
            (Fact::PlanSealed(sealed), WorkKind::Planning(revision)) => {
                (false, sealed.draft.revision == revision)
            }
            _ => (false, false),
        };
        if asks && to == u64::MAX {
            from = logged.seq;
        }
        if answers {
            to = to.min(logged.seq);
        }
    }
    let opened = |entry: &Entry| matches!(entry, Entry::EpochOpened { .. });
    for logged in &history.logs[&dispatch.work.run.shard()] {
        if logged.entry.as_ref().is_ok_and(opened) {
            let later = Some(logged.seq) > dispatch.log_seq;
            (from, to) = if later { (from, to.min(logged.seq)) } else { (from.max(logged.seq), to) };
        }
    }
    from..to
}

fn tag_of_run(history: &History, run: &RunId) -> String {
    let kept = history.documents.iter().find(|kept| kept.run == *run).unwrap();
    kept.document["custom_id"].as_str().unwrap().to_owned()
}

pub(super) fn dispatch_moved(history: &mut History, rng: &mut Rng) -> Harm {
    let at = any(history.dispatches.len(), rng);
    let dispatch = history.dispatches[at].clone();
    let tail = history.logs[&dispatch.work.run.shard()].len() as u64;
    let moved = rng.u64(0..=tail);
    history.dispatches[at].log_seq = Some(moved);
    let window = window(history, &dispatch);
    if window.contains(&moved) {
        return Harm::Hidden("an owner may have read on before it gave the order");
    }
    Harm::Seen(format!("{:?} from {:?} to {moved}, allowed {window:?}", dispatch.work, dispatch.log_seq))
}

pub(super) fn dispatch_renumbered(history: &mut History, rng: &mut Rng) -> Harm {
    let at = any(history.dispatches.len(), rng);
    let work = &mut history.dispatches[at].work;
    work.attempt = if work.attempt == 1 { 2 } else { 1 };
    Harm::Seen(format!("{work:?}"))
}

pub(super) fn dispatch_of_another_epoch(history: &mut History, rng: &mut Rng) -> Harm {
    let at = any(history.dispatches.len(), rng);
    let epoch = &mut history.dispatches[at].epoch;
    *epoch = epoch.map(|epoch| if epoch == 1 { 2 } else { 1 });
    Harm::Seen(format!("now {epoch:?}"))
}

pub(super) fn dispatch_twice(history: &mut History, rng: &mut Rng) -> Harm {
    let mut copy = history.dispatches[any(history.dispatches.len(), rng)].clone();
    copy.seq += 1_000;
    let what = format!("{:?}", copy.work);
    history.dispatches.push(copy);
    Harm::Seen(what)
}

pub(super) fn effect_saw_else(history: &mut History, rng: &mut Rng) -> Harm {
    let at = any(history.effects.len(), rng);
    let effect = &mut history.effects[at];
    let which = any(effect.inputs.len(), rng);
    other(&mut effect.inputs[which], rng);
    Harm::Seen(format!("{effect:?}"))
}

pub(super) fn effect_earlier(history: &mut History, rng: &mut Rng) -> Harm {
    let at = any(history.effects.len(), rng);
    history.effects[at].began_ms -= rng.u64(1..3_000);
    let effect = history.effects[at].clone();
    let step: u32 = effect.node[1..].parse().unwrap();
    let after = history.expected[&effect.tag].nodes[&effect.node].after.clone();
    let mut planned = false;
    let mut from_ms = 0;
    for logged in records(history, &effect.tag) {
        let Ok(Entry::Run(record)) = &logged.entry else { continue };
        let asks = match &record.fact {
            Fact::TaskSubmitted(_) => true,
            Fact::StepPlanned { step: spec, .. } if spec.id == step && !planned => {
                planned = true;
                true
            }
            Fact::StepSucceeded(success) => after.contains(&success.attempt.step.step),
            // A revision's steps are there when it is whole.
            Fact::PlanSealed(sealed) => sealed.draft.revision == 2 && step == 3,
            _ => false,
        };
        from_ms = if asks { logged.at_ms } else { from_ms };
    }
    // A millisecond is the slack of the rule.
    if effect.began_ms + 1 >= from_ms {
        return Harm::Hidden("it was ordered by then");
    }
    Harm::Seen(format!("{} {} at {}, asked for at {from_ms}", effect.tag, effect.node, effect.began_ms))
}

pub(super) fn effect_answered_else(history: &mut History, rng: &mut Rng) -> Harm {
    let at = any(history.effects.len(), rng);
    let effect = &mut history.effects[at];
    let Some(value) = &mut effect.value else { return Harm::None };
    other(value, rng);
    Harm::Seen(format!("{effect:?}"))
}

pub(super) fn effect_dropped(history: &mut History, rng: &mut Rng) -> Harm {
    let effect = history.effects.remove(any(history.effects.len(), rng));
    if effect.value.is_none() {
        return Harm::Hidden("only the ledger knows of a call without an answer");
    }
    Harm::Seen(format!("{effect:?}"))
}

pub(super) fn fault_dropped(history: &mut History, rng: &mut Rng) -> Harm {
    history.faults.remove(any(history.faults.len(), rng));
    Harm::Hidden("what must hold must hold without faults, too")
}

pub(super) fn call_dropped(history: &mut History, rng: &mut Rng) -> Harm {
    history.clients.remove(any(history.clients.len(), rng));
    Harm::Hidden("a client need not have made that call")
}

pub(super) fn reads_swapped(history: &mut History, rng: &mut Rng) -> Harm {
    let read = |at: &usize| matches!(history.clients[*at].what, What::Read { .. } | What::Ended { .. });
    let reads: Vec<usize> = (0..history.clients.len()).filter(read).collect();
    let (one, two) = (reads[any(reads.len(), rng)], reads[any(reads.len(), rng)]);
    let about = |at: usize| match &history.clients[at].what {
        What::Read { run, .. } | What::Ended { run, .. } => Some((history.clients[at].client, run.clone())),
        What::Submit { .. } | What::Cancel { .. } => None,
    };
    if one == two || about(one) != about(two) {
        return Harm::None;
    }
    let (first, second) = (history.clients[one].what.clone(), history.clients[two].what.clone());
    let what = format!("{first:?} and {second:?}");
    (history.clients[one].what, history.clients[two].what) = (second, first);
    Harm::Seen(what)
}

pub(super) fn submit_told_else(history: &mut History, rng: &mut Rng) -> Harm {
    let at = any(history.clients.len(), rng);
    let other = history.documents[any(history.documents.len(), rng)].run.clone();
    match &mut history.clients[at].what {
        What::Submit { run, .. } if run.as_ref() != Some(&other) => {
            *run = Some(other.clone());
            Harm::Seen(format!("{other}"))
        }
        _ => Harm::None,
    }
}

pub(super) fn expected_else(history: &mut History, rng: &mut Rng) -> Harm {
    let at = any(history.expected.len(), rng);
    let (tag, expected) = history.expected.iter_mut().nth(at).unwrap();
    let (tag, hidden) = (tag.clone(), tag == "cancel");
    let fate = match &mut expected.fate {
        Fate::Cancelled { otherwise } => otherwise,
        fate => fate,
    };
    match fate {
        Fate::Succeeds { answer, .. } => {
            other(answer, rng);
        }
        Fate::Fails { code, .. } => code.push('x'),
        Fate::Cancelled { .. } => return Harm::None,
    }
    if hidden { Harm::Hidden("it was cancelled before it had an answer") } else { Harm::Seen(tag) }
}
