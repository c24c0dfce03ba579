//! One row to be measured: what it is, and how each side of it is measured.

use crate::{
    Broker, Options,
    backlog::Backlog,
    batch::Batch,
    cold_start,
    error::Error,
    floor,
    isolation::Isolation,
    load::Load,
    movie::Movie,
    overload::Overload,
    planned::Planned,
    sample::{Sample, Subject, Variant},
    scale::Scale,
    site::{Role, Site},
    slow::Slow,
    streamed::Streamed,
    watched::Watched,
};

/// One row.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Case {
    Load(Load),
    /// So many questions and answers of the core protocol.
    Ping(u64),
    Planned(Planned),
    ColdStart,
    Slow(Slow),
    Scale(Scale),
    Backlog(Backlog),
    Batch(Batch),
    Overload(Overload),
    Isolation(Isolation),
    Movie(Movie),
    Streamed(Streamed),
    Watched(Watched),
}

impl Case {
    /// What is measured; the workload's name is filled in by others.
    pub(crate) fn subject(&self, options: &Options) -> Subject {
        let broker = options.broker;
        let of = |runs, steps| Subject { runs, steps: Some(steps), broker, ..Subject::default() };
        match self {
            Self::Load(load) => of(load.runs, load.steps()),
            Self::Ping(times) => Subject { runs: *times, broker, ..Subject::default() },
            Self::Planned(planned) => of(planned.runs, planned.steps()),
            // `planfleet dev` has a server of its own.
            Self::ColdStart => Subject { broker: Broker { replicas: 1, ..broker }, ..of(1, 1) },
            Self::Slow(slow) => of(slow.runs, slow.steps()),
            Self::Scale(scale) => Subject {
                variant: Some(Variant::Number("executors", scale.executors as u64)),
                ..of(scale.runs, scale.steps(options))
            },
            Self::Backlog(backlog) => of(backlog.runs, backlog.steps()),
            Self::Batch(batch) => Subject {
                variant: Some(Variant::Number("window", batch.window)),
                ..of(batch.runs, batch.steps())
            },
            Self::Overload(overload) => of(overload.runs, overload.steps()),
            Self::Isolation(isolation) => Subject {
                variant: Some(Variant::Name("mode", isolation.question.name())),
                ..of(isolation.runs, isolation.steps())
            },
            Self::Movie(movie) => Subject {
                variant: Some(Variant::Name("mode", movie.mode.name())),
                ..of(movie.runs, movie.steps())
            },
            Self::Streamed(streamed) => of(streamed.runs, streamed.steps()),
            Self::Watched(watched) => Subject {
                variant: Some(Variant::Name("mode", watched.name())),
                ..of(watched.runs, watched.steps())
            },
        }
    }

    /// Measures the engine; nothing where there is none in it.
    pub(crate) async fn engine(&self, options: &Options) -> Result<Option<Sample>, Error> {
        match self {
            Self::Load(load) => load.engine(options).await,
            Self::Ping(_) => return Ok(None),
            Self::Planned(planned) => planned.engine(options).await,
            Self::ColdStart => cold_start::engine(options).await,
            Self::Slow(slow) => slow.engine(options).await,
            Self::Scale(scale) => scale.engine(options).await,
            Self::Backlog(backlog) => backlog.engine(options).await,
            Self::Batch(batch) => batch.engine(options).await,
            Self::Overload(overload) => overload.engine(options).await,
            Self::Isolation(isolation) => isolation.engine(options).await,
            Self::Movie(movie) => movie.engine(options).await,
            Self::Streamed(streamed) => streamed.engine(options).await,
            Self::Watched(watched) => watched.engine(options).await,
        }
        .map(Some)
    }

    /// Measures the floor; nothing where there is none.
    pub(crate) async fn floor(&self, options: &Options) -> Result<Option<Sample>, Error> {
        match self {
            Self::Load(load) => load.floor(options).await.map(Some),
            Self::Ping(times) => ping(*times, options).await.map(Some),
            _ => Ok(None),
        }
    }
}

/// Questions before anything is measured.
const WARM_UP_PINGS: u64 = 1_000;

async fn ping(times: u64, options: &Options) -> Result<Sample, Error> {
    let mut site = Site::open(options).await?;
    site.hire_floor(options, Role::Executor, "pong", None).await?;
    let url = site.servers.url.clone();
    let pinging = async {
        floor::ping(&url, WARM_UP_PINGS).await?;
        floor::ping(&url, times).await
    };
    let taken = site.with_crew(pinging).await?;
    let mut sample = Sample::of(site.servers.sync_interval().await?);
    sample.percentiles(["floor_p50_ms", "floor_p99_ms", "floor_p999_ms"], taken);
    site.close().await;
    Ok(sample)
}
