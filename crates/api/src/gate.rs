//! What comes before a request is looked at: its name, room for it, who makes it, and that
//! no web page does that it is not for. Where nobody is asked who they are, what keeps web
//! pages from driving the API through a visitor's browser is here: a page's requests carry
//! its own origin, or, where it has its name resolve to this machine, its own host.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use tokio::time::timeout;
use tracing::Instrument as _;

use crate::{problem::Problem, service::Service};

/// Refuses requests that a web page from elsewhere has made.
pub(crate) async fn local(
    State(service): State<Arc<Service>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let headers = request.headers();
    let host = text(headers, header::HOST);
    // Credentials are sent by no page that does not have them.
    if !service.door.is_required() && !host.is_none_or(names_this_machine) {
        let detail = "the Host header names another machine; call the API as localhost or 127.0.0.1";
        return Err(Problem::new(StatusCode::FORBIDDEN, "host_refused", detail));
    }
    let origin = text(headers, header::ORIGIN).map(|origin| origin.split_once("://").map(|(_, host)| host));
    if origin.is_some_and(|origin| origin != host) {
        let detail = "the request comes from a web page of another origin";
        return Err(Problem::new(StatusCode::FORBIDDEN, "origin_refused", detail));
    }
    Ok(next.run(request).await)
}

/// Says who asks, before anything of the request is read.
pub(crate) async fn known(
    State(service): State<Arc<Service>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let caller = service.answer(service.door.caller(request.headers())).await?;
    let _share = service.request_shares.take(&caller)?;
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

/// The header by which a request is found again in logs.
const REQUEST_ID: header::HeaderName = header::HeaderName::from_static("x-request-id");

/// Gives each answer the name that its request came with, or a new one.
pub(crate) async fn named(request: Request, next: Next) -> Response {
    let given = request.headers().get(REQUEST_ID).filter(|id| id.len() <= REQUEST_ID_MAX).cloned();
    let id = given.or_else(|| HeaderValue::from_str(&uuid::Uuid::now_v7().simple().to_string()).ok());
    let span = tracing::debug_span!("request", request_id = id.as_ref().and_then(|id| id.to_str().ok()));
    let mut response = next.run(request).instrument(span).await;
    response.headers_mut().extend(id.map(|id| (REQUEST_ID, id)));
    response
}

/// Characters of a name that somebody else gives a request.
const REQUEST_ID_MAX: usize = 128;

/// Takes no more requests than there is room for, and gives none of them for ever.
pub(crate) async fn bounded(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let Ok(_room) = service.room.try_acquire() else {
        return Problem::unavailable("busy", "too many requests at once").into_response();
    };
    match timeout(service.request_max(), next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = "the request was not complete in time";
            Problem::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", detail).into_response()
        }
    }
}

/// A header as text; one that is none equals no host and no origin.
fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

fn names_this_machine(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    let address = name.parse::<IpAddr>();
    name == "localhost" || name.ends_with(".localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_s_names_pass() {
        for host in
            ["localhost", "LOCALHOST:1", "127.0.0.1:8460", "127.8.0.1", "[::1]:8460", "fleet.localhost"]
        {
            assert!(names_this_machine(host), "{host}");
        }
        for host in
            ["", "example.org", "localhost.example.org", "10.0.0.1:8460", "0.0.0.0", "127.0.0.1.nip.io", "?"]
        {
            assert!(!names_this_machine(host), "{host}");
        }
    }
}
