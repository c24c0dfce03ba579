//! A cancel reaches the work that is under way, wherever its worker was meanwhile.

use std::time::{Duration, Instant};

use planfleet_modelsim::{Fault, FaultKind, ReceivedRequest, Rule};
use serde_json::json;

use crate::support::{Fleet, Roles as _, plan, step, until};

/// What is promised is a second; a busy machine may take three times as long.
const LIMIT: Duration = Duration::from_secs(3);

/// A fleet whose only step lasts as long as nobody hangs up, and the call for it.
struct Held {
    fleet: Fleet,
    run: String,
    call: ReceivedRequest,
}

impl Held {
    fn start(fleet: Fleet) -> Self {
        let run = fleet.submit(&json!({"plan": plan([step(1, "Wait for ever.")])}));
        let call = fleet.rig.sim.await_step("Wait for ever");
        Self { fleet, run, call }
    }

    /// Returns when the broker has the order.
    fn cancel(&self) {
        self.fleet.rig.planfleet(&["runs", "cancel", &self.run]).code(0);
    }

    fn has_ended(&self) -> bool {
        self.fleet.rig.sim.all().0[self.call.number as usize - 1].ended_us.is_some()
    }

    /// Waits until the executor has hung up, and checks how long it took.
    fn ends_within_the_limit_from(&self, asked: Instant) {
        until("the end of the call", || self.has_ended().then_some(()));
        let took = asked.elapsed();
        eprintln!("the call ended {} ms after the cancel", took.as_millis());
        assert!(took < LIMIT, "{took:?}");
        // Nobody begins it again.
        self.fleet.rig.sim.executor("Wait for ever").only();
    }
}

fn hanging() -> Fleet {
    Fleet::new(vec![Rule::default().fault(Fault::Kind(FaultKind::Hang)).step("Wait for ever")])
}

#[test]
fn a_cancel_stops_what_is_in_flight_within_a_second() {
    let fleet = hanging();
    let _serving = fleet.serve("coordinator,executor");
    let held = Held::start(fleet);
    let asked = Instant::now();
    held.cancel();
    held.ends_within_the_limit_from(asked);
}

#[test]
fn an_executor_that_stood_still_when_a_run_was_cancelled_stops_once_it_goes_on() {
    let fleet = hanging();
    let _coordinator = fleet.serve("coordinator");
    let executor = fleet.serve("executor");
    let held = Held::start(fleet);
    executor.freeze();
    held.cancel();
    // Longer than the ack wait: its work is anybody's by now, if somebody else were there.
    std::thread::sleep(Duration::from_secs(3));
    assert!(!held.has_ended());
    executor.thaw();
    held.ends_within_the_limit_from(Instant::now());
}

/// The cancel is asked for and kept while no worker has a connection: what a broadcast
/// would have lost.
#[test]
fn an_executor_whose_broker_was_away_hears_of_a_cancel_when_it_is_back() {
    let fleet = hanging();
    let _coordinator = fleet.serve("coordinator");
    let executor = fleet.serve("executor");
    let mut held = Held::start(fleet);
    executor.freeze();
    // Its connections are gone when it looks again, and the order is older than the next.
    held.fleet.broker.crash_and_restart(&held.fleet.rig.home);
    held.cancel();
    until("the order", || (held.fleet.broker.messages("KV_pf_cancel") == 1).then_some(()));
    executor.thaw();
    held.ends_within_the_limit_from(Instant::now());
}
