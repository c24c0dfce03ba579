//! What a call costs, in integers: nano-USD, so that sums over millions of steps do not drift.

pub mod import;
pub mod table;

use serde::{Deserialize, Serialize};

use crate::chat::Usage;

/// Prices are quoted per this many tokens.
const TOKENS_PER_PRICE: u128 = 1_000_000;

/// Prices of one model, in nano-USD (1e-9 USD) per million tokens. A model without a known price
/// has no `Price`: unknown is not free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    pub input: u64,
    /// Of input that was read from the provider's cache.
    pub cached_input: u64,
    /// Of input that was written to it.
    pub cache_write: u64,
    pub output: u64,
}

/// Where a model's prompts are long, and what calls with such prompts cost: all of their tokens,
/// not only those beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LongPrompts {
    /// A prompt of more tokens than these is long.
    pub over_tokens: u64,
    /// `None` where it is not known; then the cost of such a call is not known either.
    pub price: Option<Price>,
}

/// All prices of one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tariff {
    /// Of calls whose prompts are not long.
    pub price: Price,
    /// Of the others; `None` where prompts of all lengths cost the same.
    pub long: Option<LongPrompts>,
}

impl Tariff {
    /// The price of a call with so long a prompt, if it is known.
    fn of(&self, input_tokens: u64) -> Option<Price> {
        match self.long {
            Some(long) if input_tokens > long.over_tokens => long.price,
            _ => Some(self.price),
        }
    }

    /// What a call has cost in nano-USD, if that is known.
    #[must_use]
    pub fn cost(&self, usage: &Usage) -> Option<u64> {
        self.of(usage.input_tokens).map(|price| cost(usage, &price))
    }

    /// The most that a call with at most so many tokens can cost, if that is known: it may use
    /// fewer, and then it may not be long after all.
    #[must_use]
    pub fn most(&self, input_tokens: u64, output_tokens: u64) -> Option<u64> {
        Some(most(input_tokens, output_tokens, &self.dearest(input_tokens)?))
    }

    /// The most that each kind of token can cost in such a call.
    pub(crate) fn dearest(&self, input_tokens: u64) -> Option<Price> {
        let (short, long) = (self.price, self.of(input_tokens)?);
        Some(Price {
            input: short.input.max(long.input),
            cached_input: short.cached_input.max(long.cached_input),
            cache_write: short.cache_write.max(long.cache_write),
            output: short.output.max(long.output),
        })
    }

    /// Whether any call costs nothing, whatever it used.
    #[must_use]
    pub fn is_free(&self) -> bool {
        let is_free = |long: LongPrompts| long.price.as_ref().is_some_and(Price::is_free);
        self.price.is_free() && self.long.is_none_or(is_free)
    }
}

impl Price {
    /// Whether any call costs nothing, whatever it used.
    #[must_use]
    pub fn is_free(&self) -> bool {
        [self.input, self.cached_input, self.cache_write, self.output] == [0; 4]
    }
}

/// The cost of a call in nano-USD, rounded up once at the end so that a cap is never passed by
/// rounding. Saturates at `u64::MAX` (18 billion USD).
pub fn cost(usage: &Usage, price: &Price) -> u64 {
    let cached = usage.cached_tokens.min(usage.input_tokens);
    let written = usage.cache_write_tokens.min(usage.input_tokens - cached);
    let fresh = usage.input_tokens - cached - written;
    let total = [
        (fresh, price.input),
        (cached, price.cached_input),
        (written, price.cache_write),
        (usage.output_tokens, price.output),
    ]
    .into_iter()
    .fold(0_u128, |sum, (tokens, price)| sum.saturating_add(u128::from(tokens) * u128::from(price)));
    u64::try_from(total.div_ceil(TOKENS_PER_PRICE)).unwrap_or(u64::MAX)
}

/// The most that a call with so many tokens can cost, whatever its provider caches.
#[must_use]
pub fn most(input_tokens: u64, output_tokens: u64, price: &Price) -> u64 {
    let dearest = Price { input: price.input.max(price.cached_input).max(price.cache_write), ..*price };
    cost(&Usage { input_tokens, output_tokens, ..Usage::default() }, &dearest)
}

