//! A metric as it is declared, and the instruments that are made of it. Each instrument is
//! made once per process and kept; a measurement looks its attributes up and allocates nothing
//! when they are made beforehand.

use opentelemetry::{
    global,
    metrics::{AsyncInstrument, Counter, Gauge, Histogram, Meter, UpDownCounter},
};

use crate::names;

/// What a metric is, by OpenTelemetry's data model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// A sum that only grows.
    Counter,
    /// A sum that grows and shrinks.
    UpDownCounter,
    /// The value that was measured last.
    Gauge,
    /// How measurements are spread over buckets with these upper bounds.
    Histogram(&'static [f64]),
}

impl Kind {
    /// Its name in the documentation.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::UpDownCounter => "up-down counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// A declared metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// OpenTelemetry's name; Prometheus shows dots as underscores, with the unit and `_total`.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// By UCUM; braces hold a word for what is counted.
    pub unit: &'static str,
    /// One sentence.
    pub description: &'static str,
    /// Its attributes; some are only there where they apply, such as `error.type`.
    pub attributes: &'static [&'static str],
}

impl Metric {
    /// The counter that it declares.
    #[must_use]
    pub fn counter(&self) -> Counter<u64> {
        let Self { name, unit, description, .. } = *self;
        meter().u64_counter(name).with_unit(unit).with_description(description).build()
    }

    /// The same for what is no whole number.
    #[must_use]
    pub fn fractional_counter(&self) -> Counter<f64> {
        let Self { name, unit, description, .. } = *self;
        meter().f64_counter(name).with_unit(unit).with_description(description).build()
    }

    /// The up-down counter that it declares.
    #[must_use]
    pub fn up_down_counter(&self) -> UpDownCounter<i64> {
        let Self { name, unit, description, .. } = *self;
        meter().i64_up_down_counter(name).with_unit(unit).with_description(description).build()
    }

    /// The gauge that it declares.
    #[must_use]
    pub fn gauge(&self) -> Gauge<u64> {
        let Self { name, unit, description, .. } = *self;
        meter().u64_gauge(name).with_unit(unit).with_description(description).build()
    }

    /// The gauge that it declares, which looks when it is asked for its values.
    pub fn observed(&self, look: impl Fn(&dyn AsyncInstrument<u64>) + Send + Sync + 'static) {
        let Self { name, unit, description, .. } = *self;
        let meter = meter();
        let gauge = meter.u64_observable_gauge(name).with_unit(unit).with_description(description);
        gauge.with_callback(look).build();
    }

    /// The histogram that it declares.
    #[must_use]
    pub fn histogram(&self) -> Histogram<f64> {
        let Self { name, unit, description, .. } = *self;
        let meter = meter();
        let builder = meter.f64_histogram(name).with_unit(unit).with_description(description);
        builder.with_boundaries(self.boundaries()).build()
    }

    /// The same for whole numbers.
    #[must_use]
    pub fn whole_histogram(&self) -> Histogram<u64> {
        let Self { name, unit, description, .. } = *self;
        let meter = meter();
        let builder = meter.u64_histogram(name).with_unit(unit).with_description(description);
        builder.with_boundaries(self.boundaries()).build()
    }

    fn boundaries(&self) -> Vec<f64> {
        match self.kind {
            Kind::Histogram(boundaries) => boundaries.to_vec(),
            Kind::Counter | Kind::UpDownCounter | Kind::Gauge => Vec::new(),
        }
    }
}

fn meter() -> Meter {
    global::meter(names::SCOPE)
}
