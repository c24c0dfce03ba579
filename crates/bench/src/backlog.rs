//! `backlog`: what a fleet does after an outage. Runs are submitted while no executor
//! is there; what they cost the coordinator in memory is read, and then how fast new
//! executors work them off, and whether what is left only ever gets less.

use std::time::Duration;

use planfleet_bus::Client;
use planfleet_proto::subjects;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

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
        sleep(options.outage.max(SETTLING)).await;
        site.check()?;
        let waiting = coordinator_bytes(&site)?;

        let before = site.read().await?;
        engine::start_executors(&mut site, options, fleet.executors).await?;
        let client = Client::new(site.bus.clone());
        let drain = site.with_crew(Drain::of(&client, user.await_ends(submitted))).await?;
        let after = site.read().await?;
        // Every message counts, those of the submission too.
        let whole = Span { before: empty, after: after.clone(), runs: self.runs, steps: self.steps() };
        whole.check()?;
        let span = Span { before, after, runs: self.runs, steps: self.steps() };
        let mut sample = span.sample(&site, Side::Engine, Vec::new()).await?;
        sample.set("messages_per_step", whole.messages() as f64 / self.steps() as f64);
        let per_run = (waiting - idle) / self.runs as f64;
        sample.set("outage_s", options.outage.as_secs_f64());
        sample.set("left_growth_max", drain.growth_max as f64);
        sample.set("stall_max_ms", drain.stall_max.as_secs_f64() * 1_000.0);
        sample.set("dispatched_again", whole.dispatched().saturating_sub(self.steps()) as f64);
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

/// How what is left has gone while executors were at it.
#[derive(Debug, Default)]
struct Drain {
    /// The most runs by which it has grown from one look to the next.
    growth_max: u64,
    /// The longest time in which no run has ended.
    stall_max: Duration,
}

impl Drain {
    /// Looks at the runs that are left until all have ended.
    async fn of<T>(client: &Client, ending: impl Future<Output = Result<T, Error>>) -> Result<Self, Error> {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut drain, mut left, mut since) = (Self::default(), u64::MAX, Instant::now());
        let mut ending = std::pin::pin!(ending);
        loop {
            tokio::select! {
                ended = &mut ending => return ended.map(|_| drain),
                _ = looks.tick() => {}
            }
            let look = client.activity(0).await;
            // One that does not answer is not empty.
            if look.shards_left_out == 0 {
                drain.growth_max = drain.growth_max.max(look.left_out.saturating_sub(left));
                drain.stall_max = drain.stall_max.max(since.elapsed());
                if look.left_out < left {
                    since = Instant::now();
                }
                left = look.left_out;
            }
        }
    }
}

fn coordinator_bytes(site: &Site) -> Result<f64, Error> {
    site.pids(Role::Coordinator).into_iter().map(machine::rss_bytes).sum()
}
