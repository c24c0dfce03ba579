//! no-early-start, duplicates, one-name-once: what is ordered, and what is done.

use std::collections::BTreeMap;

use planfleet_core::id::StepId;
use planfleet_proto::subjects::WorkKind;

use crate::{
    check::{
        fold::At,
        index::{Index, Seen},
        verdict::Pass,
    },
    history::{Dispatch, Effect, Node},
};

/// All times are of one clock, cut to the millisecond, and the one that is cut
/// never overtakes another that happened before. One millisecond is for clients
/// that round instead.
pub(super) const SLACK_MS: u64 = 1;

/// Nothing is ordered before its log orders it: not before the results of what it
/// waits for were read, not under a number that no retry has given it, not again
/// once its result was read. Nothing begins before the results of what it waits
/// for are stored.
pub(super) fn no_early_start(index: &Index<'_>, pass: &mut Pass) {
    for (at, run) in index.each() {
        for dispatch in &run.dispatches {
            let fault = match dispatch.work.what {
                WorkKind::Step(id) if run.is_strict() => unordered(run, dispatch, id),
                WorkKind::Step(id) => early(run, dispatch, id),
                WorkKind::Planning(revision) => unasked(run, dispatch, revision),
            };
            pass.check(fault.is_none(), at, dispatch.at_ms, || {
                format!("run {}: {}", run.id, fault.unwrap_or_default())
            });
        }
        for effect in &run.effects {
            let node = run.expected.and_then(|expected| expected.nodes.get(&effect.node));
            let fault = match node {
                Some(node) => begun_early(run, effect, node),
                None => Some(format!("node {} is none of its tag's", effect.node)),
            };
            pass.check(fault.is_none(), at, effect.began_ms, || {
                format!("run {}: {}", run.id, fault.unwrap_or_default())
            });
        }
    }
    for effect in &index.strays {
        pass.check(false, None, effect.began_ms, || {
            format!("an effect of tag {}, of which no log knows", effect.tag)
        });
    }
}

/// Why the log did not order this, where its fold can be taken at its word.
fn unordered(run: &Seen<'_>, dispatch: &Dispatch, id: StepId) -> Option<String> {
    let number = dispatch.work.attempt;
    let Some(step) = run.fold.steps.get(&id.step) else {
        return Some(format!("step {id} was ordered, and no plan has it"));
    };
    let attempts = step.works.get(&id.item).map(|work| work.attempts.as_slice()).unwrap_or_default();
    let Some(attempt) = attempts.iter().find(|attempt| attempt.number == number) else {
        return Some(format!(
            "attempt {number} of step {id} was ordered, and nothing in the log asks for it"
        ));
    };
    if dispatch.at_ms + SLACK_MS < attempt.opened.at_ms {
        let early_ms = attempt.opened.at_ms - dispatch.at_ms;
        return Some(format!("attempt {number} of step {id} was ordered {early_ms} ms too early"));
    }
    let folded_to = dispatch.log_seq?;
    let opened = attempt.opened.seq;
    if folded_to < opened {
        return Some(format!(
            "attempt {number} of step {id} was ordered at {folded_to}, and may be from {opened} on"
        ));
    }
    let closed = attempt.closed.map(|(closed, _)| closed.seq).into_iter();
    let over = closed.chain(step.dropped.map(|dropped| dropped.seq)).min().filter(|over| *over <= folded_to);
    over.map(|over| {
        format!("attempt {number} of step {id} was ordered at {folded_to}, and was over at {over}")
    })
}

