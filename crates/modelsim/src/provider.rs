//! The simulated provider: what becomes of a chat request, in the order in which a provider looks
//! at it: the key, the request itself, the limits, and then an answer or what goes wrong with it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::response::Response;
use planfleet_llm::cassette::Recording;
use serde_json::Value;

use crate::answer::{Answer, tokens_of};
use crate::body::{Ending, Piece, body};
use crate::cassette;
use crate::chance::{Chance, Chances, Meter};
use crate::journal::{Entry, Journal};
use crate::limits::Limiter;
use crate::matching::{Counters, holds};
use crate::pace::{self, Pauses};
use crate::prefix_cache::PrefixCache;
use crate::request::Asked;
use crate::script::{Fault, FaultKind, Latency, Script};
use crate::server::{error, ok, with_headers};
use crate::trouble::Trouble;
use crate::wire::{Event, Wire};

/// Of a request that no rule matched, so much is quoted.
const QUOTED_CHARS_MAX: usize = 200;

#[derive(Debug)]
pub(crate) struct Provider {
    script: Script,
    cassette: Option<Recording>,
    api_key: Option<String>,
    counters: Counters,
    chances: Chances,
    limiter: Limiter,
    prefixes: PrefixCache,
    journal: Arc<Journal>,
    pauses: Pauses,
}

/// A chat request as it came.
pub(crate) struct Received {
    pub(crate) wire: Wire,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Bytes,
}

/// An answer, and all that happens to it on its way.
struct Prepared {
    answer: Answer,
    latency: Latency,
    fault: Option<Fault>,
}

impl Provider {
    pub(crate) fn new(
        script: Script,
        cassette: Option<Recording>,
        api_key: Option<String>,
        journal: Arc<Journal>,
        pauses: Pauses,
    ) -> Self {
        Self {
            counters: Counters::new(script.rules.len()),
            chances: Chances::new(script.seed),
            limiter: Limiter::new(script.limits),
            prefixes: PrefixCache::new(script.cache),
            script,
            cassette,
            api_key,
            journal,
            pauses,
        }
    }

