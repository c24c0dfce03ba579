//! `watched`: what two hundred dashboards on one busy run cost that run. The same run is done in turn
//! unwatched and watched, so that what else the machine does meets both. It waits for a person's
//! approval until everybody watches, and is timed by its own document: from the start of its first
//! step to its end.

use std::time::Duration;

use planfleet_bus::{Client, client::Found};
use planfleet_core::{
    document::RunState,
    id::RunId,
    record::{ApprovalDecided, Gate},
    task::Submission,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    Options, STALL,
    engine::{self, Fleet},
    error::{Error, failed},
    graph::{self, Graph},
    machine,
    sample::Sample,
    server,
    site::{Role, Site},
    watcher::Watched as Told,
};

/// Dashboards that watch.
const WATCHERS: usize = 200;

/// Steps between the first and the last.
const STEPS: u32 = 5_000;

/// A thousand steps of 50 ms a second: the run is busy, and the machine has room for who watches.
const SLOTS: usize = 50;

/// The API and two hundred streams are up within this time, on a machine that is busy, too.
const READY: Duration = Duration::from_secs(30);

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What the run's steps do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// They take 50 ms, so that slots are what the run waits for.
    Slots,
    /// They take no time, so that the CPUs are: watching has a part of them.
    Flat,
}

/// So many runs without watchers, and as many with them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watched {
    pub(crate) pace: Pace,
    pub(crate) runs: u64,
}

/// One run.
struct Done {
    took: Duration,
    /// What the API has used meanwhile.
    api_cpu_s: f64,
    told: Option<Told>,
}

impl Watched {
    pub(crate) const PACES: [Pace; 2] = [Pace::Slots, Pace::Flat];

    pub(crate) const fn name(self) -> &'static str {
        match self.pace {
            Pace::Slots => "steps of 50 ms",
            Pace::Flat => "no-op steps",
        }
    }

    const fn graph(self) -> Graph {
        match self.pace {
            Pace::Slots => Graph::Waits(STEPS),
            Pace::Flat => Graph::Wide(STEPS),
        }
    }

    pub(crate) fn steps(self) -> u64 {
        self.runs * self.graph().steps()
    }

    pub(crate) async fn engine(self, options: &Options) -> Result<Sample, Error> {
        let port = server::free_port()?;
        let slots = match self.pace {
            Pace::Slots => options.slots.unwrap_or(SLOTS),
            Pace::Flat => options.slots.unwrap_or(engine::SLOTS),
        };
        let config = format!("[api]\nlisten = \"127.0.0.1:{port}\"\n");
        let fleet = Fleet { slots, config, ..Fleet::usual(options) };
        let mut site = Site::open(options).await?;
        engine::start(&mut site, options, &fleet).await?;
        site.hire(options, Role::Api, engine::serve("api")).await?;
        let api = format!("http://127.0.0.1:{port}/v1");
        site.with_crew(answers(&format!("{api}/whoami"))).await?;

        let mut task = self.graph().task();
        task["approval"] = json!({"plan": true});
        let submission = graph::freeze(task)?;
        let place = Place { options, api, submission };
        place.run(&mut site, 0).await?;
        let (mut alone, mut watched) = (Vec::new(), Vec::new());
        for _ in 0..self.runs {
            alone.push(place.run(&mut site, 0).await?);
            watched.push(place.run(&mut site, WATCHERS).await?);
        }
        let mut sample = Sample::of(site.servers.sync_interval().await?);
        self.figures(&mut sample, &alone, &watched)?;
        site.close().await;
        Ok(sample)
    }

    fn figures(self, sample: &mut Sample, alone: &[Done], watched: &[Done]) -> Result<(), Error> {
        let took = |runs: &[Done]| runs.iter().map(|run| run.took).collect::<Vec<_>>();
        sample.percentiles(["unwatched_p50_ms", "unwatched_p99_ms", "unwatched_p999_ms"], took(alone));
        sample.percentiles(["p50_ms", "p99_ms", "p999_ms"], took(watched));
        let medians = sample.get("p50_ms").zip(sample.get("unwatched_p50_ms"));
        if let Some((with, without)) = medians.filter(|(_, without)| *without > 0.0) {
            sample.set("steps_per_s", self.graph().steps() as f64 * 1_000.0 / with);
            sample.set("slower_percent", (with / without - 1.0) * 100.0);
        }
        let runs = watched.len() as f64;
        sample.set("api_cpu_s_per_run", watched.iter().map(|run| run.api_cpu_s).sum::<f64>() / runs);
        let per_watcher = |of: fn(&Told) -> u64| {
            let sum: u64 = watched.iter().filter_map(|run| run.told.as_ref()).map(of).sum();
            sum as f64 / (runs * WATCHERS as f64)
        };
        let (events, steps) = (per_watcher(|told| told.events), self.graph().steps());
        // Each step says that it has ended, at the least.
        if events < steps as f64 {
            return Err(Error::Void(format!("a watcher was told {events} events of {steps} steps")));
        }
        sample.set("events_per_watcher", events);
        sample.set("documents_per_watcher", per_watcher(|told| told.documents));
        sample.set("bytes_per_watcher", per_watcher(|told| told.bytes));
        sample.set("resumed_per_watcher", per_watcher(|told| told.resumed));
        Ok(())
    }
}

struct Place<'a> {
    options: &'a Options,
    api: String,
    submission: Submission,
}

