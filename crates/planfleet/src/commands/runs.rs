//! `runs`: look at runs, steer them, and do again what has failed.

mod bulk;

use std::{process::ExitCode, time::Duration};

use planfleet_api::submission;
use planfleet_bus::{
    Client, Error as BusError,
    client::{Found, Listed, TRIMMED},
};
use planfleet_core::id::{RunId, ShardId};
use planfleet_runtime::config::Settings;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tracing::Instrument as _;

use super::{connect, follow, reasons, report, run, steer::Steering};
use crate::{
    cli::{Cli, RunsCommand, WaitArgs},
    exit::{Code, Failure},
    output::{self, cell},
};

/// Longer than another coordinator takes to own the shard of one that has died.
const TAKEOVER_MAX: Duration = Duration::from_secs(10);

/// How long a run may take from its submit to its owner's knowledge.
const FOLD_MAX: Duration = Duration::from_secs(2);

const LOOK_EVERY: Duration = Duration::from_millis(200);

pub(super) async fn runs(cli: &Cli, command: &RunsCommand, settings: &Settings) -> Result<ExitCode, Failure> {
    let bus = connect(settings).await?;
    let shards = bus.shards();
    let client = Client::new(bus);
    let parse = |id: &str| parse(id, shards);
    let steering = |id: &str| Ok::<_, Failure>(Steering { cli, client: &client, run: parse(id)? });
    match command {
        RunsCommand::List { limit } => list(cli, &client, *limit).await,
        RunsCommand::Get { id } => get(cli, &client, &parse(id)?).await,
        RunsCommand::Watch { id } => watch(cli, &client, &parse(id)?).await,
        RunsCommand::Cancel { id: Some(id), reason, .. } => steering(id)?.cancel(reason).await,
        RunsCommand::Cancel { id: None, which, reason } => bulk::cancel(cli, &client, which, reason).await,
        RunsCommand::Pause { id, reason } => steering(id)?.pause(reason).await,
        RunsCommand::Resume { id } => steering(id)?.resume().await,
        RunsCommand::Approve { id, gates, reason } => {
            steering(id)?.decide(true, gates, reason.as_deref().unwrap_or_default()).await
        }
        RunsCommand::Reject { id, gates, reason } => steering(id)?.decide(false, gates, reason).await,
        RunsCommand::Retry { id: Some(id), wait, .. } => retry(cli, &client, &parse(id)?, wait).await,
        RunsCommand::Retry { id: None, which, .. } => bulk::retry(cli, &client, which).await,
    }
}

/// A run's id. A shard that is not there has no runs, and no owner to wait for.
pub(super) fn parse(id: &str, shards: ShardId) -> Result<RunId, Failure> {
    let run: RunId = id.parse().map_err(Failure::usage)?;
    if run.shard() < shards {
        return Ok(run);
    }
    let message = format!(
        "there is no run {run}: it would be in shard {}, and nats.shards says that there are {shards}",
        run.shard()
    );
    Err(Failure::unexpected(message))
}

async fn list(cli: &Cli, client: &Client, limit: usize) -> Result<ExitCode, Failure> {
    let Listed { runs, runs_left_out, shards_left_out } = client.list_counted(limit).await?;
    if runs_left_out > 0 && !cli.quiet {
        output::note(&format!("{runs_left_out} active runs are left out: the list is too large"));
    }
    if shards_left_out > 0 && !cli.quiet {
        output::note(&format!(
            "the active runs of {shards_left_out} shards are left out: nobody answers for them"
        ));
    }
    let row = |run: &Value| {
        vec![
            cell(&run["run_id"]),
            cell(&run["state"]),
            reasons::brief(run),
            cell(&run["custom_id"]),
            cell(&run["timings"]["total_ms"]),
            cell(&run["usd"]),
            cell(&run["answer"]),
        ]
    };
    output::list(cli.output, &["run", "state", "why", "custom id", "ms", "usd", "answer"], &runs, row)?;
    Ok(ExitCode::SUCCESS)
}

async fn find(client: &Client, id: &RunId) -> Result<Value, Failure> {
    match look(client, id).await? {
        Found::Active(document) | Found::Ended(document) => Ok(document),
        Found::Unknown => Err(unknown(id)),
    }
}

/// What is known of a run. A shard whose owner has just died is waited for.
pub(super) async fn look(client: &Client, id: &RunId) -> Result<Found, Failure> {
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

pub(super) fn unknown(id: &RunId) -> Failure {
    Failure::new(
        Code::Unexpected,
        format!("there is no run {id}; `planfleet runs list` shows those that are"),
    )
}

async fn get(cli: &Cli, client: &Client, id: &RunId) -> Result<ExitCode, Failure> {
    let document = find(client, id).await?;
    if document[TRIMMED] == true && !cli.quiet {
        output::note(
            "too large to be shown whole while it goes on: outputs, and where that is not enough items or steps, are left out",
        );
    }
    report::print(cli, &document)?;
    Ok(ExitCode::SUCCESS)
}

async fn watch(cli: &Cli, client: &Client, id: &RunId) -> Result<ExitCode, Failure> {
    find(client, id).await?;
    match follow::follow(cli, client, id, follow::Limits::default()).await? {
        follow::End::Ended(document) => run::finished(cli, &document),
        follow::End::TimedOut | follow::End::Interrupted => {
            Err(Failure::new(Code::Interrupted, format!("not watching any longer; the run goes on: {id}")))
        }
    }
}

/// A new run that goes on from where one that did not succeed has ended.
async fn retry(cli: &Cli, client: &Client, id: &RunId, wait: &WaitArgs) -> Result<ExitCode, Failure> {
    let again = async {
        let run = client.rerun(id, wait.idempotency_key.as_deref()).await?;
        run::see_through(cli, client, &run, wait, None).await
    };
    again.instrument(submission::span("client")).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_that_is_not_there_has_no_runs() {
        assert_eq!(parse("03-a", 4).unwrap().as_str(), "03-a");
        let refused = parse("ff-a", 4).unwrap_err().to_string();
        let said = "there is no run ff-a: it would be in shard 255, and nats.shards says that there are 4";
        assert_eq!(refused, said);
    }
}
