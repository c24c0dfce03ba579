//! What one measurement found, and what several of the same kind come to: a row.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde_json::{Map, Value, json};

use crate::Broker;

/// The figures that every row has, measured or not: what `<workload>.json` promises.
/// Units are the last part of a name; `_per_1k` is per thousand steps.
const PROMISED: [&str; 16] = [
    "steps_per_s",
    "floor_steps_per_s",
    "p50_ms",
    "p99_ms",
    "p999_ms",
    "floor_p50_ms",
    "floor_p99_ms",
    "floor_p999_ms",
    "engine_cpu_s_per_1k",
    "server_cpu_s_per_1k",
    "client_cpu_s_per_1k",
    "floor_cpu_s_per_1k",
    "peak_rss_mb",
    "messages_per_step",
    "floor_messages_per_step",
    "bytes_per_step",
];

/// Figures by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample {
    figures: BTreeMap<&'static str, f64>,
    /// How often the servers synced to disk, as they said themselves.
    sync_interval: Option<String>,
}

impl Sample {
    /// Nothing yet, of servers that sync so often.
    pub(crate) fn of(sync_interval: String) -> Self {
        Self { figures: BTreeMap::new(), sync_interval: Some(sync_interval) }
    }

    pub(crate) fn set(&mut self, name: &'static str, value: f64) {
        self.figures.insert(name, value);
    }

    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.figures.get(name).copied()
    }

    /// Takes over what another one has found.
    pub(crate) fn extend(&mut self, other: Self) {
        self.figures.extend(other.figures);
        self.sync_interval = other.sync_interval.or(self.sync_interval.take());
    }

    /// The figure that says most, for whoever waits for the others.
    pub(crate) fn in_short(&self) -> String {
        let told = [
            ("cold_start_ms", "ms"),
            ("efficiency", "of what is possible"),
            ("slots_busy", "of the slots busy"),
            ("of_bound", "times the critical path"),
            ("goodput_of_peak", "of the peak's goodput"),
            ("p99_times_alone", "times p99 alone"),
            ("share_off_max", "off the weights"),
            ("slower_percent", "% slower when watched"),
            ("first_step_p50_ms", "ms at the median to a first step"),
            ("steps_per_s", "steps/s"),
            ("floor_steps_per_s", "steps/s"),
            ("floor_p50_ms", "ms at the median"),
        ];
        let found = told.into_iter().find_map(|(name, unit)| Some((self.get(name)?, unit)));
        let beside = self.get("others_cpu_share").or(self.get("floor_others_cpu_share"));
        let beside =
            beside.map(|share| format!(", beside {:.0} % of others", share * 100.0)).unwrap_or_default();
        found.map_or_else(String::new, |(figure, unit)| format!("{} {unit}{beside}", rounded(figure)))
    }

    /// Sets the percentiles of some latencies under these names.
    pub(crate) fn percentiles(&mut self, names: [&'static str; 3], mut latencies: Vec<Duration>) {
        latencies.sort_unstable();
        for (name, part) in names.into_iter().zip([0.5, 0.99, 0.999]) {
            if let Some(latency) = percentile(&latencies, part) {
                self.set(name, latency.as_secs_f64() * 1_000.0);
            }
        }
    }
}

/// The nearest-rank percentile of sorted latencies.
fn percentile(sorted: &[Duration], part: f64) -> Option<Duration> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank among them")]
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// What is measured: the name of a workload, how much of it, and on which broker.
#[derive(Debug, Clone, Default)]
pub(crate) struct Subject {
    pub(crate) workload: &'static str,
    /// Runs, or whatever else is done so often, and the steps of all of them.
    pub(crate) runs: u64,
    pub(crate) steps: Option<u64>,
    /// What else tells this row from others of the workload.
    pub(crate) variant: Option<Variant>,
    pub(crate) broker: Broker,
}

/// Something by its name that varies among the rows of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variant {
    /// As `executors`, 4.
    Number(&'static str, u64),
    /// As `mode`, `direct`.
    Name(&'static str, &'static str),
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(name, number) => write!(f, "{number} {name}"),
            Self::Name(_, value) => f.write_str(value),
        }
    }
}

/// A row of the table: the medians of some samples.
#[derive(Debug, Clone)]
pub struct Row {
    pub(crate) subject: Subject,
    samples: Vec<Sample>,
    pub(crate) targets: Vec<Target>,
}

/// What a row should reach.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// In words, with the figure that was reached.
    pub(crate) text: String,
    /// `None` where it could not be judged.
    pub(crate) met: Option<bool>,
}

impl Target {
    fn in_words(&self) -> String {
        let judged = match self.met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "not judged",
        };
        format!("{judged}: {}", self.text)
    }
}

impl Row {
    pub(crate) const fn new(subject: Subject, samples: Vec<Sample>) -> Self {
        Self { subject, samples, targets: Vec::new() }
    }

    /// Whether it is of this workload at this many runs.
    pub(crate) fn is(&self, workload: &str, runs: u64) -> bool {
        self.subject.workload == workload && self.subject.runs == runs
    }

