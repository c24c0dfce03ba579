//! What the environment implies where the layers say nothing.

use std::path::PathBuf;

use super::sources::xdg_dir;
use super::{Env, ModelSettings, PoolSettings, Settings};

/// The name of the implied model under `[models]`.
const IMPLIED_MODEL: &str = "openai";
/// The model asked for when `OPENAI_MODEL` is unset: OpenAI's middle tier of
/// autumn 2026, good enough to plan with and cheap enough to try with.
const DEFAULT_OPENAI_MODEL: &str = "gpt-6.1-terra";
const OPENAI_BASE_URL: &str = "https://api.openai.com/v1";

pub(super) fn fill(settings: &mut Settings, env: &dyn Env) {
    fill_model(settings, env);
    fill_pools(settings);
    fill_data_dir(settings, env);
    // https://no-color.org: set to anything but empty.
    settings.telemetry.no_color = env.get("NO_COLOR").is_some();
}

/// With no model configured, the variables of OpenAI's own tools make one.
fn fill_model(settings: &mut Settings, env: &dyn Env) {
    let (key, url) = (env.get("OPENAI_API_KEY"), env.get("OPENAI_BASE_URL"));
    if !settings.models.is_empty() || (key.is_none() && url.is_none()) {
        return;
    }
    let model = implied_model(key.is_some(), url, env);
    settings.origin_notes.push(format!(
        "model `{IMPLIED_MODEL}` ({} at {}) comes from OPENAI_* variables, as no [models] are configured",
        model.model,
        super::shown_url(&model.base_url)
    ));
    settings.models.insert(IMPLIED_MODEL.to_owned(), model);
    for role in [&mut settings.roles.planner, &mut settings.roles.executor] {
        if role.is_empty() {
            *role = IMPLIED_MODEL.into();
        }
    }
}

/// A server that needs no key, such as a local one, is named by its URL alone.
fn implied_model(has_key: bool, url: Option<String>, env: &dyn Env) -> ModelSettings {
    let base_url = url.unwrap_or_else(|| OPENAI_BASE_URL.to_owned());
    let host = super::url::split(&base_url).map(|parts| parts.host);
    let dialect = match host {
        Some("api.openai.com") => "openai",
        _ => "generic",
    };
    ModelSettings {
        dialect: dialect.to_owned(),
        model: env.get("OPENAI_MODEL").unwrap_or_else(|| DEFAULT_OPENAI_MODEL.to_owned()),
        api_key_env: if has_key { "OPENAI_API_KEY".to_owned() } else { String::new() },
        base_url,
        ..ModelSettings::default()
    }
}

/// The pools that DESIGN names are always there, whatever others are: without
/// one of them its work would wait for ever. Four planning slots, as a planner
/// call is long and expensive.
fn fill_pools(settings: &mut Settings) {
    let plan = PoolSettings { slots: 4, ..PoolSettings::default() };
    settings.pools.entry("plan".to_owned()).or_insert(plan);
    settings.pools.entry("default".to_owned()).or_default();
}

/// A container may have no home: then state lies beside the process.
fn fill_data_dir(settings: &mut Settings, env: &dyn Env) {
    if settings.data.dir.is_empty() {
        let dir = xdg_dir(env, "XDG_DATA_HOME", ".local/share")
            .map_or_else(|| PathBuf::from(".planfleet"), |dir| dir.join("planfleet"));
        settings.data.dir = dir.display().to_string();
    }
}
