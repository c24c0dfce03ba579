//! Price tables from public catalogues: LiteLLM's `model_prices_and_context_window.json` and
//! models.dev's `api.json`. What they do not say stays unknown.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::table::{Listed, Rates, Table};

/// No token costs a thousand dollars: a larger figure is in another unit than it should be.
const NANO_USD_MAX: f64 = 1e18;

/// Nano-USD per million tokens in one USD per token, and in one USD per million.
const PER_TOKEN: f64 = 1e15;
const PER_MILLION: f64 = 1e9;

/// Whose catalogue it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Catalogue {
    /// USD per token, by model.
    LiteLlm,
    /// USD per million tokens, by provider and model.
    ModelsDev,
}

/// What came of an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    pub table: Table,
    /// Entries without a price of input and output: images, embeddings, descriptions.
    pub without_price: usize,
}

/// A catalogue that is none.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("not JSON")]
    Json(#[from] serde_json::Error),
    #[error("not the catalogue it should be: {0}")]
    Shape(&'static str),
}

impl Catalogue {
    /// Reads a catalogue. `from` says where it was found, `as_of` on what day.
    pub fn import(self, json: &[u8], from: &str, as_of: &str) -> Result<Imported, ImportError> {
        let json: Map<String, Value> = serde_json::from_slice(json)?;
        let mut models = BTreeMap::new();
        let mut without_price = 0;
        let mut take = |name: String, listed: Option<Listed>| match listed {
            Some(listed) => drop(models.insert(name, listed)),
            None => without_price += 1,
        };
        let title = match self {
            Self::LiteLlm => {
                // The sample is a description of the fields.
                for (name, entry) in json.iter().filter(|(name, _)| *name != "sample_spec") {
                    take(name.clone(), litellm(entry));
                }
                "LiteLLM's model_prices_and_context_window.json"
            }
            Self::ModelsDev => {
                for (provider, entry) in &json {
                    for (name, model) in entry["models"].as_object().into_iter().flatten() {
                        take(format!("{provider}/{name}"), models_dev(provider, model));
                    }
                }
                "models.dev's api.json"
            }
        };
        if models.is_empty() {
            return Err(ImportError::Shape("no model in it has a price of input and output"));
        }
        short_names(&mut models);
        let source = format!("{title} from {from}, imported on {as_of}");
        let providers: Vec<&String> = models.values().map(|listed| &listed.provider).collect();
        let sources = providers.into_iter().map(|provider| (provider.clone(), source.clone())).collect();
        Ok(Imported { table: Table { as_of: as_of.to_owned(), sources, models }, without_price })
    }
}

fn litellm(entry: &Value) -> Option<Listed> {
    let price = |name: &str| nano_usd(&entry[name], PER_TOKEN);
    let above = |name: &String| {
        name.strip_prefix("input_cost_per_token_above_")?.strip_suffix("k_tokens")?.parse().ok()
    };
    let mut thresholds: Vec<u64> = entry.as_object()?.keys().filter_map(above).collect();
    thresholds.sort_unstable();
    // With several of them it is not told by one price what a long prompt costs.
    let long = thresholds.first().filter(|_| thresholds.len() == 1).and_then(|k| {
        let price = |name: &str| price(&format!("{name}_above_{k}k_tokens"));
        Some(Rates {
            input: price("input_cost_per_token")?,
            cached_input: price("cache_read_input_token_cost"),
            cache_write: price("cache_creation_input_token_cost"),
            output: price("output_cost_per_token")?,
        })
    });
    Some(Listed {
        provider: entry["litellm_provider"].as_str().unwrap_or("unknown").to_owned(),
        aliases: Vec::new(),
        input: price("input_cost_per_token")?,
        cached_input: price("cache_read_input_token_cost"),
        cache_write: price("cache_creation_input_token_cost"),
        output: price("output_cost_per_token")?,
        input_tokens_max: thresholds.first().map(|k| k * 1_000),
        long,
    })
}

fn models_dev(provider: &str, model: &Value) -> Option<Listed> {
    let cost = &model["cost"];
    let price = |name: &str| nano_usd(&cost[name], PER_MILLION);
    let size = |tier: &Value| tier["tier"]["size"].as_u64().or_else(|| tier["size"].as_u64());
    let tiers = cost["tiers"].as_array().into_iter().flatten();
    let mut tiers: BTreeMap<u64, &Value> = tiers.filter_map(|tier| Some((size(tier)?, tier))).collect();
    let over_200k = &cost["context_over_200k"];
    if !over_200k.is_null() {
        // Where there are tiers it says one of them once more.
        tiers.entry(200_000).or_insert(over_200k);
    }
    let first = tiers.first_key_value();
    // With several of them it is not told by one price what a long prompt costs.
    let long = first.filter(|_| tiers.len() == 1).and_then(|(_, tier)| {
        let price = |name: &str| nano_usd(&tier[name], PER_MILLION);
        Some(Rates {
            input: price("input")?,
            cached_input: price("cache_read"),
            cache_write: price("cache_write"),
            output: price("output")?,
        })
    });
    Some(Listed {
        provider: provider.to_owned(),
        aliases: Vec::new(),
        input: price("input")?,
        cached_input: price("cache_read"),
        cache_write: price("cache_write"),
        output: price("output")?,
        input_tokens_max: first.map(|(size, _)| *size),
        long,
    })
}

/// A price, rounded to what can be counted; `None` for what is none.
fn nano_usd(value: &Value, unit: f64) -> Option<u64> {
    let nano = (value.as_f64()? * unit).round();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within the bounds just checked"
    )]
    (0.0..=NANO_USD_MAX).contains(&nano).then_some(nano as u64)
}