    /// A figure's median over the samples that have it.
    pub(crate) fn median(&self, name: &str) -> Option<f64> {
        self.spread(name).map(|(median, ..)| median)
    }

    /// Sets a figure that follows from others in each sample that has them.
    pub(crate) fn derive(&mut self, name: &'static str, figure: impl Fn(&Sample) -> Option<f64>) {
        for sample in &mut self.samples {
            if let Some(figure) = figure(sample) {
                sample.set(name, figure);
            }
        }
    }

    fn sync_interval(&self) -> Option<&str> {
        self.samples.iter().find_map(|sample| sample.sync_interval.as_deref())
    }

    fn spread(&self, name: &str) -> Option<(f64, f64, f64)> {
        let mut values: Vec<f64> = self.samples.iter().filter_map(|sample| sample.get(name)).collect();
        values.sort_by(f64::total_cmp);
        let (middle, last) = (values.len() / 2, values.last().copied()?);
        let median = if values.len().is_multiple_of(2) {
            f64::midpoint(values[middle - 1], values[middle])
        } else {
            values[middle]
        };
        Some((median, values[0], last))
    }

    /// Whether it has reached all that it should; `None` where it should reach nothing
    /// or that could not be judged.
    #[must_use]
    pub fn met(&self) -> Option<bool> {
        let judged: Vec<Option<bool>> = self.targets.iter().map(|target| target.met).collect();
        if judged.contains(&Some(false)) {
            return Some(false);
        }
        (!judged.is_empty() && judged.iter().all(Option::is_some)).then_some(true)
    }

    /// The row as data. A figure that was not measured is null.
    #[must_use]
    pub fn json(&self) -> Value {
        let Subject { workload, runs, steps, variant, broker } = &self.subject;
        let mut row = Map::from_iter([
            ("workload".to_owned(), json!(workload)),
            ("runs".to_owned(), json!(runs)),
            ("steps".to_owned(), json!(steps)),
            ("repeats".to_owned(), json!(self.samples.len())),
            ("replicas".to_owned(), json!(broker.replicas)),
            ("sync_interval".to_owned(), json!(self.sync_interval())),
        ]);
        match variant {
            Some(Variant::Number(name, number)) => drop(row.insert((*name).to_owned(), json!(number))),
            Some(Variant::Name(name, value)) => drop(row.insert((*name).to_owned(), json!(value))),
            None => {}
        }
        let found = self.samples.iter().flat_map(|sample| sample.figures.keys().copied());
        for name in PROMISED.into_iter().chain(found) {
            let spread = self.spread(name);
            row.insert(name.to_owned(), json!(spread.map(|(median, ..)| rounded(median))));
            row.insert(format!("{name}_min"), json!(spread.map(|(_, least, _)| rounded(least))));
            row.insert(format!("{name}_max"), json!(spread.map(|(.., most)| rounded(most))));
        }
        let texts: Vec<String> = self.targets.iter().map(Target::in_words).collect();
        row.insert("target".to_owned(), json!((!texts.is_empty()).then(|| texts.join("; "))));
        row.insert("met".to_owned(), json!(self.met()));
        Value::Object(row)
    }
}

/// Four significant digits: more is noise.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    #[expect(clippy::cast_possible_truncation, reason = "the order of magnitude of a figure")]
    let digits = 3 - value.abs().log10().floor() as i32;
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[f64]) -> Row {
        let sample = |value: &f64| {
            let mut sample = Sample::default();
            sample.set("steps_per_s", *value);
            sample
        };
        Row::new(Subject { workload: "w", ..Subject::default() }, values.iter().map(sample).collect())
    }

    #[test]
    fn a_row_has_medians_and_edges_and_null_for_what_was_not_measured() {
        let json = row(&[3.0, 1.0, 200.04]).json();
        assert_eq!(json["steps_per_s"], 3.0);
        assert_eq!((&json["steps_per_s_min"], &json["steps_per_s_max"]), (&json!(1.0), &json!(200.0)));
        for name in ["floor_steps_per_s", "p999_ms", "p999_ms_max", "target", "met"] {
            assert_eq!(json.get(name), Some(&Value::Null), "{name}");
        }
        assert_eq!(row(&[1.0, 2.0]).median("steps_per_s"), Some(1.5));
    }

    #[test]
    fn percentiles_are_latencies_that_were_seen() {
        let mut sample = Sample::default();
        sample.percentiles(["a", "b", "c"], (1..=100).map(Duration::from_millis).collect());
        assert_eq!(["a", "b", "c"].map(|name| sample.get(name)), [Some(50.0), Some(99.0), Some(100.0)]);
    }

    #[test]
    fn one_miss_is_a_miss() {
        let target = |met| Target { text: String::new(), met };
        let mut row = row(&[1.0]);
        assert_eq!(row.met(), None);
        for (met, expected) in [(Some(true), Some(true)), (None, None), (Some(false), Some(false))] {
            row.targets.push(target(met));
            assert_eq!(row.met(), expected);
        }
    }
}
