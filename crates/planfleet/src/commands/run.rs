//! `run`: submits a task and follows it to its end.

use std::{process::ExitCode, time::Duration};

use planfleet_api::submission;
use planfleet_bus::{Client, client::Key};
use planfleet_core::{
    id::RunId,
    plan::{Plan, StepKind},
    task::{Budget, Submission},
};
use planfleet_runtime::config::{ModelSettings, Settings};
use planfleet_telemetry::names::attribute;
use serde_json::{Value, json};
use tokio::time::timeout;
use tracing::Instrument as _;

use super::{
    connect, follow, report,
    templates::{self, Place},
};
use crate::{
    cli::{Cli, Format, RunArgs, WaitArgs},
    compose::{self, tools::LateStore},
    embedded::{Embedded, Options},
    exit::{self, Code, Failure},
    output, submit,
};

/// How long the end of a cancelled run is waited for.
const CANCEL_PATIENCE: Duration = Duration::from_secs(3);

/// What is asked of the fleet.
struct Order {
    submission: Submission,
    key: Option<Key>,
}

pub(super) async fn run(cli: &Cli, args: &RunArgs, mut settings: Settings) -> Result<ExitCode, Failure> {
    let bytes_max = settings.limits.task_bytes;
    let source = submit::read(args.goal.as_deref(), args.file.as_deref(), &args.inputs, bytes_max)?
        .guarded(&args.guards);
    let key = args.wait.idempotency_key.as_deref().map(|name| source.key(name));
    let catalog = compose::tools::registry(&settings, LateStore::new(&settings)).await?.catalog();
    // Whoever waits here is told at once that an account is empty, and can do something about it.
    settings.limits.quota_wait_s = 0;
    let place = if args.local { Place::Local } else { Place::Fleet };
    // Wrong tasks and wrong models are said before anything is started.
    let template = templates::of_task(cli, &source, &settings, place).await?;
    let span = submission::span("client");
    let submission = span.in_scope(|| submit::freeze(source, &settings, &catalog, &template))?;
    compose::models(&settings)?;
    run_on_fleet(cli, args, &mut settings, Order { submission, key }).instrument(span).await
}

async fn run_on_fleet(
    cli: &Cli,
    args: &RunArgs,
    settings: &mut Settings,
    order: Order,
) -> Result<ExitCode, Failure> {
    if !args.local {
        warn_of_unpriced(cli, settings, &order.submission.envelope.budget);
        let client = Client::new(connect(settings).await?);
        return submit_to(cli, args, &client, order, None).await;
    }
    let local_model = needs_model(&order.submission);
    let mut fleet = Embedded::start(settings, Options { local_model, ..Options::default() }).await?;
    if !cli.quiet {
        fleet.notes.iter().for_each(|note| output::note(note));
    }
    warn_of_unpriced(cli, settings, &order.submission.envelope.budget);
    let (client, broker) = (Client::new(fleet.bus.clone()), fleet.url.clone());
    let outcome = tokio::select! {
        outcome = submit_to(cli, args, &client, order, Some(&broker)) => outcome,
        failure = fleet.first_failure() => Err(Failure::unexpected(failure)),
    };
    fleet.abandon().await;
    outcome
}

fn needs_model(submission: &Submission) -> bool {
    let model_step = |plan: &Plan| plan.steps.iter().any(|step| step.kind == StepKind::Model);
    submission.plan.as_deref().is_none_or(model_step)
}

/// A cap in dollars holds only where prices are known.
pub(super) fn warn_of_unpriced(cli: &Cli, settings: &Settings, budget: &Budget) {
    let unpriced = |model: &ModelSettings| {
        model.price.input_usd_per_million.is_none() || model.price.output_usd_per_million.is_none()
    };
    let names: Vec<&str> =
        settings.models.iter().filter(|(_, model)| unpriced(model)).map(|(name, _)| name.as_str()).collect();
    if budget.nano_usd.is_some() && !names.is_empty() && !cli.quiet {
        let names = names.join(", ");
        output::note(&format!(
            "budget.usd cannot be kept where {names} is used: set its price, or use budget.tokens"
        ));
    }
}

async fn submit_to(
    cli: &Cli,
    args: &RunArgs,
    client: &Client,
    order: Order,
    broker: Option<&str>,
) -> Result<ExitCode, Failure> {
    let run = client.submit(order.submission, order.key.as_ref()).await?;
    see_through(cli, client, &run, &args.wait, broker).await
}

/// Follows a new run to its end, as far as that was asked for. `broker` is that
/// of a fleet which ends with this process.
pub(super) async fn see_through(
    cli: &Cli,
    client: &Client,
    run: &RunId,
    wait: &WaitArgs,
    broker: Option<&str>,
) -> Result<ExitCode, Failure> {
    tracing::Span::current().record(attribute::RUN_ID, run.as_str());
    if wait.detach {
        return detached(cli, run).map(|()| ExitCode::SUCCESS);
    }
    let limits = follow::Limits { within: wait.timeout.map(Duration::from_secs), broker };
    match follow::follow(cli, client, run, limits).await? {
        follow::End::Ended(document) => finished(cli, &document),
        follow::End::TimedOut if broker.is_some() => end_local(cli, client, run, Code::TimedOut).await,
        follow::End::Interrupted if broker.is_some() => end_local(cli, client, run, Code::Interrupted).await,
        follow::End::TimedOut => Err(not_waiting(run, Code::TimedOut, "still going after the time given")),
        follow::End::Interrupted => Err(not_waiting(run, Code::Interrupted, "not waiting any longer")),
    }
}

fn detached(cli: &Cli, run: &RunId) -> Result<(), Failure> {
    if cli.output == Format::Table {
        output::data(run.as_str());
        return Ok(());
    }
    output::value(cli.output, &json!({"run_id": run}))
}

/// A local run ends with its process: it is cancelled, and what there is of it is printed.
async fn end_local(cli: &Cli, client: &Client, run: &RunId, code: Code) -> Result<ExitCode, Failure> {
    let why = if code == Code::TimedOut { "the time given is over" } else { "interrupted" };
    let ended = async {
        client.cancel(run, why).await.ok()?;
        client.wait(run, CANCEL_PATIENCE).await.ok()?
    };
    // Whatever comes of it, this is how the command ends.
    if let Ok(Some(document)) = timeout(CANCEL_PATIENCE * 2, ended).await {
        report::print(cli, &document)?;
    }
    Err(Failure::new(code, format!("{why}; a local run ends with its process")))
}

fn not_waiting(run: &RunId, code: Code, why: &str) -> Failure {
    Failure::new(code, format!("{why}; the run goes on: planfleet runs watch {run} | cancel {run}"))
}

/// Prints an ended run; its state is the exit code.
pub(super) fn finished(cli: &Cli, document: &Value) -> Result<ExitCode, Failure> {
    report::print(cli, document)?;
    Ok(exit::of_run(document))
}
