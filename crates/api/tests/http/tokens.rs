//! Tokens of an issuer, whose keys are fetched over real HTTP.

#![expect(clippy::unwrap_used, reason = "a test whose scenery does not stand has failed")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{Json, Router, extract::State, routing::get};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use planfleet_api::access::{AccessConfig, Oidc};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::rig::{Rig, answer};

enum Pair {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
}

struct Signer {
    kid: &'static str,
    pair: Pair,
}

impl Signer {
    fn ed25519(kid: &'static str) -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self { kid, pair: Pair::Ed25519(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap()) }
    }

    fn p256(kid: &'static str) -> Self {
        let (by, chance) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(by, &chance).unwrap();
        Self { kid, pair: Pair::P256(EcdsaKeyPair::from_pkcs8(by, pkcs8.as_ref(), &chance).unwrap()) }
    }

    fn jwk(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match &self.pair {
            Pair::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": self.kid, "x": text(pair.public_key().as_ref())})
            }
            Pair::P256(pair) => {
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "kid": self.kid, "alg": "ES256",
                       "x": text(&point[1..33]), "y": text(&point[33..])})
            }
        }
    }

    fn token(&self, claims: &Value) -> String {
        let algorithm = if matches!(self.pair, Pair::P256(_)) { "ES256" } else { "EdDSA" };
        self.signed(&json!({"alg": algorithm, "kid": self.kid, "typ": "JWT"}), claims)
    }

    fn signed(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = match &self.pair {
            Pair::Ed25519(pair) => URL_SAFE_NO_PAD.encode(pair.sign(message.as_bytes())),
            Pair::P256(pair) => {
                URL_SAFE_NO_PAD.encode(pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap())
            }
        };
        format!("{message}.{signature}")
    }
}

#[derive(Clone)]
struct Issuer {
    url: String,
    keys: Arc<Mutex<Vec<Value>>>,
    asked: Arc<AtomicUsize>,
}

impl Issuer {
    async fn start(rig_tasks: &planfleet_runtime::tasks::Tasks, keys: Vec<Value>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let issuer = Self { url, keys: Arc::new(Mutex::new(keys)), asked: Arc::default() };
        let description = |State(issuer): State<Issuer>| async move {
            Json(json!({"issuer": issuer.url, "jwks_uri": format!("{}/keys", issuer.url)}))
        };
        let keys = |State(issuer): State<Issuer>| async move {
            issuer.asked.fetch_add(1, Ordering::SeqCst);
            Json(json!({"keys": *issuer.keys.lock().unwrap()}))
        };
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(description))
            .route("/keys", get(keys))
            .with_state(issuer.clone());
        rig_tasks.spawn("issuer", async move { axum::serve(listener, router).await });
        issuer
    }

    fn claims(&self) -> Value {
        json!({"iss": self.url, "aud": "planfleet", "sub": "ada", "exp": now() + 300, "tenant": "acme", "role": "operator"})
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn access(issuer: &Issuer) -> AccessConfig {
    let oidc = Oidc {
        issuer: issuer.url.clone(),
        audience: "planfleet".to_owned(),
        jwks_url: String::new(),
        tenant_claim: "tenant".to_owned(),
        role_claim: "role".to_owned(),
        leeway_s: 60,
    };
    AccessConfig { oidc: Some(oidc), ..AccessConfig::default() }
}

#[tokio::test]
async fn a_token_says_who_calls_and_a_wrong_one_lets_nobody_in() {
    let tasks = planfleet_runtime::tasks::Tasks::new("issuer");
    let (old, new) = (Signer::ed25519("k-1"), Signer::p256("k-2"));
    let issuer = Issuer::start(&tasks, vec![old.jwk(), new.jwk()]).await;
    let rig = Rig::asking(access(&issuer)).await;
    let who = |token: String| answer(rig.request("get", "/v1/whoami", &token));
    for signer in [&old, &new] {
        let seen = who(signer.token(&issuer.claims())).await;
        let expected = json!({"tenant": "acme", "role": "operator", "auth": "jwt", "name": "ada"});
        assert_eq!((seen.status.as_u16(), seen.body), (200, expected));
    }
    let with = |name: &str, value: Value| {
        let mut claims = issuer.claims();
        claims[name] = value;
        claims
    };
    let all = who(old.token(&with("tenant", json!("*")))).await;
    assert_eq!((&all.body["tenant"], all.status.as_u16()), (&Value::Null, 200));
    let highest = who(old.token(&with("role", json!(["reader", "admin", "else"])))).await;
    assert_eq!(highest.body["role"], "admin");
    assert_eq!(who(old.token(&with("exp", json!(now() - 30)))).await.status, 200, "clocks differ");
    let stranger = Signer::ed25519("k-1");
    let hmac = {
        let header = json!({"alg": "HS256", "kid": "k-1"});
        old.signed(&header, &issuer.claims())
    };
    let none = {
        let token = old.signed(&json!({"alg": "none"}), &issuer.claims());
        format!("{}.", token.rsplit_once('.').unwrap().0)
    };
    for (what, token) in [
        ("expired", old.token(&with("exp", json!(now() - 90)))),
        ("not yet", old.token(&with("nbf", json!(now() + 90)))),
        ("another issuer", old.token(&with("iss", json!("https://else.example")))),
        ("another audience", old.token(&with("aud", json!("else")))),
        ("no audience", old.token(&with("aud", Value::Null))),
        ("no tenant", old.token(&with("tenant", Value::Null))),
        ("a tenant that is none", old.token(&with("tenant", json!("a b")))),
        ("no role", old.token(&with("role", json!("owner")))),
        ("another's signature", stranger.token(&issuer.claims())),
        ("an unknown key", Signer::ed25519("k-9").token(&issuer.claims())),
        ("another key's algorithm", new.signed(&json!({"alg": "EdDSA", "kid": "k-2"}), &issuer.claims())),
        ("a shared secret", hmac),
        ("no signature", none),
        ("no token", "a.b.c".to_owned()),
    ] {
        let seen = who(token).await;
        assert_eq!(seen.problem(), (401, "unauthenticated"), "{what}: {seen:?}");
    }
    assert_eq!(issuer.asked.load(Ordering::SeqCst), 1, "made-up keys cost the issuer nothing");
    rig.shut_down().await;
}

#[tokio::test]
async fn an_issuer_that_does_not_answer_is_said_and_keys_are_not_needed_for_keys() {
    let tasks = planfleet_runtime::tasks::Tasks::new("issuer");
    let issuer = Issuer { url: "http://127.0.0.1:1".to_owned(), keys: Arc::default(), asked: Arc::default() };
    let rig = Rig::asking(access(&issuer)).await;
    let token = Signer::ed25519("k-1").token(&issuer.claims());
    let seen = answer(rig.request("get", "/v1/whoami", &token)).await;
    assert_eq!(seen.problem(), (503, "issuer_unreachable"));
    drop(tasks);
    rig.shut_down().await;
}
