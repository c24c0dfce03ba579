//! The configuration: defaults < well-known variables < file < `PLANFLEET__A__B`
//! < flags, checked as a whole.
//!
//! Start at [`Settings::load`]. It merges the layers, reads them key by key so
//! that every mistake is found in one start, fills in what the environment
//! implies, and checks what types cannot say. This is the only place of the
//! libraries that reads the environment, and it does so through [`Env`].
//!
//! `config/default.toml` is the reference: it is embedded, it is the lowest
//! layer, and a test keeps it equal to the `Default`s of the structs.

mod api;
mod check;
mod fault;
mod implied;
mod models;
mod nearest;
mod outside;
mod read;
mod redact;
mod roles;
mod secrets;
mod sections;
mod settings;
mod sources;
#[cfg(test)]
mod tests;
mod url;

use std::path::{Path, PathBuf};

pub use api::{ApiAuth, ApiSettings, OidcSettings};
pub use fault::{ConfigError, Fault};
pub use models::{LongPrice, ModelSettings, Price, PriceError, Structured, UsdPerMillion, Wire};
pub use outside::{CredentialSettings, HttpToolSettings, McpSettings, ToolEffect};
pub use roles::{ModelNames, RoleSettings};
pub use secrets::{SecretError, SecretSource, secret};
pub use sections::{
    CoordinatorSettings, DataSettings, FlowSettings, HealthSettings, LimitSettings, LogFormat, Manage,
    NatsSettings, NatsTlsSettings, PlannerSettings, PoolSettings, PriceSettings, Signal, TelemetrySettings,
    TenantSettings, ToolLimit, ToolSettings,
};
pub use settings::{MissingRole, Role, Settings};
pub use sources::{Env, ProcessEnv};
pub use url::shown_url;

/// The commented reference configuration, also what `config init` writes.
pub const DEFAULT_TOML: &str = include_str!("config/default.toml");

/// What the command line says about where settings come from.
#[derive(Debug, Clone, Default)]
pub struct LoadRequest {
    /// `--config`; when given it must exist, and no other file is looked for.
    pub file: Option<PathBuf>,
    /// Settings from flags, as (`nats.url`, text); a later one wins.
    pub overrides: Vec<(String, String)>,
    /// Where `planfleet.toml` is looked for, usually the working directory.
    pub directory: PathBuf,
}

impl Settings {
    /// Loads and checks the settings; the error lists every fault found.
    ///
    /// Keys from variables are lower case, as `PLANFLEET__MODELS__FAST__MODEL`
    /// is `models.fast.model`: a model or pool whose name has capitals or a
    /// hyphen can be set in a file or by a flag only.
    pub fn load(request: &LoadRequest, env: &dyn Env) -> Result<Self, ConfigError> {
        let file = find_file(request, env);
        let (merged, well_known) = sources::merge(file.as_deref(), request, env)?;
        let mut ledger = read::Ledger::default();
        let mut settings = read::settings(merged, &mut ledger);
        settings.sources = std::mem::take(&mut ledger.sources);
        settings.origin_notes = well_known;
        settings.origin_notes.extend(file.map(|path| format!("configuration file {}", path.display())));
        implied::fill(&mut settings, env);
        check::check(&settings, &mut ledger.faults);
        ConfigError::unless_empty(ledger.faults)?;
        Ok(settings)
    }

    /// The effective settings as TOML with secrets replaced by `<redacted>`.
    pub fn redacted_toml(&self) -> Result<String, toml::ser::Error> {
        redact::toml(self)
    }
}

/// `--config`, else the first that exists of `planfleet.toml` in the directory
/// and the user's own. They are alternatives, not layers: with one file there
/// is one place to look when a value surprises.
fn find_file(request: &LoadRequest, env: &dyn Env) -> Option<PathBuf> {
    if request.file.is_some() {
        return request.file.clone();
    }
    let local = request.directory.join("planfleet.toml");
    let user =
        sources::xdg_dir(env, "XDG_CONFIG_HOME", ".config").map(|dir| dir.join("planfleet/config.toml"));
    [Some(local), user].into_iter().flatten().find(|path| Path::is_file(path))
}
