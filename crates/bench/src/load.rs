//! Workloads of no-op steps, engine and floor alike: many runs at once, one after the
//! other, or one at a time as somebody waits for each.

use std::time::Duration;

use tokio::time::sleep;

use crate::{
    Options,
    engine::{self, Fleet, User},
    error::Error,
    floor,
    graph::Graph,
    measure::{Side, Span},
    messages::Messages,
    sample::Sample,
    site::{Role, Site},
};

/// What a process does differently in its first seconds is no part of the figures: until it
/// knows who watches runs (three seconds), it tells the news of all of them.
const SETTLED: Duration = Duration::from_millis(3_500);

/// How runs are submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// All at once.
    Together,
    /// One when the one before has ended, read in the stream of ended runs.
    InTurn,
    /// One when the one before has ended, waited for as a user does.
    Waiting,
}

/// So many runs of a shape.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) graph: Graph,
    pub(crate) pace: Pace,
    pub(crate) runs: u64,
}

impl Load {
    pub(crate) fn steps(&self) -> u64 {
        self.runs * self.graph.steps()
    }

    /// Runs before anything is measured: streams are open, leases taken, code is warm.
    fn warm_up(&self) -> u64 {
        match self.graph {
            Graph::Diamond => 50,
            Graph::Chain(_) => 5,
            _ => 1,
        }
    }

    /// A wide run of its own size would be as much work as what is measured.
    fn warm_up_graph(&self) -> Graph {
        if matches!(self.graph, Graph::Wide(items) if items > 1_000) {
            Graph::Wide(1_000)
        } else {
            self.graph
        }
    }

    /// Measures the engine.
    pub(crate) async fn engine(&self, options: &Options) -> Result<Sample, Error> {
        let mut site = Site::open(options).await?;
        engine::start(&mut site, options, &Fleet::usual(options)).await?;
        let mut user = User::new(&site, self.warm_up_graph().submission()?);
        site.with_crew(drive(&mut user, self.pace, self.warm_up())).await?;
        sleep(SETTLED).await;
        user.set(self.graph.submission()?);
        let before = site.read().await?;
        let latencies = site.with_crew(drive(&mut user, self.pace, self.runs)).await?;
        let after = site.read().await?;
        user.check_unread().await?;
        let span = Span { before, after, runs: self.runs, steps: self.steps() };
        span.check()?;
        let sample = span.sample(&site, Side::Engine, latencies).await?;
        site.close().await;
        Ok(sample)
    }

    /// Measures the floor.
    pub(crate) async fn floor(&self, options: &Options) -> Result<Sample, Error> {
        let messages = Messages::of(self.graph)?;
        let fleet = Fleet::usual(options);
        let mut site = Site::open(options).await?;
        site.bootstrap(options, &fleet).await?;
        site.hire_floor(options, Role::Coordinator, "coordinator", Some(&messages)).await?;
        for _ in 0..fleet.executors {
            site.hire_floor(options, Role::Executor, "executor", Some(&messages)).await?;
        }
        let mut client = floor::Client::open(&site.servers.url, &messages).await?;
        site.with_crew(self.drive_floor(&mut client, self.warm_up())).await?;
        let before = site.read().await?;
        let latencies = site.with_crew(self.drive_floor(&mut client, self.runs)).await?;
        let after = site.read().await?;
        let span = Span { before, after, runs: self.runs, steps: self.steps() };
        span.check()?;
        let sample = span.sample(&site, Side::Floor, latencies).await?;
        site.close().await;
        Ok(sample)
    }

    async fn drive_floor(&self, client: &mut floor::Client, runs: u64) -> Result<Vec<Duration>, Error> {
        if self.pace == Pace::Together {
            return client.submit(runs).await;
        }
        let mut latencies = Vec::new();
        for _ in 0..runs {
            latencies.extend(client.submit(1).await?);
        }
        Ok(latencies)
    }
}

async fn drive(user: &mut User, pace: Pace, runs: u64) -> Result<Vec<Duration>, Error> {
    match pace {
        Pace::Together => user.submit(runs).await,
        Pace::Waiting => user.one_by_one(runs).await,
        Pace::InTurn => {
            let mut latencies = Vec::new();
            for _ in 0..runs {
                latencies.extend(user.submit(1).await?);
            }
            Ok(latencies)
        }
    }
}
