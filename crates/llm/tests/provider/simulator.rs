//! What the simulator promises to whoever looks at it.

use std::time::Duration;

use futures::future;
use planfleet_llm::ChatModel;
use planfleet_modelsim::{Fault, FaultKind, ReceivedRequest, Rule, Simulator};
use serde_json::Value;

use crate::{ask, client, with};

#[tokio::test]
async fn it_is_visibly_a_simulator_and_shows_what_it_received() {
    with(Simulator::builder().rule(Rule::text("x")), async |simulator| {
        client(&simulator).chat(&ask("look")).await.unwrap();
        let origin = format!("http://{}", simulator.addr());
        for path in ["healthz", "requests", "v1/models", "nowhere"] {
            let response = reqwest::get(format!("{origin}/{path}")).await.unwrap();
            assert_eq!(response.headers()["x-modelsim"], "simulated", "{path}");
        }
        let response = reqwest::get(format!("{origin}/requests")).await.unwrap();
        let shown: Vec<Value> = response.json().await.unwrap();
        assert_eq!(shown[0]["body"]["messages"][0]["content"], "look");
        assert_eq!(shown[0]["rule"], 1);
    })
    .await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_hung_answer() {
    let rule = Rule::default().fault(Fault::Kind(FaultKind::Hang));
    let builder = Simulator::builder().rule(rule);
    let (simulator, server) = builder.bind("127.0.0.1:0").await.unwrap();
    let seen = simulator.clone();
    let serving = server.serve(async move {
        let _ = seen.wait_for_requests(1, Duration::from_secs(5)).await;
    });
    let model = client(&simulator);
    let request = ask("x");
    let (answer, served) = future::join(model.chat(&request), serving).await;
    assert_eq!(answer.unwrap_err().status, Some(503));
    served.unwrap();
    let requests: Vec<ReceivedRequest> = simulator.requests();
    assert!(requests[0].ended_us.is_some());
}
