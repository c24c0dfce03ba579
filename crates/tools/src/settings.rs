//! What an operator may set, checked as a whole before any tool is built.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use crate::egress::CredentialSettings;
use crate::egress::{Credential, HostPattern};
pub use crate::mcp::McpSettings;
use crate::registry::RegisterError;
pub use crate::remote::HttpToolSettings;
use crate::secrets::{self, Secrets};

/// What tools there are and what they may do: `[tools]`, `[credentials]` and `[mcp]` of the
/// configuration, with the secrets that those name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Directories that the file tools may read and write. Empty: they refuse every call.
    /// Nobody whom you do not trust should be able to write there.
    pub roots: Vec<PathBuf>,
    /// Hosts that tools may reach: `example.org`, `*.example.org` (subdomains
    /// only) or `*` (any). Private addresses stay refused whatever stands here.
    pub hosts: Vec<String>,
    /// Whether tools may also reach 127.0.0.0/8 and ::1. For development and tests.
    pub allow_loopback: bool,
    /// The time that one fetch may take in all, redirects included, in milliseconds.
    pub http_timeout_ms: u64,
    /// The bytes of a response body that are kept, counted after decompression.
    pub http_body_bytes_max: usize,
    /// The bytes of a tool's output as JSON; a larger one fails the call.
    pub output_bytes_max: usize,
    /// The `user-agent` of outbound requests.
    pub user_agent: String,
    /// Secrets by name, each for hosts of its own.
    pub credentials: BTreeMap<String, CredentialSettings>,
    /// Tools by name that a server of the operator's answers for.
    pub http: BTreeMap<String, HttpToolSettings>,
    /// MCP servers by name.
    pub mcp: BTreeMap<String, McpSettings>,
    /// Whether spans hold the arguments and outputs of calls.
    pub capture_content: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            roots: Vec::new(),
            hosts: vec!["*".to_owned()],
            allow_loopback: false,
            http_timeout_ms: 25_000,
            http_body_bytes_max: 4 << 20,
            output_bytes_max: 8 << 20,
            user_agent: concat!("planfleet/", env!("CARGO_PKG_VERSION")).to_owned(),
            credentials: BTreeMap::new(),
            http: BTreeMap::new(),
            mcp: BTreeMap::new(),
            capture_content: false,
        }
    }
}

