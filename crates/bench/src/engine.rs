//! The engine as users have it: `planfleet serve`, a process for each role, and a
//! client of the typed bus.

use std::{collections::BTreeMap, ffi::OsString, time::Duration};

use futures::{
    Stream, StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream},
};
use planfleet_bus::{Bus, Client, broker::LogEntry};
use planfleet_core::{document::RunState, id::RunId, task::Submission};
use planfleet_proto::{Message as _, subjects, wire};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    Options, STALL,
    error::Error,
    site::{Role, SHARDS, Site},
};

/// Submits in flight.
const SUBMITS: usize = 512;

/// What a fleet is to be.
#[derive(Debug, Clone)]
pub(crate) struct Fleet {
    pub(crate) executors: usize,
    /// Steps at once in each executor.
    pub(crate) slots: usize,
    /// Plannings at once; without any there is no planner.
    pub(crate) plannings: usize,
    /// What a simulated provider answers, where models are called.
    pub(crate) model: Option<Value>,
    /// What its calls cost, as the configuration says it.
    pub(crate) price: Option<&'static str>,
    /// More of the configuration.
    pub(crate) config: String,
}

impl Fleet {
    /// One executor, with as many slots as no-op steps keep busy.
    pub(crate) fn usual(options: &Options) -> Self {
        let (executors, slots) = (options.executors.unwrap_or(1), options.slots.unwrap_or(SLOTS));
        Self { executors, slots, plannings: 0, model: None, price: None, config: String::new() }
    }
}

/// Slots of an executor whose steps take no time: as many messages as the floor has under way.
pub(crate) const SLOTS: usize = 1_000;

pub(crate) const CONFIG: &str = "planfleet.toml";

/// Starts the fleet on streams that are there already. Says where its simulated provider is.
pub(crate) async fn start(
    site: &mut Site,
    options: &Options,
    fleet: &Fleet,
) -> Result<Option<String>, Error> {
    site.bootstrap(options, fleet).await?;
    let provider = match &fleet.model {
        Some(script) => Some(start_model(site, options, script).await?),
        None => None,
    };
    let models = provider.as_ref().map(|url| models(url, fleet)).unwrap_or_default();
    let config = format!(
        "[nats]\nurl = {url:?}\nmonitoring_url = {monitoring:?}\nreplicas = {replicas}\nshards = {SHARDS}\n\
         [pools.default]\nslots = {slots}\n\
         [telemetry]\nlog_filter = \"warn\"\nlog_format = \"human\"\n\
         [health]\nlisten = \"127.0.0.1:0\"\n[data]\ndir = \"data\"\n{planning}{models}{more}",
        url = site.servers.url,
        monitoring = site.servers.monitoring.join(","),
        replicas = options.broker.replicas,
        slots = fleet.slots,
        planning = plan_pool(fleet.plannings),
        more = fleet.config,
    );
    site.write(CONFIG, &config)?;
    site.hire(options, Role::Coordinator, serve("coordinator")).await?;
    if fleet.plannings > 0 {
        site.hire(options, Role::Planner, serve("planner")).await?;
    }
    start_executors(site, options, fleet.executors).await?;
    Ok(provider)
}

fn plan_pool(plannings: usize) -> String {
    if plannings == 0 { String::new() } else { format!("[pools.plan]\nslots = {plannings}\n") }
}

/// Starts so many executors.
pub(crate) async fn start_executors(site: &mut Site, options: &Options, count: usize) -> Result<(), Error> {
    for _ in 0..count {
        site.hire(options, Role::Executor, serve("executor")).await?;
    }
    Ok(())
}

pub(crate) fn serve(role: &str) -> Vec<OsString> {
    ["serve", "--roles", role, "--config", CONFIG].map(OsString::from).into()
}

/// Starts a simulated provider and says where it is.
async fn start_model(site: &mut Site, options: &Options, script: &Value) -> Result<String, Error> {
    site.write(SCRIPT, &script.to_string())?;
    site.hire(options, Role::Model, ["modelsim", SCRIPT].map(OsString::from).into()).await?;
    let began = Instant::now();
    loop {
        let said = serde_json::from_str::<Value>(&site.said(Role::Model)).unwrap_or_default();
        if let Some(url) = said["base_url"].as_str() {
            return Ok(url.to_owned());
        }
        site.check()?;
        if began.elapsed() > MODEL_TIMEOUT {
            let what = "the simulated provider to listen".to_owned();
            return Err(Error::Late { what, within: MODEL_TIMEOUT });
        }
        sleep(LOOK_EVERY).await;
    }
}

const SCRIPT: &str = "model.json";

const MODEL_TIMEOUT: Duration = Duration::from_secs(10);

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A provider without keys, with room for as many calls as there are slots.
fn models(url: &str, fleet: &Fleet) -> String {
    let concurrency = fleet.slots.max(64);
    let price = fleet.price.map(|price| format!("price = {price}\n")).unwrap_or_default();
    format!(
        "[models.sim]\nbase_url = {url:?}\nmodel = \"sim\"\nmax_concurrency = {concurrency}\n{price}\
         [roles]\nplanner = \"sim\"\nexecutor = \"sim\"\n"
    )
}

/// The user's side.
pub(crate) struct User {
    bus: Bus,
    client: Client,
    submission: Submission,
    /// The stream of ended runs, from `next_end` on; kept open, as whoever waits for
    /// many runs does.
    ends: Option<Ends>,
    next_end: u64,
    /// Runs whose document is not in the message, so that their state is not known yet.
    unread: Vec<RunId>,
}

