//! `templates`: what tasks can name in place of a plan.

use std::{path::Path, process::ExitCode, sync::Arc};

use planfleet_api::template::{self, Library, Template, library::Listed, shown};
use planfleet_bus::Bus;
use planfleet_core::document::rfc3339;
use planfleet_runtime::{clock, config::Settings};
use serde_json::{Value, json};
use similar::TextDiff;

use super::connect;
use crate::{
    cli::{Cli, Format, TemplatesCommand},
    compose::{self, tools::LateStore},
    exit::{Code, Failure},
    output::{self, cell},
    submit::{self, FoundTemplate, Source},
};

pub(super) async fn templates(
    cli: &Cli,
    command: &TemplatesCommand,
    settings: &Settings,
) -> Result<ExitCode, Failure> {
    match command {
        TemplatesCommand::List => list(cli, &near(cli, settings).await).await,
        TemplatesCommand::Show { template } => show(cli, &*named(cli, template, settings).await?),
        TemplatesCommand::Add { file, name } => add(cli, file, name.as_deref(), settings).await,
        TemplatesCommand::Lint { template } => lint(cli, template, settings).await,
        TemplatesCommand::Diff { from, to } => {
            diff(cli, &*named(cli, from, settings).await?, &*named(cli, to, settings).await?)
        }
        TemplatesCommand::Rm { template } => remove(cli, template, settings).await,
    }
}

/// Where a task is to be run.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    /// On a fleet of its own.
    Local,
    /// Nowhere, or on the fleet that is there.
    Near,
    /// On the fleet.
    Fleet,
}

/// The template that a task names, if it does. A run on a fleet of its own finds what
/// ships, and files; so does who only plans, where there is no fleet.
pub(super) async fn of_task(
    cli: &Cli,
    source: &Source,
    settings: &Settings,
    place: Place,
) -> Result<FoundTemplate, Failure> {
    let Some(reference) = source.template() else { return Ok(Err(Vec::new())) };
    let library = match place {
        _ if template::is_path(reference) => return of_local_task(source).await,
        Place::Local => return of_local_task(source).await,
        Place::Near => near(cli, settings).await,
        Place::Fleet => Library::on(connect(settings).await?),
    };
    Ok(submit::find_template(reference, source.folder(), &library).await?)
}

/// The same for a task that did not come by the command line, which alone opens files.
pub(super) async fn of_foreign_task(source: &Source, bus: Bus) -> Result<FoundTemplate, Failure> {
    let Some(reference) = source.template() else { return Ok(Err(Vec::new())) };
    if template::is_path(reference) {
        let message = format!("template {reference:?} is a path; give the name of a template of the fleet");
        return Err(Failure::usage(message));
    }
    Ok(submit::find_template(reference, None, &Library::on(bus)).await?)
}

/// The same for a fleet of its own.
pub(super) async fn of_local_task(source: &Source) -> Result<FoundTemplate, Failure> {
    let Some(reference) = source.template() else { return Ok(Err(Vec::new())) };
    Ok(submit::find_template(reference, source.folder(), &Library::shipped()).await?)
}

/// The fleet's templates, or without a fleet what ships.
async fn near(cli: &Cli, settings: &Settings) -> Library {
    match connect(settings).await {
        Ok(bus) => Library::on(bus),
        Err(failure) => {
            if !cli.quiet {
                output::note(&format!("only what ships with planfleet: {failure}"));
            }
            Library::shipped()
        }
    }
}

async fn named(cli: &Cli, reference: &str, settings: &Settings) -> Result<Arc<Template>, Failure> {
    found(cli, reference, settings).await?.map_err(|faults| submit::all(reference, faults))
}

async fn found(cli: &Cli, reference: &str, settings: &Settings) -> Result<FoundTemplate, Failure> {
    if template::is_path(reference) {
        return Ok(submit::template_file(reference, None));
    }
    Ok(submit::find_template(reference, None, &near(cli, settings).await).await?)
}

async fn list(cli: &Cli, library: &Library) -> Result<ExitCode, Failure> {
    let mut listed = Vec::new();
    for one in library.list().await? {
        let reference = format!("{}@{}", one.name, one.version);
        let description = match library.find(&reference).await {
            Ok(template) => template.description.clone(),
            Err(error) => error.to_string(),
        };
        listed.push(described(&one, &description));
    }
    let row = |one: &Value| {
        let version = shown(one["version"].as_str().unwrap_or_default()).to_owned();
        let latest = if one["latest"] == true { "latest" } else { "" };
        vec![
            cell(&one["name"]),
            version,
            latest.to_owned(),
            cell(&one["origin"]),
            cell(&one["added_at"]),
            cell(&one["description"]),
        ]
    };
    output::list(cli.output, &["template", "version", "", "origin", "added", "what it does"], &listed, row)?;
    Ok(ExitCode::SUCCESS)
}