impl Place<'_> {
    /// One run to its end, with so many who watch.
    async fn run(&self, site: &mut Site, watchers: usize) -> Result<Done, Error> {
        let client = Client::new(site.bus.clone());
        let run = client.submit(self.submission.clone(), None).await?;
        site.with_crew(waits_for_approval(&client, &run)).await?;
        if watchers > 0 {
            let url = format!("{}/runs/{run}", self.api);
            let args = ["bench-watchers", "--url", &url, "--watchers", &watchers.to_string()];
            site.hire_aside(self.options, Role::Watcher, args.map(Into::into).into()).await?;
            said(site, "watching", READY).await?;
        }
        let before = api_cpu_s(site)?;
        let gates = vec![Gate::Plan { revision: 1 }];
        client.decide(&run, ApprovalDecided { gates, approved: true, reason: String::new() }).await?;
        // Those who watch end by themselves when the run does.
        let ended = client.wait(&run, STALL).await?;
        let api_cpu_s = api_cpu_s(site)? - before;
        let late = || Error::Late { what: format!("the end of run {run}"), within: STALL };
        let took = took(&run, &ended.ok_or_else(late)?)?;
        let told = match watchers {
            0 => None,
            _ => Some(
                serde_json::from_str(&said(site, "{", STALL).await?)
                    .map_err(failed("read what was watched"))?,
            ),
        };
        site.dismiss(Role::Watcher).await;
        Ok(Done { took, api_cpu_s, told })
    }
}

fn api_cpu_s(site: &Site) -> Result<f64, Error> {
    site.pids(Role::Api).into_iter().map(machine::cpu_s).sum()
}

/// Waits until the watchers have said a line that begins so.
async fn said(site: &Site, begin: &str, within: Duration) -> Result<String, Error> {
    let began = Instant::now();
    loop {
        let all = site.said(Role::Watcher);
        if let Some(line) = all.lines().find(|line| line.starts_with(begin)) {
            return Ok(line.to_owned());
        }
        if began.elapsed() > within {
            return Err(Error::Late { what: format!("{begin:?} of the watchers, who said {all:?}"), within });
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn answers(url: &str) -> Result<(), Error> {
    let client = reqwest::Client::builder().no_proxy().timeout(READY).build();
    let client = client.map_err(failed("make an HTTP client"))?;
    let began = Instant::now();
    while !client.get(url).send().await.is_ok_and(|answer| answer.status().is_success()) {
        if began.elapsed() > READY {
            return Err(Error::Late { what: "the API to answer".to_owned(), within: READY });
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

async fn waits_for_approval(client: &Client, run: &RunId) -> Result<(), Error> {
    let began = Instant::now();
    loop {
        if let Found::Active(document) = client.find(run).await?
            && document["state"] == RunState::AwaitingApproval.as_str()
        {
            return Ok(());
        }
        if began.elapsed() > READY {
            return Err(Error::Late { what: format!("run {run} to ask for its approval"), within: READY });
        }
        sleep(LOOK_EVERY).await;
    }
}

/// From the start of the first step to the end of the run, by its document.
fn took(run: &RunId, document: &Value) -> Result<Duration, Error> {
    let void = |what: &str| Error::Void(format!("run {run} {what}"));
    if document["state"] != RunState::Succeeded.as_str() {
        return Err(void(&format!(
            "is {}, and every run should succeed: {}",
            document["state"], document["reason"]
        )));
    }
    let time = |value: &Value| humantime::parse_rfc3339(value.as_str()?).ok();
    let first = document["steps"]
        .as_array()
        .and_then(|steps| steps.iter().filter_map(|step| time(&step["started_at"])).min());
    let ended = time(&document["ended_at"]);
    let (first, ended) = first.zip(ended).ok_or_else(|| void("does not say when it began and ended"))?;
    ended.duration_since(first).map_err(|_| void("ended before its first step began"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_timed_by_its_document() {
        let run: RunId = "00-a".parse().unwrap();
        let step = |at: &str| json!({"started_at": at});
        let mut document = json!({
            "state": "succeeded", "ended_at": "2026-01-01T00:00:02.500Z",
            "steps": [step("2026-01-01T00:00:01.000Z"), step("2026-01-01T00:00:00.750Z"), {"started_at": null}],
        });
        assert_eq!(took(&run, &document).unwrap(), Duration::from_millis(1_750));
        document["state"] = json!("failed");
        assert!(took(&run, &document).is_err());
    }

    #[test]
    fn who_has_missed_steps_voids_the_measurement() {
        let told = |events| Told { watchers: WATCHERS, events, documents: 400, bytes: 1 << 20, resumed: 0 };
        let done = |ms, told| Done { took: Duration::from_millis(ms), api_cpu_s: 0.5, told };
        let watched = Watched { pace: Pace::Flat, runs: 1 };
        let enough = 200 * 5_010;
        let mut sample = Sample::default();
        watched.figures(&mut sample, &[done(1_000, None)], &[done(1_040, Some(told(enough)))]).unwrap();
        assert_eq!(sample.get("events_per_watcher"), Some(5_010.0));
        assert!(sample.get("slower_percent").is_some_and(|percent| (percent - 4.0).abs() < 1e-9));
        let missed =
            watched.figures(&mut sample, &[done(1_000, None)], &[done(1_000, Some(told(200 * 4_000)))]);
        assert!(missed.is_err());
    }
}
