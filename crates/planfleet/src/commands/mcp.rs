//! `mcp`: the fleet as an MCP server over standard input and output, so that coding agents can
//! submit tasks and fetch what came of them.
//!
//! The tools are in [`tools`]. A mistake in a call is the caller's to read and to mend, so it
//! is an answer with `isError`, never an error of the protocol.

mod tools;

use std::{process::ExitCode, time::Duration};

use planfleet_bus::{Bus, Client, client::Found};
use planfleet_core::{id::RunId, tool::ToolCatalog};
use planfleet_runtime::config::Settings;
use rmcp::{
    ErrorData, RoleServer, ServerHandler, ServiceExt as _,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, JsonObject,
        ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
    },
    service::RequestContext,
    transport::stdio_pipes,
};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::{connect, runs, templates};
use crate::{
    compose::{self, tools::LateStore},
    exit::Failure,
    submit,
};

const INSTRUCTIONS: &str = "planfleet plans a goal once and carries its steps out in parallel on a fleet of cheap \
models and tools. `submit` starts a run and gives its id at once; `wait` for its end, then read `result`.";

/// A document with all its steps may be larger than any model's context.
const RESULT_BYTES_MAX: usize = 256 << 10;

pub(super) async fn mcp(settings: &Settings) -> Result<ExitCode, Failure> {
    let server = Server { settings: settings.clone(), bus: OnceCell::new(), catalog: OnceCell::new() };
    // In a box, as every other command would hold the room for it.
    let serving = Box::pin(server.serve(stdio_pipes())).await.map_err(Failure::unexpected)?;
    serving.waiting().await.map_err(Failure::unexpected)?;
    Ok(ExitCode::SUCCESS)
}

struct Server {
    settings: Settings,
    /// Connected to when it is first needed: a client starts its servers before it uses them.
    bus: OnceCell<Bus>,
    catalog: OnceCell<ToolCatalog>,
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let mut config = ServerConfig::new(ServerCapabilities::builder().enable_tools().build());
        config.server_info = Implementation::new("planfleet", env!("CARGO_PKG_VERSION"));
        config.with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools::all()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        tools::all().into_iter().find(|tool| tool.name == name)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = request.arguments.unwrap_or_default();
        let called = match &*request.name {
            "submit" => self.submit(arguments).await,
            "status" => self.status(arguments).await,
            "wait" => self.wait(arguments).await,
            "cancel" => self.cancel(arguments).await,
            "result" => self.result(arguments).await,
            other => {
                let message =
                    format!("there is no tool {other:?}; there are submit, status, wait, cancel and result");
                return Err(ErrorData::invalid_params(message, None));
            }
        };
        let result = match called {
            Ok(value) => CallToolResult::structured(value),
            Err(failure) => CallToolResult::error(vec![ContentBlock::text(failure.to_string())]),
        };
        Ok(result.into())
    }
}

impl Server {
    async fn submit(&self, arguments: JsonObject) -> Result<Value, Failure> {
        let tools::Submit { task, idempotency_key } = read(arguments)?;
        let source = submit::of_value(Value::Object(task), self.settings.limits.task_bytes)?;
        let key = idempotency_key.as_deref().map(|name| source.key(name));
        let template = templates::of_foreign_task(&source, self.bus().await?.clone()).await?;
        let submission = submit::freeze(source, &self.settings, self.catalog().await?, &template)?;
        let run = self.client().await?.submit(submission, key.as_ref()).await?;
        Ok(json!({"run_id": run}))
    }

    async fn status(&self, arguments: JsonObject) -> Result<Value, Failure> {
        let tools::Run { run_id } = read(arguments)?;
        let (ended, document) = self.look(&run_id).await?;
        Ok(if ended { tools::ended(&document) } else { tools::status(&document) })
    }

    async fn wait(&self, arguments: JsonObject) -> Result<Value, Failure> {
        let tools::Wait { run_id, timeout_s } = read(arguments)?;
        let run = self.run(&run_id).await?;
        self.look(&run_id).await?;
        let within = Duration::from_secs(timeout_s.min(tools::WAIT_S_MAX));
        let ended = self.client().await?.wait(&run, within).await?;
        Ok(match ended {
            Some(document) => tools::ended(&document),
            None => return self.status(JsonObject::from_iter([("run_id".to_owned(), run_id.into())])).await,
        })
    }

    async fn cancel(&self, arguments: JsonObject) -> Result<Value, Failure> {
        let tools::Cancel { run_id, reason } = read(arguments)?;
        let (ended, _) = self.look(&run_id).await?;
        if ended {
            return Err(Failure::usage(format!("run {run_id} has ended already; `result` says how")));
        }
        let reason = if reason.is_empty() { "cancelled over MCP" } else { &reason };
        self.client().await?.cancel(&self.run(&run_id).await?, reason).await?;
        Ok(json!({"run_id": run_id, "cancelling": true}))
    }

    async fn result(&self, arguments: JsonObject) -> Result<Value, Failure> {
        let tools::Outcome { run_id, steps } = read(arguments)?;
        let (ended, document) = self.look(&run_id).await?;
        if !ended {
            return Err(Failure::usage(format!(
                "run {run_id} has not ended; `wait` for it, or ask for its `status`"
            )));
        }
        let outcome = if steps { document } else { tools::ended(&document) };
        if outcome.to_string().len() > RESULT_BYTES_MAX {
            return Err(Failure::usage(format!(
                "the result is larger than the {RESULT_BYTES_MAX} bytes that are given here; `planfleet runs get \
                 {run_id} -o json` prints it"
            )));
        }
        Ok(outcome)
    }

    /// Whether a run has ended, and its document.
    async fn look(&self, id: &str) -> Result<(bool, Value), Failure> {
        let run = self.run(id).await?;
        match runs::look(&self.client().await?, &run).await? {
            Found::Active(document) => Ok((false, document)),
            Found::Ended(document) => Ok((true, document)),
            Found::Unknown => Err(runs::unknown(&run)),
        }
    }

    async fn run(&self, id: &str) -> Result<RunId, Failure> {
        let client = self.client().await?;
        runs::parse(id, client.shards())
    }

    async fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(self.bus().await?.clone()))
    }

    async fn bus(&self) -> Result<&Bus, Failure> {
        self.bus.get_or_try_init(|| connect(&self.settings)).await
    }

    /// The tools that tasks may ask for.
    async fn catalog(&self) -> Result<&ToolCatalog, Failure> {
        let build = || async {
            let registry = compose::tools::registry(&self.settings, LateStore::new(&self.settings)).await?;
            Ok(registry.catalog())
        };
        self.catalog.get_or_try_init(build).await
    }
}

fn read<T: serde::de::DeserializeOwned>(arguments: JsonObject) -> Result<T, Failure> {
    serde_json::from_value(Value::Object(arguments))
        .map_err(|error| Failure::usage(format!("these arguments do not fit the tool's schema: {error}")))
}
