//! Small runs in every order of events: two coordinators, two executors, a
//! planner, three steps, and up to three faults wherever they can strike.
//!
//! The real fold decides. The world around it is a model (`model.rs`): the log,
//! the lease, the work queue that refuses a name it has, the stream of ended
//! runs, and actors that crash, pause, lose acks and fail. Every state that the
//! actors can bring about is looked at once (`explore.rs`), and so is every log
//! (`fold.rs`, `promises.rs`). What is checked:
//!
//! - *of every log*: two coordinators decide the same, and owe what was ordered
//!   under the same names; a step starts after all that it needs and sees their
//!   outputs; a result is taken once and charged once; after the end, or a
//!   cancel, nothing is ordered;
//! - *of every action*: what is emitted was ordered by the log; an attempt is in
//!   one executor's hands unless its ack wait ran out; a run has one document;
//! - *of every state in which only faults can happen*: the run has ended, its
//!   document is kept, no work is left anywhere, one coordinator owns the shard;
//! - *of the whole*: without faults no action leads back, so everything ends.
//!
//! The search is our own and not that of the crate `stateright` (0.31): its
//! `eventually` does not see a run that goes round in circles, as its docs say,
//! it tells states apart by a hash alone, and it brings a web server along,
//! whatever features are chosen. What is needed of it is two hundred lines.
//!
//! `PLANFLEET_FAULTS=3` lets every case have three faults: it takes minutes.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed; the message is the way to the broken promise"
)]

mod exhaustive {
    pub(crate) mod cases;
    pub(crate) mod explore;
    pub(crate) mod fold;
    pub(crate) mod model;
    pub(crate) mod promises;
    pub(crate) mod words;
}

use exhaustive::{
    cases::{Case, Planned},
    explore::{Report, explore},
    model::Protocol,
    words::Fault::{self, *},
};

const fn after(needs: &'static [u32]) -> Planned {
    Planned { needs, each: None, writes: false }
}

const CHAIN: Case = Case {
    name: "chain",
    steps: &[after(&[]), after(&[1]), after(&[2])],
    streamed: false,
    faults: &[
        CoordinatorCrash,
        CoordinatorPause,
        ExecutorCrash,
        LostAck,
        TransientFailure,
        ToolError,
        Cancel,
    ],
    faults_max: 3,
};

const FORK: Case = Case {
    name: "fork",
    steps: &[after(&[]), after(&[1]), after(&[1])],
    streamed: false,
    faults: &[
        CoordinatorCrash,
        CoordinatorPause,
        ExecutorCrash,
        AckWaitOver,
        LostAck,
        TransientFailure,
        ToolError,
        Cancel,
    ],
    faults_max: 2,
};

const JOIN: Case = Case {
    name: "join",
    steps: &[after(&[]), after(&[]), after(&[1, 2])],
    streamed: false,
    faults: &[
        CoordinatorCrash,
        CoordinatorPause,
        ExecutorCrash,
        LostAck,
        TransientFailure,
        ToolError,
        PlannerCrash,
        Deadline,
    ],
    faults_max: 2,
};

/// Step 2 is made once for each of the two items that step 1 brings.
const EACH: Case = Case {
    name: "each",
    steps: &[after(&[]), Planned { needs: &[], each: Some(1), writes: false }, after(&[2])],
    streamed: false,
    faults: CHAIN.faults,
    faults_max: 2,
};

/// Step 1 starts while the planner still writes, step 2 when the plan is whole.
const STREAMED: Case = Case {
    name: "streamed",
    steps: &[after(&[]), Planned { needs: &[1], each: None, writes: true }],
    streamed: true,
    faults: &[
        CoordinatorCrash,
        CoordinatorPause,
        ExecutorCrash,
        LostAck,
        TransientFailure,
        ToolError,
        PlannerCrash,
        Cancel,
    ],
    faults_max: 2,
};

/// Everything is looked at, and it is no less than it was.
#[expect(clippy::print_stdout, reason = "how much was looked at")]
fn explored(case: Case, states_min: usize) {
    let asked = std::env::var("PLANFLEET_FAULTS").ok();
    let faults_max = asked.map_or(case.faults_max, |count| count.parse().expect("a number"));
    let report =
        explore(Case { faults_max, ..case }, Protocol::AsItIs).unwrap_or_else(|story| panic!("{story}"));
    let Report { states, actions, ends, folds, faults } = &report;
    println!(
        "{}, up to {faults_max} faults: {states} states, {actions} actions, {ends} ends, \
         {folds} states of the fold, {faults:?}",
        case.name
    );
    // A search that looks at nothing would prove nothing.
    if faults_max >= case.faults_max {
        assert!(*states >= states_min, "{states} states only");
        let missing: Vec<&Fault> = case.faults.iter().filter(|fault| !faults.contains_key(fault)).collect();
        assert!(missing.is_empty(), "{missing:?} led nowhere");
    }
}

#[test]
fn a_chain_ends_well_whatever_happens() {
    explored(CHAIN, 130_000);
}

#[test]
fn a_fork_ends_well_whatever_happens() {
    explored(FORK, 30_000);
}

#[test]
fn a_fork_ends_well_after_three_crashes() {
    let faults = &[CoordinatorCrash, CoordinatorPause, ExecutorCrash, ToolError];
    explored(Case { name: "fork, three", faults, faults_max: 3, ..FORK }, 200_000);
}

#[test]
fn a_join_ends_well_whatever_happens() {
    explored(JOIN, 30_000);
}

#[test]
fn a_for_each_ends_well_whatever_happens() {
    explored(EACH, 30_000);
}

#[test]
fn a_streamed_plan_ends_well_whatever_happens() {
    explored(STREAMED, 30_000);
}

#[test]
fn a_streamed_plan_ends_well_if_its_planner_fails() {
    let faults = &[CoordinatorCrash, CoordinatorPause, ExecutorCrash, PlannerCrash, PlannerFailure];
    explored(Case { name: "streamed, planner fails", faults, ..STREAMED }, 15_000);
}

/// The search finds what breaks when the protocol is another.
fn found(case: Case, protocol: Protocol, what: &str) {
    let story = explore(case, protocol).expect_err("the protocol is broken");
    let says = story.lines().next().unwrap_or_default();
    assert!(says.contains(what), "found something else: {story}");
}

#[test]
fn an_ack_before_the_outcome_is_recorded_loses_it() {
    found(CHAIN, Protocol::AckFirst, "the run has not ended");
}

#[test]
fn a_queue_that_takes_copies_has_work_done_twice_at_once() {
    found(CHAIN, Protocol::TakesCopies, "two executors have one attempt");
}

#[test]
fn a_takeover_that_emits_nothing_loses_what_is_owed() {
    found(CHAIN, Protocol::OwesNothing, "nothing is left to do");
}

#[test]
fn a_checkpoint_before_the_document_is_kept_loses_it() {
    found(CHAIN, Protocol::ForgetsEarly, "the run's document is not kept");
}

#[test]
fn a_delivery_that_is_not_repeated_loses_a_dead_executor_s_work() {
    found(CHAIN, Protocol::NoRedelivery, "the run has not ended");
}
