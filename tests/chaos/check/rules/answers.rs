//! right-answers: runs end as they were meant to.

use serde_json::Value;

use crate::{
    check::{
        index::{Index, Seen},
        verdict::Pass,
    },
    history::{Expected, Fate},
};

/// Every run with a document has the answer that the driver has computed by itself,
/// fails with the reason for which it was meant to, or was cancelled where somebody
/// asked for that. One that was meant to be replanned was, if it came that far.
pub(super) fn right_answers(index: &Index<'_>, pass: &mut Pass) {
    for (at, run) in index.each() {
        let Some(document) = run.document() else { continue };
        let kept_ms = run.documents[0].at_ms;
        let Some(expected) = run.expected else {
            pass.check(false, at, kept_ms, || {
                format!("nobody expects run {} of tag {:?}", run.id, run.tag())
            });
            continue;
        };
        let wrong = wrong(run, document, expected);
        pass.check(wrong.is_none(), at, kept_ms, || format!("run {} {}", run.id, wrong.unwrap_or_default()));
    }
}

fn wrong(run: &Seen<'_>, document: &Value, expected: &Expected) -> Option<String> {
    let state = document["state"].as_str().unwrap_or_default();
    let fate = match &expected.fate {
        Fate::Cancelled { .. } if state == "cancelled" => {
            let asked = run.fold.cancel.is_some();
            return (!asked).then(|| "was cancelled, and nobody asked for it".to_owned());
        }
        Fate::Cancelled { otherwise } => otherwise,
        fate => fate,
    };
    let revisions = document["revisions"].as_array().map_or(0, Vec::len);
    if expected.replanned && revisions < 2 {
        return Some(format!("was to be replanned, and has {revisions} revisions"));
    }
    let end = &document["end"];
    match fate {
        Fate::Succeeds { path, answer } => {
            let got = document["answer"].pointer(path);
            let right = state == "succeeded" && got == Some(answer);
            (!right).then(|| format!("ended as {state} with {got:?} for {answer}: {}", end["message"]))
        }
        Fate::Fails { code, message } => {
            let said = end["message"].as_str().unwrap_or_default();
            let right = state == "failed" && end["code"] == **code && said.contains(message.as_str());
            (!right).then(|| format!("was to fail with {code} {message:?}, and is {state}: {end}"))
        }
        Fate::Cancelled { .. } => Some("is expected to be cancelled or else cancelled".to_owned()),
    }
}
