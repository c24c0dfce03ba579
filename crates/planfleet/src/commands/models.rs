//! `models`: what is configured, what it costs, and whether it answers.

mod prices;

use std::{
    collections::BTreeMap,
    process::ExitCode,
    time::{Duration, Instant},
};

use planfleet_llm::{ChatModel as _, ChatRequest, Message};
use planfleet_runtime::config::{ModelSettings, Settings};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::connect;

use crate::{
    cli::{Cli, ModelsCommand},
    compose,
    exit::{Code, Failure},
    hints::{self, Known},
    model_list,
    output::{self, cell},
};

/// Enough for one word, and for the few that some models cannot hold back.
const TEST_TOKENS: u32 = 16;

/// A fleet that is there answers within this; without one the list is of the configuration alone.
const FLEET_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) async fn models(
    cli: &Cli,
    command: &ModelsCommand,
    settings: &Settings,
) -> Result<ExitCode, Failure> {
    if settings.models.is_empty() && matches!(command, ModelsCommand::Test { .. }) {
        let message = "no models are configured: set OPENAI_API_KEY or ANTHROPIC_API_KEY, or [models] and [roles] in planfleet.toml";
        return Err(Failure::usage(message));
    }
    match command {
        ModelsCommand::List => list(cli, settings).await,
        ModelsCommand::Prices { command } => prices::prices(cli, command.as_ref(), settings).await,
        ModelsCommand::Test { name } => test(cli, name.as_deref(), settings).await,
    }
}

async fn list(cli: &Cli, settings: &Settings) -> Result<ExitCode, Failure> {
    let known = known(settings).await;
    let entry = |(name, model): (&String, &ModelSettings)| {
        let mut entry = model_list::configured(name, model, settings);
        entry["fleet"] = known.as_ref().map_or(Value::Null, |known| model_list::fleet(known.get(name)));
        entry
    };
    let rows: Vec<Value> = settings.models.iter().map(entry).collect();
    let row = |model: &Value| {
        vec![
            cell(&model["name"]),
            cell(&model["model"]),
            cell(&model["base_url"]),
            cell(&model["dialect"]),
            roles_text(model),
            state_text(&model["fleet"]),
        ]
    };
    output::list(cli.output, &["name", "model", "base url", "dialect", "roles", "state"], &rows, row)?;
    Ok(ExitCode::SUCCESS)
}

/// What the fleet knows of its models; `None` where there is none to ask.
async fn known(settings: &Settings) -> Option<BTreeMap<String, Known>> {
    let asked = async { hints::known(&connect(settings).await.ok()?).await.ok() };
    timeout(FLEET_TIMEOUT, asked).await.ok().flatten()
}

fn state_text(fleet: &Value) -> String {
    if let Some(reason) = fleet["paused"]["reason"].as_str() {
        return format!("paused, tried again {}: {reason}", cell(&fleet["paused"]["until"]));
    }
    match fleet["processes"].as_u64() {
        None => "no fleet is reached".to_owned(),
        Some(0) => "unused".to_owned(),
        Some(_) => format!("{} of {} calls", cell(&fleet["in_flight"]), cell(&fleet["concurrency"])),
    }
}

fn roles_text(model: &Value) -> String {
    let roles = model["roles"].as_array().into_iter().flatten().filter_map(Value::as_str);
    roles.collect::<Vec<_>>().join(", ")
}

async fn test(cli: &Cli, only: Option<&str>, settings: &Settings) -> Result<ExitCode, Failure> {
    let chosen: Vec<_> =
        settings.models.iter().filter(|(name, _)| only.is_none_or(|only| only == *name)).collect();
    if chosen.is_empty() {
        let have: Vec<&str> = settings.models.keys().map(String::as_str).collect();
        return Err(Failure::usage(format!(
            "there is no model {:?}; there are {}",
            only.unwrap_or_default(),
            have.join(", ")
        )));
    }
    let mut results = Vec::new();
    for (name, model) in chosen {
        results.push(ask(name, model).await?);
    }
    let row = |result: &Value| {
        vec![
            cell(&result["name"]),
            cell(&result["ok"]),
            cell(&result["ms"]),
            cell(&result["answer"]),
            cell(&result["error"]),
        ]
    };
    output::list(cli.output, &["name", "ok", "ms", "answer", "error"], &results, row)?;
    let good = results.iter().all(|result| result["ok"] == true);
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(Code::Unexpected as u8) })
}

async fn ask(name: &str, settings: &ModelSettings) -> Result<Value, Failure> {
    let (chat, _) = compose::chat(name, settings)?;
    let request = ChatRequest {
        messages: vec![Message::user("Answer with the one word: ready")],
        max_output_tokens: Some(TEST_TOKENS),
        ..ChatRequest::default()
    };
    let started = Instant::now();
    let answer = chat.chat(&request).await;
    let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(match answer {
        Ok(response) => {
            json!({"name": name, "ok": true, "ms": ms, "answer": response.text.trim(), "error": null})
        }
        Err(error) => {
            json!({"name": name, "ok": false, "ms": ms, "answer": null, "error": error.to_string()})
        }
    })
}
