//! Calls that are recorded once, and played without a provider.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use planfleet_llm::cassette::{Player, Recorder, Recording, Tape};
use planfleet_llm::{ChatModel, ChatRequest, ErrorClass, Message};
use planfleet_modelsim::{Rule, Simulator};
use serde_json::json;

use crate::{ask, client, with};

/// Records what the simulator answers to each of these.
async fn record(path: &Path, rules: Vec<Rule>, requests: &[ChatRequest]) {
    let builder = rules.into_iter().fold(Simulator::builder(), planfleet_modelsim::Builder::rule);
    with(builder, async |simulator| {
        let tape = Arc::new(Tape::open(path).unwrap());
        let recorder = Recorder::new(Arc::new(client(&simulator)), "small", tape);
        for request in requests {
            // An error is recorded like an answer.
            let _ = recorder.chat(request).await;
        }
    })
    .await;
}

fn player(path: &Path) -> Player {
    Player::new(Arc::new(Recording::load(path).unwrap()), "small")
}

#[tokio::test]
async fn the_k_th_equal_request_gets_the_k_th_answer_and_the_last_repeats() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.jsonl");
    let rules = vec![
        Rule::status(429, "rate_limit_exceeded").retry_after_s(2.0).when("again").nth(1),
        Rule::text("second").when("again").times(1),
        Rule::text("third").when("again"),
        Rule::tool_call("add", json!({"a": 1})).when("tool"),
    ];
    record(&path, rules, &[ask("again"), ask("tool"), ask("again"), ask("again")]).await;

    let model = player(&path);
    let error = model.chat(&ask("again")).await.unwrap_err();
    assert_eq!((error.class, error.status), (ErrorClass::Transient, Some(429)));
    assert_eq!(error.retry_after, Some(Duration::from_secs(2)));
    for expected in ["second", "third", "third"] {
        assert_eq!(model.chat(&ask("again")).await.unwrap().text, expected);
    }
    let response = model.chat(&ask("tool")).await.unwrap();
    assert_eq!((response.tool_calls[0].name.as_str(), response.usage.unwrap().input_tokens), ("add", 1));
    let named = ChatRequest { model: "small".to_owned(), ..ask("tool") };
    assert_eq!(model.chat(&named).await.unwrap(), response, "the endpoint's own model, by its name");

    let mut seen = Vec::new();
    let streamed = player(&path);
    let _ = streamed.chat(&ask("again")).await;
    streamed.chat_stream(&ask("again"), &mut |text| seen.push(text.to_owned())).await.unwrap();
    assert_eq!(seen, ["second"]);
}

#[tokio::test]
async fn what_is_missing_is_told_by_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.jsonl");
    let conversation = |last: &str| ChatRequest {
        messages: vec![Message::system("Be brief, it is a secret."), Message::user(last)],
        ..ChatRequest::default()
    };
    record(&path, vec![Rule::text("x")], &[ask("hello"), conversation("How are you?")]).await;
    let missing = async |request: &ChatRequest| {
        let error = player(&path).chat(request).await.unwrap_err();
        assert!(!error.may_be_billed && !error.message.contains("secret"), "{error}");
        error.message
    };
    assert_eq!(
        missing(&conversation("How old are you?")).await,
        "the cassette has no answer to this request: of 2 to model `small` the nearest differs in message 2 \
         (user) from character 5"
    );
    let hotter = ChatRequest { temperature: Some(1.0), ..conversation("How are you?") };
    assert!(missing(&hotter).await.ends_with("the nearest differs in temperature"));
    let longer = ChatRequest { messages: vec![Message::user("hello"), Message::user("!")], ..ask("") };
    assert!(missing(&longer).await.ends_with("the number of messages (2, recorded 1)"));
    let other = ChatRequest { model: "large".to_owned(), ..ask("hello") };
    assert!(missing(&other).await.ends_with("none is to model `large`, only to small"));
}

#[tokio::test(start_paused = true)]
async fn recorded_times_are_replayed_if_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.jsonl");
    let entry = json!({
        "key": "", "request": {"model": "small", "messages": [{"role": "user", "content": "slow"}]},
        "response": {"id": null, "model": "small", "text": "at last", "tool_calls": [], "stop_reason": "stop",
                     "refusal": null, "usage": null},
        "at": "2026-01-01T00:00:00Z", "total_ms": 5000, "first_chunk_ms": 1000,
    });
    std::fs::write(&path, format!("{entry}\n\n")).unwrap();
    let started = tokio::time::Instant::now();
    player(&path).chat(&ask("slow")).await.unwrap();
    assert_eq!(started.elapsed(), Duration::ZERO);
    let mut first = None;
    let slow = player(&path).with_latency();
    let response = slow.chat_stream(&ask("slow"), &mut |_| first = Some(started.elapsed())).await.unwrap();
    let second = Duration::from_secs(1);
    assert_eq!((first, started.elapsed()), (Some(second), 5 * second));
    assert_eq!(response.time_to_first_chunk, Some(second));
}

#[tokio::test]
async fn a_torn_line_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.jsonl");
    record(&path, vec![Rule::text("x")], &[ask("hello")]).await;
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{whole}{}", &whole[..40])).unwrap();
    let error = Recording::load(&path).unwrap_err().to_string();
    assert!(error.contains("calls.jsonl, line 2: not an entry"), "{error}");
    assert!(Recording::load(&folder.path().join("absent")).is_err());
}

/// What one model said can be had from the simulator, over HTTP, by the same request.
#[tokio::test]
async fn the_simulator_plays_a_cassette() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.jsonl");
    let rules = vec![Rule::tool_call("add", json!({"a": 1})).when("tool"), Rule::text("hello to you")];
    record(&path, rules, &[ask("hello"), ask("tool")]).await;
    with(Simulator::builder().cassette(&path), async |simulator| {
        let model = client(&simulator);
        let answer = model.chat(&ask("hello")).await.unwrap();
        assert_eq!(
            (answer.text.as_str(), answer.usage),
            ("hello to you", player(&path).chat(&ask("hello")).await.unwrap().usage)
        );
        let mut seen = String::new();
        let streamed = model.chat_stream(&ask("tool"), &mut |text| seen.push_str(text)).await.unwrap();
        assert_eq!((streamed.tool_calls[0].arguments.as_str(), seen.as_str()), ("{\"a\":1}", ""));
        let error = model.chat(&ask("help!")).await.unwrap_err();
        assert_eq!(error.code.as_deref(), Some("modelsim_not_recorded"));
        assert!(error.message.contains("differs in message 1 (user) from character 4"), "{error}");
    })
    .await;
}
