//! What an operator says of an MCP server.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use planfleet_core::tool::Effect;
use serde::{Deserialize, Serialize};

use crate::secrets;

/// `[mcp.<name>]`: a server that is started here, or one that answers at a URL.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct McpSettings {
    /// The program of a server that speaks over standard input and output; empty for none.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment: all of it, but for `PATH` and `HOME`.
    #[serde(skip_serializing)]
    pub env: BTreeMap<String, String>,
    /// Where a server answers over streamable HTTP; empty for none.
    pub url: String,
    /// The tools that plans may use, by the server's names; `*` is every one.
    pub tools: Vec<String>,
    /// What calls do, by the server's names, whatever the server says.
    pub effects: BTreeMap<String, Effect>,
    /// What the definitions of those tools hash to; empty takes them as they are.
    pub sha256: String,
    /// Milliseconds for one call.
    pub timeout_ms: u64,
}

impl Default for McpSettings {
    fn default() -> Self {
        Self {
            command: String::new(),
            args: Vec::new(),
            env: BTreeMap::new(),
            url: String::new(),
            tools: vec!["*".to_owned()],
            effects: BTreeMap::new(),
            sha256: String::new(),
            timeout_ms: 60_000,
        }
    }
}

impl fmt::Debug for McpSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "McpSettings({}{})", self.command, self.url)
    }
}

impl McpSettings {
    /// What is wrong with it, if anything is.
    pub(crate) fn fault(&self, name: &str) -> Option<String> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || name.len() > 20 || !name.chars().all(is_plain) {
            return Some(format!(
                "mcp.{name}: expected 1 to 20 of A-Z a-z 0-9 _ - as a name: it is part of the tools' names"
            ));
        }
        if self.command.is_empty() == self.url.is_empty() {
            return Some(format!("mcp.{name}: expected either command or url"));
        }
        if self.tools.is_empty() {
            return Some(format!("mcp.{name}.tools: names none; [\"*\"] is all of them"));
        }
        if let Some(variable) = self.short_secret() {
            return Some(format!("mcp.{name}.env: the value of {variable} {}", secrets::TOO_SHORT));
        }
        if !(1..=3_600_000).contains(&self.timeout_ms) {
            return Some(format!("mcp.{name}.timeout_ms: must be between 1 and 3600000"));
        }
        None
    }

    /// Values of its environment, any of which may be a secret, but for what is none by its name.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = String> {
        const HARMLESS: [&str; 10] =
            ["HOME", "LANG", "LANGUAGE", "LOGNAME", "NODE_ENV", "PATH", "TERM", "TMPDIR", "TZ", "USER"];
        let is_harmless = |name: &str| HARMLESS.contains(&name) || name.starts_with("LC_");
        self.env.iter().filter(move |(name, _)| !is_harmless(name)).map(|(_, value)| value.clone())
    }

    /// A variable that is a secret by its name, and too short to be kept out of outputs.
    fn short_secret(&self) -> Option<&str> {
        const ENDINGS: [&str; 4] = ["KEY", "TOKEN", "SECRET", "PASSWORD"];
        let is_secret = |name: &str| ENDINGS.iter().any(|ending| name.to_ascii_uppercase().ends_with(ending));
        let mut short = self.env.iter().filter(|(_, value)| value.len() < secrets::BYTES_MIN);
        short.find(|(name, _)| is_secret(name)).map(|(name, _)| name.as_str())
    }

    pub(super) fn takes(&self, tool: &str) -> bool {
        self.tools.iter().any(|name| name == "*" || name == tool)
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}
