//! The real binary on real nats-server processes, told as stories.
//!
//! The provider is the simulator of `planfleet-modelsim`, in this process over
//! real HTTP; a server in Python that shares no code with us (`foreign_server.py`);
//! or the local model. `support` is the rig; each other module is one chapter.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a rig that cannot do its work has failed its test"
)]

mod api_keys;
mod bad_input;
mod batches;
mod bench;
mod blobs;
mod budgets;
mod cancelling;
mod commands;
mod crashes;
mod dashboard;
mod dead_letters;
mod deploy;
mod dev;
mod elections;
mod endings;
mod execution;
mod fault_mix;
mod flow;
mod foreign_provider;
mod full_disk;
mod hosts;
mod idempotency;
mod leftovers;
mod load;
mod local_model;
mod made_up_requests;
mod mcp;
mod modes;
mod overload;
mod plan_cache;
mod pods;
mod prices;
mod provider_trouble;
mod python_client;
mod readiness;
mod replanning;
mod scaling;
mod secured;
mod steering;
mod sub_tasks;
mod support;
mod templates;
mod tools;
mod traces;
mod unreadable_records;
