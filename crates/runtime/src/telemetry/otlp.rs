//! Exporters over OTLP/HTTP.

use std::thread;
use std::time::Duration;

use opentelemetry_otlp::{ExporterBuildError, MetricExporter, SpanExporter, WithExportConfig as _};

use super::TelemetryError;

/// The paths that OTLP over HTTP gives to signals.
const TRACES_PATH: &str = "/v1/traces";
const METRICS_PATH: &str = "/v1/metrics";
/// The specification's default for one export.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// An exporter of spans to the collector at `endpoint`.
pub(super) fn spans(endpoint: &str) -> Result<SpanExporter, TelemetryError> {
    exporter(endpoint, TRACES_PATH, |url| {
        SpanExporter::builder().with_http().with_endpoint(url).with_timeout(EXPORT_TIMEOUT).build()
    })
}

/// An exporter of metrics, likewise.
pub(super) fn metrics(endpoint: &str) -> Result<MetricExporter, TelemetryError> {
    exporter(endpoint, METRICS_PATH, |url| {
        MetricExporter::builder().with_http().with_endpoint(url).with_timeout(EXPORT_TIMEOUT).build()
    })
}

/// Made on a thread of its own: the blocking HTTP client owns a small runtime,
/// and making that inside of another runtime panics.
fn exporter<E: Send + 'static>(
    endpoint: &str,
    path: &str,
    build: impl FnOnce(String) -> Result<E, ExporterBuildError> + Send + 'static,
) -> Result<E, TelemetryError> {
    let url = url(endpoint, path);
    install_crypto();
    let made = thread::Builder::new()
        .name("telemetry-exporter".to_owned())
        .spawn(move || build(url))
        .map_err(|error| error.to_string())
        .and_then(|making| making.join().map_err(|_| "the HTTP client panicked".to_owned()))
        .and_then(|made| made.map_err(|error| error.to_string()));
    made.map_err(|reason| TelemetryError::Exporter { endpoint: endpoint.to_owned(), reason })
}

/// The HTTP client is built without a crypto provider of its own and panics if
/// the process has none. One that is installed already is as good.
fn install_crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// `OTEL_EXPORTER_OTLP_ENDPOINT` is a base URL; the exporter takes what it is
/// given in code as the whole one. One that is a signal's own is as good.
fn url(endpoint: &str, path: &str) -> String {
    let base = endpoint.trim_end_matches('/');
    let base = [TRACES_PATH, METRICS_PATH].iter().find_map(|path| base.strip_suffix(path)).unwrap_or(base);
    format!("{base}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_added_once() {
        let full = "http://localhost:4318/v1/traces";
        for endpoint in ["http://localhost:4318", "http://localhost:4318/", full] {
            assert_eq!(url(endpoint, TRACES_PATH), full);
            assert_eq!(url(endpoint, METRICS_PATH), "http://localhost:4318/v1/metrics");
        }
    }

    /// Takes one request and gives its first line.
    fn collector() -> (String, thread::JoinHandle<String>) {
        use std::io::{BufRead as _, BufReader, Read as _, Write as _};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let taken = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let lines = reader.by_ref().lines().map(Result::unwrap);
            let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let length = head
                .iter()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            let mut body = vec![0; length.unwrap()];
            reader.read_exact(&mut body).unwrap();
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            stream.write_all(answer.as_bytes()).unwrap();
            head[0].clone()
        });
        (endpoint, taken)
    }

    #[tokio::test]
    async fn an_exporter_made_inside_of_a_runtime_delivers_at_shutdown() {
        use opentelemetry::trace::{Tracer as _, TracerProvider as _};
        use opentelemetry_sdk::Resource;
        let (endpoint, taken) = collector();
        let resource = Resource::builder_empty().build();
        let provider = super::super::traces(Some(spans(&endpoint).unwrap()), resource);
        drop(provider.tracer("test").start("span"));
        let shutdown = move || provider.shutdown_with_timeout(Duration::from_secs(5));
        let ended = tokio::task::spawn_blocking(shutdown).await.unwrap();
        ended.unwrap();
        let line = taken.join().unwrap();
        assert!(line.starts_with("POST /v1/traces "), "{line}");
    }
}
