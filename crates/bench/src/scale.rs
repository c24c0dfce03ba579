//! `scale`: more executor processes do more at once. Their steps only wait, so that a
//! machine without more CPUs tells what the fleet between them loses.

use crate::{
    Options,
    engine::{self, Fleet, User},
    error::Error,
    graph::Graph,
    measure::{Side, Span},
    sample::Sample,
    site::Site,
};

/// The default of a process.
const SLOTS: usize = 16;

/// How often each slot is filled by one run.
const ROUNDS: usize = 20;

/// So many executors at so many runs of the same length at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) executors: usize,
    pub(crate) runs: u64,
}

impl Scale {
    pub(crate) fn steps(self, options: &Options) -> u64 {
        self.runs * self.graph(options).steps()
    }

    fn graph(self, options: &Options) -> Graph {
        Graph::Waits(self.waits(options))
    }

    /// Waiting steps of a run.
    fn waits(self, options: &Options) -> u32 {
        let slots = options.slots.unwrap_or(SLOTS);
        u32::try_from(slots * self.executors * ROUNDS).unwrap_or(u32::MAX)
    }

    pub(crate) async fn engine(self, options: &Options) -> Result<Sample, Error> {
        let slots = options.slots.unwrap_or(SLOTS);
        let fleet = Fleet { slots, executors: self.executors, ..Fleet::usual(options) };
        let mut site = Site::open(options).await?;
        engine::start(&mut site, options, &fleet).await?;
        let mut user = User::new(&site, self.graph(options).submission()?);
        site.with_crew(user.submit(1)).await?;
        let before = site.read().await?;
        let latencies = site.with_crew(user.submit(self.runs)).await?;
        let after = site.read().await?;
        let span = Span { before, after, runs: self.runs, steps: self.steps(options) };
        span.check()?;
        let mut sample = span.sample(&site, Side::Engine, latencies).await?;
        let waited = self.runs as f64 * f64::from(self.waits(options));
        let possible = (slots * self.executors) as f64 * 1_000.0 / f64::from(crate::graph::WAIT_MS);
        sample.set("efficiency", waited / span.seconds() / possible);
        let cpu = span.busy_s() / (span.seconds() * crate::machine::cpus());
        sample.set("machine_cpu_share", cpu);
        site.close().await;
        Ok(sample)
    }
}
