//! Workloads of no-op steps, engine and floor alike: many runs at once, one after the
//! other, or one at a time as somebody waits for each.

use std::time::Duration;

use crate::{
    Options,
    engine::{self, Fleet, User},
    error::Error,
    floor,
    graph::Graph,
    measure::{Side, Span},
    messages::Messages,
    sample::{Sample, Subject},
    site::{Role, Site},
};

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
    pub(crate) workload: &'static str,
    pub(crate) graph: Graph,
    pub(crate) pace: Pace,
    pub(crate) runs: u64,
}

impl Load {
    pub(crate) fn subject(&self) -> Subject {
        let steps = self.runs * self.graph.steps();
        Subject { workload: self.workload, runs: self.runs, steps, ..Subject::default() }
    }

    /// Runs before anything is measured: streams are open, leases taken, code is warm.
    fn warm_up(&self) -> u64 {
        match self.graph {
            Graph::Diamond => 50,
            Graph::Chain(_) => 5,
            Graph::Wide(_) => 1,
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
    pub(crate) async fn engine(&self, options: &Options, sync: &mut String) -> Result<Sample, Error> {
        let mut site = Site::open(options).await?;
        *sync = site.servers.sync_interval().await?;
        let executors = options.executors_or(1);
        let fleet = Fleet { executors, slots: options.slots, ..Fleet::default() };
        // As the fleet does itself: what is read here is there before the fleet is.
        site.bootstrap(options, options.slots).await?;
        engine::start(&mut site, options, &fleet).await?;
        engine::start_executors(&mut site, options, executors).await?;
        let mut user = User::new(&site, self.warm_up_graph().submission()?);
        site.with_crew(drive(&mut user, self.pace, self.warm_up())).await?;
        user.set(self.graph.submission()?);
        let before = site.read().await?;
        let latencies = site.with_crew(drive(&mut user, self.pace, self.runs)).await?;
        let after = site.read().await?;
        user.check_unread().await?;
        let span = Span { before, after, runs: self.runs, steps: self.runs * self.graph.steps() };
        span.check()?;
        let sample = span.sample(&site, Side::Engine, latencies)?;
        site.close().await;
        Ok(sample)
    }

    /// Measures the floor.
    pub(crate) async fn floor(&self, options: &Options, sync: &mut String) -> Result<Sample, Error> {
        let messages = Messages::of(self.graph)?;
        let mut site = Site::open(options).await?;
        *sync = site.servers.sync_interval().await?;
        site.bootstrap(options, options.slots).await?;
        site.hire_floor(options, Role::Coordinator, "coordinator", &messages).await?;
        for _ in 0..options.executors_or(1) {
            site.hire_floor(options, Role::Executor, "executor", &messages).await?;
        }
        let mut client = floor::Client::open(&site.servers.url, &messages).await?;
        site.with_crew(self.drive_floor(&mut client, self.warm_up())).await?;
        let before = site.read().await?;
        let latencies = site.with_crew(self.drive_floor(&mut client, self.runs)).await?;
        let after = site.read().await?;
        let span = Span { before, after, runs: self.runs, steps: self.runs * self.graph.steps() };
        span.check()?;
        let sample = span.sample(&site, Side::Floor, latencies)?;
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
