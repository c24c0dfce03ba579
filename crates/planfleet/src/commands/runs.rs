//! `runs`: look at runs and cancel them.

use std::{process::ExitCode, time::Duration};

use planfleet_bus::{Client, Error as BusError, client::Found};
use planfleet_core::id::RunId;
use planfleet_runtime::config::Settings;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{connect, follow, report, run};
use crate::{
    cli::{Cli, RunsCommand},
    exit::{Code, Failure},
    output::{self, cell},
};

/// Longer than another coordinator takes to own the shard of one that has died.
const TAKEOVER_MAX: Duration = Duration::from_secs(10);

/// How long a run may take from its submit to its owner's knowledge.
const FOLD_MAX: Duration = Duration::from_secs(2);

const LOOK_EVERY: Duration = Duration::from_millis(200);

pub(super) async fn runs(cli: &Cli, command: &RunsCommand, settings: &Settings) -> Result<ExitCode, Failure> {
    let client = Client::new(connect(settings).await?);
    match command {
        RunsCommand::List { limit } => list(cli, &client, *limit).await,
        RunsCommand::Get { id } => get(cli, &client, &parse(id)?).await,
        RunsCommand::Watch { id } => watch(cli, &client, &parse(id)?).await,
        RunsCommand::Cancel { id, reason } => cancel(cli, &client, &parse(id)?, reason).await,
    }
}

fn parse(id: &str) -> Result<RunId, Failure> {
    id.parse().map_err(Failure::usage)
}

async fn list(cli: &Cli, client: &Client, limit: usize) -> Result<ExitCode, Failure> {
    let runs = client.list(limit).await?;
    let row = |run: &Value| {
        vec![
            cell(&run["run_id"]),
            cell(&run["state"]),
            cell(&run["custom_id"]),
            cell(&run["timings"]["total_ms"]),
            cell(&run["usd"]),
            cell(&run["answer"]),
        ]
    };
    output::list(cli.output, &["run", "state", "custom id", "ms", "usd", "answer"], &runs, row)?;
    Ok(ExitCode::SUCCESS)
}

async fn find(client: &Client, id: &RunId) -> Result<Value, Failure> {
    match look(client, id).await? {
        Found::Active(document) | Found::Ended(document) => Ok(document),
        Found::Unknown => Err(unknown(id)),
    }
}

/// What is known of a run. A shard whose owner has just died is waited for.
async fn look(client: &Client, id: &RunId) -> Result<Found, Failure> {
    let started = Instant::now();
    loop {
        match client.find(id).await {
            Err(BusError::NoOwner(_)) if started.elapsed() < TAKEOVER_MAX => sleep(LOOK_EVERY).await,
            // Submitted just now, its record may not have been folded yet.
            Ok(Found::Unknown) if started.elapsed() < FOLD_MAX => sleep(LOOK_EVERY).await,
            found => return Ok(found?),
        }
    }
}

fn unknown(id: &RunId) -> Failure {
    Failure::new(
        Code::Unexpected,
        format!("there is no run {id}; `planfleet runs list` shows those that are"),
    )
}

async fn get(cli: &Cli, client: &Client, id: &RunId) -> Result<ExitCode, Failure> {
    report::print(cli, &find(client, id).await?)?;
    Ok(ExitCode::SUCCESS)
}

async fn watch(cli: &Cli, client: &Client, id: &RunId) -> Result<ExitCode, Failure> {
    find(client, id).await?;
    match follow::follow(cli, client, id, None).await? {
        follow::End::Ended(document) => run::finished(cli, &document),
        follow::End::TimedOut | follow::End::Interrupted => {
            Err(Failure::new(Code::Interrupted, format!("not watching any longer; the run goes on: {id}")))
        }
    }
}

async fn cancel(cli: &Cli, client: &Client, id: &RunId, reason: &str) -> Result<ExitCode, Failure> {
    match look(client, id).await? {
        Found::Active(_) => {}
        Found::Ended(document) => {
            let state = cell(&document["state"]);
            return Err(Failure::new(Code::Unexpected, format!("run {id} has ended already: {state}")));
        }
        Found::Unknown => return Err(unknown(id)),
    }
    client.cancel(id, reason).await?;
    if !cli.quiet {
        output::note(&format!("asked for run {id} to end"));
    }
    Ok(ExitCode::SUCCESS)
}
