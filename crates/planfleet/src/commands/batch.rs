//! `batch`: many tasks at once. What is done is `planfleet_api::batch`'s; here it is asked
//! for and shown.

mod submit;
mod view;

use std::{pin::pin, process::ExitCode};

use planfleet_api::batch::{
    Standing, Tallies, results, status, steer,
    watch::{self, Seen, Wanted},
};
use planfleet_bus::{Client, batches::Batch};
use planfleet_core::{
    document::{rfc3339, usd},
    id::check_name,
};
use planfleet_runtime::{clock, config::Settings, signals::Signals};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use self::view::{Count, View};
use super::connect;
use crate::{
    cli::{BatchCommand, Cli, Format},
    exit::{self, Code, Failure},
    output::{self, cell},
};

pub(super) async fn batch(
    cli: &Cli,
    command: &BatchCommand,
    settings: Settings,
) -> Result<ExitCode, Failure> {
    let client = match command {
        BatchCommand::Submit(args) => return submit::submit(cli, args, settings).await,
        _ => Client::new(connect(&settings).await?),
    };
    match command {
        BatchCommand::Submit(_) => Ok(ExitCode::SUCCESS),
        BatchCommand::Status { id } => {
            print(cli, &status::status(&client, checked(id)?, &Tallies::default()).await?)?;
            Ok(ExitCode::SUCCESS)
        }
        BatchCommand::Watch { id } => follow(cli, &client, checked(id)?, Wanted::default()).await,
        BatchCommand::Results { id, follow: true } => {
            follow(cli, &client, checked(id)?, Wanted { documents: true, ..Wanted::default() }).await
        }
        BatchCommand::Results { id, follow: false } => {
            results::results(&client, checked(id)?, &mut |document| print_document(cli, document)).await?;
            Ok(ExitCode::SUCCESS)
        }
        BatchCommand::Errors { id } => errors(cli, &client, checked(id)?).await,
        BatchCommand::Cancel { id, reason } => cancel(cli, &client, checked(id)?, reason).await,
        BatchCommand::RetryFailed { id, wait } => retry(cli, &client, checked(id)?, *wait).await,
        BatchCommand::List { limit } => list(cli, client.bus().batches().await?, *limit),
    }
}

fn checked(id: &str) -> Result<&str, Failure> {
    check_name("batch id", id).map_err(Failure::usage)?;
    Ok(id)
}

/// A document as the run itself would be printed; one a line where lines are asked for.
fn print_document(cli: &Cli, document: &str) {
    match (cli.output, serde_json::from_str::<Value>(document)) {
        (Format::Json | Format::Yaml, Ok(value)) => {
            // Each is a document of its own.
            let _ = output::value(cli.output, &value);
        }
        (Format::Table, Ok(value)) => {
            let cells = ["run_id", "custom_id", "state", "answer"].map(|name| cell(&value[name]));
            output::data(&cells.join("  "));
        }
        _ => output::data(document),
    }
}

/// How a batch stands, in the chosen format.
fn print(cli: &Cli, standing: &Standing) -> Result<(), Failure> {
    let value = standing.to_json(clock::unix_ms());
    if cli.output != Format::Table {
        return output::value(cli.output, &value);
    }
    let text = |name: &str| cell(&value[name]);
    let mut rows = vec![
        vec!["state".to_owned(), text("state")],
        vec![
            "tasks".to_owned(),
            format!(
                "{} submitted, {} refused, {} in all",
                text("submitted"),
                text("rejected"),
                text("total")
            ),
        ],
        vec!["active".to_owned(), text("active")],
    ];
    for name in ["succeeded", "failed", "cancelled", "expired", "retried"] {
        if name == "succeeded" || value[name] != 0 {
            rows.push(vec![name.to_owned(), text(name)]);
        }
    }
    let unpriced = standing.tally.unpriced;
    let more = if unpriced > 0 { format!(" and {unpriced} runs of unknown price") } else { String::new() };
    rows.push(vec!["cost".to_owned(), format!("{} USD{more}, {} tokens", text("usd"), text("tokens"))]);
    if value["budget"]["usd"].is_number() || value["budget"]["tokens"].is_number() {
        let budget = &value["budget"];
        rows.push(vec![
            "budget".to_owned(),
            format!("{} USD, {} tokens", cell(&budget["usd"]), cell(&budget["tokens"])),
        ]);
    }
    if value["rate_per_s"].is_number() {
        let left = view::left(value["eta_s"].as_u64());
        rows.push(vec!["pace".to_owned(), format!("{}/s, {left}", text("rate_per_s"))]);
    }
    if !standing.active.silent.is_empty() {
        rows.push(vec!["shards".to_owned(), format!("{} do not answer", standing.active.silent.len())]);
    }
    if let Some(abandoned) = view::abandoned(standing) {
        rows.push(vec!["submitting".to_owned(), abandoned]);
    }
    output::data(&output::table(&["batch", &standing.batch.id], rows));
    Ok(())
}

