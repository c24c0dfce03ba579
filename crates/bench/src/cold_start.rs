//! `cold-start`: from the start of `planfleet dev` in an empty home, its nats-server
//! included, to the end of the first step.

use std::{path::Path, sync::Arc, time::Duration};

use planfleet_bus::{
    Bus, Client,
    broker::nats::{ConnectOptions, NatsBroker},
};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{
    Options, STALL,
    child::{Child, Program},
    error::{Error, failed},
    graph::Graph,
    sample::Sample,
    site::SHARDS,
};

/// Short beside what is measured.
const LOOK_EVERY: Duration = Duration::from_millis(1);

const DATA: &str = "data";

pub(crate) async fn engine(options: &Options) -> Result<Sample, Error> {
    let folder = tempfile::Builder::new().prefix("planfleet-bench-").tempdir();
    let folder = folder.map_err(failed("make a folder for the measurement"))?;
    let sync = options.broker.sync.setting();
    let sync = sync.map(|interval| format!("[nats]\nsync_interval = {interval:?}\n")).unwrap_or_default();
    let config = format!(
        "{sync}[data]\ndir = {DATA:?}\n[telemetry]\nlog_filter = \"warn\"\n[api]\nlisten = \"127.0.0.1:0\"\n"
    );
    std::fs::write(folder.path().join("planfleet.toml"), config).map_err(failed("write planfleet.toml"))?;
    let program = Program {
        name: "dev".to_owned(),
        path: options.program.clone(),
        args: ["dev", "--no-local-model"].map(Into::into).into(),
        env: vec![("PLANFLEET_NATS_SERVER", options.nats_server.clone().into())],
        folder: folder.path().to_owned(),
    };
    let began = Instant::now();
    let mut child = Child::start(&program).await?;
    let ended = tokio::select! {
        biased;
        ended = first_step(folder.path(), began) => ended,
        error = child.ended() => Err(error),
    };
    let (ready, first_end) = ended?;
    child.stop().await;
    // Its server tells nobody else how it syncs: it is as it was started.
    let mut sample = Sample::of(options.broker.sync.setting().unwrap_or("default").to_owned());
    sample.set("ready_ms", ms(ready));
    sample.set("cold_start_ms", ms(first_end));
    Ok(sample)
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// When the broker was there, and when the first run had ended.
async fn first_step(folder: &Path, began: Instant) -> Result<(Duration, Duration), Error> {
    let url = url(&folder.join(DATA).join("dev.json"), began).await?;
    let ready = began.elapsed();
    let broker = NatsBroker::connect(ConnectOptions { url, ..ConnectOptions::default() }).await?;
    let client = Client::new(Bus::new(Arc::new(broker), SHARDS));
    let run = client.submit(Graph::Chain(1).submission()?, None).await?;
    let ended = client.wait(&run, STALL).await?;
    let first_end = began.elapsed();
    let state = ended.map(|document| document["state"].clone()).unwrap_or_default();
    if state != "succeeded" {
        return Err(Error::Void(format!("the first run is {state}, and should have succeeded")));
    }
    Ok((ready, first_end))
}

/// Where `planfleet dev` says that its broker is.
async fn url(address: &Path, began: Instant) -> Result<String, Error> {
    while began.elapsed() < STALL {
        let told = std::fs::read_to_string(address).ok();
        let told = told.and_then(|text| serde_json::from_str::<Value>(&text).ok());
        if let Some(url) = told.and_then(|told| told["nats_url"].as_str().map(str::to_owned)) {
            return Ok(url);
        }
        sleep(LOOK_EVERY).await;
    }
    Err(Error::Late { what: "the address of planfleet dev".to_owned(), within: STALL })
}
