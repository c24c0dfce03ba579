//! Who may do what, tried on every route that `openapi.json` knows.

#![expect(clippy::unwrap_used, reason = "a test whose scenery does not stand has failed")]

use planfleet_api::{
    Config,
    access::{
        AccessConfig, Demand, Role,
        keys::{Keys, NewKey},
    },
};
use planfleet_bus::DeadLetter;
use planfleet_core::cache::{Cost, Entry, Outcomes, Way};
use serde_json::{Value, json};

use super::rig::{Answer, Rig, answer};

/// Paths whose last name is shared by all tenants.
const SHARED: [&str; 1] = ["/v1/templates/{name}"];

async fn rig() -> Rig {
    let rig = Rig::asking(AccessConfig { demand: Demand::Required, ..AccessConfig::default() }).await;
    rig.start_coordinator();
    rig
}

async fn key(rig: &Rig, tenant: Option<&str>, role: Role) -> String {
    let new = NewKey { name: "test".to_owned(), tenant: tenant.map(str::to_owned), role, lasts: None };
    Keys::on(rig.bus.clone()).create(new).await.unwrap().0
}

/// Every operation: its method, its path and the role that it needs.
fn operations() -> Vec<(String, String, String)> {
    let document: Value = serde_json::from_str(&planfleet_api::openapi()).unwrap();
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            all.push((method.clone(), path.clone(), operation["x-role"].as_str().unwrap().to_owned()));
        }
    }
    assert!(all.len() >= 35, "{}", all.len());
    all
}

/// Something of a tenant's for each kind of name in a path.
struct Things {
    active: String,
    ended: String,
    batch: String,
    cached: String,
    dead: u64,
}

const PLAN: &str = r#"{"goal": "the secret goal", "class": "secret-class",
    "plan": {"steps": [{"id": 1, "description": "say hello"}], "final": 1}}"#;

impl Things {
    async fn of(rig: &Rig, key: &str) -> Self {
        let post = |path: &str, body: &str| rig.request("post", path, key).body(body.to_owned());
        let submitted = answer(post("/v1/runs", PLAN)).await;
        assert_eq!(submitted.status, 202, "{submitted:?}");
        let active = submitted.body["run_id"].as_str().unwrap().to_owned();
        let ending = answer(post("/v1/runs", PLAN)).await;
        let ended = ending.body["run_id"].as_str().unwrap().to_owned();
        loop {
            let path = format!("/v1/runs/{ended}/cancel");
            let asked = answer(rig.request("post", &path, key)).await;
            if asked.status == 202 {
                break;
            }
            assert_eq!(asked.problem().0, 503, "nobody owns the shard yet");
        }
        let path = format!("/v1/runs/{ended}?wait=30");
        assert_eq!(answer(rig.request("get", &path, key)).await.body["state"], "cancelled");
        let batch = answer(post("/v1/batches?id=secret-batch", "{\"goal\": \"a\"}\n")).await;
        assert_eq!((batch.status.as_u16(), &batch.body["submitted"]), (202, &json!(1)));
        let entry = Entry {
            tenant: "acme".to_owned(),
            class: "secret-class".to_owned(),
            slots: Vec::new(),
            goal: "g".to_owned(),
            extracted: false,
            way: Way::Direct,
            model: "m".to_owned(),
            cost: Cost { tokens: 1, nano_usd: None, ms: 1 },
            made_ms: 1,
            pinned: false,
            used: Outcomes::default(),
            fresh: Outcomes::default(),
        };
        rig.bus.keep_plan("secret-plan", &entry, 0).await.unwrap();
        let letter = DeadLetter {
            to: "pf.dlq.work.default".to_owned(),
            stream: "PF_STEPS_0".to_owned(),
            seq: 1,
            subject: format!("pf.steps.default.1.acme.{active}.1.1"),
            reason: "unreadable".to_owned(),
            headers: Default::default(),
            payload: Default::default(),
        };
        rig.bus.set_aside(letter).await.unwrap();
        let dead = 1;
        Self { active, ended, batch: "secret-batch".to_owned(), cached: "secret-plan".to_owned(), dead }
    }

