//! `admin gc`: remove stored bodies that nothing refers to any more.

use std::{process::ExitCode, time::Duration};

use planfleet_bus::blobs::sweep::{Sweep, Swept};
use planfleet_runtime::{clock, config::Settings};
use serde_json::{Value, json};

use super::connect;
use crate::{
    cli::{Cli, Format, GcArgs},
    exit::Failure,
    output::{self, cell},
};

pub(super) async fn gc(cli: &Cli, args: &GcArgs, settings: &Settings) -> Result<ExitCode, Failure> {
    let bus = connect(settings).await?;
    let sweep = Sweep {
        grace: Duration::from_secs(args.grace),
        dry_run: args.dry_run,
        ..Sweep::at(clock::unix_ms())
    };
    let report = shown(&bus.sweep_blobs(&sweep).await?, args.dry_run);
    match cli.output {
        Format::Table => print_table(&report, args.dry_run)?,
        other => output::value(other, &report)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(swept: &Swept, dry_run: bool) -> Value {
    json!({
        "dry_run": dry_run,
        "bodies": swept.bodies,
        "bytes": swept.bytes,
        "young": swept.young,
        "referred": swept.referred,
        "used_again": swept.used_again,
        "removed": swept.removed,
        "removed_bytes": swept.removed_bytes,
        "unfinished": swept.unfinished,
    })
}

fn print_table(report: &Value, dry_run: bool) -> Result<(), Failure> {
    let removed =
        if dry_run { ["would remove", "bytes", "unfinished"] } else { ["removed", "bytes", "unfinished"] };
    let head = [["bodies", "bytes", "young", "referred", "used again"].as_slice(), &removed].concat();
    let names =
        ["bodies", "bytes", "young", "referred", "used_again", "removed", "removed_bytes", "unfinished"];
    let row = |report: &Value| names.iter().map(|name| cell(&report[*name])).collect();
    output::list(Format::Table, &head, std::slice::from_ref(report), row)
}
