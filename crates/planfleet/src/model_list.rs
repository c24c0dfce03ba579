//! Models as data: what is configured of each, and what the fleet knows.

use planfleet_bus::Bus;
use planfleet_core::document::rfc3339;
use planfleet_llm::{Hint, RateLimits, Standing, Window};
use planfleet_runtime::{
    clock,
    config::{ModelSettings, Role, Settings, shown_url},
};
use serde_json::{Value, json};

use crate::hints::{self, Known};

/// All models of the settings with what the fleet knows of them, where it can be asked.
/// Where their servers are is nobody's business who asks over the network.
pub(crate) async fn with_fleet(bus: &Bus, settings: &Settings) -> Vec<Value> {
    let known = hints::known(bus).await.ok();
    let entry = |(name, model): (&String, &ModelSettings)| {
        let mut entry = configured(name, model, settings);
        if let Some(fields) = entry.as_object_mut() {
            fields.remove("base_url");
        }
        entry["fleet"] = known.as_ref().map_or(Value::Null, |known| fleet(known.get(name)));
        entry
    };
    settings.models.iter().map(entry).collect()
}

/// What the settings say of a model.
pub(crate) fn configured(name: &str, model: &ModelSettings, settings: &Settings) -> Value {
    let has = |role: &Role| {
        settings.role(*role).is_ok_and(|models| models.iter().any(|(of_role, _)| *of_role == name))
    };
    let roles: Vec<&str> = Role::ALL.iter().filter(|role| has(role)).map(|role| role.key()).collect();
    json!({
        "name": name,
        "model": model.model,
        "base_url": shown_url(&model.base_url),
        "dialect": model.dialect,
        "roles": roles,
        "limits": {
            "max_concurrency": model.max_concurrency,
            "requests_per_minute": model.requests_per_minute,
            "tokens_per_minute": model.tokens_per_minute,
            "tenant_requests_per_minute": model.tenant_requests_per_minute,
            "tenant_tokens_per_minute": model.tenant_tokens_per_minute,
        },
    })
}

/// What the fleet says of one model: whether it is paused, what its provider says of its limits,
/// and how many calls its processes make.
pub(crate) fn fleet(known: Option<&Known>) -> Value {
    let now_ms = clock::unix_ms();
    let none = Known::default();
    let known = known.unwrap_or(&none);
    let sum = |of: fn(&Standing) -> usize| known.processes.values().map(of).sum::<usize>();
    let mut fleet = json!({
        "paused": null,
        "asked_until": null,
        "provider_limits": null,
        "processes": known.processes.len(),
        "concurrency": sum(|standing| standing.concurrency),
        "in_flight": sum(|standing| standing.in_flight),
    });
    for hint in &known.hints {
        match hint {
            Hint::Paused { reason, since_ms, until_ms } => {
                let (since, until) = (rfc3339(*since_ms), rfc3339(*until_ms));
                fleet["paused"] = json!({"reason": reason, "since": since, "until": until});
            }
            Hint::Asked { until_ms } if *until_ms > now_ms => {
                fleet["asked_until"] = json!(rfc3339(*until_ms));
            }
            Hint::Rates { told } => fleet["provider_limits"] = limits(told),
            Hint::Asked { .. } | Hint::Resumed => {}
        }
    }
    fleet
}

fn limits(told: &RateLimits) -> Value {
    let window = |window: Option<Window>| window.and_then(|window| window.limit);
    json!({"requests": window(told.requests), "tokens": window(told.tokens)})
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The API's list of queues and `models list` read these names.
    #[test]
    fn a_paused_model_says_why_since_when_and_until_when() {
        let hint = Hint::Paused { reason: "out of credit".into(), since_ms: 0, until_ms: 60_000 };
        let known = Known { hints: vec![hint], ..Known::default() };
        let paused = json!({
            "reason": "out of credit",
            "since": "1970-01-01T00:00:00.000Z",
            "until": "1970-01-01T00:01:00.000Z",
        });
        assert_eq!(fleet(Some(&known))["paused"], paused);
    }
}
