//! The rules. Each is a function over the index; its head says what must hold,
//! and why nothing stronger or weaker does.

mod answers;
mod ends;
mod inputs;
mod logs;
mod orders;
mod reads;
mod results;
mod submits;

pub(crate) use self::orders::duplicated;
use super::{index::Index, verdict::Pass};

/// A rule: its name and its function.
pub(crate) type Rule = (&'static str, fn(&Index<'_>, &mut Pass));

/// All rules, in the order of a run's life.
pub(crate) const RULES: [Rule; 13] = [
    ("acked-is-present", submits::acked_is_present),
    ("one-end", ends::one_end),
    ("one-accepted-result", results::one_accepted_result),
    ("no-early-start", orders::no_early_start),
    ("cancelled-means-no-more", ends::cancelled_means_no_more),
    ("inputs-are-accepted-outputs", inputs::inputs_are_accepted_outputs),
    ("reads-go-forward", reads::reads_go_forward),
    ("all-end-in-time", ends::all_end_in_time),
    ("right-answers", answers::right_answers),
    ("duplicates", orders::duplicates),
    ("logs-are-whole", logs::logs_are_whole),
    ("orders-keep-to-epochs", logs::orders_keep_to_epochs),
    ("one-name-once", orders::one_name_once),
];
