//! `compare`: the same tasks, by the same models, done in several ways, side by side.
//!
//! Each way gets a fleet of its own in this process, so that none finds what another has
//! left. What it costs to do a task without a plan is the way `direct`: one strong model
//! with all the tools, turn by turn.

mod figures;
mod tasks;

use std::{process::ExitCode, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use planfleet_bus::Client;
use planfleet_core::{task::Submission, tool::ToolCatalog};
use planfleet_llm::cassette::{Recording, Tape};
use planfleet_runtime::config::Settings;
use serde_json::{Value, json};

use self::{
    figures::{Figures, Outcome},
    tasks::CompareTask,
};
use super::templates;
use crate::{
    cli::{Cli, CompareArgs, CompareMode, Format},
    compose::{self, Cassette, tools::LateStore},
    embedded::{Embedded, Options},
    exit::Failure,
    output,
    submit::{self, Source},
};

/// Beyond a run's own time: it ends by itself, and this is for a fleet that does not.
const MARGIN: Duration = Duration::from_secs(60);

pub(super) async fn compare(cli: &Cli, args: &CompareArgs, settings: Settings) -> Result<ExitCode, Failure> {
    let mut tasks = tasks::read(&args.file, settings.limits.task_bytes)?;
    tasks.truncate(args.limit.unwrap_or(usize::MAX));
    if tasks.is_empty() {
        return Err(Failure::usage(format!("{}: there are no tasks in it", args.file)));
    }
    // Wrong tasks are said before anything is paid for.
    let catalog = compose::tools::registry(&settings, LateStore::new(&settings)).await?.catalog();
    for mode in &args.modes {
        for task in &tasks {
            freeze(&task.in_mode(*mode, args.deadline_s), &settings, &catalog)
                .await
                .map_err(|error| Failure::usage(format!("line {}: {error}", task.line)))?;
        }
    }
    let cassette = cassette(args)?;
    let mut figures = Vec::new();
    for mode in &args.modes {
        figures.push(measure(cli, args, *mode, &tasks, (&settings, &cassette)).await?);
    }
    print(cli, &figures)?;
    Ok(ExitCode::SUCCESS)
}

async fn freeze(task: &Value, settings: &Settings, catalog: &ToolCatalog) -> Result<Submission, Failure> {
    let source = Source::of(task.clone());
    let template = templates::of_local_task(&source).await?;
    submit::freeze(source, settings, catalog, &template)
}

/// Equal requests are told apart by their order, so that what is recorded with some runs at
/// once is played exactly only if no two of them ask the same.
fn cassette(args: &CompareArgs) -> Result<Cassette, Failure> {
    match (&args.record, &args.replay) {
        (Some(path), _) => Ok(Cassette::Record(Arc::new(Tape::open(path).map_err(Failure::usage)?))),
        (None, Some(path)) => Ok(Cassette::Play(Arc::new(Recording::load(path).map_err(Failure::usage)?))),
        (None, None) => Ok(Cassette::None),
    }
}

/// All tasks in one way.
async fn measure(
    cli: &Cli,
    args: &CompareArgs,
    mode: CompareMode,
    tasks: &[CompareTask],
    (settings, cassette): (&Settings, &Cassette),
) -> Result<Figures, Failure> {
    let mut settings = settings.clone();
    settings.planner.cache = mode == CompareMode::PlanCache || mode == CompareMode::Auto;
    settings.limits.quota_wait_s = 0;
    let options = Options { local_model: true, cassette: cassette.clone(), ..Options::default() };
    let mut fleet = Embedded::start(&mut settings, options).await?;
    let (client, catalog) = (Client::new(fleet.bus.clone()), fleet.catalog.clone());
    let bar = (!cli.quiet).then(|| progress(mode, tasks.len()));
    let work = async {
        let (settings, catalog) = (&settings, &catalog);
        let one = |task: &CompareTask| {
            let (task, client, bar) = (task.clone(), &client, bar.as_ref());
            async move {
                let written = task.in_mode(mode, args.deadline_s);
                let deadline_s = written["deadline_s"].as_u64().unwrap_or(args.deadline_s);
                let submission = freeze(&written, settings, catalog).await?;
                let outcome = run(client, &task, deadline_s, submission).await;
                if let Some(bar) = bar {
                    bar.inc(1);
                }
                outcome
            }
        };
        let outcomes = stream::iter(tasks).map(one).buffered(args.concurrency.into());
        let outcomes: Vec<Result<Outcome, Failure>> = outcomes.collect().await;
        outcomes.into_iter().collect::<Result<Vec<Outcome>, Failure>>()
    };
    let outcomes = tokio::select! {
        outcomes = work => outcomes,
        failure = fleet.first_failure() => Err(Failure::unexpected(failure)),
    };
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    fleet.abandon().await;
    Ok(Figures::of(mode, outcomes?))
}

/// What comes of one task. A run that does not end is no reason to lose what others have cost.
async fn run(
    client: &Client,
    task: &CompareTask,
    deadline_s: u64,
    submission: Submission,
) -> Result<Outcome, Failure> {
    let run = client.submit(submission, None).await?;
    let patience = Duration::from_secs(deadline_s).saturating_add(MARGIN);
    let document = client.wait(&run, patience).await?;
    Ok(document.map_or_else(
        || Outcome::without_end(task, patience, &format!("run {run} has not ended in its time")),
        |document| Outcome::of(task, &document),
    ))
}

fn progress(mode: CompareMode, tasks: usize) -> indicatif::ProgressBar {
    let bar = indicatif::ProgressBar::new(tasks as u64);
    bar.set_message(figures::name(mode));
    if let Ok(style) = indicatif::ProgressStyle::with_template("{msg:10} {wide_bar} {pos}/{len}  {eta}") {
        bar.set_style(style);
    }
    bar
}

fn print(cli: &Cli, figures: &[Figures]) -> Result<(), Failure> {
    let words = figures::in_words(figures);
    if cli.output != Format::Table {
        let ways: Vec<Value> = figures.iter().map(Figures::to_json).collect();
        return output::value(cli.output, &json!({"ways": ways, "in_words": words}));
    }
    let rows = figures.iter().map(Figures::row).collect();
    output::data(&output::table(&figures::HEAD, rows));
    words.iter().for_each(|words| output::data(words));
    Ok(())
}
