//! planfleet: plan-and-execute LLM work on a fleet. The command line, and the
//! one place that puts the crates together.

mod broker;
mod cli;
mod commands;
mod compose;
mod embedded;
mod exit;
mod hints;
mod model_list;
mod output;
mod prices;
mod purse;
mod submit;

use std::{process::ExitCode, time::Duration};

use clap::Parser as _;
#[cfg(feature = "seeded-bugs")]
use planfleet_runtime::config::Env as _;
use planfleet_runtime::{
    config::{LogFormat, ProcessEnv, Settings},
    open_files,
    telemetry::{LogTarget, Telemetry},
};

use self::{cli::Cli, exit::Failure};

/// A step is many small allocations in several threads, which the system's allocator takes
/// a quarter of a coordinator's time for (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Spans and metrics that are still to be sent have this long.
const TELEMETRY_FLUSH: Duration = Duration::from_secs(5);

/// The client library tells of each connection at this level, as the bus does in its own words.
const INFO: &str = "info,async_nats=warn";

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(code) => code,
        Err(failure) => {
            output::error(&failure);
            failure.code()
        }
    }
}

fn run(cli: &Cli) -> Result<ExitCode, Failure> {
    #[cfg(feature = "seeded-bugs")]
    switch_bug_on()?;
    planfleet_llm::install_crypto();
    open_files::raise_limit();
    let settings = load(cli)?;
    let role = cli.command.name();
    let telemetry = Telemetry::init(&settings.telemetry, role, LogTarget::Stderr)
        .map_err(|error| Failure::usage(format!("telemetry: {error}")))?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::unexpected)?;
    let outcome = runtime.block_on(commands::dispatch(cli, settings, telemetry.metrics()));
    // A blocking tool call may still be running; the process does not wait for it.
    runtime.shutdown_timeout(Duration::from_millis(500));
    if let Err(error) = telemetry.shutdown(TELEMETRY_FLUSH) {
        output::note(&format!("telemetry was not flushed: {error}"));
    }
    outcome
}

/// Says that this is no program for users, and switches on the bug that is asked for.
#[cfg(feature = "seeded-bugs")]
fn switch_bug_on() -> Result<(), Failure> {
    let asked = ProcessEnv.get(planfleet_core::seeded::VARIABLE);
    let on = asked.as_deref().unwrap_or("none");
    output::note(&format!(
        "planfleet: THIS BUILD HAS BUGS ON PURPOSE, for tests of tests; switched on: {on}"
    ));
    asked.map_or(Ok(()), |name| planfleet_core::seeded::switch_on(&name)).map_err(Failure::usage)
}

fn load(cli: &Cli) -> Result<Settings, Failure> {
    let mut settings = Settings::load(&cli.load_request()?, &ProcessEnv).map_err(Failure::usage)?;
    // A price file that cannot be read is what an import may be about to replace.
    if !cli.command.imports_prices() {
        prices::fill(&mut settings)?;
    }
    let by_default = settings.source_of("telemetry.log_filter") == "defaults";
    if cli.verbose > 0 {
        settings.telemetry.log_filter = if cli.verbose > 1 { "debug" } else { INFO }.to_owned();
    } else if by_default {
        settings.telemetry.log_filter = if cli.command.is_service() { INFO } else { "error" }.to_owned();
    }
    if !cli.command.is_service() && settings.telemetry.log_format == LogFormat::Auto {
        settings.telemetry.log_format = LogFormat::Human;
    }
    Ok(settings)
}
