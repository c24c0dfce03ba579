//! What calls cost where the configuration does not say: the price file, then the built-in table.

use std::path::Path;

use planfleet_llm::price::table::{Listed, Prices};
use planfleet_runtime::config::{LongPrice, Price, Settings, UsdPerMillion};

use crate::exit::Failure;

/// The tables that these settings name.
pub(crate) fn prices(settings: &Settings) -> Result<Prices, Failure> {
    let file = &settings.prices.file;
    let file = (!file.is_empty()).then(|| Path::new(file));
    Prices::new(file).map_err(|error| Failure::usage(format!("prices.file: {error}")))
}

/// Gives every model that has no price of its own the listed one, if there is one.
pub(crate) fn fill(settings: &mut Settings) -> Result<(), Failure> {
    let prices = prices(settings)?;
    for model in settings.models.values_mut().filter(|model| model.price == Price::default()) {
        if let Some(found) = prices.find(&model.model) {
            let usd = |nano_usd| Some(UsdPerMillion::from_nano_usd(nano_usd));
            model.price = Price {
                input_usd_per_million: usd(found.listed.input),
                cached_input_usd_per_million: found.listed.cached_input.and_then(usd),
                cache_write_input_usd_per_million: found.listed.cache_write.and_then(usd),
                output_usd_per_million: usd(found.listed.output),
                long: long(found.listed),
            };
        }
    }
    Ok(())
}

/// Of long prompts. Where they cost more and nobody knows how much, their cost is unknown.
fn long(listed: &Listed) -> LongPrice {
    let Some(long) = listed.long else {
        return LongPrice { over_tokens: listed.input_tokens_max, ..LongPrice::default() };
    };
    let usd = UsdPerMillion::from_nano_usd;
    LongPrice {
        over_tokens: listed.input_tokens_max,
        input_usd_per_million: Some(usd(long.input)),
        cached_input_usd_per_million: long.cached_input.map(usd),
        cache_write_input_usd_per_million: long.cache_write.map(usd),
        output_usd_per_million: Some(usd(long.output)),
    }
}
