//! The engine as users have it: `planfleet serve`, a process for each role, and a
//! client of the typed bus.

use std::{collections::BTreeMap, ffi::OsString, time::Duration};

use futures::{StreamExt as _, stream};
use planfleet_bus::{Bus, Client, broker::LogEntry};
use planfleet_core::{document::RunState, id::RunId, task::Submission};
use planfleet_proto::{Message as _, subjects, wire};
use tokio::time::{Instant, timeout};

use crate::{
    Options, STALL,
    error::Error,
    site::{Role, SHARDS, Site},
};

/// Submits in flight.
const SUBMITS: usize = 512;

/// What a fleet is to be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fleet {
    pub(crate) executors: usize,
    /// Steps at once in each executor.
    pub(crate) slots: usize,
    pub(crate) planner: bool,
    /// Base URL of the simulated provider, where models are called.
    pub(crate) model: Option<String>,
}

const CONFIG: &str = "planfleet.toml";

/// Writes the configuration, and starts a coordinator and a planner where one is wanted.
pub(crate) async fn start(site: &mut Site, options: &Options, fleet: &Fleet) -> Result<(), Error> {
    let Fleet { slots, model, .. } = fleet;
    let models = model.as_ref().map(|url| models(url, *slots)).unwrap_or_default();
    let config = format!(
        "[nats]\nurl = {url:?}\nreplicas = {replicas}\nshards = {SHARDS}\n\
         [pools.default]\nslots = {slots}\n\
         [telemetry]\nlog_filter = \"warn\"\nlog_format = \"human\"\n\
         [health]\nlisten = \"127.0.0.1:0\"\n[data]\ndir = \"data\"\n{models}",
        url = site.servers.url,
        replicas = options.broker.replicas,
    );
    site.write(CONFIG, &config)?;
    site.hire(options, Role::Coordinator, serve("coordinator")).await?;
    if fleet.planner {
        site.hire(options, Role::Planner, serve("planner")).await?;
    }
    Ok(())
}

/// Starts so many executors.
pub(crate) async fn start_executors(site: &mut Site, options: &Options, count: usize) -> Result<(), Error> {
    for _ in 0..count {
        site.hire(options, Role::Executor, serve("executor")).await?;
    }
    Ok(())
}

fn serve(role: &str) -> Vec<OsString> {
    ["serve", "--roles", role, "--config", CONFIG].map(OsString::from).into()
}

/// A provider without prices and keys, with room for as many calls as there are slots.
fn models(url: &str, slots: usize) -> String {
    let concurrency = slots.max(64);
    format!(
        "[models.sim]\nbase_url = {url:?}\nmodel = \"sim\"\nmax_concurrency = {concurrency}\n\
         [roles]\nplanner = \"sim\"\nexecutor = \"sim\"\n"
    )
}

/// The user's side.
pub(crate) struct User {
    bus: Bus,
    client: Client,
    submission: Submission,
    /// Where in the stream of ended runs the next one will be.
    next_end: u64,
    /// Runs whose document is not in the message, so that their state is not known yet.
    unread: Vec<RunId>,
}

impl User {
    pub(crate) fn new(site: &Site, submission: Submission) -> Self {
        let bus = site.bus.clone();
        Self { client: Client::new(bus.clone()), bus, submission, next_end: 1, unread: Vec::new() }
    }

    /// Submits something else from now on.
    pub(crate) fn set(&mut self, submission: Submission) {
        self.submission = submission;
    }

    /// Submits so many runs and waits until all have ended; gives their latencies.
    pub(crate) async fn submit(&mut self, runs: u64) -> Result<Vec<Duration>, Error> {
        let mut ends = self.bus.broker().read_log(subjects::DONE, self.next_end).await?;
        let (client, submission) = (&self.client, &self.submission);
        let submitting = stream::iter(0..runs).map(|_| async move {
            let at = Instant::now();
            Ok::<_, Error>((client.submit(submission.clone(), None).await?, at))
        });
        let mut submitting = submitting.buffer_unordered(SUBMITS);
        let (mut submitted, mut ended) = (BTreeMap::new(), Vec::new());
        let mut all_submitted = false;
        while (ended.len() as u64) < runs || !all_submitted {
            let turn = async {
                tokio::select! {
                    one = submitting.next(), if !all_submitted => Event::Submitted(one),
                    end = ends.next() => Event::Ended(end),
                }
            };
            let late = |_| {
                let what = format!("the engine: {} of {runs} runs ended", ended.len());
                Error::Late { what, within: STALL }
            };
            match timeout(STALL, turn).await.map_err(late)? {
                Event::Submitted(Some(one)) => {
                    let (run, at) = one?;
                    submitted.insert(run, at);
                }
                Event::Submitted(None) => all_submitted = true,
                Event::Ended(None) => return Err(Error::Void("the stream of ended runs ended".to_owned())),
                Event::Ended(Some(entry)) => {
                    let entry = entry?;
                    self.next_end = entry.seq + 1;
                    ended.push((end_of(&entry, &mut self.unread)?, Instant::now()));
                }
            }
        }
        let latency = |(run, at): (RunId, Instant)| Some(at - *submitted.get(&run)?);
        Ok(ended.into_iter().filter_map(latency).collect())
    }

    /// Submits one run after the other and waits for each as the command line does.
    pub(crate) async fn one_by_one(&mut self, runs: u64) -> Result<Vec<Duration>, Error> {
        let mut taken = Vec::new();
        for _ in 0..runs {
            let began = Instant::now();
            let run = self.client.submit(self.submission.clone(), None).await?;
            let ended = self.client.wait(&run, STALL).await?;
            let late = || Error::Late { what: format!("the end of run {run}"), within: STALL };
            let document = ended.ok_or_else(late)?;
            taken.push(began.elapsed());
            let state = document["state"].as_str().unwrap_or_default();
            check_state(&run, state)?;
            self.next_end += 1;
        }
        Ok(taken)
    }

    /// Looks at what the messages themselves did not tell.
    pub(crate) async fn check_unread(&mut self) -> Result<(), Error> {
        for run in std::mem::take(&mut self.unread) {
            let ended = self.bus.ended(&run).await?;
            let state = ended.and_then(|ended| ended.document["state"].as_str().map(str::to_owned));
            check_state(&run, &state.unwrap_or_default())?;
        }
        Ok(())
    }
}

enum Event {
    Submitted(Option<Result<(RunId, Instant), Error>>),
    Ended(Option<Result<LogEntry, planfleet_bus::broker::Error>>),
}

/// Which run has ended; fails unless it has succeeded. A body that travels by
/// reference is looked at later.
fn end_of(entry: &LogEntry, unread: &mut Vec<RunId>) -> Result<RunId, Error> {
    let name = entry.subject.rsplit('.').next().unwrap_or_default();
    let run: RunId = name.parse().map_err(|_| Error::Void(format!("{} names no run", entry.subject)))?;
    if entry.payload.is_empty() {
        unread.push(run.clone());
        return Ok(run);
    }
    let finished = wire::RunFinished::decode(entry.payload.clone())
        .map_err(|error| Error::Void(format!("the end of run {run} cannot be read: {error}")))?;
    check_state(&run, &finished.state)?;
    Ok(run)
}

fn check_state(run: &RunId, state: &str) -> Result<(), Error> {
    if state == RunState::Succeeded.as_str() {
        return Ok(());
    }
    Err(Error::Void(format!("run {run} is {state:?}, and every run should succeed")))
}
