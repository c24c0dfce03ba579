//! The provider: the simulator behind a gate of ours, which answers with errors for as
//! long as the nemesis wants.

use std::sync::{
    Arc,
    atomic::{AtomicU16, AtomicU64, Ordering},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use planfleet_modelsim::{Rule, Simulator};
use tokio::net::TcpListener;

/// A handle on the running provider. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Model {
    gate: Arc<Gate>,
    address: std::net::SocketAddr,
}

struct Gate {
    behind: std::net::SocketAddr,
    http: reqwest::Client,
    /// The status that everything is answered with; 0 lets everything through.
    status: AtomicU16,
    refused: AtomicU64,
}

impl Model {
    /// Answers by these rules from now on, for as long as the runtime lives.
    pub(crate) async fn start(rules: Vec<Rule>) -> Self {
        let builder = rules.into_iter().fold(Simulator::builder(), planfleet_modelsim::Builder::rule);
        let (simulator, server) = builder.bind("127.0.0.1:0").await.expect("the script is sound");
        tokio::spawn(server.serve(std::future::pending()));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let gate = Arc::new(Gate {
            behind: simulator.addr(),
            http: reqwest::Client::new(),
            status: AtomicU16::new(0),
            refused: AtomicU64::new(0),
        });
        let routes = Router::new().fallback(pass).with_state(Arc::clone(&gate));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { gate, address }
    }

    /// What goes into a model's `base_url`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Answers everything with this error; `None` ends that.
    pub(crate) fn refuse(&self, status: Option<u16>) {
        self.gate.status.store(status.unwrap_or(0), Ordering::Relaxed);
    }

    /// Requests that were refused so far.
    pub(crate) fn refused(&self) -> u64 {
        self.gate.refused.load(Ordering::Relaxed)
    }
}

async fn pass(State(gate): State<Arc<Gate>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    if let Ok(status @ 400..) =
        StatusCode::from_u16(gate.status.load(Ordering::Relaxed)).map(|status| status.as_u16())
    {
        gate.refused.fetch_add(1, Ordering::Relaxed);
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return (status, r#"{"error": {"message": "chaos", "code": "chaos"}}"#).into_response();
    }
    let kind = headers.get(header::CONTENT_TYPE).cloned();
    let mut request = gate.http.post(format!("http://{}{uri}", gate.behind)).body(body);
    if let Some(kind) = kind {
        request = request.header(header::CONTENT_TYPE, kind);
    }
    match request.send().await {
        Ok(answer) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = answer.status();
            if let Some(kind) = answer.headers().get(header::CONTENT_TYPE) {
                response.headers_mut().insert(header::CONTENT_TYPE, kind.clone());
            }
            *response.body_mut() = Body::from_stream(answer.bytes_stream());
            response
        }
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}
