//! Tokens of an OpenID Connect issuer: their signature, issuer, audience and time are
//! checked here, and their claims say the tenant and the role.
//!
//! The issuer's keys are fetched when a token names one that is not known, at most every
//! half minute, so that a rotation is followed and made-up names cost the issuer nothing.

mod ring_provider;

use std::time::Duration;

use jsonwebtoken::{
    Algorithm, Validation, decode, decode_header,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm},
};
use planfleet_core::id::check_name;
use serde_json::{Map, Value};
use tokio::{sync::Mutex, time::Instant};

use super::{Auth, Caller, Role};

/// The claim of somebody who may see all tenants.
const ALL_TENANTS: &str = "*";

/// Between two questions for the issuer's keys.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// Keys that are older are asked for again: one may have been withdrawn.
const KEYS_AGE: Duration = Duration::from_secs(3600);

/// For one question to the issuer.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of the issuer's answer: keys are some hundred each.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Characters of a token; longer ones are no token of a person.
const TOKEN_CHARS_MAX: usize = 16 * 1024;

/// Who issues tokens, and what their claims mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oidc {
    /// The issuer, exactly as tokens name it.
    pub issuer: String,
    /// The audience that a token has to be for.
    pub audience: String,
    /// Where the issuer's keys are; empty asks the issuer's own description.
    pub jwks_url: String,
    /// The claim that names the tenant; `*` in it is all of them.
    pub tenant_claim: String,
    /// The claim that names the role, as a text or a list of texts.
    pub role_claim: String,
    /// Seconds by which clocks may differ.
    pub leeway_s: u64,
}

/// Why a token is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// It is wrong.
    #[error("the token is not taken: {0}")]
    Token(String),
    /// Nobody can say just now.
    #[error("the keys of the issuer cannot be had: {0}")]
    Issuer(String),
}

impl From<reqwest::Error> for Refused {
    fn from(error: reqwest::Error) -> Self {
        Self::Issuer(error.without_url().to_string())
    }
}

/// Reads tokens.
pub(super) struct Tokens {
    oidc: Oidc,
    http: reqwest::Client,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    keys: Option<JwkSet>,
    asked: Option<Instant>,
}

impl Tokens {
    /// # Errors
    /// When there is no client to ask the issuer with.
    pub(super) fn of(oidc: Oidc) -> Result<Self, reqwest::Error> {
        // Whoever was first has installed the same.
        let _ = ring_provider::PROVIDER.install_default();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http =
            reqwest::Client::builder().timeout(ASK_TIMEOUT).redirect(reqwest::redirect::Policy::none());
        Ok(Self { oidc, http: http.build()?, known: Mutex::default() })
    }

