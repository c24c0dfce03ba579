//! The broker's disk is full while runs are in flight, and then has room again.
//!
//! nats-server 2.15 says nothing to publishers then: no ack comes, a stream that could
//! not be written is frozen until the server is started again, and only `/healthz`
//! names it.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{Disk, Fleet, Outcome, Process, Rig, Traffic, free_port, http, until, within};

/// Room for everything that runs of a few seconds leave, and quickly filled.
const DISK_MIB: u32 = 48;

/// Runs are in flight for this long before the disk is full and after it has room.
const BUSY: Duration = Duration::from_secs(2);

/// What readiness promises: servers are asked every 5 s, writes count after 10 s, and
/// one takes 5 s to be unanswered.
const NOTICED: Duration = Duration::from_secs(20);

/// A fleet whose broker has a disk of its own.
struct Story {
    /// Before the fleet: what a failed test shows of it is in its home.
    serving: Process,
    health: u16,
    fleet: Fleet,
    disk: Disk,
}

impl Story {
    /// With or without being told where the server answers for monitoring.
    fn begin(monitoring: bool) -> Option<Self> {
        let rig = Rig::new(Traffic::rules());
        let disk = match Disk::mount(&rig.home.path("broker"), DISK_MIB) {
            Ok(disk) => disk,
            Err(why) => {
                eprintln!("SKIPPED, NOTHING WAS TESTED: this user cannot mount a disk to fill: {why}");
                return None;
            }
        };
        let mut fleet = Fleet::in_rig(rig);
        if monitoring {
            fleet.rig.set(format!("nats.monitoring_url={}", fleet.broker.monitoring_url()));
        }
        let health = free_port();
        let serving =
            fleet.serve_with("api,coordinator,executor", &format!("health.listen=127.0.0.1:{health}"));
        Some(Self { serving, health, fleet, disk })
    }

    fn readiness(&self) -> (bool, Value) {
        let answer = http::get(self.health, "/readyz").unwrap();
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(body["ready"] == true, answer.status == 200);
        (answer.status == 200, body["checks"].clone())
    }

    /// Why it is not ready, and how long it took to say so.
    fn why_not_ready(&self) -> (String, Duration) {
        let since = Instant::now();
        let checks = within(NOTICED, "readiness to go", || {
            let (ready, checks) = self.readiness();
            (!ready).then_some(checks)
        });
        (checks.to_string(), since.elapsed())
    }

    fn submit(&self) -> Outcome {
        self.fleet.rig.home.write("task.json", r#"{"goal": "Another run."}"#);
        self.fleet.rig.planfleet(&["run", "--detach", "-f", "task.json"])
    }

    /// The first submit that is refused: what is left of the last page of a file takes a few.
    fn refused(&self) -> Outcome {
        for _ in 0..100 {
            let outcome = self.submit();
            if !outcome.status.success() {
                return outcome.code(7);
            }
        }
        panic!("a full disk takes a hundred runs");
    }

    /// What `admin doctor` says of the server's health.
    fn doctor(&self, code: i32) -> String {
        let findings = self.fleet.rig.planfleet(&["admin", "doctor", "-o", "json"]).code(code).json();
        let found = findings.as_array().unwrap().iter().find(|finding| finding["what"] == "broker server");
        found.unwrap()["detail"].as_str().unwrap().to_owned()
    }

    /// Nothing mends itself before the server is started again, then everything does.
    fn mend(&mut self) {
        self.disk.free();
        assert!(!self.readiness().0);
        self.fleet.broker.crash_and_restart(&self.fleet.rig.home);
        until("readiness", || self.readiness().0.then_some(()));
    }
}

#[test]
fn a_full_disk_is_told_by_the_server_and_loses_nothing() {
    let Some(mut story) = Story::begin(true) else { return };
    let traffic = Traffic::start(&story.serving);
    thread::sleep(BUSY);
    assert!(story.readiness().0);
    assert!(story.doctor(0).ends_with(": healthy"));
    story.disk.fill();
    let (why, took) = story.why_not_ready();
    eprintln!("full disk: not ready after {took:?}: {why}");
    assert!(why.contains("unhealthy: JetStream stream") && why.contains("no space left"), "{why}");
    assert!(story.doctor(1).contains("no space left on device"));
    // Nobody is told that a run is there which is not.
    let refused = story.refused();
    let line = refused.one_line();
    assert!(line.contains("no answer on pf.ev.00.submit within 30s"), "{line}");
    assert!(line.contains("full disk") && !line.contains("planfleet dev"), "{line}");
    assert_eq!(refused.out, "");
    story.mend();
    thread::sleep(BUSY);
    let seen = traffic.end(&story.fleet.rig);
    eprintln!("full disk: {} runs, {:?} without a call, repeated: {:?}", seen.runs, seen.gap, seen.repeated);
    // What was done while nothing could be stored is kept until it can be. Once more at
    // most: where the outcome is stored, and so the name is free, while the shard's next
    // owner is between its look at the log and what it orders.
    assert!(seen.repeated.values().all(|again| again.len() == 1), "{:?}", seen.repeated);
}

/// Without a monitoring endpoint the silence itself is what tells.
#[test]
fn a_full_disk_is_noticed_by_the_writes_that_nobody_answers() {
    let Some(mut story) = Story::begin(false) else { return };
    let traffic = Traffic::start(&story.serving);
    thread::sleep(BUSY);
    story.disk.fill();
    let (why, took) = story.why_not_ready();
    eprintln!("full disk, no monitoring: not ready after {took:?}: {why}");
    assert!(why.contains("the broker does not answer what is written to"), "{why}");
    story.mend();
    traffic.end(&story.fleet.rig);
}