/// Why an order is early, or late, whatever draft it belongs to.
fn early(run: &Seen<'_>, dispatch: &Dispatch, id: StepId) -> Option<String> {
    let (order, folded_to) = (dispatch.order.as_ref()?, dispatch.log_seq?);
    let written = run.fold.written.get(&id.step).filter(|written| written.seq <= folded_to);
    if written.is_none() {
        return Some(format!("step {id} was ordered at {folded_to}, before anybody had written it"));
    }
    let reported = run.fold.reports.get(&(id, dispatch.work.attempt));
    if let Some(reported) = reported.filter(|reported| reported.seq <= folded_to) {
        let seq = reported.seq;
        return Some(format!("step {id} was ordered at {folded_to}, and had its report at {seq}"));
    }
    let unread = |on: &u32| first_success(run, *on).is_some_and(|first| first.seq > folded_to);
    let missing = order.spec.dependencies().into_iter().find(unread);
    missing.map(|on| format!("step {id} was ordered at {folded_to}, before step {on} was done"))
}

/// Why nobody has asked for this planning, or why it was over.
fn unasked(run: &Seen<'_>, dispatch: &Dispatch, revision: u32) -> Option<String> {
    let (number, folded_to) = (dispatch.work.attempt, dispatch.log_seq?);
    let Some(asked) = run.fold.asked.get(&(revision, number)) else {
        // Of a first plan it is always clear when it was asked for.
        let unclear = revision > 1 && !run.is_strict();
        return (!unclear).then(|| format!("planning {number} of revision {revision} was ordered unasked"));
    };
    let over = run.fold.committed.get(&revision).filter(|over| over.seq <= folded_to);
    if folded_to >= asked.seq && over.is_none() {
        return None;
    }
    let (asked, over) = (asked.seq, over.map(|over| over.seq));
    Some(format!(
        "planning {number} of revision {revision} was ordered at {folded_to}; asked for at {asked}, over at {over:?}"
    ))
}

/// The first success of a step or of one of its items.
fn first_success(run: &Seen<'_>, step: u32) -> Option<At> {
    let of_step = run.fold.successes.range(StepId::plain(step)..=StepId::item(step, u32::MAX));
    of_step.filter_map(|(_, successes)| successes.first().map(|first| first.at)).min()
}

fn begun_early(run: &Seen<'_>, effect: &Effect, node: &Node) -> Option<String> {
    let step = run.fold.steps.get(&node.step).filter(|_| run.is_strict());
    let written = run.fold.written.get(&node.step).copied();
    let asked = step.map_or(written, |step| step.opened);
    if asked.is_none_or(|asked| asked.at_ms > effect.began_ms + SLACK_MS) {
        return Some(format!("node {} began before its log asked for step {}", effect.node, node.step));
    }
    let planned = run.fold.steps.get(&node.step).map(|step| step.spec.dependencies()).unwrap_or_default();
    for on in planned.iter().chain(&node.after) {
        let done = match run.fold.steps.get(on).filter(|_| run.is_strict()) {
            Some(step) => step.done,
            None => first_success(run, *on),
        };
        match done {
            Some(done) if done.at_ms <= effect.began_ms + SLACK_MS => {}
            Some(done) => {
                let early_ms = done.at_ms - effect.began_ms;
                return Some(format!("node {} began {early_ms} ms before step {on} was done", effect.node));
            }
            None => return Some(format!("node {} began, and step {on} was never done", effect.node)),
        }
    }
    None
}

/// The effects of one node, or of one item of it, that nobody had ordered: beyond
/// one for each attempt.
pub(crate) fn duplicated<'r>(run: &'r Seen<'_>) -> impl Iterator<Item = (&'r Effect, bool)> {
    let mut seen: BTreeMap<(&str, Option<u32>), u64> = BTreeMap::new();
    run.effects.iter().map(move |effect| {
        let count = seen.entry((&effect.node, effect.item)).or_default();
        *count += 1;
        let beyond = *count > 1 && *count > ordered(run, effect);
        (*effect, beyond)
    })
}

