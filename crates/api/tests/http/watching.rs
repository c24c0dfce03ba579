//! What happens to a run, told to whoever watches.

#![expect(clippy::unwrap_used, reason = "a test whose scenery does not stand has failed")]

use futures::StreamExt as _;
use planfleet_core::{
    failure::FailureClass,
    id::StepId,
    json::Json,
    record::{AttemptReport, Fact, StepSucceeded, ToolCall},
    usage::{Account, Charge, Usage},
};
use serde_json::{Value, json};

use super::rig::{Rig, answer};

const PLAN: &str = r#"{"goal": "greet", "inputs": {"who": "Ada"}, "plan": {"steps": [
    {"id": 1, "description": "say hello", "inputs": [{"name": "who", "from_step": 0, "path": "/who"}]},
    {"id": 2, "description": "say more", "inputs": [{"name": "first", "from_step": 1, "path": ""}]}], "final": 2}}"#;

async fn submitted(rig: &Rig) -> String {
    rig.start_coordinator();
    let path = rig.submit(PLAN).await.location.unwrap();
    while rig.get(&path).await.status == 503 {
        tokio::task::yield_now().await;
    }
    path
}

fn done(step: u32) -> Fact {
    let attempt = AttemptReport {
        step: StepId::plain(step),
        attempt: 1,
        model: Some("small".to_owned()),
        usage: vec![Charge::new(Account::Executor, "small", Usage { calls: 1, ..Usage::NONE })],
        started_ms: 1_000,
        ended_ms: 2_000,
        calls: vec![ToolCall {
            tool: "file_read".to_owned(),
            arguments: r#"{"path":"a.txt"}"#.to_owned(),
            result: r#"{"error":"there is no such file"}"#.to_owned(),
            class: Some(FailureClass::ToolError),
            started_ms: 1_200,
            ended_ms: 1_300,
        }],
    };
    let output = Json::from_value(&json!(format!("output {step}")));
    Fact::StepSucceeded(Box::new(StepSucceeded { attempt, output }))
}

