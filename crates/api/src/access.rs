//! Who asks, and what they may.
//!
//! A caller is a tenant's, or of the whole fleet, and has a role. Where no credentials are
//! configured or made, whoever reaches the loopback address is the fleet's administrator;
//! see [`crate::gate`] for what keeps web pages out. Whose a run, batch or plan is, is
//! looked at in [`Caller::owns`] and nowhere else, and what is somebody else's is not there.

mod door;
mod jwt;
pub mod keys;
mod share;

use axum::{
    extract::{FromRequestParts, Request, State},
    http::request::Parts,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub(crate) use self::{
    door::Door,
    share::{Share, Shares},
};
pub use self::{
    door::{AccessConfig, Demand},
    jwt::Oidc,
};
use crate::problem::Problem;

/// What somebody may do. Each role may what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Look at everything of the tenant.
    Reader,
    /// Submit, steer and decide.
    Operator,
    /// Look after what all runs share.
    Admin,
}

impl Role {
    /// Its name in JSON and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Whose runs they see; `None` is all of them.
    pub(crate) tenant: Option<String>,
    pub(crate) role: Role,
    pub(crate) auth: Auth,
    /// The key's name, or the token's subject.
    pub(crate) name: Option<String>,
    /// By what those of one set of credentials are counted together.
    pub(crate) credentials: Option<String>,
}

/// How they have shown who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Auth {
    /// Not at all: they are on this machine.
    None,
    Key,
    Jwt,
}

impl Auth {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Key => "key",
            Self::Jwt => "jwt",
        }
    }
}

impl Caller {
    /// Somebody on this machine, where nobody is asked who they are.
    pub(crate) const fn local() -> Self {
        Self { tenant: None, role: Role::Admin, auth: Auth::None, name: None, credentials: None }
    }

    /// Whether something of a tenant is theirs to see: the one place that says so.
    pub(crate) fn owns(&self, tenant: &str) -> bool {
        self.tenant.as_deref().is_none_or(|own| own == tenant)
    }

    /// Whether they are of no tenant: what all tenants share is theirs to look after.
    pub(crate) const fn is_of_fleet(&self) -> bool {
        self.tenant.is_none()
    }

    /// The tenant whose things they ask to see. Those of another are none.
    ///
    /// # Errors
    /// When it is another.
    pub(crate) fn tenant_seen(&self, asked: Option<&str>) -> Result<Option<String>, Problem> {
        self.tenant_for(asked.filter(|tenant| !tenant.is_empty()))
    }

    /// The tenant that they ask for, which is their own.
    ///
    /// # Errors
    /// When it is another.
    pub(crate) fn tenant_for(&self, asked: Option<&str>) -> Result<Option<String>, Problem> {
        match (&self.tenant, asked) {
            (Some(own), Some(asked)) if own != asked => Err(Problem::other_tenant(own)),
            (Some(own), _) => Ok(Some(own.clone())),
            (None, asked) => Ok(asked.map(str::to_owned)),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(Problem::unauthenticated)
    }
}

/// Lets in who has at least that role.
pub(crate) async fn require(State(role): State<Role>, request: Request, next: Next) -> Response {
    match request.extensions().get::<Caller>() {
        Some(caller) if caller.role >= role => next.run(request).await,
        Some(caller) => Problem::forbidden(caller.role, role).into_response(),
        None => Problem::unauthenticated().into_response(),
    }
}
