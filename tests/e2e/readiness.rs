//! `/readyz` of a process whose broker dies, hangs, comes back, or was never there.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Fleet, Rig, free_port, http, until, within};

/// A lost connection is looked for twice a second; a process may be slow to be scheduled.
const LOST: Duration = Duration::from_secs(3);

/// Three missed pongs, 2 s apart, and the same.
const HUNG: Duration = Duration::from_secs(9);

/// Starting a program takes no longer, also beside many others.
const START: Duration = Duration::from_secs(10);

fn readiness(port: u16) -> (bool, String) {
    let answer = http::get(port, "/readyz").unwrap();
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(body["ready"] == true, answer.status == 200, "{answer:?}");
    (answer.status == 200, body["checks"]["broker"]["detail"].as_str().unwrap().to_owned())
}

/// Waits until it is not ready, and returns what it says then.
fn not_ready(port: u16, limit: Duration) -> String {
    let started = Instant::now();
    let why = within(limit, "readiness to go", || match readiness(port) {
        (false, why) => Some(why),
        (true, _) => None,
    });
    eprintln!("not ready after {:?}: {why}", started.elapsed());
    why
}

fn metric(port: u16, name: &str) -> Vec<String> {
    let metrics = http::get(port, "/metrics").unwrap().body;
    metrics.lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect()
}

#[test]
fn readiness_follows_the_broker_and_says_what_is_wrong() {
    let mut fleet = Fleet::new(Vec::new());
    let port = free_port();
    let serving = fleet.serve_with("coordinator,executor", &format!("health.listen=127.0.0.1:{port}"));
    assert_eq!(readiness(port), (true, "connected".to_owned()));
    assert_eq!(http::get(port, "/livez").unwrap().status, 200);

    fleet.broker.kill();
    not_ready(port, LOST);
    // The three connections notice it at times of their own.
    says(port, "connection `send` lost");
    says(port, "to reconnect");
    // It counts, and goes on.
    until("more attempts", || readiness(port).1.contains("5 attempts to reconnect").then_some(()));
    assert!(readiness(port).1.contains("the last: "), "{}", readiness(port).1);
    assert_eq!(http::get(port, "/livez").unwrap().status, 200, "nothing that a restart would mend");
    let up = metric(port, "planfleet_broker_connected{");
    assert!(up.len() == 3 && up.iter().all(|line| line.ends_with(" 0")), "{up:?}");
    fleet.broker.start_again(&fleet.rig.home);
    until("readiness", || readiness(port).0.then_some(()));

    fleet.broker.freeze();
    not_ready(port, HUNG);
    says(port, "connection `control` lost");
    fleet.broker.thaw();
    until("readiness", || readiness(port).0.then_some(()));
    let (reconnects, up) =
        (metric(port, "planfleet_broker_reconnects"), metric(port, "planfleet_broker_connected{"));
    assert!(reconnects.iter().filter(|line| line.ends_with(" 2")).count() == 3, "{reconnects:?}");
    assert!(up.len() == 3 && up.iter().all(|line| line.ends_with(" 1")), "{up:?}");

    let log = serving.err();
    for connection in ["send", "consume", "control"] {
        let lines = |message: &str| {
            let of = |line: &&str| line.contains(&format!("\"connection\":\"{connection}\""));
            log.lines().filter(of).filter(|line| line.contains(message)).count()
        };
        assert_eq!((lines("lost the broker"), lines("connected to the broker again")), (2, 2), "{log}");
        assert_eq!(lines("\"lasted_ms\":"), 2, "{log}");
    }
}

/// Waits until the reason why a process is not ready has this in it.
fn says(port: u16, text: &str) {
    until(text, || readiness(port).1.contains(text).then_some(()));
}

/// Kubernetes starts it again; a shell says what to do.
#[test]
fn a_process_without_a_broker_ends_and_says_so() {
    let mut rig = Rig::new(Vec::new());
    rig.set(format!("nats.url=nats://127.0.0.1:{}", free_port()));
    let started = Instant::now();
    let refused = rig.planfleet(&["serve", "--roles", "coordinator"]).code(7);
    assert!(started.elapsed() < START, "{:?}", started.elapsed());
    let line = refused.one_line();
    assert!(line.contains("refused") && line.contains("set nats.url"), "{line}");
}

/// One that takes connections and says nothing.
#[test]
fn a_broker_that_hangs_from_the_start_is_given_its_time_and_no_more() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut rig = Rig::new(Vec::new());
    rig.set(format!("nats.url=nats://{}", silent.local_addr().unwrap()));
    rig.set("nats.connect_timeout_s=2");
    let started = Instant::now();
    let refused = rig.planfleet(&["serve", "--roles", "coordinator"]).code(7);
    assert!(started.elapsed() < Duration::from_secs(2) + START, "{:?}", started.elapsed());
    assert!(refused.one_line().contains("set nats.url"), "{refused:#?}");
}

/// The other servers of the list have their share of the time.
#[test]
fn a_server_that_hangs_does_not_keep_anybody_from_the_others() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut fleet = Fleet::new(Vec::new());
    fleet.rig.set(format!("nats.url=nats://{},{}", silent.local_addr().unwrap(), fleet.broker.url()));
    fleet.rig.set("nats.connect_timeout_s=2");
    // The client tries them in any order, for each of its three connections.
    for _ in 0..2 {
        let _serving = fleet.serve("executor");
    }
}
