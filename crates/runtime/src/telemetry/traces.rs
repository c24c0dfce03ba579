//! The provider of traces, with an exporter where an endpoint is configured.

use std::thread;
use std::time::Duration;

use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};

use super::TelemetryError;

/// The path that OTLP over HTTP gives to traces.
const TRACES_PATH: &str = "/v1/traces";
/// The specification's default for one export.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// With an endpoint, the sampler and the queue's bounds are the SDK's, which
/// takes them from `OTEL_TRACES_SAMPLER` and `OTEL_BSP_*`; by default it keeps
/// all traces and at most 2048 ended spans.
pub(super) fn provider(endpoint: &str, resource: Resource) -> Result<SdkTracerProvider, TelemetryError> {
    let builder = SdkTracerProvider::builder().with_resource(resource);
    if endpoint.is_empty() {
        // Always on, so that a `traceparent` that starts here counts as sampled
        // in the processes that do export.
        let sampler = Sampler::ParentBased(Box::new(Sampler::AlwaysOn));
        return Ok(builder.with_sampler(sampler).build());
    }
    let exporter = exporter(endpoint)
        .map_err(|reason| TelemetryError::Exporter { endpoint: endpoint.to_owned(), reason })?;
    Ok(builder.with_batch_exporter(exporter).build())
}

/// Made on a thread of its own: the blocking HTTP client owns a small runtime,
/// and making that inside of another runtime panics.
fn exporter(endpoint: &str) -> Result<SpanExporter, String> {
    let url = traces_url(endpoint);
    install_crypto();
    thread::Builder::new()
        .name("telemetry-exporter".to_owned())
        .spawn(move || build(url))
        .map_err(|error| error.to_string())?
        .join()
        .map_err(|_| "the HTTP client panicked".to_owned())?
        .map_err(|error| error.to_string())
}

fn build(url: String) -> Result<SpanExporter, ExporterBuildError> {
    SpanExporter::builder().with_http().with_endpoint(url).with_timeout(EXPORT_TIMEOUT).build()
}

/// The HTTP client is built without a crypto provider of its own and panics if
/// the process has none. One that is installed already is as good.
fn install_crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// `OTEL_EXPORTER_OTLP_ENDPOINT` is a base URL; the exporter takes what it is
/// given in code as the whole one.
fn traces_url(endpoint: &str) -> String {
    let base = endpoint.trim_end_matches('/');
    match base.ends_with(TRACES_PATH) {
        true => base.to_owned(),
        false => format!("{base}{TRACES_PATH}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_added_once() {
        let full = "http://localhost:4318/v1/traces";
        assert_eq!(traces_url("http://localhost:4318"), full);
        assert_eq!(traces_url("http://localhost:4318/"), full);
        assert_eq!(traces_url(full), full);
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
        let (endpoint, taken) = collector();
        let resource = Resource::builder_empty().build();
        let provider = provider(&endpoint, resource).unwrap();
        drop(provider.tracer("test").start("span"));
        let shutdown = move || provider.shutdown_with_timeout(Duration::from_secs(5));
        let ended = tokio::task::spawn_blocking(shutdown).await.unwrap();
        ended.unwrap();
        let line = taken.join().unwrap();
        assert!(line.starts_with("POST /v1/traces "), "{line}");
    }
}
