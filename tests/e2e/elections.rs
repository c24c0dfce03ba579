//! Three servers, three copies of everything, and runs in flight at every moment:
//! what happens to runs when servers die, hang or leave.
//!
//! Each test prints how long the longest silence of the models was.

use std::{thread, time::Duration};

use crate::support::{Cluster, Fleet, Process, Traffic, free_port, http};

/// Long enough before and behind a fault that there is work in flight all along.
const BUSY: Duration = Duration::from_secs(2);

/// A hung server is noticed after 6 s, an election takes up to 9 s, and the machine
/// may be busy with something else.
const GAP_MAX: Duration = Duration::from_secs(25);

/// Long enough that it is noticed, that others are elected, and that it has missed much.
const HUNG: Duration = Duration::from_secs(20);

/// The streams whose leaders are hit: the log of the one shard, and the queue.
const LOG: &str = "PF_EV_00";
const QUEUE: &str = "PF_STEPS_0";

/// A fleet in two processes, at work.
struct Story {
    traffic: Traffic,
    /// Before the fleet: what a failed test shows of them is in its home.
    _serving: [Process; 2],
    fleet: Fleet<Cluster>,
    /// Where the first process tells of its readiness.
    health: u16,
}

impl Story {
    fn begin() -> Self {
        let mut fleet = Fleet::of_three(Traffic::rules());
        // As by default: longer than an election, so that no election makes work late.
        fleet.rig.set("pools.default.ack_wait_s=30");
        fleet.rig.set(format!("nats.monitoring_url={}", fleet.broker.monitoring_url()));
        let health = free_port();
        let listen = format!("health.listen=127.0.0.1:{health}");
        let serving = [fleet.serve_with("api,coordinator", &listen), fleet.serve("executor")];
        fleet.broker.settle();
        let traffic = Traffic::start(&serving[0]);
        thread::sleep(BUSY);
        Self { traffic, _serving: serving, fleet, health }
    }

    /// Whether the first process is ready, and what it says of that.
    fn readiness(&self) -> (bool, String) {
        let answer = http::get(self.health, "/readyz").unwrap();
        (answer.status == 200, answer.body)
    }

    /// All is well again: everything that was submitted has its one right end.
    fn end(self, fault: &str) {
        thread::sleep(BUSY);
        let seen = self.traffic.end(&self.fleet.rig);
        eprintln!(
            "{fault}: {} runs, {:?} without a call, repeated: {:?}",
            seen.runs, seen.gap, seen.repeated
        );
        assert_eq!(self.fleet.broker.messages("PF_DONE"), seen.runs as u64);
        assert_eq!(self.fleet.broker.messages("PF_DLQ"), 0);
        assert_eq!(self.fleet.broker.messages(QUEUE), 0, "acks were lost: this work would be done again");
        assert!(seen.repeated.is_empty(), "{:?}", seen.repeated);
        assert!(seen.gap < GAP_MAX, "{:?}", seen.gap);
    }
}

#[test]
fn leaders_are_killed() {
    let mut story = Story::begin();
    for stream in [LOG, QUEUE] {
        let leader = story.fleet.broker.leader_of(stream);
        story.fleet.broker.kill(leader);
        story.fleet.broker.leader_of(stream);
        story.fleet.broker.restart(&story.fleet.rig.home, leader);
        story.fleet.broker.settle();
    }
    story.end("kill -9 of leaders");
}

#[test]
fn leaders_are_asked_to_stop() {
    let mut story = Story::begin();
    for stream in [LOG, QUEUE] {
        let leader = story.fleet.broker.leader_of(stream);
        story.fleet.broker.terminate(leader);
        story.fleet.broker.restart(&story.fleet.rig.home, leader);
        story.fleet.broker.settle();
    }
    story.end("SIGTERM of leaders");
}

#[test]
fn a_leader_hangs() {
    let mut story = Story::begin();
    let leader = story.fleet.broker.leader_of(QUEUE);
    story.fleet.broker.freeze(leader);
    thread::sleep(HUNG);
    // The others do its work by now, and it is told that one is missing.
    let (ready, why) = story.readiness();
    assert!(ready && why.contains("healthy") && why.contains("unknown: "), "{why}");
    story.fleet.broker.thaw(leader);
    story.fleet.broker.settle();
    story.end("hung leader");
}

#[test]
fn all_servers_are_killed_at_once() {
    let mut story = Story::begin();
    for node in 0..3 {
        story.fleet.broker.kill(node);
    }
    thread::sleep(BUSY);
    for node in 0..3 {
        story.fleet.broker.restart(&story.fleet.rig.home, node);
    }
    story.fleet.broker.settle();
    story.end("kill -9 of all");
}
