//! A receiver of traces over OTLP/HTTP.

use std::{
    sync::{Arc, Mutex, mpsc},
    thread,
};

use axum::{Router, body::Bytes, extract::State, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, any_value},
};
use prost::Message as _;

/// One span as it came.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) trace: Vec<u8>,
    pub(crate) id: Vec<u8>,
    pub(crate) parent: Vec<u8>,
    pub(crate) name: String,
    pub(crate) attributes: Vec<(String, String)>,
}

impl Span {
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

type Spans = Arc<Mutex<Vec<Span>>>;

/// A running receiver.
pub(crate) struct Receiver {
    pub(crate) endpoint: String,
    spans: Spans,
}

impl Receiver {
    pub(crate) fn start() -> Self {
        let spans = Spans::default();
        let kept = Arc::clone(&spans);
        let (bound, take) = mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                bound.send(listener.local_addr().unwrap()).unwrap();
                let routes = Router::new().route("/v1/traces", post(receive)).with_state(kept);
                axum::serve(listener, routes).await.unwrap();
            });
        });
        Self { endpoint: format!("http://{}", take.recv().unwrap()), spans }
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }
}

async fn receive(State(spans): State<Spans>, body: Bytes) {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    let received = scopes.flat_map(|scope| scope.spans).map(|span| Span {
        trace: span.trace_id,
        id: span.span_id,
        parent: span.parent_span_id,
        name: span.name,
        attributes: span.attributes.into_iter().map(|pair| (pair.key, text(pair.value))).collect(),
    });
    spans.lock().unwrap().extend(received);
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(any_value::Value::StringValue(text)) => text,
        other => format!("{other:?}"),
    }
}
