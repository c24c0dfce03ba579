use super::*;
use planfleet_core::record::{Decision, Draft, PlanSealed};
#[tokio::test(start_paused = true)]
async fn resurrect() {
    let fleet = Fleet::with_shards(1).await;
    let a = fleet.start_alone("a").await;
    let run = fleet.submit("keyed", goal()).await;
    let draft = Draft { revision: 1, attempt: 1, take: 1 };
    let step: planfleet_core::plan::PlanStep = serde_json::from_value(json!({"id": 1, "description": "a"})).unwrap();
    fleet.append(&run, Fact::StepPlanned { draft, step: Box::new(step) }).await;
    fleet.append(&run, Fact::PlanSealed(Box::new(PlanSealed { draft, steps: 1, decision: Decision::Plan { final_step: 1 }, reason: String::new(), usage: planfleet_core::usage::Usage::NONE, model: String::new(), started_ms: 1 }))).await;
    fleet.submit("other", goal()).await; // stays active
    fleet.submit("keyed", goal()).await; // client repeats
    fleet.append(&run, succeeded(1)).await;
    println!("first end {}", fleet.ended(&run).await["state"]);
    fleet.checkpoint().await;
    a.crash().await;
    let b = fleet.start_alone("b").await;
    sleep(Duration::from_secs(5)).await;
    println!("B emits {:?}", b.work());
    panic!("x");
}
#[tokio::test(start_paused = true)]
async fn too_large() {
    let fleet = Fleet::with_shards(1).await;
    let _a = fleet.start_alone("a").await;
    let run = fleet.submit("run", planned()).await;
    for step in 1..=3 {
        let output = Json::from_value(&json!("x".repeat(30 << 20)));
        fleet.append(&run, Fact::StepSucceeded(Box::new(StepSucceeded { attempt: attempt(step, 1), output }))).await;
    }
    println!("ended: {:?}", fleet.client.wait(&run, Duration::from_secs(120)).await.unwrap().is_some());
    panic!("x");
}