    pub(crate) fn models(&self) -> &[String] {
        &self.script.models
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    pub(crate) async fn chat(&self, received: Received) -> Response {
        let Received { wire, headers, bytes } = received;
        let parsed: serde_json::Result<Value> = serde_json::from_slice(&bytes);
        let json = parsed.unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&bytes)));
        let key = wire.key(&headers);
        let asked = wire.read(&headers, &json, self.script.cache.automatic);
        let recorded = self.cassette.as_ref().map(|_| cassette::request(wire, &json, asked.is_ok()));
        let entry = self.journal.begin(wire, json, key.is_some());
        let number = entry.number();
        if self.api_key.as_deref().is_some_and(|expected| key != Some(expected)) {
            return with_headers(error(wire, &Trouble::Key, number), wire, number, &[]);
        }
        let asked = match asked {
            Ok(asked) => asked,
            Err(invalid) => {
                return with_headers(error(wire, &Trouble::Invalid(invalid), number), wire, number, &[]);
            }
        };
        let account = account(key, &asked.model);
        if let Err(too_many) = self.limiter.admit(account, tokens_of(asked.prompt_bytes)) {
            let limits = wire.limit_headers(&self.limiter.settle(account, 0));
            return with_headers(error(wire, &Trouble::TooMany(too_many), number), wire, number, &limits);
        }
        let chance = self.chances.of(&bytes);
        let prepared = self.prepare(&asked, recorded.flatten().as_ref(), &entry, chance, account);
        let output_tokens = prepared.as_ref().map_or(0, |prepared| prepared.answer.usage.completion_tokens);
        let limits = wire.limit_headers(&self.limiter.settle(account, output_tokens));
        let response = match prepared {
            Ok(prepared) => self.send(wire, &asked, prepared, entry, chance).await,
            Err(trouble) => error(wire, &trouble, number),
        };
        with_headers(response, wire, number, &limits)
    }

    /// Finds the answer, and what goes wrong with it.
    fn prepare(
        &self,
        asked: &Asked,
        recorded: Option<&planfleet_llm::ChatRequest>,
        entry: &Entry,
        chance: Chance,
        account: u64,
    ) -> Result<Prepared, Trouble> {
        let chosen = self.counters.choose(&self.script.rules, asked);
        let mut prepared = match (chosen, &self.cassette, recorded) {
            (Some(chosen), _, _) => {
                entry.answered_by(chosen);
                let rule = &self.script.rules[chosen];
                Prepared {
                    answer: Answer::of_rule(entry.number(), rule, asked),
                    latency: rule.latency.unwrap_or(self.script.latency),
                    fault: rule.fault.clone(),
                }
            }
            (None, Some(cassette), Some(request)) => Prepared {
                answer: cassette::answer(cassette, request, entry.number())?,
                latency: self.script.latency,
                fault: None,
            },
            (None, ..) => return Err(no_rule(self.script.rules.len(), asked)),
        };
        entry.counted(tokens_of(asked.prompt_bytes), prepared.answer.written_tokens());
        let (read, written) = self.prefixes.pass(account, &asked.boundaries);
        let usage = &mut prepared.answer.usage;
        if usage.cached_tokens == 0 && usage.cache_write_tokens == 0 {
            usage.cached_tokens = read.min(usage.prompt_tokens);
            usage.cache_write_tokens = written.min(usage.prompt_tokens - usage.cached_tokens);
        }
        let faults = &self.script.faults;
        if prepared.fault.is_none() && holds(&faults.when, asked) {
            prepared.fault = faults.at(chance.of_fault()).map(Fault::Kind);
        }
        if let Some(Fault::Kind(kind)) = &prepared.fault {
            entry.met(*kind);
            prepared.answer.spoil(*kind, asked);
        }
        Ok(prepared)
    }

    async fn send(
        &self,
        wire: Wire,
        asked: &Asked,
        prepared: Prepared,
        entry: Entry,
        chance: Chance,
    ) -> Response {
        let Prepared { answer, latency, fault } = prepared;
        let number = entry.number();
        let mut pauses = self.pauses.clone();
        pauses.pause(pace::first_byte(&latency, chance)).await;
        if let Some(trouble) = self.trouble(fault.as_ref()) {
            return error(wire, &trouble, number);
        }
        let ending = match fault {
            Some(Fault::Kind(FaultKind::Hang)) => {
                pauses.hang().await;
                let message = "modelsim: stopped while it hung by script".to_owned();
                return error(wire, &Trouble::Simulator { status: 503, code: "stopped", message }, number);
            }
            Some(Fault::Kind(FaultKind::Garbage)) => return ok(asked.stream, wire.garbage(asked.stream)),
            Some(Fault::Kind(FaultKind::HangMidStream)) => Ending::Hang,
            Some(Fault::Kind(FaultKind::CutMidStream)) => Ending::Cut,
            Some(Fault::Kind(FaultKind::ErrorMidStream)) if !asked.stream => {
                return error(wire, &Trouble::Overloaded, number);
            }
            Some(Fault::Kind(FaultKind::ErrorMidStream)) => {
                Ending::Say(wire.error_event(&Trouble::Overloaded, number))
            }
            _ => Ending::Whole,
        };
        if asked.stream {
            let events = wire.events(&answer, asked.include_usage).into_iter();
            let pieces = events.map(|Event { bytes, tokens, text_bytes }| Piece {
                wait: pace::writing(&latency, tokens),
                bytes,
                text_bytes,
            });
            return ok(true, body(pieces.collect(), ending, pauses, entry));
        }
        pauses.pause(pace::writing(&latency, answer.usage.completion_tokens)).await;
        ok(false, body(halves(&wire.whole(&answer).to_string()), ending, pauses, entry))
    }

    /// The error that is answered instead of anything else.
    fn trouble(&self, fault: Option<&Fault>) -> Option<Trouble> {
        let kind = match fault? {
            Fault::Status(fault) => return Some(Trouble::Status(fault.clone())),
            Fault::Kind(kind) => kind,
        };
        match kind {
            FaultKind::RateLimit => {
                Some(Trouble::RateLimit { retry_after_s: Some(self.script.faults.retry_after_s) })
            }
            FaultKind::BareRateLimit => Some(Trouble::RateLimit { retry_after_s: None }),
            FaultKind::ServerError => Some(Trouble::ServerError),
            FaultKind::Overloaded => Some(Trouble::Overloaded),
            FaultKind::Quota => Some(Trouble::Quota),
            _ => None,
        }
    }
}

/// Keys have limits and caches of their own, and models too.
fn account(key: Option<&str>, model: &str) -> u64 {
    let mut meter = Meter::EMPTY;
    meter.push(key.unwrap_or_default().as_bytes());
    meter.push(&[0]);
    meter.push(model.as_bytes());
    meter.hash
}

/// Two pieces, so that a whole answer too can break in the middle.
fn halves(text: &str) -> Vec<Piece> {
    let (first, second) = text.as_bytes().split_at(text.len() / 2);
    let piece =
        |bytes: &[u8]| Piece { wait: Duration::ZERO, bytes: Bytes::copy_from_slice(bytes), text_bytes: 0 };
    vec![piece(first), piece(second)]
}

fn no_rule(rules: usize, asked: &Asked) -> Trouble {
    let quoted: String = asked.text.chars().take(QUOTED_CHARS_MAX).collect();
    let message = format!(
        "modelsim: none of the script's {rules} rules matches this request (model {:?}, schema \
         {:?}, messages beginning {quoted:?})",
        asked.model, asked.schema
    );
    Trouble::Simulator { status: 400, code: "modelsim_no_rule", message }
}
