//! A receiver of traces and metrics over OTLP/HTTP.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, mpsc},
    thread,
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{AnyValue, any_value},
    trace::v1::span::SpanKind,
};
use prost::Message as _;

/// One span as it came.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) trace: Vec<u8>,
    pub(crate) id: Vec<u8>,
    pub(crate) parent: Vec<u8>,
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
    /// How many links it has.
    pub(crate) links: usize,
    pub(crate) attributes: BTreeMap<String, String>,
}

impl Span {
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }
}

/// What has come.
#[derive(Default)]
struct Received {
    spans: Vec<Span>,
    metrics: BTreeSet<String>,
    senders: BTreeSet<String>,
    bodies: Vec<Bytes>,
}

/// A running receiver.
pub(crate) struct Receiver {
    pub(crate) endpoint: String,
    received: Arc<Mutex<Received>>,
}

impl Receiver {
    pub(crate) fn start() -> Self {
        let received = Arc::<Mutex<Received>>::default();
        let kept = Arc::clone(&received);
        let (bound, take) = mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                bound.send(listener.local_addr().unwrap()).unwrap();
                let routes = Router::new().route("/v1/traces", post(take_spans));
                let routes = routes.route("/v1/metrics", post(take_metrics)).with_state(kept);
                axum::serve(listener, routes).await.unwrap();
            });
        });
        Self { endpoint: format!("http://{}", take.recv().unwrap()), received }
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        self.received.lock().unwrap().spans.clone()
    }

    /// The names of all metrics that came.
    pub(crate) fn metrics(&self) -> BTreeSet<String> {
        self.received.lock().unwrap().metrics.clone()
    }

    /// What those who sent spans say of who they are.
    pub(crate) fn senders(&self) -> BTreeSet<String> {
        self.received.lock().unwrap().senders.clone()
    }

    /// Whether this text is in anything that came: nothing is compressed.
    pub(crate) fn has_seen(&self, text: &str) -> bool {
        let received = self.received.lock().unwrap();
        let within = |body: &Bytes| body.windows(text.len()).any(|window| window == text.as_bytes());
        received.bodies.iter().any(within)
    }
}

type Kept = State<Arc<Mutex<Received>>>;

async fn take_spans(State(received): Kept, headers: HeaderMap, body: Bytes) {
    let sender = headers.get("authorization").map(|sender| sender.to_str().unwrap().to_owned());
    let request = ExportTraceServiceRequest::decode(body.clone()).unwrap();
    let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    let spans = scopes.flat_map(|scope| scope.spans).map(|span| Span {
        kind: kind(span.kind()),
        trace: span.trace_id,
        id: span.span_id,
        parent: span.parent_span_id,
        name: span.name,
        start_ns: span.start_time_unix_nano,
        end_ns: span.end_time_unix_nano,
        links: span.links.len(),
        attributes: span.attributes.into_iter().map(|pair| (pair.key, text(pair.value))).collect(),
    });
    let mut received = received.lock().unwrap();
    received.spans.extend(spans);
    received.senders.extend(sender);
    received.bodies.push(body);
}

async fn take_metrics(State(received): Kept, body: Bytes) {
    let request = ExportMetricsServiceRequest::decode(body.clone()).unwrap();
    let scopes = request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
    let names = scopes.flat_map(|scope| scope.metrics).map(|metric| metric.name);
    let mut received = received.lock().unwrap();
    received.metrics.extend(names);
    received.bodies.push(body);
}

fn kind(kind: SpanKind) -> String {
    kind.as_str_name().trim_start_matches("SPAN_KIND_").to_lowercase()
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(any_value::Value::StringValue(text)) => text,
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        Some(any_value::Value::DoubleValue(number)) => number.to_string(),
        Some(any_value::Value::BoolValue(truth)) => truth.to_string(),
        other => format!("{other:?}"),
    }
}
