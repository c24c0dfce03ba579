//! Every answer that is no success, as RFC 9457 problem details. Codes are
//! stable: clients match on them.

use axum::{
    extract::rejection::{BytesRejection, QueryRejection},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use planfleet_bus::{Error as BusError, admission::Refused, broker, client::RerunError};
use serde_json::{Value, json};

use crate::submission::Fault;

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
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl ToString) -> Self {
        // What is unavailable will be there again soon.
        let retry_after_s = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(RETRY_AFTER_S);
        Self { status, code, detail: detail.to_string(), faults: Vec::new(), retry_after_s }
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
        let count =
            if faults.len() == 1 { "1 mistake".to_owned() } else { format!("{} mistakes", faults.len()) };
        let detail = format!("the task has {count}");
        Self { faults, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "task_invalid", detail) }
    }

    pub(crate) fn unknown_run(id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "run_unknown", format!("there is no run {id:?}"))
    }

    /// Something that will be there again soon.
    pub(crate) fn unavailable(code: &'static str, detail: impl ToString) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
    }

    fn body(&self) -> Value {
        let mut body = json!({
            "type": format!("urn:planfleet:problem:{}", self.code),
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
        });
        if !self.faults.is_empty() {
            let fault = |fault: &Fault| json!({"path": fault.path, "message": fault.message});
            body["faults"] = self.faults.iter().map(fault).collect();
        }
        body
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let kind = HeaderValue::from_static("application/problem+json");
        let mut response =
            (self.status, [(header::CONTENT_TYPE, kind)], self.body().to_string()).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
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
            BusError::NoOwner(_) => Self::unavailable("no_coordinator", error),
            BusError::Broker(broker::Error::Unreachable(_) | broker::Error::NoResponder(_)) => {
                Self::unavailable("broker_unreachable", error)
            }
            BusError::Broker(broker::Error::Missing(_)) => Self::unavailable("broker_not_ready", error),
            BusError::Broker(broker::Error::TooLarge { .. }) => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", error)
            }
            _ => {
                tracing::error!(%error, "a request failed");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "internal",
                    "unexpected; the log of the API says more",
                )
            }
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
