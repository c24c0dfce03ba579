//! People hold runs and let them go, whoever owns the shard.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use futures::{
    FutureExt as _, StreamExt as _,
    future::{join, join_all},
    stream::BoxStream,
};
use planfleet_bus::{broker::Broker as _, client::Question, live::News};
use planfleet_core::{
    id::StepId,
    record::{ApprovalDecided, Fact, Gate},
};
use planfleet_proto::subjects;
use serde_json::json;

use super::{Fleet, PATIENCE, enveloped, goal, planned, soon_news, step, succeeded};

fn decided(gate: Gate, approved: bool) -> Fact {
    Fact::ApprovalDecided(ApprovalDecided { gates: vec![gate], approved, reason: "because".to_owned() })
}

/// The next news of that event.
async fn told(news: &mut BoxStream<'static, News>, event: &str) -> News {
    loop {
        let next = soon_news(news).await;
        if next.event == event {
            return next;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_paused_run_stays_paused_whoever_owns_it() {
    let fleet = Fleet::with_shards(1).await;
    let a = fleet.start_alone("a").await;
    let run = fleet.submit("run", planned()).await;
    fleet.queued(&step(&run, 2, 1)).await;
    fleet.append(&run, Fact::RunPauseRequested { reason: "lunch".to_owned() }).await;
    fleet.append(&run, succeeded(1)).await;
    fleet.checkpoint().await;
    a.crash().await;
    fleet.append(&run, succeeded(2)).await;

    let b = fleet.start_alone("b").await;
    fleet.checkpoint().await;
    let document = fleet.active(&run).await;
    assert_eq!((&document["state"], &document["paused"]), (&"paused".into(), &"lunch".into()));
    assert_eq!(document["steps"][2]["waits_for"], json!({"code": "pause"}));
    assert_eq!(b.work(), [] as [String; 0], "nothing new is started");
    fleet.append(&run, Fact::RunResumeRequested).await;
    fleet.queued(&step(&run, 3, 1)).await;
    fleet.append(&run, succeeded(3)).await;
    assert_eq!(fleet.ended(&run).await["state"], "succeeded");
}

#[tokio::test(start_paused = true)]
async fn a_plan_waits_for_its_approval_whoever_owns_it() {
    let fleet = Fleet::with_shards(1).await;
    let run = "00-run".parse().unwrap();
    let mut news = fleet.watch(&run).await;
    let a = fleet.start_alone("a").await;
    fleet.submit("run", enveloped(planned(), |envelope| envelope.approval.plan = true)).await;
    assert_eq!(told(&mut news, "ApprovalAsked").await.step, None, "the plan as a whole");
    fleet.checkpoint().await;
    a.crash().await;

    let b = fleet.start_alone("b").await;
    told(&mut news, "ApprovalAsked").await;
    let document = fleet.active(&run).await;
    assert_eq!(document["state"], "awaiting_approval");
    assert_eq!(document["approvals"], json!([{"gate": "plan", "revision": 1}]));
    assert_eq!((a.work(), b.work()), (Vec::new(), Vec::new()));
    fleet.append(&run, decided(Gate::Plan { revision: 1 }, true)).await;
    assert_eq!(told(&mut news, "ApprovalDecided").await.step, None);
    fleet.queued(&step(&run, 1, 1)).await;
    fleet.queued(&step(&run, 2, 1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_step_waits_for_its_approval_whoever_owns_it() {
    let fleet = Fleet::with_shards(1).await;
    let run = "00-run".parse().unwrap();
    let mut news = fleet.watch(&run).await;
    let a = fleet.start_alone("a").await;
    let plan = json!({"final": 2, "steps": [
        {"id": 1, "description": "a"}, {"id": 2, "description": "b", "tools": ["send"], "depends_on": [1]}]});
    let mut task =
        enveloped(goal(), |envelope| envelope.approval.tools = BTreeSet::from(["send".to_owned()]));
    task.plan = Some(serde_json::from_value(plan).unwrap());
    fleet.submit("run", task).await;
    fleet.append(&run, succeeded(1)).await;
    let asked = Some(StepId::plain(2));
    assert_eq!(told(&mut news, "ApprovalAsked").await.step, asked);
    fleet.checkpoint().await;
    a.crash().await;

    let b = fleet.start_alone("b").await;
    assert_eq!(told(&mut news, "ApprovalAsked").await.step, asked, "who watches now is told again");
    assert_eq!(b.work(), [] as [String; 0]);
    fleet.append(&run, decided(Gate::Step { step: 2 }, true)).await;
    assert_eq!(told(&mut news, "ApprovalDecided").await.step, asked);
    fleet.queued(&step(&run, 2, 1)).await;
}

#[tokio::test(start_paused = true)]
async fn who_watches_is_told_of_pauses() {
    let fleet = Fleet::with_shards(1).await;
    let _a = fleet.start_alone("a").await;
    let run = fleet.submit("run", planned()).await;
    fleet.checkpoint().await;
    let mut news = fleet.watch(&run).await;
    fleet.append(&run, Fact::RunPauseRequested { reason: "lunch".to_owned() }).await;
    fleet.append(&run, Fact::RunResumeRequested).await;
    for event in ["RunPauseRequested", "RunResumeRequested"] {
        let next = soon_news(&mut news).await;
        assert_eq!((next.event.as_str(), next.step), (event, None));
    }
    assert_eq!(news.next().now_or_never(), None);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_questions_does_not_hold_up_the_log() {
    const ASKED: usize = 500;
    let fleet = Fleet::with_shards(1).await;
    let _node = fleet.start_alone("a").await;
    let run = fleet.submit("run", planned()).await;
    fleet.queued(&step(&run, 2, 1)).await;
    let question = Bytes::from(serde_json::to_vec(&Question::Run { run: run.clone() }).unwrap());
    let answered = AtomicUsize::new(0);
    let asked = (0..ASKED).map(|_| async {
        let answer = fleet.broker.request(subjects::reads(0), question.clone(), PATIENCE).await;
        answer.expect("an answer");
        answered.fetch_add(1, Ordering::Relaxed);
    });
    let folded = async {
        for done in [1, 2] {
            fleet.append(&run, succeeded(done)).await;
        }
        // No sleep: on a paused clock it would last until everything is answered.
        while !fleet.is_queued(&step(&run, 3, 1)).await {
            tokio::task::yield_now().await;
        }
        answered.load(Ordering::Relaxed)
    };
    let (_, before) = join(join_all(asked), folded).await;
    // One for each look at the log, which takes all that is there.
    assert!(before < 32, "{before} of {ASKED} questions were answered first");
}
