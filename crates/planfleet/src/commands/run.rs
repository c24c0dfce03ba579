//! `run`: submits a task and follows it to its end.

use std::{process::ExitCode, time::Duration};

use planfleet_bus::Client;
use planfleet_core::id::RunId;
use planfleet_runtime::config::Settings;
use serde_json::Value;
use tracing::Instrument as _;

use super::{connect, follow, report};
use crate::{
    cli::{Cli, RunArgs},
    compose,
    embedded::{Embedded, Options},
    exit::{self, Code, Failure},
    output, submit,
};

pub(super) async fn run(cli: &Cli, args: &RunArgs, mut settings: Settings) -> Result<ExitCode, Failure> {
    let bytes_max = settings.limits.task_bytes;
    let source = submit::read(args.goal.as_deref(), args.file.as_deref(), &args.inputs, bytes_max)?;
    let catalog = compose::registry(&settings)?.catalog();
    // Wrong tasks and wrong models are said before anything is started.
    let span = tracing::info_span!(
        "run",
        otel.name = "invoke_workflow planfleet",
        gen_ai.operation.name = "invoke_workflow",
        run_id = tracing::field::Empty
    );
    let submission = span.in_scope(|| submit::freeze(source, &settings, &catalog))?;
    compose::models(&settings)?;
    let submitted = async {
        if !args.local {
            let client = Client::new(connect(&settings).await?);
            return follow_one(cli, args, &client, submission).await;
        }
        let needs_model = submission.plan.as_ref().is_none_or(|plan| {
            plan.steps.iter().any(|step| step.kind == planfleet_core::plan::StepKind::Model)
        });
        let fleet =
            Embedded::start(&mut settings, Options { keep_data: false, local_model: needs_model }).await?;
        if !cli.quiet {
            fleet.notes.iter().for_each(|note| output::note(note));
        }
        let client = Client::new(fleet.bus.clone());
        let outcome = tokio::select! {
            outcome = follow_one(cli, args, &client, submission) => outcome,
            failure = fleet.first_failure() => Err(Failure::unexpected(failure)),
        };
        fleet.abandon().await;
        outcome
    };
    submitted.instrument(span).await
}

async fn follow_one(
    cli: &Cli,
    args: &RunArgs,
    client: &Client,
    submission: planfleet_core::task::Submission,
) -> Result<ExitCode, Failure> {
    let run = client.submit(submission, args.idempotency_key.as_deref()).await?;
    tracing::Span::current().record("run_id", run.as_str());
    if args.detach {
        output::data(run.as_str());
        return Ok(ExitCode::SUCCESS);
    }
    let within = args.timeout.map(Duration::from_secs);
    match follow::follow(cli, client, &run, within).await? {
        follow::End::Ended(document) => finished(cli, &document),
        follow::End::TimedOut => Err(not_waiting(&run, Code::TimedOut, "still going after the time given")),
        follow::End::Interrupted if args.local => {
            client.cancel(&run, "interrupted").await?;
            Err(Failure::new(Code::Interrupted, "interrupted; a local run ends with its process"))
        }
        follow::End::Interrupted => Err(not_waiting(&run, Code::Interrupted, "not waiting any longer")),
    }
}

fn not_waiting(run: &RunId, code: Code, why: &str) -> Failure {
    Failure::new(code, format!("{why}; the run goes on: planfleet runs watch {run} | cancel {run}"))
}

/// Prints an ended run; its state is the exit code.
pub(super) fn finished(cli: &Cli, document: &Value) -> Result<ExitCode, Failure> {
    report::print(cli, document)?;
    Ok(exit::of_run(document))
}
