//! `tools`: what plans may use.

use std::process::ExitCode;

use planfleet_core::{json, task::Brief};
use planfleet_runtime::config::Settings;
use planfleet_tools::CallContext;
use serde_json::{Value, json};

use crate::{
    cli::{Cli, ToolsCommand},
    compose::{self, tools::LateStore},
    exit::{Code, Failure},
    output::{self, cell},
};

pub(super) async fn tools(
    cli: &Cli,
    command: &ToolsCommand,
    settings: &Settings,
) -> Result<ExitCode, Failure> {
    let registry = compose::tools::registry(settings, LateStore::new(settings)).await?;
    match command {
        ToolsCommand::List => {
            let tools: Vec<Value> = registry.catalog().values().map(|tool| json!(tool)).collect();
            let row = |tool: &Value| {
                vec![cell(&tool["name"]), cell(&tool["effect"]), arguments(tool), cell(&tool["description"])]
            };
            output::list(cli.output, &["tool", "effect", "arguments", "what it does"], &tools, row)?;
            Ok(ExitCode::SUCCESS)
        }
        ToolsCommand::Show { name } => {
            let tool = registry.details(name).ok_or_else(|| {
                let have: Vec<String> = registry.catalog().into_keys().collect();
                Failure::usage(format!("there is no tool {name:?}; there are {}", have.join(", ")))
            })?;
            output::value(cli.output, &tool)?;
            Ok(ExitCode::SUCCESS)
        }
        ToolsCommand::Call { name, args } => {
            let args = json::parse_strict(args)
                .map_err(|error| Failure::usage(format!("--args: not JSON: {error}")))?;
            let context = CallContext {
                tenant: Brief::default().tenant().to_owned(),
                idempotency_key: compose::unique_name(),
                ..CallContext::default()
            };
            match registry.call(name, args, &context).await {
                Ok(output) => output::value(cli.output, &json!({"ok": true, "output": output}))
                    .map(|()| ExitCode::SUCCESS),
                Err(failure) => {
                    let error = json!({"class": failure.class, "message": failure.message});
                    output::value(cli.output, &json!({"ok": false, "error": error}))?;
                    Ok(ExitCode::from(Code::Unexpected as u8))
                }
            }
        }
    }
}

/// The argument names; optional ones with a question mark.
fn arguments(tool: &Value) -> String {
    let required = |name: &str| {
        tool["arguments"]["required"].as_array().is_some_and(|all| all.iter().any(|r| r == name))
    };
    let properties = tool["arguments"]["properties"].as_object();
    let shown = |name: &String| if required(name) { name.clone() } else { format!("{name}?") };
    properties.into_iter().flatten().map(|(name, _)| shown(name)).collect::<Vec<_>>().join(", ")
}
