//! `isolation`: what one tenant notices of others. A row for how long the runs of one take, alone
//! and then beside another that has a hundred times as many; the same with steps that take no time;
//! and a row for the shares of tenants of different weights that all have more than is done.

use std::{collections::BTreeMap, time::Duration};

use futures::StreamExt as _;
use planfleet_bus::{
    Client,
    flow::{Pause, Target},
};
use planfleet_core::task::Submission;
use planfleet_proto::subjects;
use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::{
    Options, STALL,
    engine::{self, Fleet, User},
    error::Error,
    graph::{self, Graph, WAIT_MS},
    sample::Sample,
    site::Site,
};

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// How long runs take beside others, by steps that keep a slot for [`WAIT_MS`].
    Wait,
    /// The same with steps that take no time.
    WaitShort,
    /// Who gets how much.
    Shares,
}

/// So many runs of the tenant that is looked at, or of each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Isolation {
    pub(crate) question: Question,
    pub(crate) runs: u64,
}

/// As a process has by default.
const SLOTS: usize = 16;

/// Runs of the other tenant for one of the tenant that is looked at.
const TIMES: f64 = 100.0;

/// Before anything is measured.
const WARM_UP: u64 = 20;

/// Seconds of work that are there before anybody is looked at.
const AHEAD_S: f64 = 2.0;

/// The most that is submitted ahead: a queue that is as long is as good as an endless one.
const OPEN_MAX: u64 = 5_000;

const SUBMIT_EVERY: Duration = Duration::from_millis(20);

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The tenants that share, and their weights.
const WEIGHTS: [(&str, u32); 4] = [("one", 1), ("two", 2), ("three", 3), ("four", 4)];

const LIGHT: &str = "light";
const HEAVY: &str = "heavy";

impl Question {
    pub(crate) const ALL: [Self; 3] = [Self::Wait, Self::WaitShort, Self::Shares];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::WaitShort => "wait-short",
            Self::Shares => "shares",
        }
    }
}

impl Isolation {
    /// Steps of the runs that are looked at.
    pub(crate) const fn steps(self) -> u64 {
        match self.question {
            Question::Wait | Question::WaitShort => self.runs,
            Question::Shares => self.runs * WEIGHTS.len() as u64,
        }
    }

    pub(crate) async fn engine(self, options: &Options) -> Result<Sample, Error> {
        let weights = WEIGHTS.map(|(name, weight)| format!("[tenants.{name}]\nweight = {weight}\n")).concat();
        let slots = options.slots.unwrap_or(SLOTS);
        let fleet = Fleet { slots, config: weights, ..Fleet::usual(options) };
        let mut site = Site::open(options).await?;
        engine::start(&mut site, options, &fleet).await?;
        let mut user = User::new(&site, self.submission(LIGHT)?);
        site.with_crew(user.submit(WARM_UP)).await?;
        let mut sample = Sample::of(site.servers.sync_interval().await?);
        match self.question {
            Question::Wait | Question::WaitShort => self.wait(&mut site, user, &mut sample).await?,
            Question::Shares => self.shares(&mut site, &mut sample).await?,
        }
        site.close().await;
        Ok(sample)
    }

    fn submission(self, tenant: &str) -> Result<Submission, Error> {
        let mut task = match self.question {
            Question::WaitShort => Graph::Chain(1).task(),
            Question::Wait | Question::Shares => graph::wait_task(WAIT_MS),
        };
        task["tenant"] = tenant.into();
        graph::freeze(task)
    }

    async fn wait(self, site: &mut Site, mut light: User, sample: &mut Sample) -> Result<(), Error> {
        let began = Instant::now();
        let alone = site.with_crew(light.one_by_one(self.runs)).await?;
        let per_s = TIMES * self.runs as f64 / began.elapsed().as_secs_f64();
        let client = Client::new(site.bus.clone());
        let mut heavy = Heavy { user: User::new(site, self.submission(HEAVY)?), per_s, submitted: 0 };
        let crowded = async {
            heavy.submit(per_s * AHEAD_S).await?;
            let began = Instant::now();
            let before = heavy.submitted;
            let taken = tokio::select! {
                taken = light.one_by_one(self.runs) => taken?,
                error = heavy.go_on(&client) => return Err(error),
            };
            let meanwhile = (heavy.submitted - before) as f64 / began.elapsed().as_secs_f64();
            match backlog(&client, HEAVY).await {
                0 => Err(Error::Void("the other tenant had nothing that waited at the end".to_owned())),
                waiting => Ok((taken, meanwhile, waiting)),
            }
        };
        let (crowded, meanwhile, waiting) = site.with_crew(crowded).await?;
        sample.set("heavy_runs_per_s", meanwhile);
        sample.set("heavy_waiting", waiting as f64);
        sample.percentiles(["alone_p50_ms", "alone_p99_ms", "alone_p999_ms"], alone);
        sample.percentiles(["p50_ms", "p99_ms", "p999_ms"], crowded);
        for (name, crowded, alone) in
            [("p50_times_alone", "p50_ms", "alone_p50_ms"), ("p99_times_alone", "p99_ms", "alone_p99_ms")]
        {
            if let (Some(crowded), Some(alone)) = (sample.get(crowded), sample.get(alone)) {
                sample.set(name, crowded / alone);
            }
        }
        Ok(())
    }

