//! Metrics for Prometheus to scrape. Instruments are OpenTelemetry's; each
//! crate defines its own in one file, this is where they are read.

use opentelemetry_otlp::MetricExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Registry, TextEncoder};

/// All metrics of this process; clones read the same ones.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
}

/// Metrics that the text format cannot carry.
#[derive(Debug, thiserror::Error)]
#[error("metrics cannot be written as text")]
pub struct RenderError(#[from] prometheus::Error);

impl Metrics {
    /// Of what [`Metrics::render`] makes.
    pub const CONTENT_TYPE: &'static str = prometheus::TEXT_FORMAT;

    /// An empty registry, and the provider of meters whose instruments it shows. What is
    /// `pushed` as well is counted twice, which costs as much again.
    pub(crate) fn new(
        resource: Resource,
        pushed: Option<MetricExporter>,
    ) -> Result<(Self, SdkMeterProvider), OTelSdkError> {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            // The scope's name on each sample multiplies labels for nothing.
            .scope_info_enabled(false)
            .build()?;
        let mut provider = SdkMeterProvider::builder().with_reader(exporter).with_resource(resource);
        if let Some(pushed) = pushed {
            // Every minute, or what `OTEL_METRIC_EXPORT_INTERVAL` says.
            provider = provider.with_periodic_exporter(pushed);
        }
        Ok((Self { registry }, provider.build()))
    }

    /// The text exposition format, version 0.0.4.
    pub fn render(&self) -> Result<String, RenderError> {
        Ok(TextEncoder::new().encode_to_string(&self.registry.gather())?)
    }
}
