//! What every planfleet process needs before it does any planfleet work:
//! configuration, telemetry, named tasks, signals, ordered shutdown, health, the
//! wall clock.
//!
//! This crate must never know of the bus, the core, models or tools; it is
//! what they are composed with. Start at [`config::Settings::load`], then
//! [`telemetry::Telemetry::init`]: both come before the tokio runtime.

pub mod clock;
pub mod config;
pub mod health;
pub mod open_files;
pub mod signals;
pub mod tasks;
pub mod telemetry;