/// Events of a stream until it ends: each as its id and its data.
async fn told(rig: &Rig, path: &str, after: Option<&str>) -> Vec<(Option<String>, Value)> {
    let mut request = rig.plain(&format!("{path}/events")).header("accept", "text/event-stream");
    if let Some(after) = after {
        request = request.header("last-event-id", after);
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let (mut text, mut parts) = (String::new(), response.bytes_stream());
    while let Some(part) = parts.next().await {
        text.push_str(std::str::from_utf8(&part.unwrap()).unwrap());
    }
    let event = |block: &str| {
        let field =
            |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(|f| f.trim().to_owned());
        let data = field("data:")?;
        Some((field("id:"), serde_json::from_str(&data).unwrap()))
    };
    text.split("\n\n").filter_map(event).collect()
}

fn kinds(events: &[(Option<String>, Value)]) -> Vec<&str> {
    events.iter().map(|(_, event)| event["kind"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn watchers_hear_all_of_it_in_order_and_come_back_where_they_were() {
    let rig = Rig::start().await;
    let path = submitted(&rig).await;
    let run = path.rsplit('/').next().unwrap().parse().unwrap();
    let acting = async {
        rig.bus.append(&run, &done(1)).await.unwrap();
        rig.bus.append(&run, &done(2)).await.unwrap();
    };
    let watching = futures::future::join_all((0..20).map(|_| told(&rig, &path, None)));
    let (all, ()) = tokio::join!(watching, acting);
    let expected = ["TaskSubmitted", "StepSucceeded", "StepSucceeded", "RunFinished"];
    for events in &all {
        let recorded: Vec<&str> = kinds(events).into_iter().filter(|kind| expected.contains(kind)).collect();
        assert_eq!(recorded, expected, "{events:?}");
    }
    let events = &all[0];
    let (id, first) = &events[0];
    assert_eq!(
        (first["detail"].as_str(), first["seq"].as_u64().map(|seq| seq.to_string())),
        (Some("greet"), id.clone())
    );
    let step = events.iter().find(|(_, event)| event["kind"] == "StepSucceeded").unwrap();
    assert_eq!(
        (&step.1["step"], &step.1["attempt"], &step.1["model"]),
        (&json!(1), &json!(1), &json!("small"))
    );
    let later = told(&rig, &path, step.0.as_deref()).await;
    assert_eq!(kinds(&later), ["StepSucceeded", "RunFinished"]);
    assert_eq!(later[0].1["step"], 2);
    // Of a run that has ended, the same is read from the log.
    let listed = rig.get(&format!("{path}/events")).await;
    let listed: Vec<&str> = listed.body["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["kind"].as_str().unwrap())
        .collect();
    assert_eq!(listed, expected);
    let wrong = answer(rig.plain(&format!("{path}/events")).header("last-event-id", "x")).await;
    assert_eq!(wrong.problem(), (400, "last_event_id_invalid"));
    rig.shut_down().await;
}

#[tokio::test]
async fn a_step_is_shown_with_its_inputs_and_attempts() {
    let rig = Rig::start().await;
    let path = submitted(&rig).await;
    let early = rig.get(&format!("{path}/steps/2")).await;
    assert_eq!(early.body["resolved"][0]["known"], false);
    let run = path.rsplit('/').next().unwrap().parse().unwrap();
    rig.bus.append(&run, &done(1)).await.unwrap();
    rig.bus.append(&run, &done(2)).await.unwrap();
    assert_eq!(rig.get(&format!("{path}?wait=30")).await.body["state"], "succeeded");
    let first = rig.get(&format!("{path}/steps/1")).await.body;
    assert_eq!(
        (&first["resolved"][0]["value"], &first["resolved"][0]["from_step"]),
        (&json!("Ada"), &json!(0))
    );
    let second = rig.get(&format!("{path}/steps/2")).await.body;
    assert_eq!(
        (&second["resolved"][0]["value"], &second["output"]),
        (&json!("output 1"), &json!("output 2"))
    );
    let attempt = &second["attempts_made"][0];
    assert_eq!((&attempt["attempt"], &attempt["state"]), (&json!(1), &json!("succeeded")));
    assert_eq!(attempt["started_at"], "1970-01-01T00:00:01.000Z");
    assert_eq!(attempt["usage"][0]["calls"], 1);
    let call = json!({
        "tool": "file_read", "arguments": r#"{"path":"a.txt"}"#, "error_class": "tool_error",
        "result": r#"{"error":"there is no such file"}"#,
        "started_at": "1970-01-01T00:00:01.200Z", "ended_at": "1970-01-01T00:00:01.300Z",
    });
    assert_eq!(attempt["tool_calls"], json!([call]));
    assert_eq!(rig.get(&format!("{path}/steps/3")).await.problem(), (404, "step_unknown"));
    rig.shut_down().await;
}

#[tokio::test]
async fn a_document_is_sent_once_to_who_has_it() {
    let rig = Rig::start().await;
    let path = submitted(&rig).await;
    answer(rig.post(&format!("{path}/cancel"))).await;
    assert_eq!(rig.get(&format!("{path}?wait=30")).await.body["state"], "cancelled");
    let first = rig.plain(&path).send().await.unwrap();
    let tag = first.headers()["etag"].to_str().unwrap().to_owned();
    assert!(first.headers().contains_key("x-request-id"));
    let again = rig.plain(&path).header("if-none-match", &tag).send().await.unwrap();
    assert_eq!((again.status().as_u16(), again.bytes().await.unwrap().len()), (304, 0));
    let other = rig.plain(&path).header("if-none-match", "\"x\"").header("x-request-id", "r-1");
    let other = other.send().await.unwrap();
    assert_eq!((other.status().as_u16(), &other.headers()["x-request-id"]), (200, &"r-1".parse().unwrap()));
    rig.shut_down().await;
}