/// Why no registry could be built from the settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Settings that are wrong, all of them.
    #[error("wrong tool settings:{}", bullets(.0))]
    Faults(Vec<String>),
    /// The HTTP client could not be built, e.g. for want of root certificates.
    #[error(
        "cannot build the HTTP client of the tools, which needs the certificates of public authorities: \
         those of the package ca-certificates, or a file that SSL_CERT_FILE names"
    )]
    Client(#[source] reqwest::Error),
    /// A tool's own contract is broken, or its name is taken.
    #[error(transparent)]
    Tool(#[from] RegisterError),
    /// An MCP server gives no tools.
    #[error("mcp.{server}: {reason}")]
    Mcp {
        /// Its name in the settings.
        server: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
}

fn bullets(faults: &[String]) -> String {
    faults.iter().map(|fault| format!("\n- {fault}")).collect()
}

impl Settings {
    /// Checks every setting and gives the file roots in canonical form.
    pub(crate) fn check(&self) -> Result<Vec<PathBuf>, SettingsError> {
        let mut faults = Vec::new();
        let roots = self.canonical_roots(&mut faults);
        for pattern in &self.hosts {
            if let Err(fault) = HostPattern::parse(pattern) {
                faults.push(format!("tools.hosts: {fault}"));
            }
        }
        let read = self.credentials.iter().map(|(name, own)| Credential::read(name, own).err());
        faults.extend(read.flatten());
        faults.extend(self.short_credentials());
        faults.extend(self.http.iter().filter_map(|(name, own)| own.fault(name)));
        faults.extend(self.mcp.iter().filter_map(|(name, own)| own.fault(name)));
        self.check_bounds(&mut faults);
        if faults.is_empty() { Ok(roots) } else { Err(SettingsError::Faults(faults)) }
    }

    /// Everything that no output may hold.
    pub(crate) fn secrets(&self) -> Secrets {
        let credentials = self.credentials.values().map(|own| own.value.clone());
        Secrets::new(credentials.chain(self.mcp.values().flat_map(McpSettings::secrets)))
    }

    fn short_credentials(&self) -> impl Iterator<Item = String> {
        let short = self.credentials.iter().filter(|(_, own)| own.value.len() < secrets::BYTES_MIN);
        short.map(|(name, _)| format!("credentials.{name}.value: {}", secrets::TOO_SHORT))
    }

    fn canonical_roots(&self, faults: &mut Vec<String>) -> Vec<PathBuf> {
        let mut roots = Vec::new();
        for root in &self.roots {
            match root.canonicalize() {
                Ok(path) if path.is_dir() => roots.push(path),
                Ok(_) => faults.push(format!("tools.roots: {} is not a directory", root.display())),
                Err(error) => faults.push(format!("tools.roots: {}: {error}", root.display())),
            }
        }
        roots
    }

    fn check_bounds(&self, faults: &mut Vec<String>) {
        if !(1..=600_000).contains(&self.http_timeout_ms) {
            faults.push("tools.http_timeout_ms: must be between 1 and 600000".to_owned());
        }
        if self.http_body_bytes_max == 0 {
            faults.push("tools.http_body_bytes_max: must be at least 1".to_owned());
        }
        if self.output_bytes_max == 0 {
            faults.push("tools.output_bytes_max: must be at least 1".to_owned());
        }
        if !self.user_agent.chars().all(|c| c == ' ' || c.is_ascii_graphic()) {
            faults.push("tools.user_agent: must be printable ASCII".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_right() {
        assert_eq!(Settings::default().check().unwrap(), Vec::<PathBuf>::new());
    }

    #[test]
    fn all_faults_are_reported_at_once() {
        let settings = Settings {
            roots: vec!["/no/such/place".into(), "/dev/null".into()],
            hosts: vec!["http://x".into(), "ok.example".into()],
            http_timeout_ms: 0,
            http_body_bytes_max: 0,
            output_bytes_max: 0,
            user_agent: "a\nb".into(),
            http: BTreeMap::from([(
                "h".into(),
                HttpToolSettings { url: "ftp://x".into(), ..Default::default() },
            )]),
            mcp: BTreeMap::from([("m".into(), McpSettings::default())]),
            ..Settings::default()
        };
        let Err(SettingsError::Faults(faults)) = settings.check() else { panic!("accepted") };
        assert_eq!(faults.len(), 9, "{faults:?}");
    }

    #[test]
    fn a_credential_that_cannot_be_kept_out_of_outputs_is_refused() {
        let credential = |value: &str| CredentialSettings {
            hosts: vec!["a.example".to_owned()],
            header: "x-key".to_owned(),
            prefix: String::new(),
            value: value.to_owned(),
        };
        let server = |variable: &str, value: &str| McpSettings {
            command: "server".to_owned(),
            env: [(variable.to_owned(), value.to_owned())].into(),
            ..McpSettings::default()
        };
        let settings = |value: &str, variable: &str| Settings {
            credentials: [("c".to_owned(), credential(value))].into(),
            mcp: [("m".to_owned(), server(variable, value))].into(),
            ..Settings::default()
        };
        let Err(SettingsError::Faults(faults)) = settings("s3cret", "API_KEY").check() else {
            panic!("taken")
        };
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults.iter().all(|fault| fault.contains("8 bytes") && !fault.contains("s3cret")));
        let settings = settings("s3cret-long-enough", "DATABASE_URL");
        assert!(settings.check().is_ok());
        let shown = settings.secrets().removed_from("s3cret-long-enough");
        assert_eq!(shown, "[secret]");
        let of_server: Vec<String> = server("DATABASE_URL", "postgres://u:pw@h").secrets().collect();
        assert_eq!(of_server, ["postgres://u:pw@h"], "whatever its name");
        assert_eq!(server("TZ", "Europe/Berlin").secrets().count(), 0);
    }

    #[test]
    fn unknown_keys_are_refused() {
        let error = serde_json::from_str::<Settings>(r#"{"root": []}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `root`"));
    }
}
