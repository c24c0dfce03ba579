//! The tools that steps may call, and the walls around them.
//!
//! A [`Registry`] holds tools by name. It checks arguments and outputs against
//! the tools' JSON Schemas and bounds every call in time and size, so that a
//! tool's own code only ever sees well-formed arguments. Everything that leaves
//! the machine goes through the egress gateway (`egress.rs`) and through nothing else.
//!
//! This crate never retries (the executor owns that), never reads the
//! environment and knows nothing of the bus.
//!
//! Start with [`registry`]; each built-in is one file under `builtin/`. Tools from elsewhere
//! come by `mcp.rs` (MCP servers) and `remote.rs` (any HTTP server), or implement [`Tool`].

mod builtin;
mod egress;
mod mcp;
pub mod registry;
mod remote;
mod schema;
mod secrets;
pub mod settings;
pub mod store;
mod telemetry;
pub mod tool;

pub use registry::{RegisterError, Registry};
pub use settings::{Settings, SettingsError};
pub use tool::{CallContext, Tool, ToolError};
