//! What a campaign has the fleet do: tasks as a function of the seed, each with the end
//! that it must come to.

pub(crate) mod graph;

use std::{collections::BTreeMap, time::Duration};

use fastrand::Rng;
use planfleet_modelsim::{Rule, script::When};
use serde_json::{Value, json};

use self::graph::{Graph, Spot, Trouble};
use crate::history::{Expected, Fate};

/// A deck of as many cards is dealt again and again, so that a short campaign has some of
/// every kind.
const DECK: [Kind; 16] = [
    Kind::Plain,
    Kind::Plain,
    Kind::Plain,
    Kind::Plain,
    Kind::Plain,
    Kind::Plain,
    Kind::Plain,
    Kind::Planned,
    Kind::Planned,
    Kind::Replanned,
    Kind::Cancelled,
    Kind::Cancelled,
    Kind::Failing,
    Kind::Twice,
    Kind::Twice,
    Kind::Large,
];

/// Large enough that the task, an output and the document all travel by reference: the
/// limit of a message's own body is 64 KiB.
const LARGE_KIB: u32 = 100;

/// A cancel comes this long after the submit at most: most runs take longer.
const CANCEL_AFTER_MS_MAX: u64 = 1_500;

/// Kinds of tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// It brings its plan.
    Plain,
    /// A model plans it.
    Planned,
    /// Its last step fails until the model has revised the plan.
    Replanned,
    /// It is cancelled at a random moment, most often while a call takes long.
    Cancelled,
    /// A step of it fails for good.
    Failing,
    /// It is submitted twice under its key, at the same time.
    Twice,
    /// Its bodies travel by reference.
    Large,
}

impl Kind {
    /// Every kind.
    pub(crate) const ALL: [Self; 7] = [
        Self::Plain,
        Self::Planned,
        Self::Replanned,
        Self::Cancelled,
        Self::Failing,
        Self::Twice,
        Self::Large,
    ];
}

/// One task, and what must come of it.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) kind: Kind,
    pub(crate) tag: String,
    pub(crate) task: Value,
    pub(crate) expected: Expected,
    /// When it is to be cancelled, from its submit.
    pub(crate) cancel_after: Option<Duration>,
    /// What the planner model answers.
    pub(crate) rules: Vec<Rule>,
}

/// The tasks of a campaign; `ledger` is the URL that calls begin with.
pub(crate) fn jobs(seed: u64, count: usize, ledger: &str) -> Vec<Job> {
    let mut rng = Rng::with_seed(seed ^ 0x006a_6f62);
    let mut deck = Vec::new();
    (0..count)
        .map(|number| {
            if deck.is_empty() {
                deck.extend(DECK);
                rng.shuffle(&mut deck);
            }
            job(deck.pop().unwrap_or(Kind::Plain), number, ledger, &mut rng)
        })
        .collect()
}

