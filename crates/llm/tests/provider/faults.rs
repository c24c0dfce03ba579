//! What goes wrong on the way, and what callers are told.

use std::time::Duration;

use planfleet_llm::{ChatModel, ChatResponse, Error, ErrorClass, HttpChat, Retrying, Timeouts};
use planfleet_modelsim::{Fault, FaultKind, Rule, Simulator};

use crate::{KEY, ask, client, endpoint, streamed, with};

#[tokio::test]
async fn transient_faults_are_retried_and_counted() {
    let builder = Simulator::builder()
        .rule(Rule::status(429, "rate_limit_exceeded").retry_after_s(0.01).times(1))
        .rule(Rule::status(503, "server_error").retry_after_s(0.01).times(1))
        .rule(Rule::text("at last"));
    with(builder, async |simulator| {
        let model = client(&simulator);
        let attempted = Retrying::default().chat(&model, &ask("x")).await;
        assert_eq!(attempted.result.unwrap().text, "at last");
        assert_eq!((attempted.calls, simulator.received()), (3, 3));
    })
    .await;
}

#[tokio::test]
async fn a_long_wait_and_an_empty_account_are_handed_back() {
    let builder = Simulator::builder()
        .rule(Rule::status(429, "insufficient_quota").when("money"))
        .rule(Rule::status(429, "rate_limit_exceeded").retry_after_s(90.0));
    with(builder, async |simulator| {
        let model = client(&simulator);
        let attempted = Retrying::default().chat(&model, &ask("x")).await;
        let error = attempted.result.unwrap_err();
        assert_eq!((error.class, error.status), (ErrorClass::Transient, Some(429)));
        assert_eq!(error.retry_after, Some(Duration::from_secs(90)));
        assert_eq!(attempted.calls, 1);

        let attempted = Retrying::default().chat(&model, &ask("money")).await;
        let error = attempted.result.unwrap_err();
        assert_eq!(error.class, ErrorClass::Quota);
        assert_eq!((error.code.as_deref(), attempted.calls), (Some("insufficient_quota"), 1));
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_broke_after_text_is_not_repeated() {
    let cut =
        Rule::text("a text that is long enough to be cut in two").fault(Fault::Kind(FaultKind::CutMidStream));
    with(Simulator::builder().rule(cut), async |simulator| {
        let model = client(&simulator);
        let mut seen = String::new();
        let mut sink = |text: &str| seen.push_str(text);
        let retrying = Retrying::default();
        let attempted = retrying.chat_stream(&model, &ask("x"), &mut sink).await;
        assert_eq!(attempted.result.unwrap_err().class, ErrorClass::Transient);
        assert_eq!(attempted.calls, 1);
        assert!(!seen.is_empty());
    })
    .await;
}

#[tokio::test]
async fn hangs_end_in_the_timeout_of_their_phase() {
    let hang = Rule::default().fault(Fault::Kind(FaultKind::Hang));
    let half = Rule::default().fault(Fault::Kind(FaultKind::HangMidStream));
    let builder = Simulator::builder().rule(hang.when("never")).rule(half);
    with(builder, async |simulator| {
        let impatient = |timeouts| {
            let mut endpoint = endpoint(simulator.base_url());
            endpoint.timeouts = timeouts;
            HttpChat::new(endpoint).unwrap()
        };
        let (short, rest) = (Duration::from_millis(100), Timeouts::default());

        let first_byte = Timeouts { first_byte: short, ..rest };
        let (deltas, result) = streamed(&impatient(first_byte), "never").await;
        assert_timeout(result, "no answer began");
        assert!(deltas.is_empty());

        let model = impatient(Timeouts { idle: short, ..rest });
        let (deltas, result) = streamed(&model, "half").await;
        assert_timeout(result, "stopped coming");
        assert!(!deltas.is_empty());
        assert_timeout(model.chat(&ask("half")).await, "stopped coming");

        // Where nobody reads along, too, if answers are always streamed.
        let mut endpoint = endpoint(simulator.base_url());
        (endpoint.timeouts, endpoint.always_stream) = (first_byte, true);
        assert_timeout(HttpChat::new(endpoint).unwrap().chat(&ask("never")).await, "no answer began");

        let model = impatient(Timeouts { total: short, ..rest });
        assert_timeout(model.chat(&ask("never")).await, "took too long");
    })
    .await;
}

fn assert_timeout(result: Result<ChatResponse, Error>, why: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.class, ErrorClass::Timeout);
    assert!(error.message.contains(why), "{error}");
}

#[tokio::test]
async fn garbage_is_an_invalid_response() {
    let rule = Rule::default().fault(Fault::Kind(FaultKind::Garbage));
    with(Simulator::builder().rule(rule), async |simulator| {
        let model = client(&simulator);
        let whole = model.chat(&ask("x")).await.unwrap_err();
        let (_, streamed) = streamed(&model, "x").await;
        for error in [whole, streamed.unwrap_err()] {
            assert_eq!(error.class, ErrorClass::InvalidResponse, "{error}");
        }
    })
    .await;
}

#[tokio::test]
async fn errors_say_what_to_check_and_never_show_the_key() {
    let mut quoting = Rule::status(401, "invalid_api_key").when("quote");
    if let Some(Fault::Status(fault)) = &mut quoting.fault {
        fault.message = Some(format!("Incorrect API key provided: {KEY}"));
    }
    let builder =
        Simulator::builder().rule(quoting).rule(Rule::status(404, "model_not_found").when_model("absent"));
    with(builder, async |simulator| {
        let model = client(&simulator);
        let error = model.chat(&ask("quote")).await.unwrap_err();
        assert_eq!((error.class, error.status), (ErrorClass::Unauthorized, Some(401)));
        assert_eq!(
            error.message,
            format!(
                "model endpoint `fast` at {}: the server answered 401: Incorrect API key \
                 provided: [redacted] (check the key that models.fast.api_key_env names)",
                simulator.base_url()
            )
        );

        let mut absent = ask("x");
        absent.model = "absent".to_owned();
        let error = model.chat(&absent).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::NotFound);
        assert!(error.message.contains("is model `absent` served there"), "{error}");

        let error = model.chat(&ask("unforeseen")).await.unwrap_err();
        assert_eq!(error.code.as_deref(), Some("modelsim_no_rule"));
        assert!(error.message.contains("none of the script's 2 rules"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn a_missing_key_is_told_apart_from_a_wrong_one() {
    let builder = Simulator::builder().require_key("other").rule(Rule::text("x"));
    with(builder, async |simulator| {
        let mut keyless = endpoint(simulator.base_url());
        keyless.api_key = None;
        let keyless = HttpChat::new(keyless).unwrap();
        let error = keyless.chat(&ask("x")).await.unwrap_err();
        assert!(error.message.contains("no API key is set"), "{error}");
        let error = client(&simulator).chat(&ask("x")).await.unwrap_err();
        assert!(error.message.contains("check the key"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn a_closed_port_is_transient_and_named() {
    let (simulator, server) = Simulator::builder().bind("127.0.0.1:0").await.unwrap();
    drop(server);
    let model = client(&simulator);
    let error = model.chat(&ask("x")).await.unwrap_err();
    assert_eq!((error.class, error.status), (ErrorClass::Transient, None));
    assert!(error.message.contains("cannot connect"), "{error}");
    assert!(error.message.contains(&simulator.base_url()), "{error}");
}

#[tokio::test]
async fn misconfigured_endpoints_are_refused_at_once() {
    let mut wrong = endpoint("localhost:8080/v1".to_owned());
    assert!(HttpChat::new(wrong.clone()).is_err());
    wrong.base_url = "http://user:pw@127.0.0.1:9/v1/".to_owned();
    let error = HttpChat::new(wrong.clone()).unwrap().list_models().await.unwrap_err();
    assert!(!error.message.contains("pw"), "{error}");
    wrong.extra_headers.insert("a b".to_owned(), "c".to_owned());
    assert!(HttpChat::new(wrong).is_err());
}
