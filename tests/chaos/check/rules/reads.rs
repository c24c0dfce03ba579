//! reads-go-forward: what clients are shown never goes back.

use std::collections::BTreeMap;

use planfleet_core::document::RunState;
use serde_json::Value;

use crate::{
    check::{index::Index, verdict::Pass},
    history::{Call, UNKNOWN, What},
};

/// What one client knows of a run.
#[derive(Clone, Copy, Default)]
struct Known<'h> {
    /// Not known, active, ended: how far it is.
    rank: u8,
    state: &'h str,
    revision: u32,
    steps_done: u32,
}

/// For each client: a run that was there is not unknown later, one that has ended
/// has ended as it did, revisions are not taken back, a plan once there stays, and
/// what was done of it stays done. (Before the first revision a newer draft may let
/// finished steps go; afterwards nothing does.) For all clients together: whoever
/// reads after somebody was told the end reads that end. This holds because only an
/// owner answers that has read its log to the tail, and only while its lease is
/// fresh.
pub(super) fn reads_go_forward(index: &Index<'_>, pass: &mut Pass) {
    for (at, run) in index.each() {
        let mut known: BTreeMap<u32, Known<'_>> = BTreeMap::new();
        let ended = run.calls.iter().filter_map(|call| Some((call.ended_ms, end_of(call)?))).min();
        for call in &run.calls {
            let Some(seen) = seen(call) else { continue };
            let before = known.entry(call.client).or_default();
            let fault = backward(before, &seen).or_else(|| {
                let (told_ms, end) = ended.filter(|(told_ms, _)| *told_ms < call.began_ms)?;
                let late_ms = call.began_ms - told_ms;
                (seen.state != end).then(|| format!("{late_ms} ms after somebody was told its end, {end}"))
            });
            pass.check(fault.is_none(), at, call.ended_ms, || {
                let fault = fault.unwrap_or_default();
                format!("run {} was shown to client {} as {}, {fault}", run.id, call.client, seen.state)
            });
            *before = seen;
        }
    }
}

/// What a call shows, with what it does not show taken from nowhere.
fn seen(call: &Call) -> Option<Known<'_>> {
    match &call.what {
        What::Read { state, revision, steps_done, .. } => Some(Known {
            rank: rank(state),
            state,
            revision: *revision,
            // Answers without steps say nothing: they are compared with nothing.
            steps_done: steps_done.unwrap_or(u32::MAX),
        }),
        What::Ended { document, .. } => {
            let state = document["state"].as_str()?;
            let revision = document["revisions"].as_array().map_or(0, Vec::len);
            let revision = u32::try_from(revision).unwrap_or(u32::MAX);
            Some(Known { rank: rank(state), state, revision, steps_done: done_in(document) })
        }
        What::Submit { .. } | What::Cancel { .. } => None,
    }
}

fn done_in(document: &Value) -> u32 {
    let steps = document["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
    let done = steps.iter().filter(|entry| entry["state"] == "succeeded").count();
    u32::try_from(done).unwrap_or(u32::MAX)
}

fn rank(state: &str) -> u8 {
    if state == UNKNOWN {
        0
    } else if is_end(state) {
        2
    } else {
        1
    }
}

fn is_end(state: &str) -> bool {
    use RunState as S;
    [S::Succeeded, S::Failed, S::Cancelled, S::Expired].iter().any(|end| end.as_str() == state)
}

fn end_of(call: &Call) -> Option<&str> {
    seen(call).map(|seen| seen.state).filter(|state| is_end(state))
}

/// What has gone back since the client's last look.
fn backward(before: &Known<'_>, now: &Known<'_>) -> Option<String> {
    let Known { rank, state, revision, steps_done } = *before;
    if now.rank < rank || (rank == 2 && now.state != state) {
        return Some(format!("which had been shown as {state}"));
    }
    if now.revision < revision || (revision > 0 && now.state == "planning") {
        return Some(format!("in revision {}, which had been in {revision}", now.revision));
    }
    let counted = steps_done != u32::MAX && revision > 0;
    (counted && now.steps_done < steps_done)
        .then(|| format!("with {} steps done, of which {steps_done} had been done", now.steps_done))
}
