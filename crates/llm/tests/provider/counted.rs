//! What is counted of a model's calls: what they cost, who waited, what was refused.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use futures::future::join_all;
use planfleet_core::{budget::Amount, task::Budget, usage::Account};
use planfleet_llm::{Error, ErrorClass, Hold, Limits, Price, Purse, Refusal};
use planfleet_runtime::{
    config::TelemetrySettings,
    telemetry::{LogTarget, Telemetry},
};
use tokio::time::advance;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::{ask, gates::Scripted};

/// A purse without anything in it.
struct Empty;

impl Purse for Empty {
    fn hold(&self, _: Amount) -> Pin<Box<dyn Future<Output = Result<Option<Hold>, Refusal>> + Send + '_>> {
        let free = Budget { nano_usd: Some(0), tokens: None };
        let refused = Refusal::Short { free, under_way: false, whose: "the run's budget".to_owned() };
        Box::pin(async { Err(refused) })
    }
}

/// 2 USD in, 10 USD out, per million tokens: 0.0003 USD for the script's 100 and 10.
const PRICE: Price = Price {
    input: 2_000_000_000,
    cached_input: 2_000_000_000,
    cache_write: 2_000_000_000,
    output: 10_000_000_000,
};

#[tokio::test(start_paused = true)]
async fn costs_waits_pauses_and_refusals_are_counted() {
    let nowhere = LogTarget::Writer(BoxMakeWriter::new(std::io::sink));
    let telemetry = Telemetry::init(&TelemetrySettings::default(), "test", nowhere).unwrap();
    let shown = || telemetry.metrics().render().unwrap();
    let shows = |metric: &str| {
        let (shown, (name, rest)) = (shown(), metric.split_once('{').unwrap());
        let (labels, value) = rest.split_once("} ").unwrap();
        let line = shown.lines().find(|line| {
            line.starts_with(&format!("{name}{{")) && labels.split(',').all(|label| line.contains(label))
        });
        let line = line.unwrap_or_else(|| panic!("no {metric} in {shown}"));
        assert!(line.ends_with(&format!(" {value}")), "{line}: not {value}");
    };

    // One place, two calls of ten seconds: the second waits for the first.
    let model = Scripted::taking(Duration::from_secs(10));
    let priced = model.priced("priced", 1, PRICE);
    let tally = priced.tally().on_account(Account::Executor);
    join_all([priced.call_tallied(ask("x"), &tally), priced.call_tallied(ask("y"), &tally)]).await;
    shows("planfleet_cost_usd_total{model=\"priced\",role=\"executor\"} 0.0006");
    shows("planfleet_rate_limit_wait_seconds_count{model=\"priced\"} 1");
    shows("planfleet_rate_limit_wait_seconds_sum{model=\"priced\"} 10");

    let tally = priced.tally().on_account(Account::Judge).paid_from(Some(Arc::new(Empty)));
    priced.call_tallied(ask("z"), &tally).await.result.unwrap_err();
    shows("planfleet_budget_refusals_total{model=\"priced\",role=\"judge\"} 1");
    assert_eq!(model.asked(), 2, "the refused call was not made");

    let broke = Error { may_be_billed: false, ..Error::new(ErrorClass::Quota, "no credit") };
    let unpriced = Scripted::failing([broke]).limited("unpriced", 4, Limits::default());
    shows("planfleet_model_paused{model=\"unpriced\"} 0");
    unpriced.call(ask("x")).await.result.unwrap_err();
    shows("planfleet_model_paused{model=\"unpriced\"} 1");
    advance(Duration::from_secs(61)).await;
    unpriced.call(ask("x")).await.result.unwrap();
    shows("planfleet_model_paused{model=\"unpriced\"} 0");
    shows("planfleet_unpriced_calls_total{model=\"unpriced\",role=\"none\"} 2");
}
