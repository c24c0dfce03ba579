//! Batches: many tasks as lines of JSON, submitted at the pace of the fleet, looked at,
//! and brought to an end together.
//!
//! [`submit()`] reads lines and never has more runs open than a window, so neither the file
//! nor the fleet's backlog is ever held in memory; submitting the same lines again goes on
//! where it stopped. [`watch`] and [`status`] say how a batch stands, [`steer`] cancels it and
//! tries again what failed. What a batch is on the broker, and how its runs are found, is in
//! [`planfleet_bus::batches`]; nothing here keeps anything.

mod envelope;
mod line;
mod lines;
pub mod order;
pub mod results;
pub mod status;
pub mod steer;
pub mod submit;
mod tallies;
pub mod watch;

use std::io;

pub use self::{
    lines::{LINE_BYTES_MAX, Survey, survey},
    order::{Desk, Event, Order, Outcome},
    status::Standing,
    submit::submit,
    tallies::Tallies,
};

/// Why something is not done with a batch.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// What was asked for cannot be done.
    #[error("{0}")]
    Refused(String),
    /// The lines cannot be read.
    #[error("cannot read the batch: {0}")]
    Read(#[from] io::Error),
    /// The fleet cannot be reached, or does not know the batch.
    #[error(transparent)]
    Bus(#[from] planfleet_bus::Error),
}
