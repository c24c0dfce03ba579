//! `batch`: lines that pin a template of ten no-op steps, submitted by `planfleet batch submit`
//! as a process of its own. A row for each window: with a hundredth of the runs open at once, and
//! with all of them. What counts is that neither makes the fleet slower or larger, and that
//! submitting is never further ahead than it may be, as the broker's own times tell.

use std::{ffi::OsString, fmt::Write as _, time::Duration};

use futures::StreamExt as _;
use planfleet_api::{
    batch::order::WINDOW_MAX,
    template::{Library, Template},
};
use planfleet_core::document::RunState;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    Options, STALL,
    engine::{self, Fleet, User},
    error::{Error, failed},
    graph::{Graph, PAYLOAD_BYTES},
    measure::{Side, Span},
    sample::Sample,
    site::{Role, Site},
    slow::unix_ms,
    usage::Usage,
};

/// A batch of so many lines, of which so many runs are open at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch {
    pub(crate) runs: u64,
    pub(crate) window: u64,
}

/// Runs before the batch.
const WARM_UP: u64 = 50;

const ID: &str = "bench";

const LINES: &str = "tasks.jsonl";

/// The slowest that a run of a fleet that gets on is, beside a compile and unoptimised.
const RUN_MAX: Duration = Duration::from_millis(100);

/// The part of the runs that is open at once in the first row.
const PART: u64 = 100;

impl Batch {
    /// The rows for so many runs.
    pub(crate) fn of(runs: u64) -> [Self; 2] {
        let most = runs.min(u64::from(WINDOW_MAX));
        // As few as one would wait for each run.
        let least = (most / PART).max(4).min(most);
        [Self { runs, window: least }, Self { runs, window: most }]
    }

    pub(crate) fn steps(self) -> u64 {
        self.runs * Graph::Diamond.steps()
    }

    pub(crate) async fn engine(self, options: &Options) -> Result<Sample, Error> {
        let mut site = Site::open(options).await?;
        engine::start(&mut site, options, &Fleet::usual(options)).await?;
        let mut user = User::new(&site, Graph::Diamond.submission()?);
        site.with_crew(user.submit(WARM_UP)).await?;
        let template = add_template(&site).await?;
        site.write(LINES, &self.lines(&template))?;

        let before = site.read().await?;
        let mut submitter = site.errand(options, "submitter", self.submit()).await?;
        let mut pids = vec![(Role::Submitter, submitter.pid())];
        for role in [Role::Coordinator, Role::Executor, Role::Server] {
            pids.extend(site.pids(role).into_iter().map(|pid| (role, pid)));
        }
        let limit = STALL + RUN_MAX * u32::try_from(self.runs).unwrap_or(u32::MAX);
        let submitted = Usage::of(&pids, submitter.succeeded(limit));
        let ((), usage) = site.with_crew(submitted).await?;
        let after = site.read().await?;
        let (open_peak, latencies) = self.ends(&site).await?;

        let span = Span { before, after, runs: self.runs, steps: self.steps() };
        span.check()?;
        let mut sample = span.sample(&site, Side::Engine, latencies).await?;
        sample.set("open_runs_peak", open_peak as f64);
        let submitter_cpu_s = usage.cpu_s(submitter.pid());
        sample.set("submitter_cpu_s_per_1k", submitter_cpu_s * 1_000.0 / self.steps() as f64);
        // The submitter is no other.
        let share = submitter_cpu_s / (span.seconds() * crate::machine::cpus());
        sample.set("others_cpu_share", (span.others_cpu_share() - share).max(0.0));
        for (role, peak, growth) in [
            (Role::Submitter, "submitter_rss_mb", "submitter_growth_mb"),
            (Role::Coordinator, "coordinator_rss_mb", "coordinator_growth_mb"),
            (Role::Executor, "executor_rss_mb", "executor_growth_mb"),
            (Role::Server, "server_rss_mb", "server_growth_mb"),
        ] {
            usage.peak_mb(role).into_iter().for_each(|mb| sample.set(peak, mb));
            usage.growth_mb(role).into_iter().for_each(|mb| sample.set(growth, mb));
        }
        site.close().await;
        Ok(sample)
    }

