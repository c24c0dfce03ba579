//! `cache`: plans that are used again, and what that saves.

use std::{collections::BTreeMap, process::ExitCode};

use planfleet_api::plan_cache;
use planfleet_bus::{Bus, plans::Kept};
use planfleet_core::{cache::Entry, document::usd};
use planfleet_runtime::config::Settings;
use serde_json::{Value, json};

use super::connect;
use crate::{
    cli::{CacheCommand, Cli},
    exit::Failure,
    output::{self, cell},
};

const HEAD: [&str; 8] =
    ["key", "slots", "what is done", "used", "failed", "saved tokens", "saved usd", "saved"];

pub(super) async fn cache(
    cli: &Cli,
    command: &CacheCommand,
    settings: &Settings,
) -> Result<ExitCode, Failure> {
    let bus = connect(settings).await?;
    match command {
        CacheCommand::List { class } => list(cli, &bus, class.as_deref()).await?,
        CacheCommand::Show { key } => {
            output::value(cli.output, &plan_cache::detail(key, &kept(&bus, key).await?.entry))?;
        }
        CacheCommand::Stats => stats(cli, &bus).await?,
        CacheCommand::Rm { keys, all } => remove(&bus, keys, *all).await?,
        CacheCommand::Pin { key, off } => {
            let changed = bus.change_plan(key, |entry| entry.pinned = !off).await?;
            changed.ok_or_else(|| unknown(key))?;
            output::note(&format!("{key} is {}", if *off { "not pinned any more" } else { "pinned" }));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn unknown(key: &str) -> Failure {
    Failure::usage(format!(
        "there is no {key:?} in the plan cache; `planfleet cache list` shows what there is"
    ))
}

async fn kept(bus: &Bus, key: &str) -> Result<Kept, Failure> {
    bus.cached_plan(key).await?.ok_or_else(|| unknown(key))
}

async fn list(cli: &Cli, bus: &Bus, class: Option<&str>) -> Result<(), Failure> {
    let mut all: Vec<(String, Entry)> =
        bus.cached_plans().await?.into_iter().map(|(key, kept)| (key, kept.entry)).collect();
    all.retain(|(_, entry)| class.is_none_or(|class| entry.class == class));
    all.sort_by_key(|(key, entry)| (std::cmp::Reverse(entry.used.total()), key.clone()));
    let shown: Vec<Value> = all.iter().map(|(key, entry)| listed(key, entry)).collect();
    let row = |one: &Value| {
        let ms = one["saved_ms"].as_u64().unwrap_or_default();
        let fields = ["key", "slots", "way", "used", "failed", "saved_tokens", "saved_usd"];
        let mut cells: Vec<String> = fields.iter().map(|field| cell(&one[*field])).collect();
        cells.push(seconds(ms));
        cells
    };
    output::list(cli.output, &HEAD, &shown, row)
}

fn seconds(ms: u64) -> String {
    humantime::format_duration(std::time::Duration::from_secs(ms.div_ceil(1_000))).to_string()
}

/// What a list shows of an entry.
fn listed(key: &str, entry: &Entry) -> Value {
    let mut listed = json!(plan_cache::summary(key, entry));
    listed["slots"] = json!(entry.slots.join(", "));
    listed
}

/// Sums over the kinds of a class.
#[derive(Default)]
struct Saved {
    kinds: u64,
    used: u64,
    failed: u64,
    planned: u64,
    tokens: u64,
    /// `None` once a price is not known.
    nano_usd: Option<u64>,
    ms: u64,
}

async fn stats(cli: &Cli, bus: &Bus) -> Result<(), Failure> {
    let mut classes = BTreeMap::<String, Saved>::new();
    for Kept { entry, .. } in bus.cached_plans().await?.into_values() {
        let saved = plan_cache::saved_by(&entry);
        let class = classes
            .entry(entry.class.clone())
            .or_insert_with(|| Saved { nano_usd: Some(0), ..Saved::default() });
        class.kinds += 1;
        class.used += entry.used.total();
        class.failed += entry.used.failed;
        class.planned += entry.fresh.total();
        class.tokens = class.tokens.saturating_add(saved.tokens);
        class.ms = class.ms.saturating_add(saved.ms);
        class.nano_usd = class.nano_usd.zip(saved.nano_usd).map(|(sum, saved)| sum.saturating_add(saved));
    }
    let shown: Vec<Value> = classes
        .into_iter()
        .map(|(class, saved)| {
            json!({
                "class": class, "kinds": saved.kinds, "used": saved.used, "failed": saved.failed,
                "planned": saved.planned, "saved_tokens": saved.tokens, "saved_usd": usd(saved.nano_usd),
                "saved_ms": saved.ms,
            })
        })
        .collect();
    let head = ["class", "kinds", "used", "failed", "planned", "saved tokens", "saved usd", "saved"];
    let row = |one: &Value| {
        let fields = ["class", "kinds", "used", "failed", "planned", "saved_tokens", "saved_usd"];
        let mut cells: Vec<String> = fields.iter().map(|field| cell(&one[*field])).collect();
        cells.push(seconds(one["saved_ms"].as_u64().unwrap_or_default()));
        cells
    };
    output::list(cli.output, &head, &shown, row)
}

async fn remove(bus: &Bus, keys: &[String], all: bool) -> Result<(), Failure> {
    let known = bus.cached_plans().await?;
    let keys: Vec<&String> = if all { known.keys().collect() } else { keys.iter().collect() };
    if let Some(missing) = keys.iter().find(|key| !known.contains_key(**key)) {
        return Err(unknown(missing));
    }
    for key in &keys {
        bus.forget_plan(key).await?;
    }
    output::note(&format!("{} forgotten", keys.len()));
    Ok(())
}
