//! Every workload, by name.

use crate::{
    Options,
    error::Error,
    graph::Graph,
    load::{Load, Pace},
    sample::{Row, Sample},
};

/// One workload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// No-op steps; a row for each number of runs.
    Load(Graph, Pace, &'static [u64]),
}

const ALL: [Workload; 5] = [
    workload("diamond-10", Kind::Load(Graph::Diamond, Pace::Together, &[200, 1_000, 5_000, 100_000])),
    workload("chain-100", Kind::Load(Graph::Chain(100), Pace::Together, &[100])),
    workload("wide-1000", Kind::Load(Graph::Wide(1_000), Pace::InTurn, &[10])),
    workload("wide-100000", Kind::Load(Graph::Wide(100_000), Pace::InTurn, &[1])),
    workload("idle", Kind::Load(Graph::Diamond, Pace::Waiting, &[1_000])),
];

const fn workload(name: &'static str, kind: Kind) -> Workload {
    Workload { name, kind }
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
    match workload.kind {
        Kind::Load(graph, pace, runs) => {
            let runs = options.runs.map_or_else(|| runs.to_vec(), |runs| vec![runs]);
            let mut rows = Vec::new();
            for runs in runs {
                let load = Load { workload: workload.name, graph, pace, runs };
                rows.push(row(&load, options, progress).await?);
            }
            Ok(rows)
        }
    }
}

/// Measures engine and floor in turn, so that what else the machine does meets both.
async fn row(load: &Load, options: &Options, progress: &dyn Fn(&str)) -> Result<Row, Error> {
    let mut subject = load.subject();
    subject.replicas = options.broker.replicas;
    let mut samples = Vec::new();
    for round in 1..=options.repeat {
        let told = |side: &str, sample: &Sample| {
            let figure = |name| sample.get(name).unwrap_or_default();
            let rate = figure("steps_per_s") + figure("floor_steps_per_s");
            progress(&format!(
                "{} at {} runs, {round} of {}: {side} {rate:.0} steps/s",
                load.workload, load.runs, options.repeat
            ));
        };
        let mut sample = Sample::default();
        if options.engine {
            sample.extend(load.engine(options, &mut subject.sync_interval).await?);
            told("engine", &sample);
        }
        if options.floor {
            let floor = load.floor(options, &mut subject.sync_interval).await?;
            told("floor", &floor);
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
