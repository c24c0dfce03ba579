//! What planfleet decides, and nothing that it does.
//!
//! A shard's log is the only source of truth, and this crate is the fold over
//! it: [`shard::Shard::apply`] takes one [`record::Record`] and returns the
//! [`command::Command`]s that follow from it. There is no clock here (time is
//! the record's own), no I/O, no randomness and no unordered iteration, so that
//! every process which reads the same log decides the same.
//!
//! Start with [`run`], the state machine of one run; [`plan`] is what planners
//! write; [`record`] and [`command`] are what goes in and comes out.

pub mod budget;
pub mod cache;
pub mod command;
pub mod criteria;
pub mod document;
pub mod failure;
pub mod id;
pub mod json;
pub mod pattern;
pub mod plan;
pub mod policy;
pub mod reason;
pub mod record;
pub mod reference;
pub mod run;
pub mod seeded;
pub mod shard;
pub mod sub_task;
pub mod task;
pub mod tool;
pub mod usage;
