//! `queue list`, `pause` and `resume`: what flow control holds back, and what it is told.

use std::{collections::BTreeMap, process::ExitCode};

use planfleet_bus::{
    Bus, Client,
    flow::{Pause, Target},
};
use planfleet_runtime::{clock, config::Settings};
use serde_json::{Value, json};

use crate::{
    cli::{Cli, Format, TargetArgs},
    exit::Failure,
    output::{self, cell, line},
};

/// Work of one tenant at one priority of a pool, in all coordinators.
#[derive(Default)]
struct Row {
    ready: u64,
    paused: u64,
    out: u64,
}

/// Priorities in their order, as coordinators name them.
const PRIORITIES: [&str; 3] = ["high", "normal", "low"];

pub(super) async fn list(cli: &Cli, bus: &Bus) -> Result<ExitCode, Failure> {
    let pauses = bus.pauses().await?;
    let (queues, silent) = Client::new(bus.clone()).queues().await;
    let queues: Vec<Value> = queues.into_values().collect();
    let pools = pools(&queues);
    match cli.output {
        Format::Table => print(&pools, &pauses),
        format => {
            let limits = limits(&queues);
            let whole = json!({
                "pools": pools, "limits": limits, "pauses": pauses,
                "coordinators": queues.len(), "shards_left_out": silent,
            });
            output::value(format, &whole)?;
        }
    }
    if silent > 0 && !cli.quiet {
        output::note(&format!("{silent} shards have not answered: what waits there is left out"));
    }
    Ok(ExitCode::SUCCESS)
}

/// The pools of all coordinators, each with its rows: what all of them know of it together.
fn pools(queues: &[Value]) -> Vec<Value> {
    let mut by_pool = BTreeMap::<&str, Vec<&Value>>::new();
    for pool in queues.iter().flat_map(|queue| each(&queue["pools"])) {
        by_pool.entry(pool["pool"].as_str().unwrap_or_default()).or_default().push(pool);
    }
    by_pool.into_iter().map(|(name, parts)| merged(name, &parts)).collect()
}

fn merged(name: &str, parts: &[&Value]) -> Value {
    let mut rows = BTreeMap::<(usize, &str), Row>::new();
    for part in parts.iter().flat_map(|pool| each(&pool["rows"])) {
        let rank =
            PRIORITIES.iter().position(|known| part["priority"] == **known).unwrap_or(PRIORITIES.len());
        let row = rows.entry((rank, part["tenant"].as_str().unwrap_or_default())).or_default();
        row.ready += count(&part["ready"]);
        row.paused += count(&part["paused"]);
        row.out += count(&part["out"]);
    }
    let sum = |field: &str| parts.iter().map(|pool| count(&pool[field])).sum::<u64>();
    let all = |of: fn(&Row) -> u64| rows.values().map(of).sum::<u64>();
    let (ready, paused) = (all(|row| row.ready), all(|row| row.paused));
    let shown = |((rank, tenant), Row { ready, paused, out }): (&(usize, &str), &Row)| {
        let priority = PRIORITIES.get(*rank).copied().unwrap_or("other");
        json!({"priority": priority, "tenant": tenant, "ready": ready, "paused": paused, "out": out})
    };
    json!({
        "pool": name,
        // Every coordinator knows of all workers.
        "slots": parts.iter().map(|pool| count(&pool["slots"])).max(),
        "window": sum("window"),
        "ready": ready,
        "paused": paused,
        "out": sum("out"),
        "rows": rows.iter().map(shown).collect::<Vec<_>>(),
        "rows_left_out": sum("rows_left_out"),
    })
}

/// Limits with what of each is used, and how much of it there is in all coordinators.
fn limits(queues: &[Value]) -> Vec<Value> {
    let mut limits = BTreeMap::<(String, String), (u64, u64)>::new();
    for limit in queues.iter().flat_map(|queue| each(&queue["limits"])) {
        let sums = limits.entry((cell(&limit["what"]), cell(&limit["name"]))).or_default();
        *sums = (sums.0 + count(&limit["limit"]), sums.1 + count(&limit["out"]));
    }
    let shown =
        |((what, name), (limit, out))| json!({"what": what, "name": name, "limit": limit, "out": out});
    limits.into_iter().map(shown).collect()
}

fn each(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn print(pools: &[Value], pauses: &[Pause]) {
    let mut table = Vec::new();
    for pool in pools {
        let of_pool = |name: &str| cell(&pool[name]);
        let head = ["pool", "slots", "window", "ready", "paused", "out"].map(of_pool);
        let [name, slots, window, ready, paused, out] = head;
        table.push(vec![name.clone(), "-".into(), "-".into(), slots, window, ready, paused, out]);
        for row in each(&pool["rows"]) {
            let [priority, tenant, ready, paused, out] =
                ["priority", "tenant", "ready", "paused", "out"].map(|name| cell(&row[name]));
            table.push(vec![name.clone(), priority, tenant, "-".into(), "-".into(), ready, paused, out]);
        }
    }
    let head = ["pool", "priority", "tenant", "slots", "window", "ready", "paused", "out"];
    output::data(&output::table(&head, table));
    for pause in pauses {
        output::data(&format!("{} is paused: {}", pause.target, line(&pause.reason, 80)));
    }
}

pub(super) async fn pause(
    cli: &Cli,
    bus: &Bus,
    target: &TargetArgs,
    reason: &str,
    settings: &Settings,
) -> Result<ExitCode, Failure> {
    let target = target.target()?;
    if reason.trim().is_empty() {
        return Err(Failure::usage("reason: missing; expected why, for others who look"));
    }
    let pause = Pause { target, reason: reason.to_owned(), since_ms: clock::unix_ms() };
    bus.pause(&pause).await?;
    if let Target::Pool(name) = &pause.target
        && !settings.pools.contains_key(name)
        && !cli.quiet
    {
        output::note(&format!("no pool {name:?} is in these settings; the pause holds for one of that name"));
    }
    show(cli, &pause.target, json!({"paused": true, "pause": pause}), "is paused: what is at work goes on")
}

pub(super) async fn resume(cli: &Cli, bus: &Bus, target: &TargetArgs) -> Result<ExitCode, Failure> {
    let target = target.target()?;
    let was = bus.resume(&target).await?;
    let said = if was { "goes on" } else { "was not paused" };
    show(cli, &target, json!({"paused": false, "was_paused": was, "target": target}), said)
}

fn show(cli: &Cli, target: &Target, value: Value, said: &str) -> Result<ExitCode, Failure> {
    match cli.output {
        Format::Table => output::data(&format!("{target} {said}")),
        format => output::value(format, &value)?,
    }
    Ok(ExitCode::SUCCESS)
}
