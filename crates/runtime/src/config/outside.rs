//! What tools reach outside of this program: `[credentials.<name>]`, `[mcp.<name>]` and
//! `[tools.http.<name>]`. Secrets are named here and read elsewhere: see [`super::SecretSource`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// `[credentials.<name>]`: a secret that goes with requests to its hosts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CredentialSettings {
    /// Hosts that it is sent to.
    pub hosts: Vec<String>,
    /// The header that it is sent in.
    pub header: String,
    /// What stands before it in the header.
    pub prefix: String,
    /// Name of the variable that holds it; empty for none.
    pub value_env: String,
    /// File that holds it; empty for none.
    pub value_file: String,
}

/// `[mcp.<name>]`: a server whose tools plans may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct McpSettings {
    /// The program of a server that speaks over standard input and output; empty for none.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Names of the variables that it sees, besides `PATH` and `HOME`.
    pub env: Vec<String>,
    /// Where a server answers over HTTP; empty for none.
    pub url: String,
    /// The tools that plans may use, by the server's names; `*` is every one.
    pub tools: Vec<String>,
    /// What calls do, by the server's names, whatever the server says.
    pub effects: BTreeMap<String, ToolEffect>,
    /// What the definitions of those tools hash to; empty takes them as they are.
    pub sha256: String,
    /// Seconds for one call.
    pub timeout_s: u64,
}

impl Default for McpSettings {
    fn default() -> Self {
        Self {
            command: String::new(),
            args: Vec::new(),
            env: Vec::new(),
            url: String::new(),
            tools: vec!["*".to_owned()],
            effects: BTreeMap::new(),
            sha256: String::new(),
            timeout_s: 60,
        }
    }
}

/// `[tools.http.<name>]`: a tool that a server of the operator's answers for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpToolSettings {
    /// Where calls are posted to.
    pub url: String,
    /// What it does, for planners.
    pub description: String,
    /// The JSON Schema of its arguments.
    pub arguments: Value,
    /// The JSON Schema of its output.
    pub output: Value,
    /// What a call does to the world.
    pub effect: ToolEffect,
    /// Whether calling twice is calling once.
    pub idempotent: bool,
}

impl Default for HttpToolSettings {
    fn default() -> Self {
        Self {
            url: String::new(),
            description: String::new(),
            arguments: json!({"type": "object"}),
            output: json!({}),
            effect: ToolEffect::Write,
            idempotent: false,
        }
    }
}

/// What a call of a tool does to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToolEffect {
    /// Depends on its arguments only.
    Pure,
    /// Reads.
    Read,
    /// Changes.
    Write,
    /// Changes what cannot be changed back.
    Destructive,
}