fn job(kind: Kind, number: usize, ledger: &str, rng: &mut Rng) -> Job {
    let tag = format!("t{number:05}");
    let base = format!("{ledger}/{tag}");
    let mut graph = shape(rng);
    match kind {
        Kind::Replanned => set_last(&mut graph, |last| last.trouble = Trouble::Missing),
        Kind::Failing => {
            let at = rng.usize(..graph.spots.len());
            graph.spots[at].trouble = Trouble::Broken;
        }
        Kind::Large => graph.spots[0].pad_kib = LARGE_KIB,
        Kind::Cancelled => {
            // Not all calls of a `for_each`: they would keep the slots from everybody else.
            let at = rng.usize(..graph.spots.len());
            let at = if graph.spots[at].items.is_some() { 0 } else { at };
            graph.spots[at].trouble = Trouble::Slow;
        }
        Kind::Plain | Kind::Planned | Kind::Twice => {}
    }
    let written = graph.write(&base);
    let mut nodes = written.nodes.clone();
    let goal = format!("Do the sums of {tag}.");
    let mut task = json!({
        "goal": goal, "custom_id": tag, "inputs": {"x": graph.x},
        "tools": ["http_fetch", "json_transform"], "max_replans": 0,
    });
    let plan = json!({"steps": written.steps, "final": written.last});
    let mut rules = Vec::new();
    match kind {
        Kind::Planned => {
            // The first answer may be none; a planner asks once more.
            if rng.bool() {
                rules.push(asked(Rule::text("Let me think about that."), "plan", &goal).nth(1));
            }
            rules.push(asked(Rule::json(plan), "plan", &goal));
        }
        Kind::Replanned => {
            let mended = graph.mend(&base, &written);
            rules.push(asked(Rule::json(plan), "plan", &goal));
            rules.push(asked(Rule::json(revision(&mended)), "replan", &goal));
            nodes.extend(mended.nodes);
            task["max_replans"] = json!(1);
        }
        _ => task["plan"] = plan,
    }
    if kind == Kind::Large {
        task["inputs"]["pad"] = json!("p".repeat(LARGE_KIB as usize * 1024));
    }
    let succeeds = Fate::Succeeds { path: "/json/value".to_owned(), answer: json!(graph.answer()) };
    let fate = match kind {
        Kind::Failing => Fate::Fails { code: "replans_used".to_owned(), message: "500".to_owned() },
        Kind::Cancelled => Fate::Cancelled { otherwise: Box::new(succeeds) },
        _ => succeeds,
    };
    let cancel_after =
        (kind == Kind::Cancelled).then(|| Duration::from_millis(rng.u64(..CANCEL_AFTER_MS_MAX)));
    let expected = Expected { nodes, fate, replanned: kind == Kind::Replanned };
    Job { kind, tag, task, expected, cancel_after, rules }
}

fn set_last(graph: &mut Graph, set: impl FnOnce(&mut Spot)) {
    if let Some(last) = graph.spots.last_mut() {
        set(last);
    }
}

/// An answer for whoever asks with this schema about this goal.
fn asked(rule: Rule, schema: &str, goal: &str) -> Rule {
    let rule = rule.when(goal);
    let when = When { schema: Some(schema.to_owned()), ..rule.when };
    Rule { when, ..rule }
}

fn revision(mended: &graph::Written) -> Value {
    json!({
        "decision": "revise", "reason": "The last call is made elsewhere.", "drop": [], "answer": null,
        "steps": mended.steps, "final": mended.last,
    })
}

/// A chain, a diamond, a wide fan-out with its join, or a `for_each`.
fn shape(rng: &mut Rng) -> Graph {
    let mut spots: Vec<Spot> = match rng.u32(..4) {
        0 => (0..rng.usize(3..7)).map(|place| after(place.checked_sub(1))).collect(),
        1 => vec![after(None), after([0]), after([0]), after([1, 2])],
        2 => {
            let width = rng.usize(4..9);
            let leaves = (1..=width).map(|_| after([0]));
            [after(None)].into_iter().chain(leaves).chain([after(1..=width)]).collect()
        }
        _ => {
            let items = Some(rng.u32(3..8));
            vec![after(None), Spot { items, ..after([0]) }, after([0]), after([1, 2])]
        }
    };
    for spot in &mut spots {
        spot.salt = rng.u64(..graph::MODULUS);
    }
    Graph { spots, x: rng.u64(..graph::MODULUS) }
}

fn after(deps: impl IntoIterator<Item = usize>) -> Spot {
    Spot { deps: deps.into_iter().collect(), ..Spot::default() }
}

/// How many tasks there are of each kind.
pub(crate) fn by_kind<'a>(jobs: impl IntoIterator<Item = &'a Job>) -> BTreeMap<Kind, usize> {
    let mut counts = BTreeMap::new();
    for job in jobs {
        *counts.entry(job.kind).or_default() += 1;
    }
    counts
}

/// What is expected of the tasks that were submitted.
pub(crate) fn expectations<'a>(jobs: impl IntoIterator<Item = &'a Job>) -> BTreeMap<String, Expected> {
    jobs.into_iter().map(|job| (job.tag.clone(), job.expected.clone())).collect()
}
