//! `[api]`, `[api.tls]` and `[api.oidc]`.

use serde::{Deserialize, Serialize};

/// `[api]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiSettings {
    /// `host:port` of the role `api`; empty takes its own default.
    pub listen: String,
    /// Whether requests have to say who makes them.
    pub auth: ApiAuth,
    /// Requests that one key or token may make in a minute; 0 bounds nothing.
    pub requests_per_minute: u32,
    /// The file of the list of ended runs; empty is in `data.dir`.
    pub index_file: String,
    /// Whether a process that has the role `api` alone asks MCP servers for their tools.
    pub mcp_tools: bool,
    /// HTTPS.
    pub tls: ApiTlsSettings,
    /// Where the page of a trace is, with `{trace_id}` in it; empty shows the id alone.
    pub trace_url: String,
    /// Who issues tokens.
    pub oidc: OidcSettings,
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            listen: String::new(),
            auth: ApiAuth::Auto,
            requests_per_minute: 6_000,
            index_file: String::new(),
            mcp_tools: true,
            tls: ApiTlsSettings::default(),
            trace_url: String::new(),
            oidc: OidcSettings::default(),
        }
    }
}

/// Whether requests have to say who makes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApiAuth {
    /// Where others can reach the API, or tokens are configured.
    Auto,
    /// Always.
    Required,
    /// Never: the address has to be a loopback one.
    None,
}

/// `[api.tls]`: paths of PEM files, empty for plain HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiTlsSettings {
    /// The server's certificate, and those that lead to its authority.
    pub cert: String,
    /// Its key.
    pub key: String,
}

/// `[api.oidc]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OidcSettings {
    /// The issuer, exactly as tokens name it; empty takes no tokens.
    pub issuer: String,
    /// The audience that tokens have to be for.
    pub audience: String,
    /// Where the issuer's keys are; empty asks the issuer's own description.
    pub jwks_url: String,
    /// The claim that names the tenant.
    pub tenant_claim: String,
    /// The claim that names the role.
    pub role_claim: String,
    /// Seconds by which clocks may differ.
    pub leeway_s: u64,
}

impl Default for OidcSettings {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            audience: String::new(),
            jwks_url: String::new(),
            tenant_claim: "tenant".to_owned(),
            role_claim: "role".to_owned(),
            leeway_s: 60,
        }
    }
}
