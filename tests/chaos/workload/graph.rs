//! DAGs of arithmetic, and the plans that carry them out.
//!
//! A node's value is `salt + 1*a + 2*b + ...` of its inputs, modulo a prime. The ledger
//! computes it for the plan, and [`Graph::values`] for the checker. In the plan, a node is
//! a `json_transform` step that writes the URL of the ledger call out of the node's inputs,
//! and an `http_fetch` step that makes the call. A tool step takes one `input`, so that
//! inputs of several nodes are gathered first, one step each: the ledger's answer brings a
//! jq filter that appends its value to a list, and the next answer's filter gets that list.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::history::{Node, Source};

/// Values stay small enough for every JSON number there is.
pub(crate) const MODULUS: u64 = 1_000_003;

/// What the ledger does to a node's call besides computing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It answers.
    #[default]
    None,
    /// 500, for ever: tried again by the coordinator until the attempts are used up.
    Broken,
    /// 404, for ever: the planner is told at once.
    Missing,
    /// It takes its time to answer.
    Slow,
}

impl Trouble {
    const fn word(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Broken => "&trouble=broken",
            Self::Missing => "&trouble=missing",
            Self::Slow => "&trouble=slow",
        }
    }
}

/// One node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spot {
    /// Nodes whose values it takes, by position; a `for_each` among them comes first.
    pub(crate) deps: Vec<usize>,
    /// Calls of a `for_each` node; each has a value of its own.
    pub(crate) items: Option<u32>,
    /// What makes its value its own.
    pub(crate) salt: u64,
    /// KiB that the answer is to be larger.
    pub(crate) pad_kib: u32,
    /// What goes wrong.
    pub(crate) trouble: Trouble,
}

/// A DAG in an order in which every node comes after those it depends on. The last one's
/// value is the answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Graph {
    pub(crate) spots: Vec<Spot>,
    /// The value that nodes without dependencies take: the task's input `x`.
    pub(crate) x: u64,
}

/// A graph as steps, and what the checker has to know of them.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) steps: Vec<Value>,
    pub(crate) nodes: BTreeMap<String, Node>,
    /// The step of the last node.
    pub(crate) last: u32,
}

/// Where a node's values are, and what came before it.
#[derive(Debug, Clone)]
struct Call {
    step: u32,
    sources: Vec<Source>,
    each: bool,
    ancestors: BTreeSet<u32>,
}

/// The value of a call: what the ledger answers.
pub(crate) fn value(salt: u64, inputs: &[u64]) -> u64 {
    let weighted = inputs.iter().zip(1u64..).map(|(input, weight)| input % MODULUS * weight % MODULUS);
    weighted.fold(salt % MODULUS, |sum, term| (sum + term) % MODULUS)
}

impl Graph {
    /// Every node's values, one for each of its calls.
    pub(crate) fn values(&self) -> Vec<Vec<u64>> {
        let mut all: Vec<Vec<u64>> = Vec::new();
        for spot in &self.spots {
            let mut inputs: Vec<u64> = spot.deps.iter().flat_map(|dep| all[*dep].clone()).collect();
            if inputs.is_empty() {
                inputs.push(self.x);
            }
            let calls = u64::from(spot.items.unwrap_or(1));
            all.push((0..calls).map(|item| value(spot.salt + item, &inputs)).collect());
        }
        all
    }

    /// The last node's value.
    pub(crate) fn answer(&self) -> u64 {
        self.values().last().and_then(|values| values.first().copied()).unwrap_or_default()
    }

    /// The plan's steps; `base` is the ledger's URL for this run.
    pub(crate) fn write(&self, base: &str) -> Written {
        let mut writer = Writer { base, written: Written::default(), next: 1 };
        let mut calls: Vec<Call> = Vec::new();
        for (place, spot) in self.spots.iter().enumerate() {
            let call = writer.node(&format!("n{place}"), spot, &calls);
            calls.push(call);
        }
        writer.written
    }

    /// What a revision adds when the last node has failed: the same call without the
    /// trouble, as a node `mended`. Ids go on after those of `written`.
    pub(crate) fn mend(&self, base: &str, written: &Written) -> Written {
        let Some((last, before)) = self.spots.split_last() else { return Written::default() };
        let mut writer = Writer { base, written: Written::default(), next: written.last + 1 };
        let calls: Vec<Call> = before
            .iter()
            .enumerate()
            .map(|(place, spot)| {
                let node = &written.nodes[&format!("n{place}")];
                let mut ancestors: BTreeSet<u32> = node.after.iter().copied().collect();
                ancestors.insert(node.step);
                let (each, sources) = (spot.items.is_some(), sources(node.step, spot));
                Call { step: node.step, sources, each, ancestors }
            })
            .collect();
        writer.node("mended", &Spot { trouble: Trouble::None, ..last.clone() }, &calls);
        writer.written
    }
}

