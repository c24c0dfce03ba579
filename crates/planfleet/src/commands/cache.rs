//! `cache`: plans that are used again, and what that saves.

use std::{collections::BTreeMap, process::ExitCode};

use planfleet_bus::{Bus, plans::Kept};
use planfleet_core::{
    cache::{Cost, Entry, Way},
    document::{rfc3339, usd},
};
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
        CacheCommand::Show { key } => output::value(cli.output, &whole(key, &kept(&bus, key).await?.entry))?,
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
    let shown: Vec<Value> = all.iter().map(|(key, entry)| summary(key, entry)).collect();
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

/// What its uses that succeeded have saved: after the others there was more to plan, not less.
fn saved_by(entry: &Entry) -> Cost {
    let (cost, uses) = (&entry.cost, entry.used.succeeded);
    let nano_usd = if uses == 0 { Some(0) } else { cost.nano_usd.map(|nano| nano.saturating_mul(uses)) };
    Cost { tokens: cost.tokens.saturating_mul(uses), nano_usd, ms: cost.ms.saturating_mul(uses) }
}

/// What an entry is, without its plan.
fn summary(key: &str, entry: &Entry) -> Value {
    let saved = saved_by(entry);
    json!({
        "key": key,
        "tenant": entry.tenant,
        "class": entry.class,
        "slots": entry.slots.join(", "),
        "way": way(entry),
        "proven": entry.is_proven(),
        "pinned": entry.pinned,
        "model": entry.model,
        "made_at": rfc3339(entry.made_ms),
        "used": entry.used.total(),
        "failed": entry.used.failed,
        "fresh": entry.fresh,
        "saved_tokens": saved.tokens,
        "saved_usd": usd(saved.nano_usd),
        "saved_ms": saved.ms,
    })
}

fn way(entry: &Entry) -> String {
    let pinned = if entry.pinned { ", pinned" } else { "" };
    let demoted = if entry.is_good() { "" } else { ", demoted" };
    match &entry.way {
        Way::Writing { .. } => "is being planned".to_owned(),
        Way::Plan(plan) => format!("a plan of {} steps{pinned}{demoted}", plan.steps.len()),
        Way::Direct => format!("one step, no plan{pinned}{demoted}"),
        Way::Each { reason } => format!("a plan for each: {reason}"),
    }
}

fn whole(key: &str, entry: &Entry) -> Value {
    let mut whole = summary(key, entry);
    whole["goal"] = json!(entry.goal);
    whole["slots"] = json!(entry.slots);
    if let Way::Plan(plan) = &entry.way {
        whole["plan"] = json!(plan);
    }
    whole
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
        let saved = saved_by(&entry);
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

#[cfg(test)]
mod tests {
    use planfleet_core::cache::Outcomes;

    use super::*;

    fn entry(succeeded: u64, failed: u64, nano_usd: Option<u64>) -> Entry {
        Entry {
            tenant: "default".to_owned(),
            class: "movies".to_owned(),
            slots: Vec::new(),
            goal: "Find a movie".to_owned(),
            extracted: false,
            way: Way::Direct,
            model: "big".to_owned(),
            cost: Cost { tokens: 900, nano_usd, ms: 2_000 },
            made_ms: 1,
            pinned: false,
            used: Outcomes { succeeded, failed },
            fresh: Outcomes::default(),
        }
    }

    #[test]
    fn only_uses_that_succeeded_have_saved() {
        let saved = saved_by(&entry(2, 3, Some(5)));
        assert_eq!(saved, Cost { tokens: 1_800, nano_usd: Some(10), ms: 4_000 });
        assert_eq!(saved_by(&entry(1, 0, None)).nano_usd, None);
        assert_eq!(saved_by(&entry(0, 3, None)).nano_usd, Some(0));
        assert_eq!(summary("k", &entry(2, 3, Some(5)))["used"], 5);
    }
}
