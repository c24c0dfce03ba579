//! The HTTP side: routes, and the one path from a request to its answer.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use axum::{Json, Router, middleware};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::error::Error;
use crate::journal::ReceivedRequest;
use crate::provider::{Provider, Received};
use crate::trouble::Trouble;
use crate::wire::{Wire, request_id};

/// Room for a long prompt with many tools; a larger request is a mistake of the test.
const REQUEST_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A bound simulator that does not answer yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    provider: Arc<Provider>,
    stop: watch::Sender<bool>,
}

impl Server {
    pub(crate) fn new(listener: TcpListener, provider: Provider, stop: watch::Sender<bool>) -> Self {
        Self { listener, provider: Arc::new(provider), stop }
    }

    /// Answers until `shutdown` completes. Answers under way are then sent without further waits,
    /// those that hang are dropped.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), Error> {
        let stop = self.stop;
        let stopping = async move {
            shutdown.await;
            stop.send_replace(true);
        };
        // An answer that comes in pieces would wait 40 ms for the client to acknowledge the first.
        let listener = self.listener.tap_io(|connection| drop(connection.set_nodelay(true)));
        axum::serve(listener, router(self.provider))
            .with_graceful_shutdown(stopping)
            .await
            .map_err(Error::Serve)
    }
}

fn router(provider: Arc<Provider>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat_completions))
        .route("/v1/messages", post(messages))
        .route("/v1/models", get(models))
        .route("/v1/models/{*id}", get(model))
        .route("/requests", get(requests))
        .route("/healthz", get(async || "ok\n"))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .layer(middleware::map_response(mark))
        .with_state(provider)
}

/// No answer of a simulator may pass for a model's.
async fn mark(mut response: Response) -> Response {
    let simulated = HeaderValue::from_static("simulated");
    response.headers_mut().insert(HeaderName::from_static("x-modelsim"), simulated);
    response
}

async fn chat_completions(provider: State<Arc<Provider>>, headers: HeaderMap, body: Bytes) -> Response {
    chat(Wire::OpenAi, provider, headers, body).await
}

async fn messages(provider: State<Arc<Provider>>, headers: HeaderMap, body: Bytes) -> Response {
    chat(Wire::Anthropic, provider, headers, body).await
}

async fn chat(
    wire: Wire,
    State(provider): State<Arc<Provider>>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    Box::pin(provider.chat(Received { wire, headers, bytes })).await
}

async fn models(State(provider): State<Arc<Provider>>, headers: HeaderMap) -> Json<Value> {
    Json(Wire::of(&headers).models(provider.models()))
}

async fn model(
    State(provider): State<Arc<Provider>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let wire = Wire::of(&headers);
    match provider.models().contains(&id) {
        true => Json(wire.model(&id)).into_response(),
        false => error(wire, &Trouble::NotFound(id), 0),
    }
}

async fn requests(State(provider): State<Arc<Provider>>) -> Json<Vec<ReceivedRequest>> {
    Json(provider.journal().requests())
}

/// An error as the wire words it.
pub(crate) fn error(wire: Wire, trouble: &Trouble, number: u64) -> Response {
    let (status, body) = wire.error(trouble, number);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Json(body)).into_response();
    let (seconds, ms) = trouble.retry_after();
    for (name, value) in [("retry-after", seconds), ("retry-after-ms", ms)] {
        // Only OpenAI has the second.
        if let Some(value) = value.filter(|_| wire == Wire::OpenAi || name == "retry-after") {
            insert(&mut response, name, &value);
        }
    }
    response
}

/// What every answer of a provider carries beside its body.
pub(crate) fn with_headers(
    mut response: Response,
    wire: Wire,
    number: u64,
    limits: &[(String, String)],
) -> Response {
    insert(&mut response, wire.request_id_header(), &request_id(number));
    for (name, value) in limits {
        insert(&mut response, name, value);
    }
    response
}

pub(crate) fn ok(stream: bool, body: impl Into<Body>) -> Response {
    let content_type = if stream { "text/event-stream; charset=utf-8" } else { "application/json" };
    ([(CONTENT_TYPE, content_type)], body.into()).into_response()
}

fn insert(response: &mut Response, name: &str, value: &str) {
    // Both are ours, but for a wait that a script gives; what is no header is left out.
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
        response.headers_mut().insert(name, value);
    }
}
