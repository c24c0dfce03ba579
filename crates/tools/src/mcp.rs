//! Tools of MCP servers, by the official SDK (`rmcp`).
//!
//! A server's tools are asked for once, when the registry is built, and are **pinned** there:
//! what planners have been told is what is called, and a tool whose definition changes later is
//! refused. Servers are the operator's to name, their words are not to be trusted: the hints of
//! annotations can be overridden, outputs go through the schemas and caps of the registry, and
//! nothing of the run's or of other servers' secrets is passed on.
//!
//! Start with [`server`], a connection that is made again when it is lost; [`definition`] is
//! what is pinned, [`result`] what comes of a call.

mod definition;
mod result;
mod server;
mod settings;
#[cfg(test)]
mod tests;
mod transport;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use planfleet_core::failure::FailureClass;
use planfleet_core::tool::ToolSpec;
use rmcp::ServiceError;
use serde_json::{Map, Value, json};

use crate::egress::Gateway;
use crate::settings::{Settings, SettingsError};
use crate::tool::{CallContext, Tool, ToolError};
use definition::Definition;
use server::{Found, Server};
pub use settings::McpSettings;

/// One tool of a server.
struct McpTool {
    spec: ToolSpec,
    /// The server's own name for it.
    remote: String,
    has_output_schema: bool,
    origin: Value,
    server: Arc<Server>,
}

/// Asks every server of the settings for its tools.
///
/// # Errors
///
/// The first server that does not answer in time, lacks a tool that is named, or has other
/// tools than are pinned.
pub(crate) async fn discover(
    settings: &Settings,
    gateway: &Arc<Gateway>,
) -> Result<Vec<Arc<dyn Tool>>, SettingsError> {
    let servers = settings.mcp.iter().map(|(name, own)| ask(settings, name, own, gateway));
    let mut taken = BTreeSet::new();
    let mut tools: Vec<Arc<dyn Tool>> = Vec::new();
    for (server, found) in futures::future::try_join_all(servers).await? {
        let server_sha256 = found.sha256;
        tools.extend(found.tools.into_iter().map(|definition| {
            let tool = McpTool::new(server.clone(), definition, &server_sha256, &mut taken);
            Arc::new(tool) as Arc<dyn Tool>
        }));
    }
    Ok(tools)
}

async fn ask(
    settings: &Settings,
    name: &str,
    own: &McpSettings,
    gateway: &Arc<Gateway>,
) -> Result<(Arc<Server>, Found), SettingsError> {
    let server = Arc::new(Server::new(name.to_owned(), own.clone(), gateway.clone()));
    match server.discover().await {
        Ok(found) => {
            tracing::debug!(server = name, tools = found.tools.len(), sha256 = found.sha256, "MCP tools");
            Ok((server, found))
        }
        // A program may have been told a secret, and say so.
        Err(reason) => {
            let reason = settings.secrets().removed_from(&reason);
            Err(SettingsError::Mcp { server: name.to_owned(), reason })
        }
    }
}

impl McpTool {
    fn new(
        server: Arc<Server>,
        definition: Definition,
        server_sha256: &str,
        taken: &mut BTreeSet<String>,
    ) -> Self {
        let (effect, idempotent) = definition.effect(server.settings.effects.get(&definition.name).copied());
        let origin = json!({
            "kind": "mcp",
            "server": server.name,
            "tool": definition.name,
            "sha256": definition.sha256,
            "server_sha256": server_sha256,
        });
        let has_output_schema = definition.output.is_some();
        let spec = ToolSpec {
            name: definition.name_for(&server.name, taken),
            description: definition.description,
            arguments: definition.arguments,
            output: definition.output.unwrap_or_else(result::schema),
            effect,
            idempotent,
        };
        Self { spec, remote: definition.name, has_output_schema, origin, server }
    }
}

#[async_trait]
impl Tool for McpTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, args: &Map<String, Value>, ctx: &CallContext) -> Result<Value, ToolError> {
        let (peer, connection) = self.server.peer(&self.remote).await?;
        let calling = peer.call_tool_once(result::request(&self.remote, args, ctx));
        let limit = self.server.settings.timeout();
        let Ok(called) = tokio::time::timeout(limit, calling).await else {
            self.server.silent(connection).await;
            let message =
                format!("MCP server `{}` did not answer within {} ms", self.server.name, limit.as_millis());
            return Err(ToolError::new(FailureClass::Timeout, message));
        };
        self.server.answered();
        match called {
            Ok(answer) => result::output(answer, self.has_output_schema),
            Err(error) => {
                if matches!(error, ServiceError::TransportClosed) {
                    self.server.lost(connection).await;
                }
                Err(result::trouble(&error, self.spec.idempotent))
            }
        }
    }

    /// A little over a call's own time, and as much again to wait for a connection: the messages of
    /// both say more.
    fn timeout(&self) -> Duration {
        self.server.settings.timeout() * 2 + Duration::from_secs(5)
    }

    fn origin(&self) -> Option<Value> {
        Some(self.origin.clone())
    }
}
