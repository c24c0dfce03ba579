//! Who is let in, by what a request brings along.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axum::http::{HeaderMap, header};
use planfleet_bus::Bus;
use tokio::time::Instant;

use super::{
    Auth, Caller,
    jwt::{Oidc, Refused, Tokens},
    keys::{ApiKey, Keys},
};
use crate::problem::Problem;

/// Whether requests have to say who makes them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Demand {
    /// Where others can reach the API, or an issuer of tokens is configured.
    #[default]
    Auto,
    /// Always.
    Required,
    /// Never, which takes an address that nobody else can reach.
    None,
}

/// How callers show who they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessConfig {
    /// Whether they have to.
    pub demand: Demand,
    /// Who issues tokens, beside keys.
    pub oidc: Option<Oidc>,
    /// Requests that one set of credentials may make in a minute; 0 bounds nothing.
    pub requests_per_minute: u32,
}

impl AccessConfig {
    /// Whether requests at that address have to say who makes them.
    #[must_use]
    pub fn is_required(&self, address: IpAddr) -> bool {
        match self.demand {
            Demand::Required => true,
            Demand::None => false,
            Demand::Auto => self.oidc.is_some() || !address.to_canonical().is_loopback(),
        }
    }
}

/// Lets callers in.
pub(crate) struct Door {
    required: bool,
    keys: Keys,
    tokens: Option<Tokens>,
    pace: Pace,
}

impl Door {
    /// # Errors
    /// When there is no client to ask the issuer of tokens with.
    pub(crate) fn new(bus: Bus, config: AccessConfig, address: IpAddr) -> Result<Self, reqwest::Error> {
        Ok(Self {
            required: config.is_required(address),
            keys: Keys::on(bus),
            tokens: config.oidc.map(Tokens::of).transpose()?,
            pace: Pace::new(config.requests_per_minute),
        })
    }

    pub(crate) const fn is_required(&self) -> bool {
        self.required
    }

    /// Who makes a request.
    ///
    /// # Errors
    /// When nobody says, what is said is wrong, or it is said too often.
    pub(crate) async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        let Some(credentials) = headers.get(header::AUTHORIZATION) else {
            return if self.required { Err(Problem::unauthenticated()) } else { Ok(Caller::local()) };
        };
        let bearer = credentials.to_str().ok().and_then(|text| text.split_once(' '));
        let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let Some((_, text)) = bearer else { return Err(Problem::unauthenticated()) };
        let (caller, whose) = self.known(text.trim()).await?;
        self.pace.step(&whose)?;
        Ok(Caller { credentials: Some(whose), ..caller })
    }

    /// Who that is, and whose requests are counted together.
    async fn known(&self, text: &str) -> Result<(Caller, String), Problem> {
        if Keys::is_key(text) {
            let key = self.keys.find(text).await?.ok_or_else(Problem::unauthenticated)?;
            let ApiKey { id, name, tenant, role, .. } = key;
            let caller = Caller { tenant, role, auth: Auth::Key, name: Some(name), credentials: None };
            return Ok((caller, id));
        }
        let Some(tokens) = &self.tokens else { return Err(Problem::unauthenticated()) };
        let caller = tokens.caller(text).await.map_err(|refused| match refused {
            Refused::Token(_) => Problem::unauthenticated_as(&refused),
            Refused::Issuer(_) => Problem::unavailable("issuer_unreachable", refused),
        })?;
        let whose = format!("{:?}/{:?}", caller.tenant, caller.name);
        Ok((caller, whose))
    }
}

/// Credentials whose pace is kept; beyond it those that have been quiet are forgotten.
const PACES_MAX: usize = 10_000;

/// How many requests each set of credentials may still make: refilled all the time, and as
/// large as a minute's worth.
struct Pace {
    per_minute: u32,
    left: Mutex<HashMap<String, (f64, Instant)>>,
}

impl Pace {
    fn new(per_minute: u32) -> Self {
        Self { per_minute, left: Mutex::default() }
    }

    fn step(&self, whose: &str) -> Result<(), Problem> {
        let (most, now) = (f64::from(self.per_minute), Instant::now());
        if self.per_minute == 0 {
            return Ok(());
        }
        let refilled = |(left, at): (f64, Instant)| {
            (left + now.duration_since(at).as_secs_f64() * most / 60.0).min(most)
        };
        // Each critical section leaves the map whole.
        let mut all = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= PACES_MAX {
            all.retain(|_, pace| refilled(*pace) < most);
        }
        let left = all.get(whose).map_or(most, |pace| refilled(*pace));
        if left < 1.0 {
            return Err(Problem::too_many(
                self.per_minute,
                Duration::from_secs_f64((1.0 - left) * 60.0 / most),
            ));
        }
        all.insert(whose.to_owned(), (left - 1.0, now));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pace_is_refilled_with_time() {
        let pace = Pace::new(60);
        for _ in 0..60 {
            pace.step("a").unwrap();
        }
        assert!(pace.step("a").is_err());
        pace.step("b").unwrap();
        tokio::time::advance(Duration::from_secs(2)).await;
        pace.step("a").unwrap();
        pace.step("a").unwrap();
        assert!(pace.step("a").is_err());
        for _ in 0..1_000 {
            Pace::new(0).step("a").unwrap();
        }
    }

    #[test]
    fn others_have_to_say_who_they_are() {
        let (near, far): (IpAddr, IpAddr) = ("127.0.0.1".parse().unwrap(), "0.0.0.0".parse().unwrap());
        let auto = AccessConfig::default();
        assert!(!auto.is_required(near) && auto.is_required(far));
        assert!(!auto.is_required("::ffff:127.0.0.1".parse().unwrap()));
        let always = AccessConfig { demand: Demand::Required, ..AccessConfig::default() };
        assert!(always.is_required(near));
    }
}
