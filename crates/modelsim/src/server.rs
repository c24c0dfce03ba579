//! The HTTP side: routes, and the one path from a request to its answer.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use axum::{Json, Router, middleware};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::answer::Answer;
use crate::body::{Ending, Piece, body};
use crate::error::Error;
use crate::journal::{Entry, Journal, ReceivedRequest};
use crate::matching::{Chosen, Counters};
use crate::pace::{self, Pauses};
use crate::request::Asked;
use crate::script::{Fault, FaultKind, Rule, Script, StatusFault};

/// Room for a long prompt with many tools; a larger request is a mistake of the test.
const REQUEST_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Of a request that no rule matched, so much is quoted.
const QUOTED_CHARS_MAX: usize = 200;

/// A bound simulator that does not answer yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
}

#[derive(Debug)]
struct Shared {
    script: Script,
    counters: Counters,
    journal: Arc<Journal>,
    /// The whole `authorization` header that is asked for.
    authorization: Option<String>,
    pauses: Pauses,
}

impl Server {
    pub(crate) fn new(
        listener: TcpListener,
        script: Script,
        api_key: Option<String>,
        journal: Arc<Journal>,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let shared = Shared {
            script,
            counters: Counters::default(),
            journal,
            authorization: api_key.map(|key| format!("Bearer {key}")),
            pauses: Pauses::new(stopped),
        };
        Self { listener, shared: Arc::new(shared), stop }
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
        axum::serve(listener, router(self.shared))
            .with_graceful_shutdown(stopping)
            .await
            .map_err(Error::Serve)
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat_completions))
        .route("/v1/models", get(models))
        .route("/requests", get(requests))
        .route("/healthz", get(async || "ok\n"))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .layer(middleware::map_response(mark))
        .with_state(shared)
}

/// No answer of a simulator may pass for a model's.
async fn mark(mut response: Response) -> Response {
    let simulated = HeaderValue::from_static("simulated");
    response.headers_mut().insert(HeaderName::from_static("x-modelsim"), simulated);
    response
}

async fn models(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let entry = |id: &String| json!({"id": id, "object": "model", "owned_by": crate::MODEL});
    let data: Vec<Value> = shared.script.models.iter().map(entry).collect();
    Json(json!({"object": "list", "data": data}))
}

async fn requests(State(shared): State<Arc<Shared>>) -> Json<Vec<ReceivedRequest>> {
    Json(shared.journal.requests())
}

async fn chat_completions(State(shared): State<Arc<Shared>>, headers: HeaderMap, bytes: Bytes) -> Response {
    let parsed = serde_json::from_slice(&bytes);
    let json = parsed.unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&bytes)));
    let authorization = headers.get(AUTHORIZATION);
    let asked = Asked::read(&json);
    let entry = shared.journal.begin(json, authorization.is_some());
    if let Some(expected) = &shared.authorization
        && authorization.is_none_or(|given| given != expected.as_str())
    {
        return refuse(401, "invalid_api_key", "modelsim: the API key is missing or wrong");
    }
    let asked = match asked {
        Ok(asked) => asked,
        Err(what) => return refuse(400, "invalid_request", &format!("modelsim: {what}")),
    };
    match shared.counters.choose(&shared.script.rules, &asked) {
        Some(chosen) => shared.answer(chosen, &asked, entry).await,
        None => no_rule(shared.script.rules.len(), &asked),
    }
}

impl Shared {
    async fn answer(&self, chosen: Chosen, asked: &Asked, entry: Entry) -> Response {
        entry.answered_by(chosen.rule);
        let rule = &self.script.rules[chosen.rule];
        let mut pauses = self.pauses.clone();
        let first_byte = pace::first_byte(&rule.latency, self.script.seed, chosen);
        pauses.pause(first_byte).await;
        let ending = match &rule.fault {
            None => Ending::Whole,
            Some(Fault::Status(fault)) => return status(fault),
            Some(Fault::Kind(FaultKind::Garbage)) => return garbage(asked.stream),
            Some(Fault::Kind(FaultKind::Hang)) => {
                pauses.hang().await;
                return refuse(503, "stopped", "modelsim: stopped while it hung by script");
            }
            Some(Fault::Kind(FaultKind::HangMidStream)) => Ending::Hang,
            Some(Fault::Kind(FaultKind::CutMidStream)) => Ending::Cut,
        };
        let answer = Answer::new(entry.number(), rule, asked);
        if asked.stream {
            let pieces = stream_pieces(&answer, rule, asked.include_usage);
            return ok("text/event-stream", body(pieces, ending, pauses, entry));
        }
        let writing = pace::writing(&rule.latency, answer.output_tokens());
        pauses.pause(writing).await;
        let pieces = halves(&answer.whole().to_string());
        ok("application/json", body(pieces, ending, pauses, entry))
    }
}

fn stream_pieces(answer: &Answer, rule: &Rule, include_usage: bool) -> Vec<Piece> {
    let chunks = answer.chunks(include_usage).into_iter();
    let mut pieces: Vec<Piece> = chunks
        .map(|chunk| Piece {
            wait: pace::writing(&rule.latency, chunk.tokens),
            bytes: format!("data: {}\n\n", chunk.data).into(),
        })
        .collect();
    pieces.push(Piece { wait: Duration::ZERO, bytes: Bytes::from_static(b"data: [DONE]\n\n") });
    pieces
}

/// Two pieces, so that a whole answer too can break in the middle.
fn halves(text: &str) -> Vec<Piece> {
    let (first, second) = text.as_bytes().split_at(text.len() / 2);
    let piece = |bytes: &[u8]| Piece { wait: Duration::ZERO, bytes: Bytes::copy_from_slice(bytes) };
    vec![piece(first), piece(second)]
}

fn ok(content_type: &'static str, body: Body) -> Response {
    ([(CONTENT_TYPE, content_type)], body).into_response()
}

fn garbage(stream: bool) -> Response {
    if stream {
        return ok("text/event-stream", "data: {\"choices\": [\n\n".into());
    }
    ok("text/html", "<html>this is not an answer</html>".into())
}

fn status(fault: &StatusFault) -> Response {
    let code = fault.code.as_deref().unwrap_or("simulated_fault");
    let message = fault.message.as_deref().unwrap_or("modelsim: a fault by script");
    let mut response = refuse(fault.status, code, message);
    let wait = fault.retry_after_s.map(|seconds| seconds.to_string());
    if let Some(value) = wait.and_then(|text| HeaderValue::from_str(&text).ok()) {
        response.headers_mut().insert(RETRY_AFTER, value);
    }
    response
}

fn no_rule(rules: usize, asked: &Asked) -> Response {
    let quoted: String = asked.text.chars().take(QUOTED_CHARS_MAX).collect();
    let message = format!(
        "modelsim: none of the script's {rules} rules matches this request (model {:?}, schema \
         {:?}, messages beginning {quoted:?})",
        asked.model, asked.schema
    );
    refuse(400, "modelsim_no_rule", &message)
}

fn refuse(status: u16, code: &str, message: &str) -> Response {
    let kind = match status {
        400..=499 => "invalid_request_error",
        _ => "server_error",
    };
    let error = json!({"error": {"message": message, "type": kind, "code": code}});
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(error)).into_response()
}
