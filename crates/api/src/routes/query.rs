//! Queries that several routes take.

use std::time::Duration;

use axum::{
    extract::{FromRequestParts, Query},
    http::request::Parts,
};
use serde::{Deserialize, de::DeserializeOwned};
use utoipa::IntoParams;

use crate::{problem::Problem, service::WAIT_S_MAX};

/// A query as one of the types below, or a problem that says what is wrong with it.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(query) = Query::<T>::from_request_parts(parts, state).await?;
        Ok(Self(query))
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wait {
    /// Seconds to wait for the run's end.
    #[serde(default)]
    #[param(minimum = 0, maximum = 60, default = 0)]
    wait: u64,
}

impl Wait {
    pub(super) fn within(&self) -> Result<Duration, Problem> {
        match self.wait {
            0..=WAIT_S_MAX => Ok(Duration::from_secs(self.wait)),
            wait => Err(Problem::query(format!("wait: {wait} is not from 0 to {WAIT_S_MAX} seconds"))),
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Limit {
    /// How many at most.
    #[serde(default = "Limit::usual")]
    #[param(minimum = 1, maximum = 500, default = 50)]
    limit: usize,
}

impl Limit {
    const fn usual() -> usize {
        50
    }

    pub(super) fn get(&self) -> Result<usize, Problem> {
        limit(self.limit)
    }
}

/// How many a list holds: as many as a page shows, and no megabytes.
pub(super) fn limit(limit: usize) -> Result<usize, Problem> {
    if (1..=LIST_MAX).contains(&limit) {
        return Ok(limit);
    }
    Err(Problem::query(format!("limit: {limit} is not from 1 to {LIST_MAX}")))
}

/// Entries that one list holds at most.
pub(super) const LIST_MAX: usize = 500;

/// Nothing is asked: what is there all the same is a mistake.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}
