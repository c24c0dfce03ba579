//! Batches: what is kept of them, whose runs are found how, and that no task is
//! submitted twice.

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _};
use planfleet_bus::{
    Bus, Client, Error,
    batches::{Batch, End, Tally},
    client::{Key, NewKey},
};
use planfleet_core::{
    document::{RunDocument, RunState},
    id::RunId,
    reason::{End as Why, EndCode},
    task::Budget,
};
use planfleet_proto::subjects;
use serde_json::json;

use super::{document, new_bus, soon, submission, unreadable};

fn batch(id: &str) -> Batch {
    Batch {
        id: id.to_owned(),
        tenant: "acme".to_owned(),
        created_at_ms: 1,
        updated_at_ms: 1,
        done_from: 0,
        total: Some(3),
        submitted: 0,
        rejected: 0,
        rejections: Vec::new(),
        budget: Budget { nano_usd: Some(7), tokens: None },
        labels: BTreeMap::new(),
        cancelled: None,
    }
}

async fn submit(bus: &Bus, batch: &str, custom_id: &str, goal: &str) -> Result<(RunId, bool), Error> {
    let mut task = submission(goal);
    task.task.batch = Some(batch.to_owned());
    let key = Key::of_batch(batch, custom_id, &json!({"goal": goal}));
    Client::new(bus.clone()).submit_in_batch(task, &key, NewKey::IsNew).await
}

pub(crate) fn ended(run: &RunId, batch: &str, state: RunState) -> RunDocument {
    RunDocument {
        batch_id: Some(batch.to_owned()),
        custom_id: Some("c".to_owned()),
        state,
        end: Some(Why::new(EndCode::Budget, "spent")),
        nano_usd: Some(3),
        ..document(run, "answer")
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_of_a_batch_is_submitted_once() {
    let bus = new_bus().await;
    let (run, new) = submit(&bus, "b", "c", "g").await.unwrap();
    assert!(new && run.is_in_batch());
    assert_eq!(submit(&bus, "b", "c", "g").await.unwrap(), (run.clone(), false));
    let (other, new) = submit(&bus, "other", "c", "g").await.unwrap();
    assert!(new && other != run, "names belong to their batch");
    let refused = submit(&bus, "b", "c", "another").await.unwrap_err();
    assert!(matches!(refused, Error::KeyReused { run: of, .. } if of == run));
    let records = bus.journal_tail(0).await.unwrap() + bus.journal_tail(1).await.unwrap();
    assert_eq!(records, 2);
}

#[tokio::test(start_paused = true)]
async fn ended_runs_are_found_by_their_id_and_by_their_batch() {
    let bus = new_bus().await;
    let alone = Client::new(bus.clone()).submit(submission("g"), None).await.unwrap();
    bus.finish(&document(&alone, "alone")).await.unwrap();
    let (kept, _) = bus.open_batch(batch("b")).await.unwrap();
    assert_eq!(kept.done_from, 2);
    let (first, _) = submit(&bus, "b", "1", "g").await.unwrap();
    let (second, _) = submit(&bus, "b", "2", "g").await.unwrap();
    let (others, _) = submit(&bus, "bb", "1", "g").await.unwrap();
    let mut follow = bus.follow_batch(&kept).await.unwrap();
    bus.finish(&ended(&first, "b", RunState::Failed)).await.unwrap();
    bus.finish(&ended(&first, "b", RunState::Failed)).await.unwrap();
    bus.finish(&ended(&others, "bb", RunState::Succeeded)).await.unwrap();
    bus.finish(&ended(&second, "b", RunState::Succeeded)).await.unwrap();
    for run in [&alone, &first, &second, &others] {
        assert_eq!(bus.ended(run).await.unwrap().unwrap().document["run_id"], run.as_str());
    }
    let ends: Vec<End> = bus.batch_ends(&kept, 0).await.unwrap().try_collect().await.unwrap();
    let named: Vec<_> = ends.iter().map(|end| (&end.run, end.state, end.nano_usd)).collect();
    assert_eq!(named, [(&first, RunState::Failed, Some(3)), (&second, RunState::Succeeded, Some(3))]);
    assert_eq!((ends[0].code.as_deref(), ends[0].custom_id.as_deref()), (Some("budget"), Some("c")));
    for expected in &ends {
        let (end, entry) = soon("an end", follow.next()).await.unwrap().unwrap();
        assert_eq!(&end, expected);
        let text = bus.document_text(entry).await.unwrap();
        assert!(text.contains(r#""batch_id":"b""#), "{text}");
    }
    let mut tally = Tally::default();
    ends.iter().for_each(|end| tally.add(end));
    assert!(tally.unsuccessful[&first].of_budget && tally.succeeded == 1 && tally.nano_usd == 6);
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_kept_once_and_changed_by_many() {
    let bus = new_bus().await;
    assert!(bus.open_batch(batch("b")).await.unwrap().1);
    let (again, new) = bus.open_batch(Batch { total: None, ..batch("b") }).await.unwrap();
    assert!(!new && again.total == Some(3), "the first one stands");
    let add = |batch: &mut Batch| batch.submitted += 1;
    let changes = (0..8).map(|_| bus.change_batch("b", add));
    for changed in futures::future::join_all(changes).await {
        changed.unwrap();
    }
    assert_eq!(bus.batch("b").await.unwrap().unwrap().submitted, 8);
    bus.open_batch(Batch { created_at_ms: 9, ..batch("newer") }).await.unwrap();
    unreadable(&bus, subjects::BATCHES).await;
    let listed: Vec<_> = bus.batches().await.unwrap().into_iter().map(|batch| batch.id).collect();
    assert_eq!(listed, ["newer", "b"]);
    let unknown = bus.change_batch("nope", add).await.unwrap_err();
    assert!(matches!(unknown, Error::UnknownBatch(id) if id == "nope"));
    let kept = bus.broker().kv_get(subjects::BATCHES, "b").await.unwrap().unwrap();
    let kept: serde_json::Value = serde_json::from_slice(&kept.value).unwrap();
    assert_eq!(kept["budget"], json!({"nano_usd": 7, "tokens": null}), "as the ledger reads it");
}
