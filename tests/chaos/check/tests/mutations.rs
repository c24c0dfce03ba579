//! Random harm to a good history: what can be told from a good one is refused, and
//! what cannot is passed, with the reason why it cannot.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::{
    good::{LIMITS, good},
    harm, harm_logs,
};
use crate::{check::judge, history::History};

/// What a mutation did.
pub(super) enum Harm {
    /// Something that no fleet leaves behind.
    Seen(String),
    /// Something that a fleet may leave behind as well, and why.
    Hidden(&'static str),
    /// Nothing: there is no such thing where the dice fell.
    None,
}

type Mutation = (&'static str, fn(&mut History, &mut Rng) -> Harm);

const MUTATIONS: [Mutation; 25] = [
    ("a document is dropped", harm::document_dropped),
    ("a document is kept twice", harm::document_twice),
    ("a document's answer is another", harm::answer_changed),
    ("a document's output is another", harm::output_changed),
    ("a document counts attempts otherwise", harm::attempts_changed),
    ("a document comes late", harm::document_late),
    ("a dispatch is dropped", harm::dispatch_dropped),
    ("a dispatch is of another position", harm::dispatch_moved),
    ("a dispatch is of another attempt", harm::dispatch_renumbered),
    ("a dispatch is of another epoch", harm::dispatch_of_another_epoch),
    ("a dispatch is taken twice", harm::dispatch_twice),
    ("an effect saw something else", harm::effect_saw_else),
    ("an effect began earlier", harm::effect_earlier),
    ("an effect answered otherwise", harm::effect_answered_else),
    ("an effect is dropped", harm::effect_dropped),
    ("a fault is dropped", harm::fault_dropped),
    ("a call is dropped", harm::call_dropped),
    ("a client's reads are in another order", harm::reads_swapped),
    ("a submit was told another run", harm::submit_told_else),
    ("another answer is expected", harm::expected_else),
    ("a log entry is dropped", harm_logs::entry_dropped),
    ("neighbours in a log are swapped", harm_logs::entries_swapped),
    ("a log entry is older", harm_logs::entry_older),
    ("a result is another", harm_logs::result_changed),
    ("a failure is of another class", harm_logs::failure_changed),
];

/// Enough for every mutation to hit everything that it can hit.
const ROUNDS: u64 = 100;

#[test]
fn random_harm_is_refused_or_cannot_be_told() {
    let good = good();
    let mut counts: BTreeMap<&str, (u64, BTreeMap<&str, u64>)> = BTreeMap::new();
    for round in 0..ROUNDS {
        for (number, (name, mutate)) in (0u64..).zip(MUTATIONS) {
            let mut rng = Rng::with_seed(round << 8 | number);
            let mut history = good.clone();
            let harm = mutate(&mut history, &mut rng);
            let verdict = judge(&history, &LIMITS);
            let (seen, hidden) = counts.entry(name).or_default();
            match harm {
                Harm::Seen(what) => {
                    assert!(!verdict.is_good(), "round {round}: {name}: {what}: nobody notices");
                    *seen += 1;
                }
                Harm::Hidden(why) => {
                    assert!(verdict.is_good(), "round {round}: {name}, hidden as {why}, is seen:\n{verdict}");
                    *hidden.entry(why).or_default() += 1;
                }
                Harm::None => {}
            }
        }
    }
    for (name, (seen, hidden)) in &counts {
        println!("{name}: refused {seen} times; passed: {hidden:?}");
        assert!(*seen > 0 || !hidden.is_empty(), "{name} never did anything");
    }
    let blind: Vec<_> = counts.iter().filter(|(_, (seen, _))| *seen == 0).map(|(name, _)| *name).collect();
    assert_eq!(blind, ["a call is dropped", "a dispatch is dropped", "a fault is dropped"]);
}