/// Follows a batch to its end, and prints how it stands then, or documents on the way.
async fn follow(cli: &Cli, client: &Client, id: &str, wanted: Wanted) -> Result<ExitCode, Failure> {
    let documents = wanted.documents;
    let mut view = View::new(cli);
    let mut on = |seen: Seen<'_>| match seen {
        Seen::Ended(end, Some(document)) => view.document(cli, end, document),
        Seen::Ended(_, None) => {}
        Seen::Standing(standing) => {
            view.warn_of(standing);
            view.show(&Count::of(standing), &standing.tally);
        }
    };
    let stop = CancellationToken::new();
    let mut signals = Signals::listen(stop.clone()).map_err(Failure::unexpected)?;
    let watched = {
        let mut watching = pin!(watch::watch(client, id, wanted, &stop, &mut on));
        tokio::select! {
            watched = &mut watching => watched,
            // The token is cancelled with it.
            _ = signals.next() => watching.await,
        }
    };
    view.finish();
    let (standing, over) = watched?;
    if !over {
        let message = format!("not watching any longer; the batch goes on: planfleet batch watch {id}");
        return Err(Failure::new(Code::Interrupted, message));
    }
    if !documents {
        print(cli, &standing)?;
    }
    Ok(exit::of_batch(&standing.tally, standing.batch.rejected))
}

async fn errors(cli: &Cli, client: &Client, id: &str) -> Result<ExitCode, Failure> {
    let mut found = Vec::new();
    results::errors(client, id, &mut |error| match cli.output {
        // As they come: there may be as many as tasks.
        Format::Jsonl => drop(output::value(Format::Jsonl, &error)),
        _ => found.push(error),
    })
    .await?;
    let row = |error: &Value| {
        let message = error["message"].as_str().unwrap_or_default();
        vec![
            cell(&error["line"]),
            cell(&error["run_id"]),
            cell(&error["custom_id"]),
            cell(&error["state"]),
            cell(&error["code"]),
            output::line(message, 200),
        ]
    };
    if cli.output != Format::Jsonl {
        output::list(cli.output, &["line", "run", "custom id", "state", "code", "why"], &found, row)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn cancel(cli: &Cli, client: &Client, id: &str, reason: &str) -> Result<ExitCode, Failure> {
    let asked = steer::cancel(client, id, reason).await?;
    if cli.output == Format::Table {
        output::data(&format!("batch {id} is cancelled; {asked} active runs were asked to end"));
    } else {
        output::value(cli.output, &json!({"batch_id": id, "cancelled_runs": asked}))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn retry(cli: &Cli, client: &Client, id: &str, wait: bool) -> Result<ExitCode, Failure> {
    let retried = steer::retry_failed(client, id).await?;
    for (run, why) in &retried.refused {
        output::note(&format!("run {run} is not tried again: {why}"));
    }
    if wait {
        let runs = retried.runs.into_iter().map(|(new, _)| new).collect();
        return follow(cli, client, id, Wanted { runs, documents: false }).await;
    }
    let rows: Vec<Value> =
        retried.runs.iter().map(|(new, of)| json!({"run_id": new, "rerun_of": of})).collect();
    let row = |row: &Value| vec![cell(&row["run_id"]), cell(&row["rerun_of"])];
    output::list(cli.output, &["run", "goes on from"], &rows, row)?;
    Ok(if retried.refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(Code::Unexpected as u8) })
}

fn list(cli: &Cli, mut batches: Vec<Batch>, limit: usize) -> Result<ExitCode, Failure> {
    batches.truncate(limit);
    let listed: Vec<Value> = batches.iter().map(listed).collect();
    let row = |batch: &Value| {
        ["batch_id", "tenant", "created_at", "total", "submitted", "rejected", "cancelled"]
            .map(|name| cell(&batch[name]))
            .to_vec()
    };
    let head = ["batch", "tenant", "created", "tasks", "submitted", "refused", "cancelled"];
    output::list(cli.output, &head, &listed, row)?;
    Ok(ExitCode::SUCCESS)
}

/// What is kept of a batch; how its runs stand is a question about one of them.
fn listed(batch: &Batch) -> Value {
    json!({
        "batch_id": batch.id,
        "tenant": batch.tenant,
        "created_at": rfc3339(batch.created_at_ms),
        "updated_at": rfc3339(batch.updated_at_ms),
        "total": batch.total,
        "submitted": batch.submitted,
        "rejected": batch.rejected,
        "budget": {"usd": usd(batch.budget.nano_usd), "tokens": batch.budget.tokens},
        "labels": batch.labels,
        "cancelled": batch.cancelled,
    })
}
