//! `config`: what is in force, and what is wrong with it.

use std::process::ExitCode;

use planfleet_runtime::config::{DEFAULT_TOML, Settings};
use serde_json::{Value, json};

use crate::{
    cli::{Cli, ConfigCommand, Format},
    compose,
    exit::Failure,
    output,
};

pub(super) fn configuration(
    cli: &Cli,
    command: &ConfigCommand,
    settings: &Settings,
) -> Result<ExitCode, Failure> {
    match command {
        ConfigCommand::Init => output::data(DEFAULT_TOML),
        ConfigCommand::Show => show(cli, settings)?,
        ConfigCommand::Check => check(cli, settings)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn show(cli: &Cli, settings: &Settings) -> Result<(), Failure> {
    let redacted = settings.redacted_toml().map_err(Failure::unexpected)?;
    if cli.output == Format::Table {
        output::data(&redacted);
        return Ok(());
    }
    let value: Value = toml::from_str(&redacted).map_err(Failure::unexpected)?;
    output::value(cli.output, &value)
}

/// The settings have been loaded by now, which names every mistake in them; what
/// is left is whether models and tools can be made from them.
fn check(cli: &Cli, settings: &Settings) -> Result<(), Failure> {
    compose::tools::check(settings)?;
    for (name, model) in &settings.models {
        compose::chat(name, model)?;
    }
    if cli.output != Format::Table {
        output::value(cli.output, &json!({"ok": true}))?;
    }
    if !cli.quiet {
        settings.origin_notes.iter().for_each(|note| output::note(note));
        output::note("the configuration is sound");
    }
    Ok(())
}