    fn lines(self, template: &str) -> String {
        let text = "x".repeat(PAYLOAD_BYTES);
        let mut lines = String::new();
        for number in 0..self.runs {
            let task =
                json!({"template": template, "custom_id": format!("t{number}"), "inputs": {"text": text}});
            // Writing into memory cannot fail.
            let _ = writeln!(lines, "{task}");
        }
        lines
    }

    fn submit(self) -> Vec<OsString> {
        let window = self.window.to_string();
        let args =
            ["batch", "submit", LINES, "--id", ID, "--window", &window, "--wait", "--config", engine::CONFIG];
        args.map(OsString::from).into()
    }

    /// The most runs that were open at once, and how long each was, by the broker's times of its
    /// first record and of its document.
    async fn ends(self, site: &Site) -> Result<(u64, Vec<Duration>), Error> {
        let none = || Error::Void(format!("batch {ID} is not kept"));
        let batch = site.bus.batch(ID).await?.ok_or_else(none)?;
        let mut ends = site.bus.follow_batch(&batch).await?;
        let (mut begun, mut ended) = (Vec::new(), Vec::new());
        for _ in 0..self.runs {
            let late = |_| Error::Late { what: "the documents of the batch".to_owned(), within: STALL };
            let next = timeout(STALL, ends.next()).await.map_err(late)?;
            let (end, entry) =
                next.ok_or_else(|| Error::Void("the log of ended runs has ended".to_owned()))??;
            if end.state != RunState::Succeeded {
                return Err(Error::Void(format!("run {} is {:?}", end.run, end.state)));
            }
            let text = site.bus.document_text(entry).await?;
            let times: Times = serde_json::from_str(&text).map_err(failed("read a document"))?;
            begun.push(unix_ms(&times.created_at)?);
            ended.push(end.at_ms);
        }
        let latency = |(begun, ended): (&u64, &u64)| Duration::from_millis(ended.saturating_sub(*begun));
        let latencies = begun.iter().zip(&ended).map(latency).collect();
        Ok((at_once(begun, ended), latencies))
    }
}

#[derive(Deserialize)]
struct Times {
    created_at: Value,
}

/// The most of some spans that are open at once; of one millisecond, ends come first.
fn at_once(mut begun: Vec<u64>, mut ended: Vec<u64>) -> u64 {
    begun.sort_unstable();
    ended.sort_unstable();
    let (mut over, mut most) = (0, 0);
    for (number, at) in (1_u64..).zip(begun) {
        while ended.get(over).is_some_and(|end| *end <= at) {
            over += 1;
        }
        most = most.max(number - over as u64);
    }
    most
}

/// Adds a diamond whose first text is a slot to the fleet, and gives the version's reference.
async fn add_template(site: &Site) -> Result<String, Error> {
    let mut plan = Graph::Diamond.task()["plan"].take();
    plan["steps"][0]["inputs"] = json!([{"name": "text", "from_step": 0, "path": "/text"}]);
    let slots = json!({
        "type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"],
        "additionalProperties": false,
    });
    let written = json!({"name": "bench-diamond", "slots": slots, "plan": plan}).to_string();
    let template =
        Template::parse(&written).map_err(|faults| failed("read the template")(faults.join("; ")))?;
    Library::on(site.bus.clone()).add(&template, 0).await.map_err(failed("add the template"))?;
    template.reference().ok_or_else(|| failed("name the template")("it has no name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_as_another_begins_is_not_open_with_it() {
        assert_eq!(at_once(vec![1, 2, 5, 6], vec![5, 7, 8, 9]), 3);
        assert_eq!(at_once(vec![1, 2, 3], vec![2, 3, 4]), 1);
        assert_eq!(at_once(Vec::new(), Vec::new()), 0);
    }

    #[test]
    fn a_small_batch_has_two_rows_too() {
        let windows = |runs| Batch::of(runs).map(|batch| batch.window);
        assert_eq!((windows(100_000), windows(40), windows(1)), ([1_000, 100_000], [4, 40], [1, 1]));
    }
}