    /// A path with the tenant's things in it: for runs, both of them.
    fn paths(&self, path: &str) -> Vec<String> {
        let path = path.replace("{step}", "1").replace("{key}", &self.cached);
        let path = path.replace("{seq}", &self.dead.to_string());
        if path.starts_with("/v1/batches") {
            return vec![path.replace("{id}", &self.batch)];
        }
        [&self.active, &self.ended].map(|run| path.replace("{id}", run)).to_vec()
    }
}

async fn ask(rig: &Rig, method: &str, path: &str, key: &str) -> Answer {
    let request = rig.request(method, path, key);
    answer(if path.ends_with("/reject") { request.body(r#"{"reason": "no"}"#) } else { request }).await
}

#[tokio::test]
async fn a_tenant_sees_nothing_of_another_on_any_route() {
    let rig = rig().await;
    let own = key(&rig, Some("acme"), Role::Admin).await;
    let other = key(&rig, Some("other"), Role::Admin).await;
    let things = Things::of(&rig, &own).await;
    let mut nested = 0;
    for (method, path, _) in operations() {
        if SHARED.contains(&path.as_str()) {
            continue;
        }
        for path in things.paths(&path).iter().filter(|_| path.contains('{')) {
            let seen = ask(&rig, &method, path, &other).await;
            assert_eq!(seen.problem().0, 404, "{method} {path}: {seen:?}");
            nested += 1;
        }
        if method == "get" && !path.contains('{') {
            let seen = ask(&rig, &method, &path, &other).await;
            assert_eq!(seen.status, 200, "{path}: {seen:?}");
            let text = seen.body.to_string();
            for secret in [&things.active, &things.ended, "secret", "acme"] {
                assert!(!text.contains(secret), "{path} shows {secret}: {text}");
            }
        }
    }
    assert!(nested >= 30, "{nested}");
    // By a filter, nothing of others is found or ended.
    for many in ["cancel", "retry"] {
        let all = rig.request("post", &format!("/v1/runs:{many}"), &other).body(r#"{"at_most": 100}"#);
        let done = answer(all).await;
        assert_eq!((done.status.as_u16(), &done.body["found"]), (202, &json!(0)), "{done:?}");
        let theirs = rig.request("post", &format!("/v1/runs:{many}"), &other);
        let named = answer(theirs.body(r#"{"at_most": 100, "tenant": "acme"}"#)).await;
        assert_eq!(named.problem(), (400, "tenant_mismatch"));
    }
    let own_runs = rig.request("post", "/v1/runs:cancel", &own).body(r#"{"dry_run": true}"#);
    assert_eq!(answer(own_runs).await.body["found"], json!(2), "the active run and the batch's");
    // The same is there for whose it is, as far as it is not the fleet's.
    for path in [format!("/v1/runs/{}", things.active), format!("/v1/runs/{}/events", things.ended)] {
        assert_eq!(ask(&rig, "get", &path, &own).await.status, 200, "{path}");
    }
    let listed = ask(&rig, "get", "/v1/runs?tenant=other", &own).await;
    assert_eq!(listed.problem(), (400, "tenant_mismatch"));
    let theirs = rig.request("post", "/v1/runs", &other).body(r#"{"goal": "g", "tenant": "acme"}"#);
    assert_eq!(answer(theirs).await.problem(), (400, "tenant_mismatch"));
    let taken = rig.request("post", "/v1/batches?id=secret-batch", &other).body("{\"goal\": \"a\"}");
    assert_eq!(answer(taken).await.problem(), (409, "batch_refused"));
    let fleet = key(&rig, None, Role::Reader).await;
    let all = ask(&rig, "get", "/v1/dead-letters", &fleet).await;
    assert_eq!(all.body["dead_letters"].as_array().unwrap().len(), 1);
    rig.shut_down().await;
}

#[tokio::test]
async fn every_route_asks_who_calls_and_what_they_may() {
    let rig = Rig::asking(AccessConfig { demand: Demand::Required, ..AccessConfig::default() }).await;
    let (reader, operator) =
        (key(&rig, Some("acme"), Role::Reader).await, key(&rig, Some("acme"), Role::Operator).await);
    let expired = {
        let lasts = Some(std::time::Duration::ZERO);
        let new = NewKey { name: "old".to_owned(), tenant: None, role: Role::Admin, lasts };
        Keys::on(rig.bus.clone()).create(new).await.unwrap().0
    };
    for (method, path, role) in operations() {
        let path = path.replace(['{', '}'], "");
        for wrong in ["", "nonsense", expired.as_str(), "pfk_00"] {
            let refused = ask(&rig, &method, &path, wrong).await;
            assert_eq!(refused.problem(), (401, "unauthenticated"), "{method} {path}");
        }
        if role != "reader" {
            let refused = ask(&rig, &method, &path, &reader).await;
            assert_eq!(refused.problem(), (403, "role_insufficient"), "{method} {path}");
        }
        if role == "admin" {
            let refused = ask(&rig, &method, &path, &operator).await;
            assert_eq!(refused.problem(), (403, "role_insufficient"), "{method} {path}");
        }
    }
    let who = ask(&rig, "get", "/v1/whoami", &reader).await.body;
    assert_eq!(who, json!({"tenant": "acme", "role": "reader", "auth": "key", "name": "test"}));
    assert_eq!(rig.facts().await, []);
    rig.shut_down().await;
}

#[tokio::test]
async fn requests_beyond_a_pace_hear_when_to_come_back() {
    let access = AccessConfig { demand: Demand::Required, requests_per_minute: 2, ..AccessConfig::default() };
    let rig = Rig::asking(access).await;
    let key = key(&rig, None, Role::Reader).await;
    let mut last = None;
    for _ in 0..20 {
        last = Some(ask(&rig, "get", "/v1/whoami", &key).await).filter(|seen| seen.status != 200);
        if last.is_some() {
            break;
        }
    }
    let refused = last.unwrap();
    assert_eq!(refused.problem(), (429, "too_many_requests"));
    assert!(refused.retry_after.unwrap().parse::<u64>().unwrap() > 0);
    rig.shut_down().await;
}

#[tokio::test]
async fn one_key_takes_a_quarter_of_the_room_and_leaves_the_rest_to_others() {
    let access = AccessConfig { demand: Demand::Required, ..AccessConfig::default() };
    let rig = Rig::made(Config { access, requests_max: 8, watchers_max: 4, ..Config::default() }).await;
    rig.start_coordinator();
    let operator = key(&rig, Some("acme"), Role::Operator).await;
    let submitted = answer(rig.request("post", "/v1/runs", &operator).body(PLAN)).await;
    let run = format!("/v1/runs/{}", submitted.body["run_id"].as_str().unwrap());
    while ask(&rig, "get", &run, &operator).await.status == 503 {
        tokio::task::yield_now().await;
    }
    let (greedy, other) =
        (key(&rig, Some("acme"), Role::Reader).await, key(&rig, Some("acme"), Role::Reader).await);
    let stream = async |key: &str| {
        let events = rig.request("get", &format!("{run}/events"), key);
        events.header("accept", "text/event-stream").send().await.unwrap()
    };
    let open = stream(&greedy).await;
    assert_eq!(open.status(), 200);
    let refused = stream(&greedy).await;
    assert_eq!((refused.status().as_u16(), refused.headers().contains_key("retry-after")), (429, true));
    assert_eq!(stream(&other).await.status(), 200);
    drop(open);
    // The server notices by itself that nobody reads any more.
    while stream(&greedy).await.status() == 429 {
        tokio::task::yield_now().await;
    }

    // Two requests that wait are the quarter of eight; the third is refused, and says so.
    let wait = format!("{run}?wait=60");
    let waits = async || {
        // The questions below may have the place at first.
        while ask(&rig, "get", &wait, &greedy).await.status == 429 {}
    };
    let others = async {
        loop {
            let answer = ask(&rig, "get", "/v1/whoami", &greedy).await;
            if answer.status != 200 {
                break answer;
            }
        }
    };
    let refused = tokio::select! {
        _ = async { tokio::join!(waits(), waits()) } => panic!("both waits are over"),
        answer = others => answer,
    };
    assert_eq!(refused.problem(), (429, "too_many_at_once"));
    assert_eq!(ask(&rig, "get", "/v1/whoami", &other).await.status, 200);
    rig.shut_down().await;
}