fn described(one: &Listed, description: &str) -> Value {
    json!({
        "name": one.name,
        "version": one.version,
        "latest": one.latest,
        "origin": one.origin,
        "added_at": one.added_at_ms.map(rfc3339),
        "description": description,
    })
}

fn show(cli: &Cli, template: &Template) -> Result<ExitCode, Failure> {
    let mut shown = template.canonical();
    if cli.output == Format::Table {
        output::data(&format!("# version {}\n{}", template.version(), yaml(template)?));
    } else {
        shown["version"] = template.version().into();
        output::value(cli.output, &shown)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn yaml(template: &Template) -> Result<String, Failure> {
    Ok(serde_saphyr::to_string(&template.canonical()).map_err(Failure::unexpected)?.trim_end().to_owned())
}

async fn add(cli: &Cli, file: &Path, name: Option<&str>, settings: &Settings) -> Result<ExitCode, Failure> {
    let path = file.display().to_string();
    let text = submit::slurp(file, template::BYTES_MAX as u64, "a template")?;
    let mut template = Template::parse(&text).map_err(|faults| submit::all(&path, faults))?;
    if let Some(name) = name {
        template = template.renamed(name).map_err(|faults| submit::all(&path, faults))?;
    }
    let faults = template.lint(&scope(settings).await?);
    if !faults.is_empty() {
        return Err(submit::all(&path, faults.iter().map(ToString::to_string)));
    }
    let library = Library::on(connect(settings).await?);
    let new = library.add(&template, clock::unix_ms()).await?;
    let reference = template.reference().unwrap_or_default();
    if cli.output == Format::Table {
        output::data(&reference);
    } else {
        let added = json!({"template": reference, "version": template.version(), "new": new});
        output::value(cli.output, &added)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn scope(settings: &Settings) -> Result<planfleet_api::submission::Scope, Failure> {
    let tools = compose::tools::registry(settings, LateStore::new(settings)).await?;
    Ok(compose::scope(settings, tools.catalog()))
}

async fn lint(cli: &Cli, reference: &str, settings: &Settings) -> Result<ExitCode, Failure> {
    let faults: Vec<Value> = match found(cli, reference, settings).await? {
        Ok(template) => template.lint(&scope(settings).await?).iter().map(|finding| json!(finding)).collect(),
        Err(faults) => {
            let malformed = |message: &String| json!({"code": "malformed", "step": null, "message": message});
            faults.iter().map(malformed).collect()
        }
    };
    if cli.output == Format::Table && faults.is_empty() {
        output::data("no faults");
    } else if cli.output == Format::Table {
        let row = |fault: &Value| {
            let message = fault["message"].as_str().unwrap_or_default().to_owned();
            vec![cell(&fault["step"]), cell(&fault["code"]), message]
        };
        output::data(&output::table(&["step", "code", "fault"], faults.iter().map(row).collect()));
    } else {
        output::value(cli.output, &json!({"ok": faults.is_empty(), "faults": faults}))?;
    }
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(Code::Usage as u8) })
}

fn diff(cli: &Cli, from: &Template, to: &Template) -> Result<ExitCode, Failure> {
    let (before, after) = (yaml(from)? + "\n", yaml(to)? + "\n");
    let heads = (head(from), head(to));
    let diff = TextDiff::from_lines(&before, &after).unified_diff().header(&heads.0, &heads.1).to_string();
    if cli.output == Format::Table {
        let same = format!("no differences: both are version {}", shown(from.version()));
        output::data(if diff.is_empty() { &same } else { diff.trim_end() });
    } else {
        let value = json!({
            "from": heads.0,
            "to": heads.1,
            "equal": from.version() == to.version(),
            "diff": diff,
        });
        output::value(cli.output, &value)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn head(template: &Template) -> String {
    template.reference().unwrap_or_else(|| format!("@{}", shown(template.version())))
}

async fn remove(cli: &Cli, reference: &str, settings: &Settings) -> Result<ExitCode, Failure> {
    let library = Library::on(connect(settings).await?);
    let gone = library.remove(reference).await?;
    let name = reference.split('@').next().unwrap_or_default();
    if cli.output == Format::Table {
        gone.iter().for_each(|version| output::data(&format!("{name}@{}", shown(version))));
    } else {
        output::value(cli.output, &json!({"name": name, "removed": gone}))?;
    }
    Ok(ExitCode::SUCCESS)
}
