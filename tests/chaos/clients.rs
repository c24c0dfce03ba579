//! Users of the fleet: each has one run going at a time, and writes down every call.
//!
//! A closed loop: a client submits its next task when its last run has ended, so that the
//! fleet is busy for as long as there are tasks, and never with more than so many runs.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use planfleet_core::id::RunId;
use serde_json::Value;
use tokio::{task::JoinSet, time::sleep};

use crate::{
    api::Api,
    history::{Call, Outcome, What},
    support::now_ms,
    workload::{Job, Kind},
};

/// Clients that submit, and so runs that are active at once, unless said otherwise: as
/// many as keep two cores half busy with a debug build, so that an executor that is
/// killed has something in its hands.
pub(crate) const SUBMITTERS: u32 = 10;

/// Clients that only look.
const READERS: u32 = 2;

/// Between two calls of one client, in milliseconds.
const PAUSE_MS: std::ops::Range<u64> = 100..400;

/// Seconds that a read waits for a run's end, one read in three.
const WAIT_S: u64 = 3;

/// What all clients share.
pub(crate) struct Clients {
    api: Api,
    /// Those of them who submit.
    submitters: u32,
    calls: Mutex<Vec<Call>>,
    jobs: Mutex<VecDeque<Arc<Job>>>,
    submitted: Mutex<Vec<Arc<Job>>>,
    active: Mutex<BTreeMap<String, RunId>>,
    refusals: Mutex<Vec<String>>,
    /// No new tasks are submitted.
    closed: AtomicBool,
    /// Nobody waits any more.
    give_up_ms: AtomicU64,
}

impl Clients {
    pub(crate) fn new(api: Api, submitters: u32, jobs: Vec<Job>) -> Arc<Self> {
        Arc::new(Self {
            api,
            submitters,
            calls: Mutex::default(),
            jobs: Mutex::new(jobs.into_iter().map(Arc::new).collect()),
            submitted: Mutex::default(),
            active: Mutex::default(),
            refusals: Mutex::default(),
            closed: AtomicBool::new(false),
            give_up_ms: AtomicU64::new(u64::MAX),
        })
    }

    /// Starts all of them. They end after [`Clients::close`].
    pub(crate) fn start(self: &Arc<Self>) -> JoinSet<()> {
        let mut all = JoinSet::new();
        for client in 0..self.submitters {
            let own = Arc::clone(self);
            all.spawn(async move {
                while let Some(job) = own.next() {
                    own.carry_through(client, &job).await;
                }
            });
        }
        for client in self.submitters..self.submitters + READERS {
            let own = Arc::clone(self);
            all.spawn(async move { own.look_around(client).await });
        }
        all
    }

    /// No new tasks from now on; runs that have not ended at `give_up_ms` are left alone.
    pub(crate) fn close(&self, give_up_ms: u64) {
        self.closed.store(true, Ordering::Relaxed);
        self.give_up_ms.store(give_up_ms, Ordering::Relaxed);
    }

    /// Runs that have not ended as far as their clients know.
    pub(crate) fn active(&self) -> Vec<String> {
        locked(&self.active).keys().cloned().collect()
    }

    /// Every call that was made.
    pub(crate) fn calls(&self) -> Vec<Call> {
        locked(&self.calls).clone()
    }

    /// Every task that was submitted, or at least tried.
    pub(crate) fn submitted(&self) -> Vec<Arc<Job>> {
        locked(&self.submitted).clone()
    }

    /// Submits that were refused, and why: no task of a campaign deserves that.
    pub(crate) fn refusals(&self) -> Vec<String> {
        locked(&self.refusals).clone()
    }

    fn next(&self) -> Option<Arc<Job>> {
        if self.closed.load(Ordering::Relaxed) {
            return None;
        }
        let job = locked(&self.jobs).pop_front()?;
        locked(&self.submitted).push(Arc::clone(&job));
        Some(job)
    }

