//! Every metric of this crate.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram};
use planfleet_core::usage::Usage;
use planfleet_telemetry::names::{attribute as a, metric};

use crate::chat::ChatResponse;
use crate::error::Error;

/// Of the tries that one endpoint gets, by the GenAI conventions.
#[derive(Debug)]
pub(crate) struct Tries {
    /// What is the same of all of them.
    endpoint: Vec<KeyValue>,
    duration: Histogram<f64>,
    first_chunk: Histogram<f64>,
    tokens: Histogram<u64>,
}

impl Tries {
    pub(crate) fn new(provider: &str, address: &str, port: Option<u16>) -> Self {
        let mut endpoint = vec![
            KeyValue::new(a::OPERATION, "chat"),
            KeyValue::new(a::PROVIDER, shared(provider)),
            KeyValue::new(a::SERVER_ADDRESS, shared(address)),
        ];
        endpoint.extend(port.map(|port| KeyValue::new(a::SERVER_PORT, i64::from(port))));
        Self {
            endpoint,
            duration: metric::CHAT_DURATION.histogram(),
            first_chunk: metric::CHAT_FIRST_CHUNK.histogram(),
            tokens: metric::CHAT_TOKENS.whole_histogram(),
        }
    }

    pub(crate) fn ended(&self, model: &str, took: Duration, result: &Result<ChatResponse, Error>) {
        let mut attributes = self.endpoint.clone();
        attributes.push(KeyValue::new(a::REQUEST_MODEL, model.to_owned()));
        let response = match result {
            Ok(response) => response,
            Err(error) => {
                attributes.push(KeyValue::new(a::ERROR_TYPE, error.class.as_str()));
                return self.duration.record(took.as_secs_f64(), &attributes);
            }
        };
        attributes.push(KeyValue::new(a::RESPONSE_MODEL, response.model.clone()));
        self.duration.record(took.as_secs_f64(), &attributes);
        if let Some(wait) = response.time_to_first_chunk {
            self.first_chunk.record(wait.as_secs_f64(), &attributes);
        }
        let Some(usage) = response.usage else { return };
        for (kind, tokens) in [("input", usage.input_tokens), ("output", usage.output_tokens)] {
            attributes.push(KeyValue::new(a::TOKEN_TYPE, kind));
            self.tokens.record(tokens, &attributes);
            attributes.pop();
        }
    }
}

/// Of the calls of one configured model.
#[derive(Debug)]
pub(crate) struct Calls {
    model: KeyValue,
    cost_usd: Counter<f64>,
    unpriced: Counter<u64>,
    refusals: Counter<u64>,
}

impl Calls {
    pub(crate) fn new(model: &str) -> Self {
        Self {
            model: KeyValue::new("model", shared(model)),
            cost_usd: metric::COST_USD.fractional_counter(),
            unpriced: metric::UNPRICED_CALLS.counter(),
            refusals: metric::BUDGET_REFUSALS.counter(),
        }
    }

    /// A call is over, with all its tries, and has used so much.
    #[expect(clippy::cast_precision_loss, reason = "shown, and exact to a millionth of a dollar")]
    pub(crate) fn used(&self, role: &'static str, usage: &Usage) {
        match usage.nano_usd {
            _ if usage.calls == 0 => {}
            Some(nano_usd) => self.cost_usd.add(nano_usd as f64 / 1e9, &self.attributes(role)),
            None => self.unpriced.add(1, &self.attributes(role)),
        }
    }

    /// A try was not made, as its budget does not pay for it.
    pub(crate) fn refused(&self, role: &'static str) {
        self.refusals.add(1, &self.attributes(role));
    }

    fn attributes(&self, role: &'static str) -> [KeyValue; 2] {
        [KeyValue::new("role", role), self.model.clone()]
    }
}

/// Waits shorter than this are none: the gate's own work.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// Of the door to one configured model.
#[derive(Debug)]
pub(crate) struct Door {
    model: KeyValue,
    wait: Histogram<f64>,
    paused: Gauge<u64>,
}

impl Door {
    pub(crate) fn new(model: &str) -> Self {
        let door = Self {
            model: KeyValue::new("model", shared(model)),
            wait: metric::RATE_LIMIT_WAIT.histogram(),
            paused: metric::MODEL_PAUSED.gauge(),
        };
        // Whoever watches it wants to see that it is not.
        door.paused(false);
        door
    }

    pub(crate) fn waited(&self, wait: Duration) {
        if wait >= WAIT_MIN {
            self.wait.record(wait.as_secs_f64(), std::slice::from_ref(&self.model));
        }
    }

    pub(crate) fn paused(&self, is_paused: bool) {
        self.paused.record(u64::from(is_paused), std::slice::from_ref(&self.model));
    }
}

/// Copied without being allocated again.
fn shared(text: &str) -> Arc<str> {
    Arc::from(text)
}
