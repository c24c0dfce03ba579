//! `batch submit`: a file of tasks, or standard input, to a fleet that is there or to one
//! of its own.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    pin::pin,
    process::ExitCode,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;
use planfleet_api::{
    batch::{
        self as batches, Desk, Event, Order, Outcome, Survey, Tallies,
        order::{Find, Progress},
    },
    template::{self, Library},
};
use planfleet_bus::{Client, Error as BusError};
use planfleet_core::{
    id::check_name,
    task::{self, Budget, Mode},
};
use planfleet_runtime::{clock, config::Settings, signals::Signals};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{
    fs::File,
    io::{AsyncBufRead, BufReader},
};
use tokio_util::sync::CancellationToken;

use super::{Count, View, checked, connect};
use crate::{
    cli::{Cli, Format, SubmitArgs},
    commands::run::warn_of_unpriced,
    compose::{self, tools::LateStore},
    embedded::{Embedded, Options},
    exit::{self, Code, Failure},
    output,
    submit::{self, FoundTemplate},
};

/// Read at once: a tenth of a large line.
const BUFFER: usize = 128 * 1024;

/// Hexadecimal digits of the id of a batch that is named by its content.
const ID_DIGITS: usize = 20;

type Input = Box<dyn AsyncBufRead + Unpin + Send>;

pub(super) async fn submit(
    cli: &Cli,
    args: &SubmitArgs,
    mut settings: Settings,
) -> Result<ExitCode, Failure> {
    let order = order(cli, args).await?;
    let input = open(&args.file).await?;
    compose::models(&settings)?;
    if !args.local {
        let client = Client::new(connect(&settings).await?);
        return submit_to(cli, args, &settings, &client, (order, input)).await;
    }
    // Whoever waits here is told at once that an account is empty, and can do something about it.
    settings.limits.quota_wait_s = 0;
    let mut fleet =
        Embedded::start(&mut settings, Options { local_model: true, ..Options::default() }).await?;
    if !cli.quiet {
        fleet.notes.iter().for_each(|note| output::note(note));
    }
    let client = Client::new(fleet.bus.clone());
    let outcome = tokio::select! {
        outcome = submit_to(cli, args, &settings, &client, (order, input)) => outcome,
        failure = fleet.first_failure() => Err(Failure::unexpected(failure)),
    };
    fleet.abandon().await;
    outcome
}

/// What is asked for, checked before anything is started.
async fn order(cli: &Cli, args: &SubmitArgs) -> Result<Order, Failure> {
    let tenant = args.tenant.clone().unwrap_or_else(|| "default".to_owned());
    check_name("tenant", &tenant).map_err(Failure::usage)?;
    let (id, total) = match (&args.id, is_stdin(&args.file)) {
        (Some(id), true) => (checked(id)?.to_owned(), None),
        // Nobody knows what will come, so it has a name of its own.
        (None, true) => (compose::unique_name(), None),
        (id, false) => {
            let Survey { lines, digest } = survey(&args.file).await?;
            if lines == 0 {
                return Err(Failure::usage(format!("{}: there are no tasks in it", args.file.display())));
            }
            let id = match id {
                Some(id) => checked(id)?.to_owned(),
                None => of_content(&tenant, &digest),
            };
            (id, Some(lines))
        }
    };
    Ok(Order {
        id,
        tenant,
        budget: budget(args)?,
        labels: labels(&args.labels)?,
        mode: args.mode.as_deref().map(mode).transpose()?,
        window: args.window as usize,
        total,
        wait: args.wait,
        documents: args.wait && cli.output == Format::Jsonl,
        now_ms: clock::unix_ms,
    })
}

/// The id of a batch that has no other: the same file of the same tenant is the same batch.
fn of_content(tenant: &str, digest: &str) -> String {
    let hash = Sha256::new().chain_update(tenant).chain_update([0]).chain_update(digest).finalize();
    let text: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    text[..ID_DIGITS].to_owned()
}

/// The budget as a task would give it, which also says what is wrong with it.
fn budget(args: &SubmitArgs) -> Result<Budget, Failure> {
    let mut budget = Map::new();
    budget.extend(args.budget_usd.map(|usd| ("usd".to_owned(), json!(usd))));
    budget.extend(args.budget_tokens.map(|tokens| ("tokens".to_owned(), tokens.into())));
    let read = task::from_value(json!({"goal": "-", "budget": budget}));
    let task = read.map_err(|faults| submit::all("the budget", faults.iter().map(ToString::to_string)))?;
    Ok(task.budget)
}

fn mode(written: &str) -> Result<Mode, Failure> {
    serde_json::from_value(written.into())
        .map_err(|_| Failure::usage(format!("--mode {written}: use auto, plan or direct")))
}

fn labels(written: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let pair = |text: &String| {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| Failure::usage(format!("--label {text}: use NAME=VALUE, as team=books")))?;
        Ok((name.to_owned(), value.to_owned()))
    };
    written.iter().map(pair).collect()
}

fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}

async fn survey(file: &Path) -> Result<Survey, Failure> {
    let surveyed = async { batches::survey(BufReader::with_capacity(BUFFER, File::open(file).await?)).await };
    surveyed.await.map_err(|error| unreadable(file, &error))
}

async fn open(file: &Path) -> Result<Input, Failure> {
    if is_stdin(file) {
        return Ok(Box::new(BufReader::with_capacity(BUFFER, tokio::io::stdin())));
    }
    let opened = File::open(file).await.map_err(|error| unreadable(file, &error))?;
    Ok(Box::new(BufReader::with_capacity(BUFFER, opened)))
}

fn unreadable(file: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(format!("cannot read {}: {error}", file.display()))
}

