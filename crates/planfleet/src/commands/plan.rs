//! `plan`: plans without running, and checks plans.

use std::{path::Path, process::ExitCode};

use planfleet_core::{
    failure::FailureClass,
    json,
    plan::{
        Plan,
        lint::{self, Code, Existing, Fault, Scope},
        parse,
    },
};
use planfleet_runtime::config::{ProcessEnv, Settings};
use serde_json::json;

use super::{
    mermaid,
    templates::{self, Place},
};
use crate::{
    cli::{Cli, Format, PlanArgs, PlanCommand},
    compose::{self, tools::LateStore},
    embedded,
    exit::{self, Failure},
    output::{self, line},
    submit,
};

/// A plan file may be larger than a task: a hundred thousand steps fit in this.
const PLAN_BYTES_MAX: u64 = 64 * 1024 * 1024;

pub(super) async fn plan(cli: &Cli, args: &PlanArgs, settings: Settings) -> Result<ExitCode, Failure> {
    match &args.command {
        Some(PlanCommand::Lint { file }) => lint_file(cli, file, &settings).await,
        None => preview(cli, args, settings).await,
    }
}

async fn lint_file(cli: &Cli, file: &Path, settings: &Settings) -> Result<ExitCode, Failure> {
    let text = submit::slurp(file, PLAN_BYTES_MAX, "a plan")?;
    let faults = match json::parse_strict(&text).map(parse::plan) {
        Ok(Ok(plan)) => faults(&plan, settings).await?,
        Ok(Err(faults)) => faults,
        Err(error) => vec![Fault::new(Code::Malformed, None, format!("not JSON: {error}"))],
    };
    if cli.output == Format::Table {
        let row = |fault: &Fault| {
            let code = json!(fault.code);
            vec![
                fault.step.map_or_else(|| "-".to_owned(), |step| step.to_string()),
                output::cell(&code),
                fault.message.clone(),
            ]
        };
        match faults.as_slice() {
            [] => output::data("no faults"),
            faults => {
                output::data(&output::table(&["step", "code", "fault"], faults.iter().map(row).collect()));
            }
        }
    } else {
        output::value(cli.output, &json!({"ok": faults.is_empty(), "faults": faults}))?;
    }
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(exit::Code::Usage as u8) })
}

async fn faults(plan: &Plan, settings: &Settings) -> Result<Vec<Fault>, Failure> {
    let catalog = compose::tools::registry(settings, LateStore::new(settings)).await?.catalog();
    let pools: Vec<String> = settings.pools.keys().cloned().collect();
    let steps_max = settings.limits.steps_per_plan as usize;
    let scope = Scope { tools: &catalog, inputs: None, pools: &pools, steps_max };
    Ok(lint::full(plan, &Existing::default(), &scope))
}

async fn preview(cli: &Cli, args: &PlanArgs, mut settings: Settings) -> Result<ExitCode, Failure> {
    let source =
        submit::read(args.goal.as_deref(), args.file.as_deref(), &args.inputs, settings.limits.task_bytes)?;
    let catalog = compose::tools::registry(&settings, LateStore::new(&settings)).await?.catalog();
    let template = templates::of_task(cli, &source, &settings, Place::Near).await?;
    let submission = submit::freeze(source, &settings, &catalog, &template)?;
    if let Some(plan) = &submission.plan {
        print(cli, args, plan, None)?;
        return Ok(ExitCode::SUCCESS);
    }
    let local = embedded::borrow_model(&mut settings, &ProcessEnv).await?;
    let Some(model) = compose::models(&settings)?.planner else {
        return Err(Failure::usage(
            "no planner model is configured: set OPENAI_API_KEY, ANTHROPIC_API_KEY or roles.planner, or run `make setup`",
        ));
    };
    let planned = planfleet_planner::preview::plan(&model, &submission, &catalog, None).await;
    if let Some(local) = local {
        local.stop().await;
    }
    let (plan, usage) = planned.map_err(|failure| not_planned(&failure))?;
    print(
        cli,
        args,
        &plan,
        Some(&format!("{}: {} tokens in, {} out", model.name(), usage.input_tokens, usage.output_tokens)),
    )?;
    Ok(ExitCode::SUCCESS)
}

/// No run has failed here: the model is out of reach, is not configured right,
/// or cannot plan this.
fn not_planned(failure: &planfleet_core::failure::Failure) -> Failure {
    let code = match failure.class {
        FailureClass::Transient | FailureClass::Timeout => exit::Code::Unreachable,
        FailureClass::Quota => exit::Code::Usage,
        _ => exit::Code::Unexpected,
    };
    Failure::new(code, failure)
}

fn print(cli: &Cli, args: &PlanArgs, plan: &Plan, note: Option<&str>) -> Result<(), Failure> {
    if args.mermaid {
        output::data(&mermaid::flowchart(plan));
    } else if cli.output == Format::Table {
        output::data(&table(plan));
    } else {
        output::value(cli.output, plan)?;
    }
    if let (Some(note), false) = (note, cli.quiet) {
        output::note(note);
    }
    Ok(())
}

fn table(plan: &Plan) -> String {
    let rows = plan.steps.iter().map(|step| {
        let mark = if step.id == plan.final_step { " (final)" } else { "" };
        let after: Vec<String> = step.dependencies().iter().map(ToString::to_string).collect();
        let by = if step.tools.is_empty() { step.tier.clone() } else { step.tools.join(", ") };
        let criteria: Vec<String> = step.success_criteria.iter().map(|c| line(&c.to_string(), 40)).collect();
        vec![
            format!("{}{mark}", step.id),
            line(&step.description, 70),
            by,
            after.join(", "),
            criteria.join("; "),
        ]
    });
    output::table(&["step", "what", "by", "after", "criteria"], rows.collect())
}