    /// All submit while nothing is let go; who has how much of what ends, until one has nothing
    /// that waits any more, is his share.
    async fn shares(self, site: &mut Site, sample: &mut Sample) -> Result<(), Error> {
        let target = Target::Pool("default".to_owned());
        let reason = "a benchmark submits".to_owned();
        site.bus.pause(&Pause { target: target.clone(), reason, since_ms: 0 }).await?;
        let client = Client::new(site.bus.clone());
        let mut submissions = Vec::new();
        for (tenant, _) in WEIGHTS {
            submissions.push((tenant, self.submission(tenant)?));
        }
        let bus = site.bus.clone();
        let mut user = User::new(site, self.submission(LIGHT)?);
        let sharing = async {
            for (tenant, submission) in submissions {
                user.set(submission);
                user.submit_only(self.runs).await?;
                let began = Instant::now();
                while backlog(&client, tenant).await < self.runs {
                    if began.elapsed() > STALL {
                        return Err(Error::Late {
                            what: format!("the work of tenant {tenant}"),
                            within: STALL,
                        });
                    }
                    sleep(LOOK_EVERY).await;
                }
            }
            bus.resume(&target).await?;
            let began = Instant::now();
            let mut log = bus.broker().read_log(subjects::DONE, 1 + WARM_UP).await?;
            let mut ended = BTreeMap::<String, u64>::new();
            // What is let go is in the window until it ends: the last of whoever is first to be
            // done go beside more of the others'.
            while ended.values().all(|count| *count < self.runs - self.runs / 10) {
                let late = |_| Error::Late { what: "a tenant's runs".to_owned(), within: STALL };
                let entry = timeout(STALL, log.next()).await.map_err(late)?;
                let entry =
                    entry.ok_or_else(|| Error::Void("the log of ended runs has ended".to_owned()))??;
                let tenant = entry.subject.split('.').nth(2).unwrap_or_default().to_owned();
                *ended.entry(tenant).or_default() += 1;
            }
            Ok((ended, began.elapsed()))
        };
        let (ended, taken) = site.with_crew(sharing).await?;
        let (all, weights) =
            (ended.values().sum::<u64>(), WEIGHTS.iter().map(|(_, weight)| weight).sum::<u32>());
        let off = WEIGHTS.map(|(tenant, weight)| {
            let share = ended.get(tenant).copied().unwrap_or_default() as f64 / all as f64;
            (share / (f64::from(weight) / f64::from(weights)) - 1.0).abs()
        });
        sample.set("steps_per_s", all as f64 / taken.as_secs_f64());
        sample.set("share_off_max", off.into_iter().fold(0.0, f64::max));
        Ok(())
    }
}

/// Who has a hundred times as much.
struct Heavy {
    user: User,
    per_s: f64,
    submitted: u64,
}

impl Heavy {
    async fn submit(&mut self, runs: f64) -> Result<(), Error> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few thousand runs")]
        let runs = (runs.max(1.0) as u64).min(OPEN_MAX);
        self.user.submit_only(runs).await?;
        self.submitted += runs;
        Ok(())
    }

    /// Goes on as fast as it should, or can, for ever; gives what goes wrong.
    async fn go_on(&mut self, client: &Client) -> Error {
        let mut ticks = interval(SUBMIT_EVERY);
        // What could not be submitted in time is not made up for at once.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut due = 0.0;
        let mut looked = Instant::now();
        let mut waiting = 0;
        loop {
            ticks.tick().await;
            if looked.elapsed() > Duration::from_secs(1) {
                (looked, waiting) = (Instant::now(), backlog(client, HEAVY).await);
            }
            due += self.per_s * SUBMIT_EVERY.as_secs_f64();
            if waiting > OPEN_MAX || due < 1.0 {
                continue;
            }
            match self.submit(due).await {
                Ok(()) => due = due.fract(),
                Err(error) => return error,
            }
        }
    }
}

/// A tenant's work that waits for its turn.
async fn backlog(client: &Client, tenant: &str) -> u64 {
    let (queues, _) = client.queues().await;
    let pools = queues.values().flat_map(|queue| queue["pools"].as_array().into_iter().flatten());
    let rows = pools.flat_map(|pool| pool["rows"].as_array().into_iter().flatten());
    let waiting = |row: &Value| row["ready"].as_u64().unwrap_or(0) + row["paused"].as_u64().unwrap_or(0);
    rows.filter(|row| row["tenant"] == tenant).map(waiting).sum()
}
