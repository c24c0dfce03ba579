//! What still went on when a run was over, and for how long.

use super::{
    Figures,
    promises::{Promise, Since},
};
use crate::check::index::{Index, Seen};

/// Fills in how long calls went on after ends. Runs that had no call open then count for
/// nothing.
pub(super) fn measure(index: &Index<'_>, figures: &mut Figures) {
    for run in &index.runs {
        let Some((promise, from_ms)) = over(run) else { continue };
        let what = format!("the last call of {}", run.tag().unwrap_or("-"));
        let since = Since { promise, from_ms, fault: None, what };
        if run.effects.iter().any(|effect| effect.over_ms().is_none()) {
            since.never(index, figures);
            continue;
        }
        let last_ms = run.effects.iter().filter_map(|effect| effect.over_ms()).max();
        if let Some(last_ms) = last_ms.filter(|last_ms| *last_ms > from_ms) {
            since.done(last_ms, index, figures);
        }
    }
}

/// When a run was over: from its cancel on, or from its end.
fn over(run: &Seen<'_>) -> Option<(Promise, u64)> {
    match (run.state()?, run.fold.cancel) {
        ("cancelled", Some(cancel)) => Some((Promise::CallsAfterCancel, cancel.at_ms)),
        _ => Some((Promise::CallsAfterEnd, run.says_ended_ms()?)),
    }
}
