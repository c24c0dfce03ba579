//! `cost report`: what runs that have ended have cost, put together by what makes a row.

use std::{
    collections::BTreeMap,
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use futures::StreamExt as _;
use planfleet_bus::Error as BusError;
use planfleet_core::document::{rfc3339, usd};
use planfleet_runtime::config::Settings;
use serde_json::{Value, json};

use super::connect;
use crate::{
    cli::{Cli, CostArgs, CostBy, CostCommand},
    exit::Failure,
    output::{self, cell},
};

/// One row.
#[derive(Default)]
struct Sum {
    runs: u64,
    calls: u64,
    input_tokens: u64,
    cached_tokens: u64,
    output_tokens: u64,
    nano_usd: u64,
    /// Runs whose cost is not known, as a price was not.
    unknown: u64,
    saved_nano_usd: u64,
    /// Runs of which it is not known what the plan cache has saved.
    saved_unknown: u64,
}

pub(super) async fn cost(cli: &Cli, command: &CostCommand, settings: &Settings) -> Result<ExitCode, Failure> {
    let CostCommand::Report(args) = command;
    let bus = connect(settings).await?;
    let from_ms = args.since.map_or(0, |since| unix_ms().saturating_sub(millis(since)));
    let mut rows = BTreeMap::<String, Sum>::new();
    let mut ended = bus.all_ended().await?;
    let (mut unreadable, mut such_as) = (0_u64, String::new());
    while let Some(next) = ended.next().await {
        let (at_ms, run) = match next {
            Ok(next) => next,
            // What comes behind it is not known.
            Err(error @ BusError::Broker(_)) => return Err(error.into()),
            Err(error) => {
                unreadable += 1;
                such_as = error.to_string();
                continue;
            }
        };
        let document = &run.document;
        // What a part of a run has used is in the run's own document.
        let is_whole = document["parent"].is_null();
        let of_interest = is_whole && at_ms >= from_ms && is(args.tenant.as_deref(), &document["tenant"]);
        if of_interest && is(args.batch.as_deref(), &document["batch_id"]) {
            add(&mut rows, args.by, document, at_ms);
        }
    }
    let code = print(cli, args, rows)?;
    if unreadable > 0 && !cli.quiet {
        output::note(&format!(
            "{unreadable} of all documents of ended runs cannot be read and are not counted, such as: {such_as}"
        ));
    }
    Ok(code)
}

fn is(wanted: Option<&str>, value: &Value) -> bool {
    wanted.is_none_or(|wanted| value == wanted)
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Adds a run to the rows that it belongs to: one for each model or role, or one.
fn add(rows: &mut BTreeMap<String, Sum>, by: CostBy, document: &Value, at_ms: u64) {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let used: Vec<&Value> = document["models"].as_array().into_iter().flatten().collect();
    let whole = match by {
        CostBy::Model => None,
        CostBy::Role => None,
        CostBy::Run => Some(text(&document["run_id"])),
        CostBy::Batch => Some(text(&document["batch_id"])),
        CostBy::Class => Some(text(&document["class"])),
        CostBy::Tenant => Some(text(&document["tenant"])),
        CostBy::Day => Some(rfc3339(at_ms).chars().take(10).collect()),
    };
    let Some(key) = whole else {
        let field = if by == CostBy::Model { "model" } else { "role" };
        let mut seen = Vec::new();
        for one in used {
            let sum = rows.entry(text(&one[field])).or_default();
            sum.add_usage(one);
            if !seen.contains(&&one[field]) {
                sum.runs += 1;
                // It is a run's, and not told apart by what else the run has used.
                sum.saved_unknown += 1;
                seen.push(&one[field]);
            }
        }
        return;
    };
    let sum = rows.entry(key).or_default();
    sum.runs += 1;
    used.into_iter().for_each(|one| sum.add_usage(one));
    sum.add_saving(&document["cache"]);
}

impl Sum {
    fn add_usage(&mut self, used: &Value) {
        let count = |field: &str| used[field].as_u64().unwrap_or_default();
        self.calls += count("calls");
        self.input_tokens += count("input_tokens");
        self.cached_tokens += count("cached_tokens");
        self.output_tokens += count("output_tokens");
        match nano(&used["usd"]) {
            Some(nano) => self.nano_usd += nano,
            None => self.unknown += 1,
        }
    }

    /// Adds what the plan cache has saved, which is nothing where it was not asked.
    fn add_saving(&mut self, cache: &Value) {
        match nano(&cache["saved_usd"]) {
            Some(nano) => self.saved_nano_usd += nano,
            None if cache.is_null() => {}
            None => self.saved_unknown += 1,
        }
    }

    /// `None` where any of it is not known.
    fn all_saved(&self) -> Option<u64> {
        (self.saved_unknown == 0).then_some(self.saved_nano_usd)
    }

    /// `None` where any of it is not known.
    fn all_known(&self) -> Option<u64> {
        (self.unknown == 0).then_some(self.nano_usd)
    }
}

/// The integer that a document's dollars are made from, so that sums are exact.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "made from an integer below 2^53"
)]
fn nano(dollars: &Value) -> Option<u64> {
    dollars.as_f64().map(|usd| (usd * 1e9).round() as u64)
}

fn print(cli: &Cli, args: &CostArgs, rows: BTreeMap<String, Sum>) -> Result<ExitCode, Failure> {
    let name = format!("{:?}", args.by).to_lowercase();
    let mut rows: Vec<(String, Sum)> = rows.into_iter().collect();
    if args.by != CostBy::Day {
        rows.sort_by_key(|(_, row)| std::cmp::Reverse(row.nano_usd));
    }
    let unknown: u64 = rows.iter().map(|(_, sum)| sum.unknown).sum();
    let shown: Vec<Value> = rows
        .into_iter()
        .map(|(key, sum)| {
            json!({
                name.as_str(): key, "runs": sum.runs, "calls": sum.calls,
                "input_tokens": sum.input_tokens, "cached_tokens": sum.cached_tokens,
                "output_tokens": sum.output_tokens, "usd": usd(sum.all_known()), "known_usd": usd(Some(sum.nano_usd)),
                "saved_usd": usd(sum.all_saved()),
            })
        })
        .collect();
    let head = [name.as_str(), "runs", "calls", "input", "cached", "output", "usd", "saved by cache"];
    let row = |one: &Value| {
        let fields = ["runs", "calls", "input_tokens", "cached_tokens", "output_tokens"];
        let mut cells = vec![cell(&one[name.as_str()])];
        cells.extend(fields.iter().map(|field| cell(&one[*field])));
        cells.extend([dollars(&one["usd"]), dollars(&one["saved_usd"])]);
        cells
    };
    output::list(cli.output, &head, &shown, row)?;
    if unknown > 0 && !cli.quiet {
        output::note(&format!(
            "of {unknown} sums the cost is not known, as a price was not: see `planfleet models list`"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn dollars(value: &Value) -> String {
    value.as_f64().map_or_else(|| "-".to_owned(), |usd| format!("{usd:.6}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saving_that_is_not_known_is_not_nothing() {
        let mut sum = Sum::default();
        sum.add_saving(&Value::Null);
        sum.add_saving(&json!({"saved_usd": 0.000_000_005}));
        assert_eq!(sum.all_saved(), Some(5));
        sum.add_saving(&json!({"saved_usd": null}));
        assert_eq!(sum.all_saved(), None);
    }
}
