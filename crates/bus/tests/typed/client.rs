//! What a user of the fleet does.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use planfleet_bus::{
    Bus, Client, Error,
    broker::Headers,
    client::{Found, Question},
    live::{News, RUN_FINISHED},
};
use planfleet_core::id::{RunId, StepId};
use planfleet_proto::subjects;
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};

use super::{document, new_bus, run_id, soon, submission};

/// Answers for a shard as its owner would.
async fn own(bus: &Bus, shard: u16, answer: impl Fn(Question) -> Value + Send + 'static) -> JoinSet<()> {
    let mut asked = bus.broker().subscribe(&subjects::reads(shard)).await.unwrap();
    let bus = bus.clone();
    let mut owner = JoinSet::new();
    owner.spawn(async move {
        while let Some(message) = asked.next().await {
            let question = serde_json::from_slice(&message.payload).expect("a question");
            let payload = Bytes::from(answer(question).to_string());
            let reply = message.reply.expect("somebody waits");
            bus.broker().publish_live(reply, Headers::new(), payload).await.expect("sent");
        }
    });
    owner
}

fn found(found: &Found) -> Option<(&'static str, &Value)> {
    match found {
        Found::Active(document) => Some(("active", document)),
        Found::Ended(document) => Some(("ended", document)),
        Found::Unknown => None,
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_key_is_the_same_run() {
    let client = Client::new(new_bus().await);
    let run = client.submit(submission("g"), Some("k")).await.unwrap();
    assert_eq!(client.submit(submission("g"), Some("k")).await.unwrap(), run);
    assert_ne!(client.submit(submission("g"), Some("l")).await.unwrap(), run);
    let mut other = submission("g");
    other.task.tenant = Some("umbrella".to_owned());
    assert_ne!(client.submit(other, Some("k")).await.unwrap(), run, "keys belong to tenants");
    let one = client.submit(submission("g"), None).await.unwrap();
    assert_ne!(client.submit(submission("g"), None).await.unwrap(), one);
}

#[tokio::test(start_paused = true)]
async fn a_key_does_not_start_a_run_again_that_has_ended() {
    let bus = new_bus().await;
    let client = Client::new(bus.clone());
    let run = client.submit(submission("g"), Some("k")).await.unwrap();
    bus.finish(&document(&run, "done")).await.unwrap();
    let tail = bus.journal_tail(run.shard()).await.unwrap();
    assert_eq!(client.submit(submission("g"), Some("k")).await.unwrap(), run);
    assert_eq!(bus.journal_tail(run.shard()).await.unwrap(), tail, "nothing was appended");
}

#[tokio::test(start_paused = true)]
async fn runs_spread_over_the_shards() {
    let bus = new_bus().await;
    let client = Client::new(bus.clone());
    for _ in 0..64 {
        client.submit(submission("g"), None).await.unwrap();
    }
    for shard in 0..2 {
        assert!(bus.journal_tail(shard).await.unwrap() >= 16, "shard {shard} has too few");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_is_found_wherever_it_stands() {
    let bus = new_bus().await;
    let client = Client::new(bus.clone());
    let (active, ended) = (run_id("00-active"), run_id("00-ended"));
    let error = client.find(&active).await.unwrap_err();
    assert!(matches!(error, Error::NoOwner(0)), "{error}");
    bus.finish(&document(&ended, "done")).await.unwrap();
    let answer = client.find(&ended).await.unwrap();
    assert_eq!(found(&answer).expect("found").0, "ended", "also while nobody owns the shard");

    let _owner = own(&bus, 0, |question| match question {
        Question::Run { run } if run.as_str() == "00-active" => json!({"run_id": run, "state": "executing"}),
        _ => Value::Null,
    })
    .await;
    let answer = client.find(&active).await.unwrap();
    assert_eq!(found(&answer), Some(("active", &json!({"run_id": "00-active", "state": "executing"}))));
    let answer = client.find(&ended).await.unwrap();
    assert_eq!(found(&answer).expect("found").0, "ended");
    assert_eq!(found(&client.find(&run_id("00-nobody")).await.unwrap()), None);
}

#[tokio::test(start_paused = true)]
async fn a_list_holds_active_runs_and_the_newest_ended() {
    let bus = new_bus().await;
    let client = Client::new(bus.clone());
    assert!(client.list(5).await.unwrap().is_empty(), "no owner, no runs");
    for name in ["00-first", "00-second", "01-third"] {
        bus.finish(&document(&run_id(name), name)).await.unwrap();
    }
    let _owner = own(&bus, 1, |_| json!([{"run_id": "01-active"}])).await;
    let ids = |runs: Vec<Value>| -> Vec<String> {
        runs.iter().map(|run| run["run_id"].as_str().expect("an id").to_owned()).collect()
    };
    let all = ids(client.list(5).await.unwrap());
    assert_eq!(all, ["01-active", "01-third", "00-second", "00-first"]);
    assert_eq!(ids(client.list(1).await.unwrap()), ["01-active", "01-third"]);
}

fn finish_later(bus: &Bus, run: &RunId, after: Duration, tell: bool) -> JoinSet<()> {
    let (bus, run) = (bus.clone(), run.clone());
    let mut later = JoinSet::new();
    later.spawn(async move {
        tokio::time::sleep(after).await;
        bus.finish(&document(&run, "done")).await.expect("kept");
        if tell {
            let news = News { event: RUN_FINISHED.to_owned(), step: None, model: None };
            bus.tell(&run, &news).await.expect("told");
        }
    });
    later
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_the_news() {
    let bus = new_bus().await;
    let run = run_id("00-a");
    let after = Duration::from_millis(1_200);
    let _later = finish_later(&bus, &run, after, true);
    let began = Instant::now();
    let waited = Client::new(bus).wait(&run, Duration::from_secs(60)).await.unwrap();
    assert_eq!(waited.expect("a document")["answer"], "done");
    assert!(began.elapsed() < after + Duration::from_millis(10), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_wait_does_not_need_the_news() {
    let bus = new_bus().await;
    let run = run_id("00-a");
    let _later = finish_later(&bus, &run, Duration::from_millis(1_200), false);
    let began = Instant::now();
    assert!(Client::new(bus).wait(&run, Duration::from_secs(60)).await.unwrap().is_some());
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_wait_has_an_end() {
    let client = Client::new(new_bus().await);
    let began = Instant::now();
    assert!(client.wait(&run_id("00-a"), Duration::from_secs(3)).await.unwrap().is_none());
    assert_eq!(began.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn news_reaches_who_watches_that_run() {
    let bus = new_bus().await;
    let (run, other) = (run_id("00-a"), run_id("00-b"));
    let mut watched = bus.watch(&run).await.unwrap();
    let news = |event: &str, step| News { event: event.to_owned(), step, model: None };
    let started = News {
        event: "StepStarted".to_owned(),
        step: Some(StepId::item(3, 0)),
        model: Some("small".to_owned()),
    };
    bus.tell(&other, &news("RunFinished", None)).await.unwrap();
    bus.tell(&run, &started).await.unwrap();
    bus.tell(&run, &news("StepSucceeded", Some(StepId::plain(3)))).await.unwrap();
    assert_eq!(soon("news", watched.next()).await, Some(started));
    assert_eq!(soon("news", watched.next()).await, Some(news("StepSucceeded", Some(StepId::plain(3)))));
}