impl User {
    pub(crate) fn new(site: &Site, submission: Submission) -> Self {
        let bus = site.bus.clone();
        Self {
            client: Client::new(bus.clone()),
            bus,
            submission,
            ends: None,
            next_end: 1,
            unread: Vec::new(),
        }
    }

    /// Submits something else from now on.
    pub(crate) fn set(&mut self, submission: Submission) {
        self.submission = submission;
    }

    /// Submits so many runs and waits until all have ended; gives their latencies.
    pub(crate) async fn submit(&mut self, runs: u64) -> Result<Vec<Duration>, Error> {
        self.follow(runs, Submitted::new()).await
    }

    /// Submits so many runs and waits for none.
    pub(crate) async fn submit_only(&mut self, runs: u64) -> Result<Submitted, Error> {
        let (client, submission) = (self.client.clone(), self.submission.clone());
        submits(&client, &submission, runs).try_collect().await
    }

    /// Waits until runs that were submitted before have ended; gives their latencies.
    pub(crate) async fn await_ends(&mut self, submitted: Submitted) -> Result<Vec<Duration>, Error> {
        self.follow(0, submitted).await
    }

    /// Submits `more` runs and reads what has ended until these and the others have.
    async fn follow(&mut self, more: u64, mut submitted: Submitted) -> Result<Vec<Duration>, Error> {
        let mut ends = match self.ends.take() {
            Some(ends) => ends,
            None => self.bus.broker().read_log(subjects::DONE, self.next_end).await?,
        };
        let (client, submission) = (self.client.clone(), self.submission.clone());
        let mut submitting = submits(&client, &submission, more);
        let wanted = submitted.len() as u64 + more;
        let (mut ended, mut all_submitted) = (Vec::new(), more == 0);
        while (ended.len() as u64) < wanted || !all_submitted {
            let turn = async {
                tokio::select! {
                    one = submitting.next(), if !all_submitted => Event::Submitted(one),
                    end = ends.next() => Event::Ended(end),
                }
            };
            let late = |_| {
                let what = format!("the engine: {} of {wanted} runs ended", ended.len());
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
        self.ends = Some(ends);
        let latency = |(run, at): (RunId, Instant)| Some(at - *submitted.get(&run)?);
        Ok(ended.into_iter().filter_map(latency).collect())
    }

    /// Submits one run after the other and waits for each as the command line does.
    pub(crate) async fn one_by_one(&mut self, runs: u64) -> Result<Vec<Duration>, Error> {
        let mut taken = Vec::new();
        for _ in 0..runs {
            taken.push(self.run().await?.1);
        }
        Ok(taken)
    }

    /// Submits one run and waits for it, likewise.
    pub(crate) async fn run(&mut self) -> Result<(RunId, Duration), Error> {
        let began = Instant::now();
        let run = self.client.submit(self.submission.clone(), None).await?;
        let ended = self.client.wait(&run, STALL).await?;
        let taken = began.elapsed();
        let late = || Error::Late { what: format!("the end of run {run}"), within: STALL };
        check_state(&run, ended.ok_or_else(late)?["state"].as_str().unwrap_or_default())?;
        (self.ends, self.next_end) = (None, self.next_end + 1);
        Ok((run, taken))
    }

    /// Submits something else for once and waits for it; gives the run's document too.
    pub(crate) async fn carry_out(&self, submission: Submission) -> Result<(Value, Duration), Error> {
        let began = Instant::now();
        let run = self.client.submit(submission, None).await?;
        let ended = self.client.wait(&run, STALL).await?;
        let taken = began.elapsed();
        let late = || Error::Late { what: format!("the end of run {run}"), within: STALL };
        let document = ended.ok_or_else(late)?;
        if document["state"] != RunState::Succeeded.as_str() {
            let (state, reason) = (&document["state"], &document["reason"]);
            return Err(Error::Void(format!("run {run} is {state}, and every run should succeed: {reason}")));
        }
        Ok((document, taken))
    }

    /// The document of a run that has ended.
    pub(crate) async fn document(&self, run: &RunId) -> Result<Value, Error> {
        let ended = self.bus.ended(run).await?;
        Ok(ended.ok_or_else(|| Error::Void(format!("run {run} has no document")))?.document)
    }

    /// Looks at what the messages themselves did not tell.
    pub(crate) async fn check_unread(&mut self) -> Result<(), Error> {
        for run in std::mem::take(&mut self.unread) {
            check_state(&run, self.document(&run).await?["state"].as_str().unwrap_or_default())?;
        }
        Ok(())
    }
}

type Ends = BoxStream<'static, Result<LogEntry, planfleet_bus::broker::Error>>;

/// When runs were submitted.
pub(crate) type Submitted = BTreeMap<RunId, Instant>;

/// Submits so many runs, a bounded number of them at once.
fn submits<'a>(
    client: &'a Client,
    submission: &'a Submission,
    runs: u64,
) -> impl Stream<Item = Result<(RunId, Instant), Error>> + Unpin + 'a {
    let submitting = stream::iter(0..runs).map(move |_| async move {
        let at = Instant::now();
        Ok((client.submit(submission.clone(), None).await?, at))
    });
    Box::pin(submitting.buffer_unordered(SUBMITS))
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
