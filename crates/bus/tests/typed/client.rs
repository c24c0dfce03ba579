//! What a user of the fleet does.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::StreamExt as _;
use planfleet_bus::{
    Bus, Client, Error, Lease,
    admission::Load,
    broker::Headers,
    client::{Found, Key, Question, RerunError},
    live::{News, RUN_FINISHED},
};
use planfleet_core::{
    document::{RunDocument, RunState},
    id::{RunId, StepId},
    json::Json,
    reason::{End, EndCode},
    record::{ApprovalDecided, Fact, Gate},
    task::{Carried, Submission},
};
use planfleet_proto::{decode, subjects};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};

use super::{document, new_bus, run_id, soon, submission};

/// Answers for a shard as its owner would.
pub(super) async fn own(
    bus: &Bus,
    shard: u16,
    answer: impl Fn(Question) -> Value + Send + 'static,
) -> JoinSet<()> {
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

/// The owner of each shard says that.
async fn say(bus: &Bus, beat: u64, load: &Load) {
    for shard in 0..bus.shards() {
        let held = bus.lease(shard).await.unwrap();
        let revision = held.map_or(0, |held| held.revision);
        let lease = Lease { beat, load: load.clone(), ..Lease::default() };
        bus.write_lease(shard, &lease, revision).await.unwrap().expect("nobody else writes it");
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_runs_are_submitted_than_a_shard_takes() {
    let bus = new_bus().await;
    let client = Client::new(bus.clone());
    let taken = async || {
        let mut taken = 0;
        for _ in 0..200 {
            match client.submit(submission("g"), None).await {
                Ok(_) => taken += 1,
                Err(Error::Refused(refused)) => assert_eq!(refused.retry_after_s(), 3),
                Err(error) => panic!("{error}"),
            }
        }
        taken
    };
    let shards = u64::from(bus.shards());
    let ending = Load { active_max: 60, ended_per_s: 1, ..Load::default() };
    say(&bus, 1, &Load { active: 55, ..ending.clone() }).await;
    assert_eq!(taken().await, shards * 5);
    // Nobody has folded them: there is no more room than there was.
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(taken().await, 0);
    say(&bus, 2, &Load { active: 58, ..ending.clone() }).await;
    assert_eq!(taken().await, 0, "it was looked at just now");
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(taken().await, shards * 2);
    // What was taken under a key is taken, whoever asks again.
    say(&bus, 3, &Load { active: 0, ..ending.clone() }).await;
    tokio::time::advance(Duration::from_secs(5)).await;
    let key = Key::of_task("k", &json!({"goal": "g"}));
    let run = client.submit(submission("g"), Some(&key)).await.unwrap();
    say(&bus, 4, &Load { active: 60, ..ending }).await;
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(client.submit(submission("g"), Some(&key)).await.unwrap(), run);
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

/// An owner that shows a part of a run's document, as that is too large for a message.
async fn own_large(bus: &Bus, state: &'static str) -> JoinSet<()> {
    own(bus, 0, move |_| json!({"run_id": "00-a", "state": state, "answer": null, "trimmed": true})).await
}

#[tokio::test(start_paused = true)]
async fn a_part_of_a_document_is_no_end() {
    let (bus, run) = (new_bus().await, run_id("00-a"));
    let client = Client::new(bus.clone());
    let _owner = own_large(&bus, "succeeded").await;
    let answer = client.find(&run).await.unwrap();
    assert_eq!(found(&answer).expect("found").0, "active", "nobody has the whole of it");

    let _later = finish_later(&bus, &run, Duration::from_millis(700), false);
    let answer = client.find(&run).await.unwrap();
    let Found::Ended(document) = &answer else { panic!("not ended: {answer:?}") };
    assert_eq!(document["answer"], "done");
}

#[tokio::test(start_paused = true)]
async fn a_part_of_an_active_run_s_document_is_not_waited_for() {
    let bus = new_bus().await;
    let _owner = own_large(&bus, "executing").await;
    let began = Instant::now();
    let answer = Client::new(bus).find(&run_id("00-a")).await.unwrap();
    assert_eq!(found(&answer).expect("found").0, "active");
    assert!(began.elapsed() < Duration::from_millis(10), "{:?}", began.elapsed());
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

#[tokio::test(start_paused = true)]
async fn a_list_says_what_it_does_not_show() {
    let bus = new_bus().await;
    let _owner = own(&bus, 1, |_| json!({"runs": [{"run_id": "01-a"}], "left_out": 3})).await;
    let listed = Client::new(bus).list_counted(5).await.unwrap();
    assert_eq!(listed.runs, [json!({"run_id": "01-a"})]);
    assert_eq!((listed.runs_left_out, listed.shards_left_out), (3, 1), "nobody owns shard 0");
}

fn finish_later(bus: &Bus, run: &RunId, after: Duration, tell: bool) -> JoinSet<()> {
    let (bus, run) = (bus.clone(), run.clone());
    let mut later = JoinSet::new();
    later.spawn(async move {
        tokio::time::sleep(after).await;
        bus.finish(&document(&run, "done")).await.expect("kept");
        if tell {
            let news = || News { event: RUN_FINISHED.to_owned(), step: None, model: None };
            bus.tell(&run, news).await.expect("told");
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
    bus.tell(&other, || news("RunFinished", None)).await.unwrap();
    bus.tell(&run, || started.clone()).await.unwrap();
    bus.tell(&run, || news("StepSucceeded", Some(StepId::plain(3)))).await.unwrap();
    assert_eq!(soon("news", watched.next()).await, Some(started));
    assert_eq!(soon("news", watched.next()).await, Some(news("StepSucceeded", Some(StepId::plain(3)))));
}

/// Every fact about a run, in order.
async fn facts(bus: &Bus, run: &RunId) -> Vec<Fact> {
    let tail = usize::try_from(bus.journal_tail(run.shard()).await.unwrap()).unwrap();
    let mut entries = bus.read_journal(run.shard(), 1).await.unwrap().take(tail);
    let mut facts = Vec::new();
    while let Some(entry) = entries.next().await {
        let Ok(decode::Entry::Run(record)) = entry.unwrap().content else { panic!("no fact") };
        if record.run == *run {
            facts.push(record.fact);
        }
    }
    facts
}

#[tokio::test(start_paused = true)]
async fn what_people_ask_of_a_run_is_in_its_log() {
    let bus = new_bus().await;
    let (client, run) = (Client::new(bus.clone()), run_id("00-a"));
    let decided = ApprovalDecided {
        gates: vec![Gate::Step { step: 3 }],
        approved: false,
        reason: "not on a Friday".to_owned(),
    };
    client.pause(&run, "lunch").await.unwrap();
    client.resume(&run).await.unwrap();
    client.decide(&run, decided.clone()).await.unwrap();
    client.cancel(&run, "enough").await.unwrap();
    let expected = [
        Fact::RunPauseRequested { reason: "lunch".to_owned() },
        Fact::RunResumeRequested,
        Fact::ApprovalDecided(decided),
        Fact::RunCancelRequested { reason: "enough".to_owned() },
    ];
    assert_eq!(facts(&bus, &run).await, expected);
}

/// A run that failed after its first step, with the trace that it belonged to.
fn failed(run: &RunId) -> RunDocument {
    let outputs = BTreeMap::from([(StepId::plain(1), Json::from_value(&"done".into()))]);
    let carried = Carried { run: run.clone(), outputs };
    let rerun = Submission { carried: Some(Box::new(carried)), ..submission("g") };
    RunDocument {
        state: RunState::Failed,
        end: Some(End::new(EndCode::NoGoal, "step 2 failed")),
        rerun: Some(Arc::new(rerun)),
        ..document(run, "")
    }
}

#[tokio::test(start_paused = true)]
async fn a_rerun_is_a_new_run_with_what_the_old_one_had_reached() {
    let bus = new_bus().await;
    let (client, run) = (Client::new(bus.clone()), run_id("00-a"));
    bus.finish(&failed(&run)).await.unwrap();
    let rerun = client.rerun(&run, None).await.unwrap();
    assert_ne!(rerun, run);
    let facts = facts(&bus, &rerun).await;
    let [Fact::TaskSubmitted(submission)] = facts.as_slice() else { panic!("{facts:?}") };
    assert_eq!(Some(submission.as_ref()), failed(&run).rerun.as_deref());
}

#[tokio::test(start_paused = true)]
async fn the_same_key_is_the_same_rerun() {
    let bus = new_bus().await;
    let client = Client::new(bus.clone());
    let run = client.submit(submission("g"), Some(&Key::of_task("k", &Value::Null))).await.unwrap();
    bus.finish(&failed(&run)).await.unwrap();
    let rerun = client.rerun(&run, Some("k")).await.unwrap();
    assert_ne!(rerun, run, "a submit's key is not a rerun's");
    assert_eq!(client.rerun(&run, Some("k")).await.unwrap(), rerun);
    assert_ne!(client.rerun(&run, Some("l")).await.unwrap(), rerun);
    assert_ne!(client.rerun(&run, None).await.unwrap(), client.rerun(&run, None).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn only_what_has_ended_without_success_is_done_again() {
    let bus = new_bus().await;
    let client = Client::new(bus.clone());
    let (done, active, large) = (run_id("00-done"), run_id("00-active"), run_id("00-large"));
    let unowned = client.rerun(&active, None).await.unwrap_err();
    assert!(matches!(unowned, RerunError::Bus(Error::NoOwner(0))), "{unowned}");

    bus.finish(&document(&done, "done")).await.unwrap();
    bus.finish(&RunDocument { rerun: None, ..failed(&large) }).await.unwrap();
    let _owner = own(&bus, 0, |question| match question {
        Question::Run { run } if run.as_str() == "00-active" => json!({"run_id": run, "state": "paused"}),
        _ => Value::Null,
    })
    .await;
    for (run, said) in [
        (&done, "run 00-done has succeeded: nothing failed in it"),
        (&active, "run 00-active has not ended: it is paused"),
        (&large, "what run 00-large had reached was too large to keep; submit its task again"),
        (&run_id("00-nobody"), "there is no run 00-nobody"),
    ] {
        assert_eq!(client.rerun(run, None).await.unwrap_err().to_string(), said);
    }
}

/// The owner knows of the end before the document is kept.
#[tokio::test(start_paused = true)]
async fn a_rerun_waits_for_the_document() {
    let bus = new_bus().await;
    let run = run_id("00-a");
    let _owner = own(&bus, 0, |_| json!({"run_id": "00-a", "state": "failed"})).await;
    let (kept, late) = (bus.clone(), failed(&run));
    let mut later = JoinSet::new();
    later.spawn(async move {
        tokio::time::sleep(Duration::from_millis(700)).await;
        kept.finish(&late).await.expect("kept");
    });
    assert_ne!(Client::new(bus).rerun(&run, None).await.unwrap(), run);
}
