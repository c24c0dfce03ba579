//! What can be asked over HTTP, and which role each question needs: one table.

mod batches;
mod bulk;
mod cache;
mod dead_letters;
mod fleet;
mod preview;
mod query;
mod queues;
mod runs;
mod templates;
mod watch;

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    http::{StatusCode, header},
    middleware,
    response::{IntoResponse as _, Response},
    routing::get,
};
use planfleet_core::json;
use serde_json::Value;
use utoipa::openapi::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    access::{self, Role},
    gate, openapi,
    problem::Problem,
    service::Service,
    steer, ui,
};

pub(crate) type Shared = State<Arc<Service>>;
pub(crate) type Outcome = Result<Response, Problem>;

type Table = OpenApiRouter<Arc<Service>>;

fn for_readers() -> Table {
    OpenApiRouter::new()
        .routes(routes!(fleet::whoami))
        .routes(routes!(runs::list))
        .routes(routes!(runs::counts))
        .routes(routes!(runs::one))
        .routes(routes!(runs::step))
        .routes(routes!(watch::events))
        .routes(routes!(batches::list))
        .routes(routes!(batches::one))
        .routes(routes!(batches::results))
        .routes(routes!(batches::errors))
        .routes(routes!(templates::list))
        .routes(routes!(templates::one))
        .routes(routes!(cache::list))
        .routes(routes!(cache::one))
        .routes(routes!(fleet::tools))
        .routes(routes!(fleet::models))
        .routes(routes!(fleet::queues))
        .routes(routes!(fleet::workers))
        .routes(routes!(fleet::costs))
        .routes(routes!(dead_letters::list))
        .routes(routes!(dead_letters::one))
}

fn for_operators() -> Table {
    OpenApiRouter::new()
        .routes(routes!(runs::submit))
        .routes(routes!(runs::retry))
        .routes(routes!(bulk::cancel))
        .routes(routes!(bulk::retry))
        .routes(routes!(steer::cancel))
        .routes(routes!(steer::pause))
        .routes(routes!(steer::resume))
        .routes(routes!(steer::approve))
        .routes(routes!(steer::reject))
        .routes(routes!(preview::preview))
        .routes(routes!(batches::submit))
        .routes(routes!(batches::cancel))
        .routes(routes!(batches::retry_failed))
        .routes(routes!(cache::forget))
        .routes(routes!(cache::pin))
        .routes(routes!(queues::pause))
        .routes(routes!(queues::resume))
}

fn for_admins() -> Table {
    OpenApiRouter::new()
        .routes(routes!(templates::put))
        .routes(routes!(templates::remove))
        .routes(routes!(dead_letters::replay))
        .routes(routes!(dead_letters::discard))
}

/// All routes, each behind the role that it needs, and what they are.
fn table() -> (Router<Arc<Service>>, OpenApi) {
    let of = |mut table: Table, role: Role| {
        openapi::mark(table.get_openapi_mut(), role);
        table.route_layer(middleware::from_fn_with_state(role, access::require))
    };
    of(for_readers(), Role::Reader)
        .merge(of(for_operators(), Role::Operator))
        .merge(of(for_admins(), Role::Admin))
        .split_for_parts()
}

pub(crate) fn described() -> OpenApi {
    table().1
}

pub(crate) fn router(service: Arc<Service>) -> Router {
    table()
        .0
        .route_layer(middleware::from_fn_with_state(service.clone(), gate::known))
        .route("/openapi.json", get(described_json))
        .method_not_allowed_fallback(async || {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "the Allow header says what is",
            )
        })
        .layer(DefaultBodyLimit::max(service.config.task_bytes_max))
        .layer(middleware::from_fn_with_state(service.clone(), gate::bounded))
        // What the dashboard is made of is nobody's secret; what it shows is asked for with a key.
        .fallback(ui::serve)
        .layer(middleware::from_fn_with_state(service.clone(), gate::local))
        .layer(middleware::from_fn(gate::named))
        .with_state(service)
}

async fn described_json(State(service): Shared) -> Response {
    let document = openapi::document_where(service.door.is_required());
    ([(header::CONTENT_TYPE, "application/json")], document).into_response()
}

/// A body as JSON, without keys that are there twice.
pub(crate) fn parse(body: &[u8]) -> Result<Value, Problem> {
    let text = std::str::from_utf8(body).map_err(Problem::json)?;
    json::parse_strict(text).map_err(Problem::json)
}