/// How many attempts of an effect's step were ordered.
fn ordered(run: &Seen<'_>, effect: &Effect) -> u64 {
    let Some(node) = run.expected.and_then(|expected| expected.nodes.get(&effect.node)) else { return 1 };
    let id = StepId { step: node.step, item: effect.item };
    if run.is_strict() {
        let work = run.fold.steps.get(&id.step).and_then(|step| step.works.get(&id.item));
        return work.map_or(0, |work| work.attempts.len() as u64);
    }
    let reported = run.fold.reports.range((id, 0)..=(id, u32::MAX)).map(|((_, number), _)| *number);
    let seen = run.dispatches.iter().filter(|dispatch| dispatch.work.what == WorkKind::Step(id));
    reported.chain(seen.map(|dispatch| dispatch.work.attempt)).max().map_or(1, u64::from)
}

/// At most so many of all steps were carried out more often than ordered. That it
/// happens at all is the price of going on after an executor has died; that it is
/// rare is what delivery by name is for.
pub(super) fn duplicates(index: &Index<'_>, pass: &mut Pass) {
    let mut beyond = Vec::new();
    let mut works = 0u32;
    for (at, run) in index.each() {
        let mut named = std::collections::BTreeSet::new();
        for (effect, duplicate) in duplicated(run) {
            works += u32::from(named.insert((&effect.node, effect.item)));
            beyond.extend(duplicate.then_some((at, effect)));
        }
    }
    let allowed = f64::from(works) * index.limits.duplicates;
    let count = u32::try_from(beyond.len()).unwrap_or(u32::MAX);
    let first = beyond.first();
    let at_ms = first.map_or(0, |(_, effect)| effect.began_ms);
    let fine = f64::from(count) <= allowed;
    pass.check(fine, first.map(|(at, _)| *at), at_ms, || {
        let first = first.map(|(at, effect)| again(&index.runs[*at], effect)).unwrap_or_default();
        format!("{count} of {works} steps were done again, {allowed} are allowed; the first is {first}")
    });
    // What was looked at is steps, not one sum.
    pass.checked = works.into();
}

/// An effect that nobody ordered, and how long before it the same was done first.
fn again(run: &Seen<'_>, effect: &Effect) -> String {
    let Effect { node, item, began_ms, .. } = effect;
    let same = |other: &&&Effect| (&other.node, other.item) == (node, *item);
    let first_ms = run.effects.iter().find(same).map_or(*began_ms, |first| first.began_ms);
    format!(
        "node {node} item {item:?} of run {}, begun {} ms after it was first",
        run.id,
        began_ms - first_ms
    )
}

/// A name is taken once for as long as its message is queued or in flight: a second
/// message of that name comes only after a report of the first, or after the run's
/// end, when work is acknowledged without a word.
pub(super) fn one_name_once(index: &Index<'_>, pass: &mut Pass) {
    for (at, run) in index.each() {
        let mut last: BTreeMap<(bool, StepId, u32), &Dispatch> = BTreeMap::new();
        let end_ms = run.end_seq().and_then(|end| run.records.iter().find(|logged| logged.seq == end));
        let end_ms = end_ms.map(|logged| logged.at_ms);
        for dispatch in &run.dispatches {
            let number = dispatch.work.attempt;
            let (name, reported) = match dispatch.work.what {
                WorkKind::Step(id) => ((true, id, number), run.fold.reports.get(&(id, number))),
                WorkKind::Planning(revision) => {
                    let name = (false, StepId::plain(revision), number);
                    (name, run.fold.plannings.get(&(revision, number)))
                }
            };
            let before = last.insert(name, dispatch);
            let over_ms = reported.map(|reported| reported.at_ms).into_iter().chain(end_ms).min();
            let free =
                before.is_none() || over_ms.is_some_and(|over_ms| over_ms <= dispatch.at_ms + SLACK_MS);
            pass.check(free, at, dispatch.at_ms, || {
                let (what, first) = (&dispatch.work.what, before.map_or(0, |before| before.seq));
                format!(
                    "run {}: {what:?} attempt {number} was taken as {first} and again as {}, unanswered",
                    run.id, dispatch.seq
                )
            });
        }
    }
}