/// How many tokens `nano_usd` pays for at a price per million.
#[must_use]
pub fn tokens_for(nano_usd: u64, price: u64) -> u64 {
    let tokens = (u128::from(nano_usd) * TOKENS_PER_PRICE).checked_div(u128::from(price));
    tokens.map_or(u64::MAX, |tokens| u64::try_from(tokens).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2.50, 1.25, 3 and 10 USD per million tokens.
    const PRICE: Price = Price {
        input: 2_500_000_000,
        cached_input: 1_250_000_000,
        cache_write: 3_000_000_000,
        output: 10_000_000_000,
    };

    fn usage(input_tokens: u64, cached_tokens: u64, output_tokens: u64) -> Usage {
        Usage { input_tokens, output_tokens, cached_tokens, ..Usage::default() }
    }

    #[test]
    fn cached_input_is_charged_at_its_own_price() {
        assert_eq!(cost(&usage(1_000, 400, 100), &PRICE), 3_000_000);
    }

    #[test]
    fn what_money_pays_for_costs_no_more_than_it() {
        for nano_usd in [0, 1, 9_999, 10_000, 123_456_789] {
            let tokens = tokens_for(nano_usd, PRICE.output);
            assert!(most(0, tokens, &PRICE) <= nano_usd && most(0, tokens + 1, &PRICE) > nano_usd);
        }
        assert_eq!(tokens_for(5, 0), u64::MAX);
        assert_eq!(most(1_000, 0, &PRICE), 3_000_000, "all of it may be written to the cache");
        let dear_cache = Price { cached_input: 4_000_000_000, ..PRICE };
        assert_eq!(most(1_000, 0, &dear_cache), 4_000_000);
    }

    #[test]
    fn input_that_is_written_to_the_cache_too() {
        let usage = Usage { cache_write_tokens: 500, ..usage(1_000, 400, 0) };
        // 100 fresh, 400 cached, 500 written.
        assert_eq!(cost(&usage, &PRICE), 250_000 + 500_000 + 1_500_000);
        let more_than_all = Usage { cache_write_tokens: 999, ..usage };
        assert_eq!(cost(&more_than_all, &PRICE), 500_000 + 1_800_000);
    }

    #[test]
    fn a_long_prompt_has_a_price_of_its_own_for_all_of_the_call() {
        let twice = Price { input: 5_000_000_000, output: 15_000_000_000, ..PRICE };
        let long = |price| Some(LongPrompts { over_tokens: 1_000, price });
        let tariff = Tariff { price: PRICE, long: long(Some(twice)) };
        assert_eq!(tariff.cost(&usage(1_000, 0, 100)), Some(3_500_000));
        assert_eq!(tariff.cost(&usage(1_001, 0, 100)), Some(5_005_000 + 1_500_000));
        assert_eq!(tariff.most(1_000, 100), Some(4_000_000));
        assert_eq!(tariff.most(1_001, 100), Some(5_005_000 + 1_500_000));

        let unknown = Tariff { long: long(None), ..tariff };
        assert_eq!(unknown.cost(&usage(1_000, 0, 100)), Some(3_500_000));
        assert_eq!((unknown.cost(&usage(1_001, 0, 0)), unknown.most(1_001, 0)), (None, None));

        let cheaper = Tariff { long: long(Some(Price { output: 1, ..twice })), ..tariff };
        assert_eq!(cheaper.most(1_001, 100), Some(5_005_000 + 1_000_000), "it may not be so long");

        let free = Price { input: 0, cached_input: 0, cache_write: 0, output: 0 };
        let is_free = |long| Tariff { price: free, long }.is_free();
        assert_eq!(
            [is_free(None), is_free(long(Some(free))), is_free(long(Some(PRICE))), is_free(long(None))],
            [true, true, false, false]
        );
    }

    #[test]
    fn rounds_up_once() {
        let tiny = Price { input: 1, cached_input: 1, cache_write: 1, output: 1 };
        assert_eq!(cost(&usage(1, 0, 1), &tiny), 1);
        assert_eq!(cost(&usage(0, 0, 0), &tiny), 0);
    }

    #[test]
    fn absurd_figures_saturate() {
        assert_eq!(cost(&usage(u64::MAX, u64::MAX, u64::MAX), &PRICE), u64::MAX);
        assert_eq!(cost(&usage(10, 99, 0), &PRICE), 12_500);
    }
}
