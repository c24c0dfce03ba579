//! Every workload, by name.

use crate::{
    Options,
    backlog::Backlog,
    batch::Batch,
    case::Case,
    error::Error,
    graph::Graph,
    isolation::{Isolation, Question},
    load::{Load, Pace},
    movie::{self, Mode, Movie},
    overload::Overload,
    planned::Planned,
    sample::{Row, Sample, Subject},
    scale::Scale,
    slow::Slow,
    streamed::Streamed,
    watched::Watched,
};

/// One workload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    kind: Kind,
    /// A row for each of these numbers of runs.
    runs: &'static [u64],
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// No-op steps.
    Load(Graph, Pace),
    Ping,
    Planned,
    ColdStart,
    Slow,
    Scale,
    Backlog,
    Batch,
    Overload,
    Isolation,
    Movie,
    Streamed,
    Watched,
}

const ALL: [Workload; 17] = [
    workload("diamond-10", Kind::Load(Graph::Diamond, Pace::Together), &[200, 1_000, 5_000, 100_000]),
    workload("chain-100", Kind::Load(Graph::Chain(100), Pace::Together), &[100]),
    workload("wide-1000", Kind::Load(Graph::Wide(1_000), Pace::InTurn), &[10]),
    workload("wide-100000", Kind::Load(Graph::Wide(100_000), Pace::InTurn), &[1]),
    workload("idle", Kind::Load(Graph::Diamond, Pace::Waiting), &[1_000]),
    workload("ping", Kind::Ping, &[10_000]),
    workload("planned", Kind::Planned, &[200]),
    workload("cold-start", Kind::ColdStart, &[1]),
    workload("slow-1000", Kind::Slow, &[1]),
    workload("scale", Kind::Scale, &[10]),
    workload("backlog", Kind::Backlog, &[10_000]),
    workload("batch", Kind::Batch, &[100_000]),
    workload("overload", Kind::Overload, &[20_000]),
    workload("isolation", Kind::Isolation, &[200]),
    workload("movie", Kind::Movie, &[48]),
    workload("streamed", Kind::Streamed, &[48]),
    workload("watched", Kind::Watched, &[3]),
];

const fn workload(name: &'static str, kind: Kind, runs: &'static [u64]) -> Workload {
    Workload { name, kind, runs }
}

/// Model calls of a run of `slow-1000`: ten times its slots.
const SLOW_CALLS: u32 = 10_000;

/// Executor processes of `scale`, a row for each number.
const SCALES: [usize; 4] = [1, 2, 4, 8];

impl Workload {
    fn cases(self, options: &Options) -> Vec<Case> {
        let runs = options.runs.map_or_else(|| self.runs.to_vec(), |runs| vec![runs]);
        runs.into_iter().flat_map(|runs| self.of_runs(runs, options)).collect()
    }

    fn of_runs(self, runs: u64, options: &Options) -> Vec<Case> {
        match self.kind {
            Kind::Load(graph, pace) => vec![Case::Load(Load { graph, pace, runs })],
            Kind::Ping => vec![Case::Ping(runs)],
            Kind::Planned => vec![Case::Planned(Planned { runs })],
            Kind::ColdStart => vec![Case::ColdStart],
            Kind::Slow => vec![Case::Slow(Slow { calls: SLOW_CALLS, runs })],
            Kind::Backlog => vec![Case::Backlog(Backlog { runs })],
            Kind::Batch => Batch::of(runs).map(Case::Batch).into(),
            Kind::Overload => vec![Case::Overload(Overload { runs })],
            Kind::Isolation => {
                Question::ALL.map(|question| Case::Isolation(Isolation { question, runs })).into()
            }
            Kind::Movie => Mode::ALL.map(|mode| Case::Movie(Movie { mode, runs })).into(),
            Kind::Streamed => vec![Case::Streamed(Streamed { runs })],
            Kind::Watched => Watched::PACES.map(|pace| Case::Watched(Watched { pace, runs })).into(),
            Kind::Scale => {
                let scales = options.executors.map_or_else(|| SCALES.to_vec(), |executors| vec![executors]);
                scales.into_iter().map(|executors| Case::Scale(Scale { executors, runs })).collect()
            }
        }
    }
}

/// The names of all workloads.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|workload| workload.name)
}

/// The named workloads, or all.
pub(crate) fn chosen(names: &[String]) -> Result<Vec<Workload>, Error> {
    if names.is_empty() {
        return Ok(ALL.to_vec());
    }
    let find = |name: &String| {
        ALL.into_iter().find(|workload| workload.name == name).ok_or_else(|| Error::UnknownWorkload {
            name: name.clone(),
            known: self::names().collect::<Vec<_>>().join(", "),
        })
    };
    names.iter().map(find).collect()
}

/// Measures one workload.
pub(crate) async fn measure(
    workload: Workload,
    options: &Options,
    progress: &dyn Fn(&str),
) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    for case in workload.cases(options) {
        let subject = Subject { workload: workload.name, ..case.subject(options) };
        rows.push(row(case, subject, options, progress).await?);
    }
    if matches!(workload.kind, Kind::Movie) {
        movie::compare(&mut rows);
    }
    Ok(rows)
}

/// Measures engine and floor in turn, so that what else the machine does meets both.
async fn row(case: Case, subject: Subject, options: &Options, progress: &dyn Fn(&str)) -> Result<Row, Error> {
    let mut samples = Vec::new();
    for round in 1..=options.repeat {
        let tell = |side: &str, sample: &Sample| {
            let Subject { workload, runs, variant, .. } = &subject;
            let variant = variant.map(|variant| format!(", {variant}")).unwrap_or_default();
            let found = sample.in_short();
            progress(&format!(
                "{workload} at {runs}{variant}, {round} of {}: {side} {found}",
                options.repeat
            ));
        };
        let mut sample = Sample::default();
        if options.engine
            && let Some(engine) = case.engine(options).await?
        {
            tell("engine", &engine);
            sample.extend(engine);
        }
        if options.floor
            && let Some(floor) = case.floor(options).await?
        {
            tell("floor", &floor);
            sample.extend(floor);
        }
        derive(&mut sample);
        samples.push(sample);
    }
    Ok(Row::new(subject, samples))
}

/// What follows from both sides together.
fn derive(sample: &mut Sample) {
    let rates = (sample.get("steps_per_s"), sample.get("floor_steps_per_s"));
    if let (Some(engine), Some(floor)) = rates {
        sample.set("ratio", engine / floor);
    }
    let cpu = [sample.get("engine_cpu_s_per_1k"), sample.get("server_cpu_s_per_1k")];
    if let ([Some(engine), Some(server)], Some(floor)) = (cpu, sample.get("floor_cpu_s_per_1k"))
        && floor > 0.0
    {
        sample.set("cpu_ratio", (engine + server) / floor);
    }
}