    /// Who a token says that somebody is.
    pub(super) async fn caller(&self, token: &str) -> Result<Caller, Refused> {
        let refused = |error: jsonwebtoken::errors::Error| Refused::Token(error.to_string());
        if token.len() > TOKEN_CHARS_MAX {
            return Err(Refused::Token(format!("it has more than {TOKEN_CHARS_MAX} characters")));
        }
        let header = decode_header(token).map_err(refused)?;
        let jwk = self.key(header.kid.as_deref()).await?;
        let allowed = algorithms(&jwk);
        if !allowed.contains(&header.alg) {
            return Err(Refused::Token(format!("{:?} is no algorithm of its key", header.alg)));
        }
        let mut validation = Validation::new(header.alg);
        validation.leeway = self.oidc.leeway_s;
        validation.validate_nbf = true;
        validation.set_issuer(&[&self.oidc.issuer]);
        validation.set_audience(&[&self.oidc.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        let key = ring_provider::key(&jwk).map_err(refused)?;
        let claims = decode::<Map<String, Value>>(token, &key, &validation).map_err(refused)?.claims;
        self.read(&claims)
    }

    fn read(&self, claims: &Map<String, Value>) -> Result<Caller, Refused> {
        let Oidc { tenant_claim, role_claim, .. } = &self.oidc;
        let tenant = claims.get(tenant_claim).and_then(Value::as_str);
        let tenant = tenant
            .ok_or_else(|| Refused::Token(format!("it has no claim {tenant_claim:?} that is a text")))?;
        if tenant != ALL_TENANTS {
            check_name("tenant", tenant).map_err(|error| Refused::Token(error.to_string()))?;
        }
        let named = match claims.get(role_claim) {
            Some(Value::Array(all)) => all.clone(),
            Some(one) => vec![one.clone()],
            None => Vec::new(),
        };
        let roles = named.into_iter().filter_map(|name| serde_json::from_value::<Role>(name).ok());
        let role = roles.max().ok_or_else(|| {
            Refused::Token(format!("its claim {role_claim:?} names none of reader, operator, admin"))
        })?;
        Ok(Caller {
            tenant: (tenant != ALL_TENANTS).then(|| tenant.to_owned()),
            role,
            auth: Auth::Jwt,
            name: claims.get("sub").and_then(Value::as_str).map(str::to_owned),
            credentials: None,
        })
    }

    /// The key of that name. Whoever comes while the issuer is asked waits for the answer.
    async fn key(&self, kid: Option<&str>) -> Result<Jwk, Refused> {
        let mut known = self.known.lock().await;
        let since = known.asked.map(|at| at.elapsed());
        let found = known.keys.as_ref().and_then(|keys| pick(keys, kid));
        let (fresh, may_ask) =
            (since.is_some_and(|since| since < KEYS_AGE), since.is_none_or(|since| since >= ASK_AGAIN));
        match found {
            Some(key) if fresh => return Ok(key),
            None if !may_ask && known.keys.is_some() => return Err(unknown(kid)),
            None if !may_ask => return Err(Refused::Issuer("asked just now, without an answer".to_owned())),
            _ => {}
        }
        known.asked = Some(Instant::now());
        match self.ask().await {
            Ok(keys) => {
                let found = pick(&keys, kid);
                known.keys = Some(keys);
                found.ok_or_else(|| unknown(kid))
            }
            // What was known holds until the issuer says otherwise.
            Err(error) => match found {
                Some(key) => {
                    tracing::warn!(%error, "the issuer's keys are not renewed");
                    Ok(key)
                }
                None => Err(error),
            },
        }
    }

    async fn ask(&self) -> Result<JwkSet, Refused> {
        let url = match self.oidc.jwks_url.as_str() {
            "" => {
                let issuer = self.oidc.issuer.trim_end_matches('/');
                let description = self.get(&format!("{issuer}/.well-known/openid-configuration")).await?;
                let url = description["jwks_uri"].as_str();
                url.ok_or_else(|| Refused::Issuer("its description has no jwks_uri".to_owned()))?.to_owned()
            }
            url => url.to_owned(),
        };
        let keys = self.get(&url).await?;
        serde_json::from_value(keys).map_err(|error| Refused::Issuer(format!("no key set: {error}")))
    }

    async fn get(&self, url: &str) -> Result<Value, Refused> {
        let mut response = self.http.get(url).send().await?.error_for_status()?;
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await? {
            body.extend_from_slice(&part);
            if body.len() > ANSWER_BYTES_MAX {
                return Err(Refused::Issuer(format!("its answer has more than {ANSWER_BYTES_MAX} bytes")));
            }
        }
        serde_json::from_slice(&body)
            .map_err(|error| Refused::Issuer(format!("its answer is no JSON: {error}")))
    }
}

fn unknown(kid: Option<&str>) -> Refused {
    Refused::Token(match kid {
        Some(kid) => format!("the issuer has no key {kid:?}"),
        None => "it names no key, and the issuer has not just one".to_owned(),
    })
}

/// The key of that name; without a name, the only one.
fn pick(keys: &JwkSet, kid: Option<&str>) -> Option<Jwk> {
    match (kid, keys.keys.as_slice()) {
        (Some(kid), _) => keys.find(kid).cloned(),
        (None, [only]) => Some(only.clone()),
        (None, _) => None,
    }
}

/// The algorithms that a key is for: its own word, or all of its kind. Never one with a
/// shared secret, whose verifier could sign.
fn algorithms(jwk: &Jwk) -> Vec<Algorithm> {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    let of_kind: &[Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => &[RS256, RS384, RS512, PS256, PS384, PS512],
        AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P256 => &[ES256],
        AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P384 => &[ES384],
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => &[EdDSA],
        _ => &[],
    };
    let own = match jwk.common.key_algorithm {
        None => return of_kind.to_vec(),
        Some(KeyAlgorithm::RS256) => RS256,
        Some(KeyAlgorithm::RS384) => RS384,
        Some(KeyAlgorithm::RS512) => RS512,
        Some(KeyAlgorithm::PS256) => PS256,
        Some(KeyAlgorithm::PS384) => PS384,
        Some(KeyAlgorithm::PS512) => PS512,
        Some(KeyAlgorithm::ES256) => ES256,
        Some(KeyAlgorithm::ES384) => ES384,
        Some(KeyAlgorithm::EdDSA) => EdDSA,
        Some(_) => return Vec::new(),
    };
    of_kind.iter().copied().filter(|algorithm| *algorithm == own).collect()
}