/// The provider's own name for what is listed as `provider/name`, unless it is listed itself:
/// only where the provider is the model's maker, not one who resells it.
fn short_names(models: &mut BTreeMap<String, Listed>) {
    let own: Vec<(String, Listed)> = models
        .iter()
        .filter(|(_, listed)| matches!(listed.provider.as_str(), "openai" | "anthropic"))
        .filter_map(|(name, listed)| {
            let short = name.strip_prefix(&format!("{}/", listed.provider))?;
            Some((short.to_owned(), listed.clone()))
        })
        .collect();
    for (name, listed) in own {
        models.entry(name).or_insert(listed);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn import(catalogue: Catalogue, json: &Value) -> Result<Imported, ImportError> {
        catalogue.import(json.to_string().as_bytes(), "a file", "2026-11-23")
    }

    #[test]
    fn litellm_counts_by_the_token() {
        let imported = import(
            Catalogue::LiteLlm,
            &json!({
                "sample_spec": {"input_cost_per_token": 0.0, "output_cost_per_token": 0.0},
                "claude-a": {
                    "litellm_provider": "anthropic", "input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05,
                    "cache_read_input_token_cost": 3e-07, "cache_creation_input_token_cost": 3.75e-06,
                    "input_cost_per_token_above_200k_tokens": 6e-06, "input_cost_per_token_above_1hr": 1,
                    "output_cost_per_token_above_200k_tokens": 2.25e-05,
                    "cache_read_input_token_cost_above_200k_tokens": 6e-07,
                },
                "qwen-tiers": {
                    "litellm_provider": "q", "input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06,
                    "input_cost_per_token_above_128k_tokens": 2e-06, "output_cost_per_token_above_128k_tokens": 3e-06,
                    "input_cost_per_token_above_256k_tokens": 3e-06, "output_cost_per_token_above_256k_tokens": 4e-06,
                },
                "local/free": {"litellm_provider": "local", "input_cost_per_token": 0, "output_cost_per_token": 0},
                "an-image": {"litellm_provider": "openai", "output_cost_per_image": 0.04},
            }),
        )
        .unwrap();
        let models = &imported.table.models;
        assert_eq!(models.keys().collect::<Vec<_>>(), ["claude-a", "local/free", "qwen-tiers"]);
        let listed = &models["claude-a"];
        assert_eq!((listed.input, listed.output), (3_000_000_000, 15_000_000_000));
        assert_eq!((listed.cached_input, listed.cache_write), (Some(300_000_000), Some(3_750_000_000)));
        assert_eq!(listed.input_tokens_max, Some(200_000));
        let (input, output, cached_input) = (6_000_000_000, 22_500_000_000, Some(600_000_000));
        assert_eq!(listed.long, Some(Rates { input, output, cached_input, cache_write: None }));
        let tiers = &models["qwen-tiers"];
        assert_eq!((tiers.input_tokens_max, tiers.long), (Some(128_000), None), "several are unknown");
        assert_eq!(
            (models["local/free"].input, models["local/free"].cached_input),
            (0, None),
            "said to be free"
        );
        assert_eq!(imported.without_price, 1);
        assert!(imported.table.sources["anthropic"].contains("from a file, imported on 2026-11-23"));
        let again: Table = toml::from_str(&imported.table.to_toml()).unwrap();
        assert_eq!(again, imported.table);
    }

    #[test]
    fn models_dev_counts_by_the_million() {
        let model = json!({"cost": {"input": 0.1, "output": 0.5, "cache_read": 0.01, "context_over_200k": {"input": 1, "output": 2}}});
        let imported = import(
            Catalogue::ModelsDev,
            &json!({
                "openai": {"models": {"gpt-a": model, "gpt-free": {"cost": {"input": 1}}}},
                "reseller": {"models": {"gpt-a": {"cost": {"input": 0.2, "output": 1}}}},
            }),
        )
        .unwrap();
        let models = &imported.table.models;
        assert_eq!(models.keys().collect::<Vec<_>>(), ["gpt-a", "openai/gpt-a", "reseller/gpt-a"]);
        assert_eq!(models["gpt-a"].input, 100_000_000, "the maker's price");
        assert_eq!((models["gpt-a"].cache_write, models["gpt-a"].input_tokens_max), (None, Some(200_000)));
        let long = Rates { input: 1_000_000_000, output: 2_000_000_000, ..Rates::default() };
        assert_eq!(models["gpt-a"].long, Some(long));
        assert_eq!(imported.without_price, 1);
    }

    #[test]
    fn something_else_is_refused() {
        assert!(import(Catalogue::LiteLlm, &json!({})).is_err());
        assert!(import(Catalogue::ModelsDev, &json!({"gpt": {"input_cost_per_token": 1e-6}})).is_err());
        assert!(matches!(Catalogue::LiteLlm.import(b"<html>", "", ""), Err(ImportError::Json(_))));
        let absurd = json!({"m": {"input_cost_per_token": -1.0, "output_cost_per_token": 1e9}});
        assert!(import(Catalogue::LiteLlm, &absurd).is_err());
    }
}