/// Where the values of a node's calls are.
fn sources(step: u32, spot: &Spot) -> Vec<Source> {
    match spot.items {
        None => vec![Source { step, path: "/json/value".to_owned() }],
        Some(items) => (0..items).map(|item| Source { step, path: format!("/{item}/json/value") }).collect(),
    }
}

struct Writer<'a> {
    base: &'a str,
    written: Written,
    next: u32,
}

impl Writer<'_> {
    /// Adds the steps of a node after those of the nodes it depends on.
    fn node(&mut self, name: &str, spot: &Spot, calls: &[Call]) -> Call {
        let deps: Vec<&Call> = spot.deps.iter().map(|dep| &calls[*dep]).collect();
        let mut ancestors: BTreeSet<u32> = deps.iter().flat_map(|dep| dep.ancestors.clone()).collect();
        let mut inputs: Vec<Source> = deps.iter().flat_map(|dep| dep.sources.clone()).collect();
        if inputs.is_empty() {
            inputs.push(Source { step: 0, path: "/x".to_owned() });
        }
        let gathered = self.gather(&deps, &mut ancestors);
        let url = self.transform(literal("filter", &self.urls(name, spot)), reference("input", &gathered));
        ancestors.insert(url);
        let urls = Source { step: url, path: "/value".to_owned() };
        let step = self.call(&urls, spot.items.is_some());
        let node = Node {
            step,
            answer: "/json/value".to_owned(),
            inputs,
            each: spot.items.is_some().then_some(urls),
            after: ancestors.iter().copied().collect(),
        };
        self.written.nodes.insert(name.to_owned(), node);
        self.written.last = step;
        ancestors.insert(step);
        Call { step, sources: sources(step, spot), each: spot.items.is_some(), ancestors }
    }

    /// Brings the dependencies' values together: a number, or a list of them.
    fn gather(&mut self, deps: &[&Call], ancestors: &mut BTreeSet<u32>) -> Source {
        let Some((first, rest)) = deps.split_first() else {
            return Source { step: 0, path: "/x".to_owned() };
        };
        let mut gathered = first.sources[0].clone();
        if first.each {
            let list = Source { step: first.step, path: String::new() };
            let step = self.transform(literal("filter", "map(.json.value)"), reference("input", &list));
            ancestors.insert(step);
            gathered = Source { step, path: "/value".to_owned() };
        }
        for dep in rest {
            let join = Source { step: dep.step, path: "/json/join".to_owned() };
            let step = self.transform(reference("filter", &join), reference("input", &gathered));
            ancestors.insert(step);
            gathered = Source { step, path: "/value".to_owned() };
        }
        gathered
    }

    /// The filter that writes the URL of a node's call, or the list of its calls' URLs.
    fn urls(&self, name: &str, spot: &Spot) -> String {
        let url = |salt: u64, item: &str| {
            let (pad, trouble) = (spot.pad_kib, spot.trouble.word());
            format!("\"{}/{name}?salt={salt}&pad={pad}{trouble}{item}&in=\" + .", self.base)
        };
        let urls = match spot.items {
            None => url(spot.salt, ""),
            Some(items) => {
                let each = (0..items).map(|item| url(spot.salt + u64::from(item), &format!("&item={item}")));
                format!("[{}]", each.collect::<Vec<_>>().join(", "))
            }
        };
        format!("[.] | flatten | map(tostring) | join(\",\") | {urls}")
    }

    fn transform(&mut self, filter: Value, input: Value) -> u32 {
        self.step("json_transform", json!([filter, input]), Value::Null)
    }

    fn call(&mut self, urls: &Source, each: bool) -> u32 {
        if each {
            let list = json!({"from_step": urls.step, "path": urls.path, "as": "url"});
            return self.step("http_fetch", json!([]), list);
        }
        self.step("http_fetch", json!([reference("url", urls)]), Value::Null)
    }

    fn step(&mut self, tool: &str, inputs: Value, for_each: Value) -> u32 {
        let id = self.next;
        self.next += 1;
        // Every field, as planner models have to write it.
        self.written.steps.push(json!({
            "id": id, "description": format!("Call {tool}."), "kind": "tool", "tools": [tool],
            "inputs": inputs, "for_each": for_each, "depends_on": [], "expected_output": "",
            "success_criteria": [], "tier": "default",
        }));
        id
    }
}

fn literal(name: &str, value: &str) -> Value {
    json!({"name": name, "value": value, "from_step": null, "path": null})
}

fn reference(name: &str, source: &Source) -> Value {
    json!({"name": name, "value": null, "from_step": source.step, "path": source.path})
}
