//! one-end, cancelled-means-no-more, all-end-in-time: how runs are over.

use serde_json::Value;

use crate::{
    check::{
        index::{Index, Seen},
        verdict::Pass,
    },
    history::What,
};

/// Every run in the logs has one document, under its tag, with the end that its log
/// makes. Whoever was told an end was told that one. And nothing is ordered by who
/// has read of the end.
pub(super) fn one_end(index: &Index<'_>, pass: &mut Pass) {
    for (at, run) in index.each() {
        let kept_ms = run.documents.last().map(|kept| kept.at_ms);
        let submitted_ms = run.fold.submitted.map(|submitted| submitted.at_ms);
        let at_ms = kept_ms.or(submitted_ms).unwrap_or_default();
        let count = run.documents.len();
        pass.check(count == 1, at, at_ms, || format!("run {} has {count} documents", run.id));
        pass.check(run.fold.submitted.is_some(), at, at_ms, || {
            format!("run {} was never submitted by its log", run.id)
        });
        if let Some(document) = run.document() {
            as_its_log_says(at, run, document, at_ms, pass);
            as_told(at, run, document, pass);
        }
        let Some(end) = run.end_seq() else { continue };
        for dispatch in &run.dispatches {
            let Some(log_seq) = dispatch.log_seq else { continue };
            pass.check(log_seq < end, at, dispatch.at_ms, || {
                let what = &dispatch.work.what;
                format!("{what:?} of run {} was ordered at {log_seq}, and it ended at {end}", run.id)
            });
        }
    }
}

fn as_its_log_says(at: usize, run: &Seen<'_>, document: &Value, at_ms: u64, pass: &mut Pass) {
    pass.check(document["custom_id"].as_str() == run.tag(), at, at_ms, || {
        format!(
            "the document of run {} is of {}, and its log of {:?}",
            run.id,
            document["custom_id"],
            run.tag()
        )
    });
    let says_ms = run.says_ended_ms();
    let by_record = run.records.iter().any(|logged| Some(logged.at_ms) == says_ms);
    pass.check(by_record, at, at_ms, || {
        format!("run {} says that it ended at {says_ms:?}, and no record is of then", run.id)
    });
    if !run.is_strict() {
        return;
    }
    let (made, says) = (run.fold.end, (run.state(), says_ms));
    let same = made.is_some_and(|end| (Some(end.state), Some(end.at.at_ms)) == says);
    pass.check(same, at, at_ms, || {
        format!("run {} says that it ended as {says:?}, and its log makes that {made:?}", run.id)
    });
}

fn as_told(at: usize, run: &Seen<'_>, document: &Value, pass: &mut Pass) {
    for call in &run.calls {
        if let What::Ended { document: told, .. } = &call.what {
            let same = told["state"] == document["state"] && told["answer"] == document["answer"];
            pass.check(same, at, call.ended_ms, || {
                let (told, kept) = (&told["state"], &document["state"]);
                format!("client {} was told another end of run {}: {told}, kept {kept}", call.client, run.id)
            });
        }
    }
}

/// Nothing is ordered by who has read of a cancel that ended the run, and that run's
/// document says so. A cancel ends every run that it finds active: only an end
/// before it is another.
pub(super) fn cancelled_means_no_more(index: &Index<'_>, pass: &mut Pass) {
    for (at, run) in index.each() {
        let Some(cancel) = run.fold.cancel else { continue };
        let before = match run.fold.end.filter(|_| run.is_strict()) {
            Some(end) => end.at < cancel,
            None => ended_before(run, cancel.seq),
        };
        if let Some(state) = run.state() {
            pass.check(before != (state == "cancelled"), at, cancel.at_ms, || {
                let when = if before { "after" } else { "before" };
                format!("run {} was cancelled {when} its end and its document says {state}", run.id)
            });
        }
        for dispatch in &run.dispatches {
            let Some(log_seq) = dispatch.log_seq else { continue };
            pass.check(log_seq < cancel.seq, at, dispatch.at_ms, || {
                let (what, seq) = (&dispatch.work.what, cancel.seq);
                format!("{what:?} of run {} was ordered at {log_seq}, and it was cancelled at {seq}", run.id)
            });
        }
    }
}

/// Whether the document's own time of the end is that of a record before a position.
fn ended_before(run: &Seen<'_>, seq: u64) -> bool {
    let says_ms = run.says_ended_ms();
    run.state() != Some("cancelled")
        && run.records.iter().any(|logged| logged.seq < seq && Some(logged.at_ms) == says_ms)
}

/// Every run that was acknowledged has its document in time after the last fault,
/// or after its submit where that came later.
pub(super) fn all_end_in_time(index: &Index<'_>, pass: &mut Pass) {
    for (at, run) in index.each().filter(|(_, run)| run.acked) {
        let submitted_ms = run.fold.submitted.map_or(0, |submitted| submitted.at_ms);
        let until_ms = index.history.healed_ms.max(submitted_ms) + index.limits.end_within_ms;
        let kept_ms = run.documents.first().map(|kept| kept.at_ms);
        pass.check(
            kept_ms.is_some_and(|kept_ms| kept_ms <= until_ms),
            at,
            kept_ms.unwrap_or(until_ms),
            || {
                let last = run.records.last().map(|logged| logged.seq);
                match kept_ms {
                    Some(kept_ms) => format!("run {} ended {} ms too late", run.id, kept_ms - until_ms),
                    None => format!("run {} has not ended; its last record is {last:?}", run.id),
                }
            },
        );
    }
}
