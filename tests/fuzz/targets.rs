//! What each fuzz target does with its bytes: plain functions, run by
//! `fuzz_targets/` under libFuzzer and by `corpus.rs` as tests. Each one asserts
//! what has to hold of every input, besides that nothing panics.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a broken promise is a panic here, and a library for the one is a module for the other"
)]

#[path = "targets/answers.rs"]
mod answers;
#[path = "targets/criteria.rs"]
mod criteria;
#[path = "targets/documents.rs"]
mod documents;
#[path = "targets/messages.rs"]
mod messages;
#[path = "targets/names.rs"]
mod names;
#[path = "targets/plans.rs"]
mod plans;
#[path = "targets/records.rs"]
mod records;
#[path = "targets/tasks.rs"]
mod tasks;

use std::borrow::Cow;

pub use self::{
    answers::{answer, elements},
    criteria::criterion,
    documents::{json, pointer},
    messages::{message, plan_order, record, step_order},
    names::name,
    plans::plan,
    records::records,
    tasks::task,
};

/// Text, whatever the bytes: a broken character is no reason to stop looking.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