async fn submit_to(
    cli: &Cli,
    args: &SubmitArgs,
    settings: &Settings,
    client: &Client,
    (order, input): (Order, Input),
) -> Result<ExitCode, Failure> {
    let tools = compose::tools::registry(settings, LateStore::new(settings)).await?;
    let scope = compose::scope(settings, tools.catalog());
    warn_of_unpriced(cli, settings, &order.budget);
    let shelf = Shelf::new(client, &args.file);
    let find =
        |name: String| -> BoxFuture<'_, Result<FoundTemplate, BusError>> { Box::pin(shelf.find(name)) };
    let templates: Find<'_> = &find;
    let desk = Desk { client, scope: &scope, templates };
    let mut view = View::new(cli);
    let mut new = true;
    let mut on = |event: Event<'_>| match event {
        Event::Opened { batch, new: is_new } => {
            new = is_new;
            view.opened(batch, is_new);
        }
        Event::Refused(rejection) => view.refused(rejection),
        Event::Unused(keys) => view.unused(keys),
        Event::Ended { end, document: Some(document) } => view.document(cli, end, document),
        Event::Ended { .. } => {}
        Event::Progress(progress) => view.show(&Count::of_submit(progress), &progress.tally),
    };
    let stop = CancellationToken::new();
    let mut signals = Signals::listen(stop.clone()).map_err(Failure::unexpected)?;
    let mut why = None;
    let submitted = {
        let mut submitting = pin!(batches::submit(&desk, order, input, &stop, &mut on));
        tokio::select! {
            submitted = &mut submitting => submitted,
            // The token is cancelled with it.
            _ = signals.next() => {
                why = Some(Code::Interrupted);
                submitting.await
            }
            () = elapsed(args.timeout) => {
                why = Some(Code::TimedOut);
                stop.cancel();
                submitting.await
            }
        }
    };
    view.finish();
    let outcome = submitted?;
    match why.filter(|_| outcome.stopped) {
        Some(code) => Err(stopped(args, &outcome, code)),
        None => done(cli, client, args, &outcome, new).await,
    }
}

/// The templates that the lines of a file can name. Files are read once: thousands of
/// lines name the same.
struct Shelf {
    library: Library,
    folder: Option<PathBuf>,
    files: Mutex<BTreeMap<String, FoundTemplate>>,
}

impl Shelf {
    /// Files that are remembered: more than a batch mixes, and each a plan.
    const FILES_MAX: usize = 256;

    fn new(client: &Client, lines: &Path) -> Self {
        let folder = lines.parent().map(Path::to_owned);
        Self { library: Library::on(client.bus().clone()), folder, files: Mutex::default() }
    }

    async fn find(&self, name: String) -> Result<FoundTemplate, BusError> {
        if !template::is_path(&name) {
            return submit::find_template(&name, None, &self.library).await;
        }
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if files.len() >= Self::FILES_MAX {
            files.clear();
        }
        let read = |name: &String| submit::template_file(name, self.folder.as_deref());
        Ok(files.entry(name).or_insert_with_key(read).clone())
    }
}

async fn elapsed(timeout: Option<u64>) {
    match timeout {
        Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
        None => std::future::pending().await,
    }
}

fn stopped(args: &SubmitArgs, outcome: &Outcome, code: Code) -> Failure {
    let id = &outcome.batch.id;
    let why = if code == Code::TimedOut { "the time given is over" } else { "interrupted" };
    if args.local {
        return Failure::new(code, format!("{why}; a local batch ends with its process"));
    }
    let Progress { submitted, read, .. } = outcome.progress;
    let next = match read {
        true => format!("planfleet batch watch {id}"),
        false => format!("submit it again with --id {id} to go on, or planfleet batch cancel {id}"),
    };
    Failure::new(code, format!("{why}; {submitted} tasks of batch {id} are submitted and go on: {next}"))
}

/// Prints what has come of it; the code is that of the worst run, or of refused lines.
async fn done(
    cli: &Cli,
    client: &Client,
    args: &SubmitArgs,
    outcome: &Outcome,
    new: bool,
) -> Result<ExitCode, Failure> {
    let Outcome { batch, progress, .. } = outcome;
    if args.wait && cli.output != Format::Jsonl {
        super::print(cli, &super::status::status(client, &batch.id, &Tallies::default()).await?)?;
    } else if !args.wait {
        print_submitted(cli, outcome, new)?;
    }
    if !cli.quiet {
        let again = progress.submitted - progress.new;
        let again = if again > 0 { format!(", {again} of them before") } else { String::new() };
        let refused =
            if progress.rejected > 0 { format!(", {} refused", progress.rejected) } else { String::new() };
        output::note(&format!("batch {}: {} tasks submitted{again}{refused}", batch.id, progress.submitted));
    }
    if let Some(reason) = &batch.cancelled {
        return Err(Failure::new(Code::Cancelled, format!("batch {} was cancelled: {reason}", batch.id)));
    }
    let tally = if args.wait { progress.tally.clone() } else { Default::default() };
    Ok(exit::of_batch(&tally, progress.rejected))
}

fn print_submitted(cli: &Cli, outcome: &Outcome, new: bool) -> Result<(), Failure> {
    let Outcome { batch, progress, .. } = outcome;
    if cli.output == Format::Table {
        output::data(&batch.id);
        return Ok(());
    }
    let submitted: Value = json!({
        "batch_id": batch.id,
        "new": new,
        "submitted": progress.submitted,
        "submitted_before": progress.submitted - progress.new,
        "rejected": progress.rejected,
        "total": progress.total,
    });
    output::value(cli.output, &submitted)
}
