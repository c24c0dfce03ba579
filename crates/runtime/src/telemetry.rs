//! Logs, traces and metrics of one process.
//!
//! [`Telemetry::init`] comes before the tokio runtime and [`Telemetry::shutdown`]
//! after it: both block, and what the runtime logs at its end is still caught.
//!
//! Spans are part of a trace where traces are exported, and nowhere else: a span that never
//! arrives is nobody's parent, and would cost a fifth of what a short step costs. Which spans
//! exist does not depend on the log's filter: with `log_filter = "warn"` traces stay whole and
//! warnings still name their run.

mod json;
mod metrics;
mod otlp;
mod span_fields;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::sync::mpsc;
use std::time::Duration;

use opentelemetry::metrics::Meter;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{KeyValue, global};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use planfleet_telemetry::ids::Ids;
use planfleet_telemetry::names;
use tracing::field::Field;
use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::{Filter, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::config::{LogFormat, Signal, TelemetrySettings};

pub use metrics::{Metrics, RenderError};

/// Where log lines go. Never to stdout: that is for data.
pub enum LogTarget {
    /// Standard error.
    Stderr,
    /// A writer of the caller's, such as one that keeps a progress bar intact;
    /// never treated as a terminal.
    Writer(BoxMakeWriter),
}

/// The telemetry of this process; there is one.
#[derive(Debug)]
pub struct Telemetry {
    traces: SdkTracerProvider,
    meters: SdkMeterProvider,
    metrics: Metrics,
}

/// Why telemetry cannot start or end.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `telemetry.log_filter` is not one.
    #[error("telemetry.log_filter is not a filter")]
    Filter(#[source] tracing_subscriber::filter::ParseError),
    /// An exporter cannot be made.
    #[error("the exporter to telemetry.otlp_endpoint {endpoint} cannot be made: {reason}")]
    Exporter {
        /// As configured.
        endpoint: String,
        /// What was wrong.
        reason: String,
    },
    /// The metrics' registry refused the exporter.
    #[error("metrics cannot be set up")]
    Metrics(#[source] opentelemetry_sdk::error::OTelSdkError),
    /// A subscriber is installed already.
    #[error("telemetry was set up twice")]
    AlreadyInstalled(#[source] tracing::subscriber::SetGlobalDefaultError),
    /// The last spans or metrics are not out.
    #[error("the last spans and metrics were not exported: {0}")]
    Flush(String),
}

impl Telemetry {
    /// Installs everything process-wide. `service_role` says what this process
    /// does, such as `coordinator,api`.
    ///
    /// Call it before the tokio runtime starts. From inside of a runtime it
    /// works too, as the exporter is made on a thread of its own, but it blocks
    /// for as long.
    pub fn init(
        settings: &TelemetrySettings,
        service_role: &str,
        target: LogTarget,
    ) -> Result<Self, TelemetryError> {
        let resource = resource(settings, service_role);
        let pushed = settings.endpoint(Signal::Metrics).map(otlp::metrics).transpose()?;
        let (metrics, meters) = Metrics::new(resource.clone(), pushed).map_err(TelemetryError::Metrics)?;
        let spans = settings.endpoint(Signal::Traces).map(otlp::spans).transpose()?;
        planfleet_telemetry::set_exports_traces(spans.is_some());
        let traces = traces(spans, resource);
        let subscriber = subscriber(settings, target, &traces)?;
        tracing::subscriber::set_global_default(subscriber).map_err(TelemetryError::AlreadyInstalled)?;
        global::set_tracer_provider(traces.clone());
        global::set_meter_provider(meters.clone());
        Ok(Self { traces, meters, metrics })
    }

    /// For this process's instruments.
    pub fn meter(&self) -> Meter {
        use opentelemetry::metrics::MeterProvider as _;
        self.meters.meter(names::SCOPE)
    }

    /// The metrics as `/metrics` shows them.
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Exports what is left, for at most `timeout`. Blocks: call it after the
    /// runtime has ended.
    pub fn shutdown(self, timeout: Duration) -> Result<(), TelemetryError> {
        let (done, ended) = mpsc::sync_channel(1);
        let Self { traces, meters, .. } = self;
        // On a thread of its own, as an exporter in the middle of a request
        // does not heed the SDK's timeout.
        std::thread::Builder::new()
            .name("telemetry-flush".to_owned())
            .spawn(move || {
                let ended = [traces.shutdown_with_timeout(timeout), meters.shutdown_with_timeout(timeout)];
                let _ = done.send(ended.into_iter().collect::<Result<(), _>>());
            })
            .map_err(|error| TelemetryError::Flush(error.to_string()))?;
        ended
            .recv_timeout(timeout)
            .map_err(|_| TelemetryError::Flush(format!("no end after {timeout:?}")))?
            .map_err(|error| TelemetryError::Flush(error.to_string()))
    }
}

/// With an exporter, the sampler and the queue's bounds are the SDK's, which takes them from
/// `OTEL_TRACES_SAMPLER` and `OTEL_BSP_*`; by default it keeps all traces and at most 2048 ended
/// spans.
fn traces(exporter: Option<SpanExporter>, resource: Resource) -> SdkTracerProvider {
    let builder = SdkTracerProvider::builder().with_resource(resource).with_id_generator(Ids::default());
    match exporter {
        Some(exporter) => builder.with_batch_exporter(exporter).build(),
        None => builder.with_sampler(Sampler::AlwaysOff).build(),
    }
}

/// What all telemetry of this process says about it. The instance is random
/// per start: pod names and process ids come back.
fn resource(settings: &TelemetrySettings, service_role: &str) -> Resource {
    use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator};
    let instance = RandomIdGenerator::default().new_trace_id().to_string();
    Resource::builder()
        .with_service_name(settings.service_name.clone())
        .with_attributes([
            KeyValue::new("service.namespace", names::SCOPE),
            KeyValue::new("service.instance.id", instance),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("planfleet.role", service_role.to_owned()),
        ])
        .build()
}

fn subscriber(
    settings: &TelemetrySettings,
    target: LogTarget,
    traces: &SdkTracerProvider,
) -> Result<impl Subscriber + Send + Sync + use<>, TelemetryError> {
    let spans = tracing_opentelemetry::layer()
        .with_tracer(traces.tracer(names::SCOPE))
        // Each costs several attributes on every span and answers no question
        // that operators of a fleet ask.
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(filter_fn(traced(settings)).with_max_level_hint(LevelFilter::INFO));
    let log = log_layer(settings, target)?;
    Ok(tracing_subscriber::registry().with(log).with(spans))
}

fn log_layer(
    settings: &TelemetrySettings,
    target: LogTarget,
) -> Result<Box<dyn Layer<Registry> + Send + Sync>, TelemetryError> {
    let filter = log_filter(&settings.log_filter)?;
    let (terminal, writer) = match target {
        LogTarget::Stderr => (io::stderr().is_terminal(), BoxMakeWriter::new(io::stderr)),
        LogTarget::Writer(writer) => (false, writer),
    };
    let human = match settings.log_format {
        LogFormat::Auto => terminal,
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    if !human {
        return Ok(json::JsonLayer::new(writer).with_filter(filter).boxed());
    }
    let lines = tracing_subscriber::fmt::layer()
        .compact()
        .fmt_fields(debug_fn(human_field))
        .with_ansi(terminal && !settings.no_color)
        .with_writer(writer);
    Ok(lines.with_filter(filter).boxed())
}

/// People read `run_id=.. step=..`. The dotted names of the conventions say the same again, and
/// writing them down is a tenth of what a step without work costs.
fn human_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    match field.name() {
        "message" => write!(writer, "{value:?}"),
        name if name.contains('.') => Ok(()),
        name => write!(writer, " {name}={value:?}"),
    }
}

/// The configured filter for events; spans of INFO pass whatever it says, since
/// a filtered span would take its run's id from the lines inside of it.
fn log_filter<S>(directives: &str) -> Result<impl Filter<S> + Send + Sync + 'static, TelemetryError>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let events = EnvFilter::builder().parse(directives).map_err(TelemetryError::Filter)?;
    // The SDK reports its own health below WARN with every batch; whoever names
    // it in the filter wants to read that.
    let wanted = directives.contains("opentelemetry");
    let quiet = filter_fn(move |metadata| {
        let own = metadata.target().starts_with("opentelemetry");
        wanted || !own || *metadata.level() <= LevelFilter::WARN
    });
    let spans = filter_fn(|metadata| metadata.is_span() && *metadata.level() <= LevelFilter::INFO);
    let logged = filter_fn(|metadata| metadata.target() != names::TRACE_ONLY);
    // Without hints from all four, every TRACE call of every library is live.
    let events = events.and(quiet.with_max_level_hint(LevelFilter::TRACE));
    let all = events.or(spans.with_max_level_hint(LevelFilter::INFO));
    Ok(all.and(logged.with_max_level_hint(LevelFilter::TRACE)))
}

/// Which spans and events are part of traces in this process.
fn traced(settings: &TelemetrySettings) -> impl Fn(&Metadata<'_>) -> bool + use<> {
    let exports = settings.endpoint(Signal::Traces).is_some();
    move |metadata| exports && is_traced(metadata)
}

/// What goes into traces. Not the exporter's own HTTP client and the SDK: their
/// spans would be exported by requests that make spans.
fn is_traced(metadata: &Metadata<'_>) -> bool {
    const EXPORTERS_OWN: [&str; 7] = ["opentelemetry", "hyper", "reqwest", "h2", "rustls", "tower", "tonic"];
    let target = metadata.target();
    *metadata.level() <= LevelFilter::INFO && !EXPORTERS_OWN.iter().any(|own| target.starts_with(own))
}