    fn given_up(&self) -> bool {
        now_ms() >= self.give_up_ms.load(Ordering::Relaxed)
    }

    fn note(&self, client: u32, began_ms: u64, what: What) {
        let call = Call { client, began_ms, ended_ms: now_ms(), what };
        locked(&self.calls).push(call);
    }

    /// One task from its submit to the end of its run.
    async fn carry_through(&self, client: u32, job: &Job) {
        let submitted = match job.kind {
            Kind::Twice => {
                // Another client at the same time.
                let twin = client + self.submitters + READERS;
                let both = tokio::join!(self.submit(client, job), self.submit(twin, job));
                both.0.or(both.1)
            }
            _ => self.submit(client, job).await,
        };
        let Some(run) = submitted else { return };
        locked(&self.active).insert(job.tag.clone(), run.clone());
        if let Some(after) = job.cancel_after {
            sleep(after).await;
            self.cancel(client, &run).await;
        }
        while !self.given_up() {
            let wait_s = if fastrand::u32(..3) == 0 { WAIT_S } else { 0 };
            if self.read(client, &run, wait_s).await {
                break;
            }
            pause().await;
        }
        locked(&self.active).remove(&job.tag);
    }

    /// Submits until it is known what has come of it.
    async fn submit(&self, client: u32, job: &Job) -> Option<RunId> {
        while !self.given_up() {
            let began_ms = now_ms();
            let submitted = self.api.submit(&job.task, &job.tag).await;
            let (key, tag) = (job.tag.clone(), job.tag.clone());
            let (run, outcome) = (submitted.run.clone(), submitted.outcome);
            self.note(client, began_ms, What::Submit { key, tag, run, outcome });
            match submitted.outcome {
                Outcome::Ok => return submitted.run,
                Outcome::Refused => {
                    locked(&self.refusals).push(format!("{}: {}", job.tag, submitted.said));
                    return None;
                }
                Outcome::Unknown => pause().await,
            }
        }
        None
    }

    async fn cancel(&self, client: u32, run: &RunId) {
        while !self.given_up() {
            let began_ms = now_ms();
            let outcome = self.api.cancel(run).await;
            self.note(client, began_ms, What::Cancel { run: run.clone(), outcome });
            if outcome != Outcome::Unknown {
                return;
            }
            pause().await;
        }
    }

    /// Looks at a run; true if it has ended.
    async fn read(&self, client: u32, run: &RunId, wait_s: u64) -> bool {
        let began_ms = now_ms();
        let Some(document) = self.api.read(run, wait_s).await else { return false };
        let state = document["state"].as_str().unwrap_or_default().to_owned();
        if matches!(state.as_str(), "succeeded" | "failed" | "cancelled" | "expired") {
            self.note(client, began_ms, What::Ended { run: run.clone(), document });
            return true;
        }
        let revisions = document["revisions"].as_array().map_or(0, Vec::len);
        let steps = document["steps"].as_array().filter(|_| document["trimmed"] != true);
        let done = |steps: &Vec<Value>| steps.iter().filter(|step| step["state"] == "succeeded").count();
        let what = What::Read {
            run: run.clone(),
            state,
            revision: u32::try_from(revisions).unwrap_or(u32::MAX),
            steps_done: steps.map(|steps| u32::try_from(done(steps)).unwrap_or(u32::MAX)),
        };
        self.note(client, began_ms, what);
        false
    }

    /// Reads of runs that others have submitted.
    async fn look_around(&self, client: u32) {
        while !self.closed.load(Ordering::Relaxed) {
            pause().await;
            let runs: Vec<RunId> = locked(&self.active).values().cloned().collect();
            if let Some(run) = fastrand::choice(runs) {
                self.read(client, &run, 0).await;
            }
        }
    }
}

async fn pause() {
    sleep(Duration::from_millis(fastrand::u64(PAUSE_MS))).await;
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
