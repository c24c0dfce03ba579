//! Every answer that is no success, as RFC 9457 problem details. Codes are
//! stable: clients match on them.

use std::time::Duration;

use axum::{
    extract::rejection::{BytesRejection, PathRejection, QueryRejection},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use planfleet_bus::{Error as BusError, admission::Refused, broker, client::RerunError};
use serde_json::json;

use crate::{
    access::Role,
    batch::BatchError,
    submission::Fault,
    template::library::LibraryError,
    view::{ProblemAt, ProblemDetails},
};

/// A takeover of a shard and an election of the broker are both over by then.
const RETRY_AFTER_S: u64 = 3;

/// Why a request was not carried out.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    faults: Vec<Fault>,
    /// When to come again, in seconds.
    retry_after_s: Option<u64>,
    /// How many requests may be made in a minute, where too many were.
    per_minute: Option<u32>,
    /// Where what it is about is found.
    location: Option<String>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl ToString) -> Self {
        // What is unavailable will be there again soon.
        let retry_after_s = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(RETRY_AFTER_S);
        let detail = detail.to_string();
        Self { status, code, detail, faults: Vec::new(), retry_after_s, per_minute: None, location: None }
    }

    pub(crate) fn query(detail: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "query_invalid", detail)
    }

    pub(crate) fn json(error: impl ToString) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "json_invalid",
            format!("the body is not JSON: {}", error.to_string()),
        )
    }

    /// Everything that is wrong with a task.
    pub(crate) fn task(faults: Vec<Fault>) -> Self {
        Self::faults("task_invalid", "the task", faults)
    }

    /// Everything that is wrong with something.
    pub(crate) fn faults(code: &'static str, what: &str, faults: Vec<Fault>) -> Self {
        let count =
            if faults.len() == 1 { "1 mistake".to_owned() } else { format!("{} mistakes", faults.len()) };
        let detail = format!("{what} has {count}");
        Self { faults, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail) }
    }

    /// What all tenants share, and one of them wants to change.
    pub(crate) fn of_fleet(what: &str) -> Self {
        let detail = format!("{what} are shared by all tenants: only credentials of no tenant change them");
        Self::new(StatusCode::FORBIDDEN, "tenant_credentials", detail)
    }

    /// Something that should not happen; the log says what.
    pub(crate) fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(%error, "a request failed");
        let detail = "unexpected; the log of the API says more";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    pub(crate) fn unknown_run(id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "run_unknown", format!("there is no run {id:?}"))
    }

    /// A request without credentials, or with some that are not known.
    pub(crate) fn unauthenticated() -> Self {
        let detail = "send `Authorization: Bearer <key or token>`; `planfleet admin keys create` makes keys";
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
    }

    /// Credentials that are wrong, and in what.
    pub(crate) fn unauthenticated_as(why: &dyn std::error::Error) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", why)
    }

    /// More requests than one set of credentials may make.
    pub(crate) fn too_many(per_minute: u32, wait: Duration) -> Self {
        let detail = format!("more than {per_minute} requests in a minute: see api.requests_per_minute");
        Self {
            retry_after_s: Some(wait.as_secs().saturating_add(1)),
            per_minute: Some(per_minute),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", detail)
        }
    }

    /// More at once than one set of credentials may have open.
    pub(crate) fn too_many_at_once(most: usize, what: &str) -> Self {
        let detail = format!("these credentials have {most} {what} at once already, a quarter of the room");
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_at_once", detail);
        Self { retry_after_s: Some(RETRY_AFTER_S), ..problem }
    }

    /// Somebody who may not do this.
    pub(crate) fn forbidden(is: Role, needed: Role) -> Self {
        let detail = format!("this needs the role {}, and the caller is {}", needed.as_str(), is.as_str());
        Self::new(StatusCode::FORBIDDEN, "role_insufficient", detail)
    }

    /// A tenant in a request that is not the caller's.
    pub(crate) fn other_tenant(own: &str) -> Self {
        let detail = format!("tenant: the credentials are those of {own:?}; leave it out or name that one");
        Self::new(StatusCode::BAD_REQUEST, "tenant_mismatch", detail)
    }

    /// Something that is not there, or not the caller's.
    pub(crate) fn unknown(what: &str, code: &'static str, name: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, format!("there is no {what} {name:?}"))
    }

    /// Something that cannot be done as it is asked for.
    pub(crate) fn conflict(code: &'static str, detail: impl ToString) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// Something that will be there again soon.
    pub(crate) fn unavailable(code: &'static str, detail: impl ToString) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
    }

    /// The same with where what it is about is found.
    pub(crate) fn at(self, location: String) -> Self {
        Self { location: Some(location), ..self }
    }

    /// The faults of something that was written wrong, or the problem itself where it is another.
    pub(crate) fn into_faults(self) -> Result<Vec<Fault>, Self> {
        if self.faults.is_empty() { Err(self) } else { Ok(self.faults) }
    }

    /// Whether it may be over soon, and says nothing of what was asked for.
    pub(crate) fn is_passing(&self) -> bool {
        self.status == StatusCode::SERVICE_UNAVAILABLE
    }

    fn details(&self) -> ProblemDetails {
        let at = |fault: &Fault| ProblemAt { path: fault.path.clone(), message: fault.message.clone() };
        ProblemDetails {
            r#type: format!("urn:planfleet:problem:{}", self.code),
            title: self.status.canonical_reason().map(str::to_owned),
            status: self.status.as_u16(),
            code: self.code.to_owned(),
            detail: self.detail.clone(),
            errors: self.faults.iter().map(at).collect(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let kind = HeaderValue::from_static("application/problem+json");
        let body = json!(self.details()).to_string();
        let mut response = (self.status, [(header::CONTENT_TYPE, kind)], body).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        let location = self.location.and_then(|location| HeaderValue::from_str(&location).ok());
        response.headers_mut().extend(location.map(|location| (header::LOCATION, location)));
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if let (Some(per_minute), Some(wait_s)) = (self.per_minute, self.retry_after_s) {
            let fields = [
                ("ratelimit-policy", format!("\"credentials\";q={per_minute};w=60")),
                ("ratelimit", format!("\"credentials\";r=0;t={wait_s}")),
            ];
            for (name, value) in fields {
                // Digits and fixed words are a header.
                let value = HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static("0"));
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

impl From<BusError> for Problem {
    fn from(error: BusError) -> Self {
        match &error {
            BusError::KeyReused { .. } => Self::new(StatusCode::CONFLICT, "idempotency_key_reused", error),
            BusError::Refused(refused) => {
                let (status, code) = match refused {
                    Refused::Fleet { .. } => (StatusCode::SERVICE_UNAVAILABLE, "fleet_full"),
                    Refused::Tenant { .. } => (StatusCode::TOO_MANY_REQUESTS, "tenant_full"),
                };
                Self { retry_after_s: Some(refused.retry_after_s()), ..Self::new(status, code, refused) }
            }
            BusError::UnknownBatch(id) => Self::unknown("batch", "batch_unknown", id),
            BusError::NoOwner(_) => Self::unavailable("no_coordinator", error),
            BusError::Broker(broker::Error::Unreachable(_) | broker::Error::NoResponder(_)) => {
                Self::unavailable("broker_unreachable", error)
            }
            BusError::Broker(broker::Error::Missing(_)) => Self::unavailable("broker_not_ready", error),
            BusError::Broker(broker::Error::TooLarge { .. }) => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", error)
            }
            _ => Self::internal(&error),
        }
    }
}

impl From<BatchError> for Problem {
    fn from(error: BatchError) -> Self {
        match error {
            BatchError::Bus(error) => error.into(),
            BatchError::Refused(_) => Self::conflict("batch_refused", error),
            BatchError::Read(error) => Self::new(StatusCode::BAD_REQUEST, "body_unreadable", error),
        }
    }
}

impl From<LibraryError> for Problem {
    fn from(error: LibraryError) -> Self {
        match error {
            LibraryError::Bus(error) => error.into(),
            LibraryError::Refused(reason) => Self::new(StatusCode::NOT_FOUND, "template_unknown", reason),
        }
    }
}

impl From<RerunError> for Problem {
    fn from(error: RerunError) -> Self {
        let code = match error {
            RerunError::Bus(error) => return error.into(),
            RerunError::Unknown(run) => return Self::unknown_run(run.as_str()),
            RerunError::Active { .. } => "run_active",
            RerunError::Succeeded(_) => "run_succeeded",
            RerunError::IsPart { .. } => "run_is_part",
            RerunError::NotKept(_) => "rerun_not_kept",
        };
        Self::new(StatusCode::CONFLICT, code, error)
    }
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Self {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                "the body is larger than limits.task_bytes",
            ),
            status => Self::new(status, "body_unreadable", rejection),
        }
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::query(rejection.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", rejection.body_text())
    }
}

impl From<rusqlite::Error> for Problem {
    fn from(error: rusqlite::Error) -> Self {
        Self::internal(&error)
    }
}
