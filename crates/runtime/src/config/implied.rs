//! What the environment implies where the layers say nothing.

use std::path::PathBuf;

use super::sources::xdg_dir;
use super::{Env, ModelSettings, PoolSettings, Settings, Wire};

/// The model asked for when `OPENAI_MODEL` is unset: OpenAI's middle tier of
/// autumn 2026, good enough to plan with and cheap enough to try with.
const DEFAULT_OPENAI_MODEL: &str = "gpt-6.1-terra";
const OPENAI_BASE_URL: &str = "https://api.openai.com/v1";
/// Anthropic's, likewise.
const DEFAULT_ANTHROPIC_MODEL: &str = "claude-sonnet-5-5";
const ANTHROPIC_BASE_URL: &str = "https://api.anthropic.com";

pub(super) fn fill(settings: &mut Settings, env: &dyn Env) {
    fill_model(settings, env);
    fill_pools(settings);
    fill_data_dir(settings, env);
    // https://no-color.org: set to anything but empty.
    settings.telemetry.no_color = env.get("NO_COLOR").is_some();
}

/// With no model configured, the variables of the providers' own tools make one, which is called
/// as its provider is: OpenAI's, or else Anthropic's.
fn fill_model(settings: &mut Settings, env: &dyn Env) {
    if !settings.models.is_empty() {
        return;
    }
    let Some((name, model)) = openai(env).or_else(|| anthropic(env)) else { return };
    settings.origin_notes.push(format!(
        "model `{name}` ({} at {}) comes from {}_* variables, as no [models] are configured",
        model.model,
        super::shown_url(&model.base_url),
        name.to_uppercase(),
    ));
    settings.models.insert(name.to_owned(), model);
    for role in [&mut settings.roles.planner, &mut settings.roles.executor] {
        if role.is_empty() {
            *role = name.into();
        }
    }
}

/// A server that needs no key, such as a local one, is named by its URL alone.
fn openai(env: &dyn Env) -> Option<(&'static str, ModelSettings)> {
    let (has_key, url) = (env.get("OPENAI_API_KEY").is_some(), env.get("OPENAI_BASE_URL"));
    if !has_key && url.is_none() {
        return None;
    }
    let base_url = url.unwrap_or_else(|| OPENAI_BASE_URL.to_owned());
    let host = super::url::split(&base_url).map(|parts| parts.host);
    let dialect = match host {
        Some("api.openai.com") => "openai",
        _ => "generic",
    };
    let model = ModelSettings {
        dialect: dialect.to_owned(),
        model: env.get("OPENAI_MODEL").unwrap_or_else(|| DEFAULT_OPENAI_MODEL.to_owned()),
        api_key_env: if has_key { "OPENAI_API_KEY".to_owned() } else { String::new() },
        base_url,
        ..ModelSettings::default()
    };
    Some(("openai", model))
}

/// The key has to be there: the URL alone is set where other tools go through a gateway.
fn anthropic(env: &dyn Env) -> Option<(&'static str, ModelSettings)> {
    env.get("ANTHROPIC_API_KEY")?;
    let model = ModelSettings {
        wire: Wire::AnthropicMessages,
        base_url: env.get("ANTHROPIC_BASE_URL").unwrap_or_else(|| ANTHROPIC_BASE_URL.to_owned()),
        model: env.get("ANTHROPIC_MODEL").unwrap_or_else(|| DEFAULT_ANTHROPIC_MODEL.to_owned()),
        api_key_env: "ANTHROPIC_API_KEY".to_owned(),
        ..ModelSettings::default()
    };
    Some(("anthropic", model))
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
