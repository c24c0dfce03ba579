//! `models`: what is configured, and whether it answers.

use std::{process::ExitCode, time::Instant};

use planfleet_llm::{ChatModel as _, ChatRequest, Message};
use planfleet_runtime::config::{ModelSettings, Role, Settings, shown_url};
use serde_json::{Value, json};

use crate::{
    cli::{Cli, ModelsCommand},
    compose,
    exit::{Code, Failure},
    output::{self, cell},
};

/// Enough for one word, and for the few that some models cannot hold back.
const TEST_TOKENS: u32 = 16;

pub(super) async fn models(
    cli: &Cli,
    command: &ModelsCommand,
    settings: &Settings,
) -> Result<ExitCode, Failure> {
    if settings.models.is_empty() && matches!(command, ModelsCommand::Test { .. }) {
        let message =
            "no models are configured: set OPENAI_API_KEY, or [models] and [roles] in planfleet.toml";
        return Err(Failure::usage(message));
    }
    match command {
        ModelsCommand::List => list(cli, settings),
        ModelsCommand::Test { name } => test(cli, name.as_deref(), settings).await,
    }
}

fn list(cli: &Cli, settings: &Settings) -> Result<ExitCode, Failure> {
    let rows: Vec<Value> = settings.models.iter().map(|(name, model)| entry(name, model, settings)).collect();
    let row = |model: &Value| {
        vec![
            cell(&model["name"]),
            cell(&model["model"]),
            cell(&model["base_url"]),
            cell(&model["dialect"]),
            roles_text(model),
        ]
    };
    output::list(cli.output, &["name", "model", "base url", "dialect", "roles"], &rows, row)?;
    Ok(ExitCode::SUCCESS)
}

fn entry(name: &str, model: &ModelSettings, settings: &Settings) -> Value {
    let has = |role: &Role| {
        settings.role(*role).is_ok_and(|models| models.iter().any(|(of_role, _)| *of_role == name))
    };
    let roles: Vec<&str> = Role::ALL.iter().filter(|role| has(role)).map(|role| role.key()).collect();
    json!({"name": name, "model": model.model, "base_url": shown_url(&model.base_url), "dialect": model.dialect, "roles": roles})
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
