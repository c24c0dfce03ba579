//! Providers that go wrong by chance, for a long time: nobody who submits a run is to notice.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use planfleet_modelsim::{FaultKind, Faults, Reply, Rule, script::When};
use serde_json::{Value, json};

use crate::support::{
    Fleet, Rig, Roles as _, Step, api_port, ended_within, first_plan, http, plan, replan, step,
};

/// Who submit, side by side.
const USERS: usize = 100;

/// A debug build beside a compile on two cores, with waits for time-outs and retries.
const PATIENCE: Duration = Duration::from_secs(300);

const SCHEMA: &str = r#"{"type": "object", "properties": {"ship": {"type": "string", "pattern": "^[a-p]+$"}},
    "required": ["ship"], "additionalProperties": false}"#;

/// Names the ship that the input names: each run has an answer of its own.
fn work(id: u32) -> Step {
    // In other words each time: a revision that only repeats is refused.
    step(id, &format!("Name the ship in the note, by way {id}."))
        .uses("note", 0, "/note")
        .must("json_schema", SCHEMA)
}

/// A plan of one step; each revision replaces the step that has failed.
fn rules() -> Vec<Rule> {
    let revision = |id| Rule::json(replan("once more", [work(id)])).replans();
    vec![
        first_plan(plan([work(1)])),
        revision(70_003).when("70002"),
        revision(70_002).when("70001"),
        revision(70_001),
        Rule::reply(Reply::Between(["[[".to_owned(), "]]".to_owned()])).when_model("hands"),
    ]
}

/// What became of the runs.
struct Seen {
    /// Of each end, how many: `right`, or why not.
    ends: BTreeMap<String, usize>,
    faults: BTreeMap<FaultKind, usize>,
    calls: usize,
    took: Duration,
}

/// Submits so many runs to a fleet whose provider has these faults.
fn sail(runs: usize, seed: u64, rates: &[(FaultKind, f64)]) -> Seen {
    let faults = Faults {
        rates: rates.iter().copied().collect(),
        retry_after_s: 0.05,
        // Triage and judges have no part in it.
        when: When::default(),
    };
    let mut rig = Rig::with(|builder| builder.seed(seed).faults(faults).journal_max(runs * 20), rules());
    for model in ["brain", "hands"] {
        // For answers that stream, and for those that come at once.
        rig.set(format!("models.{model}.first_byte_timeout_s=3"));
        rig.set(format!("models.{model}.total_timeout_s=3"));
        rig.set(format!("models.{model}.max_concurrency=256"));
    }
    rig.set("pools.plan.slots=64");
    rig.set("pools.default.slots=64");
    let fleet = Fleet::in_rig(rig);
    let serving = fleet.serve("coordinator,planner,executor,api");
    let port = api_port(&serving);
    let began = Instant::now();
    let users: Vec<_> = (0..USERS)
        .map(|user| {
            thread::spawn(move || {
                (user..runs).step_by(USERS).map(|run| voyage(port, run)).collect::<Vec<_>>()
            })
        })
        .collect();
    let mut ends = BTreeMap::new();
    for end in users.into_iter().flat_map(|user| user.join().unwrap()) {
        *ends.entry(end).or_default() += 1;
    }
    let requests = fleet.rig.sim.all().0;
    let mut faults = BTreeMap::new();
    for fault in requests.iter().filter_map(|request| request.fault) {
        *faults.entry(fault).or_default() += 1;
    }
    let seen = Seen { ends, faults, calls: requests.len(), took: began.elapsed() };
    eprintln!("{:?} {:?}, {} calls in {:?}", seen.ends, seen.faults, seen.calls, seen.took);
    seen
}

/// One run from its submit to its end.
fn voyage(port: u16, number: usize) -> String {
    // Letters alone, so that no number of a step is in them.
    let ship: String = format!("{number:04x}")
        .bytes()
        .map(|digit| match digit {
            b'0'..=b'9' => char::from(b'a' + digit - b'0'),
            digit => char::from(b'k' + digit - b'a'),
        })
        .collect();
    let answer = json!({"ship": ship});
    let task = json!({"goal": "Which ship?", "mode": "plan", "inputs": {"note": format!("[[{answer}]]")}});
    let posted =
        http::post(port, "/v1/runs", &format!("ship-{ship}"), &task.to_string(), Duration::from_secs(60));
    let posted: Value = serde_json::from_str(&posted.unwrap().body).unwrap();
    let run = posted["run_id"].as_str().unwrap_or_else(|| panic!("{posted:#}"));
    let document = ended_within(PATIENCE, port, run);
    match document["answer"] == answer && document["state"] == "succeeded" {
        true => "right".to_owned(),
        false => format!("{} {} {}", document["state"], document["reason"], document["answer"]),
    }
}

fn right(seen: &Seen) -> usize {
    seen.ends.get("right").copied().unwrap_or_default()
}

#[test]
fn of_two_thousand_runs_on_a_provider_with_every_trouble_all_but_two_end_right() {
    let rates = [
        (FaultKind::Hang, 0.05),
        (FaultKind::RateLimit, 0.03),
        (FaultKind::BareRateLimit, 0.03),
        (FaultKind::ServerError, 0.005),
        (FaultKind::Overloaded, 0.005),
        (FaultKind::WrongSchema, 0.04),
        (FaultKind::Empty, 0.02),
    ];
    let seen = sail(2_000, 1, &rates);
    assert!(right(&seen) >= 1_998, "{:#?}", seen.ends);
    for (fault, rate) in rates {
        // Half of what is expected: there were as many as there should be.
        let expected = rate * seen.calls as f64;
        assert!(seen.faults[&fault] as f64 > expected / 2.0, "{fault:?}: {:?}", seen.faults);
    }
}

#[test]
fn no_run_fails_because_of_429s_alone() {
    let seen = sail(1_000, 2, &[(FaultKind::RateLimit, 0.14), (FaultKind::BareRateLimit, 0.07)]);
    assert_eq!(right(&seen), 1_000, "{:#?}", seen.ends);
    let faults: usize = seen.faults.values().sum();
    assert!(faults * 6 > seen.calls, "a fifth of all calls were refused: {:?}", seen.faults);
}
