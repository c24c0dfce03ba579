//! `backlog`: what a fleet does after an outage. Runs are submitted while no executor
//! is there; what they cost the coordinator in memory is read, and then how fast new
//! executors work them off.

use std::time::Duration;

use planfleet_proto::subjects;
use tokio::time::{Instant, sleep};

use crate::{
    Options, STALL,
    engine::{self, Fleet, User},
    error::Error,
    graph::{Graph, PAYLOAD_BYTES},
    machine,
    measure::{Side, Span},
    sample::Sample,
    site::{Reading, Role, Site},
};

/// So many diamonds that wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backlog {
    pub(crate) runs: u64,
}

/// Runs before the executors go.
const WARM_UP: u64 = 50;

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The last acks and documents are written before memory is read.
const SETTLING: Duration = Duration::from_millis(500);

impl Backlog {
    pub(crate) fn steps(self) -> u64 {
        self.runs * Graph::Diamond.steps()
    }

    pub(crate) async fn engine(self, options: &Options) -> Result<Sample, Error> {
        let fleet = Fleet::usual(options);
        let mut site = Site::open(options).await?;
        engine::start(&mut site, options, &fleet).await?;
        let mut user = User::new(&site, Graph::Diamond.submission()?);
        site.with_crew(user.submit(WARM_UP)).await?;
        sleep(SETTLING).await;
        site.dismiss(Role::Executor).await;

        let (idle, empty) = (coordinator_bytes(&site)?, site.read().await?);
        let submitted = site.with_crew(user.submit_only(self.runs)).await?;
        self.first_steps_are_queued(&site, &empty).await?;
        sleep(SETTLING).await;
        let waiting = coordinator_bytes(&site)?;

        let before = site.read().await?;
        engine::start_executors(&mut site, options, fleet.executors).await?;
        site.with_crew(user.await_ends(submitted)).await?;
        let after = site.read().await?;
        // Every message counts, those of the submission too.
        let whole = Span { before: empty, after: after.clone(), runs: self.runs, steps: self.steps() };
        whole.check()?;
        let drain = Span { before, after, runs: self.runs, steps: self.steps() };
        let mut sample = drain.sample(&site, Side::Engine, Vec::new()).await?;
        sample.set("messages_per_step", whole.messages() as f64 / self.steps() as f64);
        let per_run = (waiting - idle) / self.runs as f64;
        sample.set("coordinator_bytes_per_run", per_run);
        sample.set("payload_bytes_per_run", PAYLOAD_BYTES as f64);
        sample.set("coordinator_bytes_per_run_beyond_payload", per_run - PAYLOAD_BYTES as f64);
        site.close().await;
        Ok(sample)
    }

    async fn first_steps_are_queued(self, site: &Site, before: &Reading) -> Result<(), Error> {
        let began = Instant::now();
        let dispatched = |reading: &Reading| reading.stored.get(subjects::STEPS).copied().unwrap_or_default();
        while dispatched(&site.read().await?) < dispatched(before) + self.runs {
            if began.elapsed() > STALL {
                return Err(Error::Late { what: "the first step of every run".to_owned(), within: STALL });
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }
}

fn coordinator_bytes(site: &Site) -> Result<f64, Error> {
    site.pids(Role::Coordinator).into_iter().map(machine::rss_bytes).sum()
}
