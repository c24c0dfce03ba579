//! `bench`: measures the fleet and the floor under it on this machine.

use std::{process::ExitCode, time::Duration};

use planfleet_bench::{Broker, Error, Messages, Options, Sync, TABLES, floor};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::{
    cli::{BenchArgs, BenchFloorArgs, BenchWatchersArgs, Cli, FloorRole, Format, SyncMode},
    embedded::nats,
    exit::{Code, Failure},
    output,
};

pub(super) async fn bench(cli: &Cli, args: &BenchArgs) -> Result<ExitCode, Failure> {
    let (options, quiet) = (options(args)?, cli.quiet);
    let rows = on_a_thread(move || async move {
        let progress = |text: &str| {
            if !quiet {
                output::note(text);
            }
        };
        tokio::select! {
            rows = planfleet_bench::run(&options, &progress) => rows.map_err(Failure::from),
            // What was started ends with what is dropped here.
            _ = tokio::signal::ctrl_c() => Err(Failure::new(Code::Interrupted, "stopped at once")),
        }
    })
    .await?;
    let rows: Vec<Value> = rows.iter().map(planfleet_bench::Row::json).collect();
    if cli.output != Format::Table {
        output::list(cli.output, &[], &rows, |_| Vec::new())?;
        return Ok(ExitCode::SUCCESS);
    }
    for table in &TABLES {
        let rows = table.of(&rows);
        if !rows.is_empty() {
            output::list(cli.output, table.head, &rows, table.cells)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn options(args: &BenchArgs) -> Result<Options, Failure> {
    let sync = match args.sync {
        SyncMode::Default => Sync::Default,
        SyncMode::Always => Sync::Always,
    };
    Ok(Options {
        workloads: args.workloads.clone(),
        runs: args.runs,
        repeat: args.repeat,
        broker: Broker { replicas: args.replicas, sync },
        executors: args.executors,
        slots: args.slots,
        outage: Duration::from_secs(args.outage),
        engine: !args.floor_only,
        floor: !args.engine_only,
        out: args.out.clone(),
        program: std::env::current_exe().map_err(Failure::unexpected)?,
        nats_server: nats::find()?,
    })
}

/// One of the floor's processes.
pub(super) async fn floor(args: &BenchFloorArgs) -> Result<ExitCode, Failure> {
    let messages: Option<Messages> = serde_json::from_str(&args.messages).map_err(Failure::usage)?;
    let role = match args.role {
        FloorRole::Coordinator => floor::Role::Coordinator,
        FloorRole::Executor => floor::Role::Executor,
        FloorRole::Pong => floor::Role::Pong,
    };
    let url = args.url.clone();
    on_a_thread(move || async move { floor::serve(role, &url, messages).await.map_err(Failure::from) })
        .await?;
    Ok(ExitCode::SUCCESS)
}

/// Those who watch a run.
pub(super) async fn watchers(args: &BenchWatchersArgs) -> Result<ExitCode, Failure> {
    let (url, watchers) = (args.url.clone(), args.watchers);
    let watching = move || async move {
        planfleet_bench::watch(&url, watchers, &|text| output::note(text)).await.map_err(Failure::from)
    };
    on_a_thread(watching).await?;
    Ok(ExitCode::SUCCESS)
}

/// A thread of its own for everything: with several, a message and its answer would
/// wait for one thread to wake another, and that would be measured.
async fn on_a_thread<T, F>(make: impl FnOnce() -> F + Send + 'static) -> Result<T, Failure>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Failure>>,
{
    let (done, outcome) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::unexpected)?;
    std::thread::Builder::new()
        .name("bench".to_owned())
        .spawn(move || {
            // Nobody waits for the outcome of a process that is being stopped.
            let _ = done.send(runtime.block_on(make()));
        })
        .map_err(Failure::unexpected)?;
    outcome.await.map_err(|_| Failure::unexpected("the benchmark's thread has panicked"))?
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::UnknownWorkload { .. } | Error::Usage(_) => Self::usage(error),
            Error::Bus(error) => error.into(),
            other => Self::unexpected(other),
        }
    }
}
