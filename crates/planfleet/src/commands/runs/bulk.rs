//! `runs cancel` and `runs retry` of all runs that fit a filter. Nothing is done without
//! `--yes`: it is said how many are meant.

use std::{process::ExitCode, time::SystemTime};

use planfleet_api::{
    bulk::{self, FOUND_MAX, Filter, Found},
    reason::{self, Empty},
};
use planfleet_bus::Client;
use planfleet_core::{document::RunState, id::RunId};
use serde_json::{Value, json};

use crate::{
    cli::{ASKED, Cli, FilterArgs, Format},
    exit::{Code, Failure},
    output::{self, cell},
};

pub(super) async fn cancel(
    cli: &Cli,
    client: &Client,
    which: &FilterArgs,
    reason: &str,
) -> Result<ExitCode, Failure> {
    let reason = reason::read(reason, Empty::Means(ASKED)).map_err(Failure::usage)?;
    let filter = filter(which)?;
    if let Some(state) = filter.states.iter().find(|state| state.is_end()) {
        return Err(Failure::usage(format!("--state {}: such a run has ended already", state.as_str())));
    }
    let found = bulk::active(client, &filter).await?;
    if !is_meant(cli, which, &found, "cancel")? {
        return Ok(ExitCode::SUCCESS);
    }
    let asked = bulk::cancel(client, &found.runs, &reason).await?;
    note(cli, &format!("asked {asked} runs to end"));
    data(cli, &json!({"cancelled": asked, "shards_left_out": found.silent}))?;
    complete(&found)
}

pub(super) async fn retry(cli: &Cli, client: &Client, which: &FilterArgs) -> Result<ExitCode, Failure> {
    let filter = filter(which)?;
    if let Some(state) = filter.states.iter().find(|state| !state.is_end() || **state == RunState::Succeeded)
    {
        let message = format!("--state {}: only what has ended without success is run again", state.as_str());
        return Err(Failure::usage(message));
    }
    let found = bulk::unsuccessful(client, &filter).await?;
    if !is_meant(cli, which, &found, "run again")? {
        return Ok(ExitCode::SUCCESS);
    }
    let retried = bulk::retry(client, &found.runs).await?;
    note(cli, &format!("{} runs go on from where others stopped", retried.runs.len()));
    for (run, why) in &retried.refused {
        note(cli, &format!("run {run} is not run again: {why}"));
    }
    let pair = |(new, from): &(RunId, RunId)| json!({"run_id": new, "rerun_of": from});
    let refused = |(run, why): &(RunId, String)| json!({"run_id": run, "reason": why});
    data(
        cli,
        &json!({
            "runs": retried.runs.iter().map(pair).collect::<Vec<_>>(),
            "refused": retried.refused.iter().map(refused).collect::<Vec<_>>(),
        }),
    )?;
    Ok(ExitCode::SUCCESS)
}

fn filter(which: &FilterArgs) -> Result<Filter, Failure> {
    let now = SystemTime::now();
    let ago = |time: Option<std::time::Duration>, flag: &str| {
        let too_long = || Failure::usage(format!("{flag}: longer ago than there is time"));
        time.map(|time| now.checked_sub(time).ok_or_else(too_long)).transpose()
    };
    Ok(Filter {
        states: which.states.clone(),
        tenant: which.tenant.clone(),
        class: which.class.clone(),
        template: which.template.clone(),
        batch: which.batch.clone(),
        labels: which.labels.iter().cloned().collect(),
        since: ago(which.newer_than, "--newer-than")?,
        before: ago(which.older_than, "--older-than")?,
    })
}

/// Whether the runs that were found are to be dealt with, and not only shown or counted.
fn is_meant(cli: &Cli, which: &FilterArgs, found: &Found, what: &str) -> Result<bool, Failure> {
    if which.dry_run {
        let runs: Vec<Value> = found.runs.iter().map(|run| json!({"run_id": run})).collect();
        output::list(cli.output, &["run"], &runs, |run| vec![cell(&run["run_id"])])?;
    }
    let (count, more) = (found.runs.len(), if found.runs.len() == FOUND_MAX { " or more" } else { "" });
    if which.yes && count > 0 {
        return Ok(true);
    }
    note(cli, &format!("{count} runs{more} fit"));
    if !which.dry_run && count > 0 {
        return Err(Failure::usage(format!(
            "--yes is missing: with it, planfleet would {what} {count} runs"
        )));
    }
    complete(found).map(|_| false)
}

/// Whether all were asked that there are.
fn complete(found: &Found) -> Result<ExitCode, Failure> {
    if found.silent.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let message = format!(
        "nobody answers for {} shards, whose runs are left out; try again when a coordinator has them",
        found.silent.len()
    );
    Err(Failure::new(Code::Unreachable, message))
}

fn note(cli: &Cli, text: &str) {
    if !cli.quiet {
        output::note(text);
    }
}

/// For people the notes are enough.
fn data(cli: &Cli, value: &Value) -> Result<(), Failure> {
    if cli.output == Format::Table { Ok(()) } else { output::value(cli.output, value) }
}
