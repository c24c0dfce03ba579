//! The steps of a story's runs, and the documents that are made of them.

use std::collections::BTreeMap;

use planfleet_core::{
    id::{RunId, StepId},
    plan::{Input, PlanStep},
    task::Submission,
};
use serde_json::{Value, json};

use super::story::Story;
use crate::history::{Kept, Node, Source};

/// A run as far as it is told.
pub(super) struct Told {
    pub(super) tag: String,
    pub(super) submission: Submission,
    pub(super) submitted_ms: u64,
    /// When its newest record was stored.
    pub(super) last_ms: u64,
    pub(super) specs: BTreeMap<u32, PlanStep>,
    pub(super) nodes: BTreeMap<String, Node>,
    /// The newest attempt of each piece of work.
    pub(super) attempts: BTreeMap<StepId, u32>,
    pub(super) outputs: BTreeMap<StepId, Value>,
    pub(super) revisions: u32,
}

/// A step that adds up parts of earlier outputs: `(step, path)`.
pub(super) fn sum(id: u32, of: &[(u32, &str)]) -> PlanStep {
    let inputs: Vec<_> = of
        .iter()
        .enumerate()
        .map(|(at, (from, path))| json!({"name": format!("in{at}"), "from_step": from, "path": path}))
        .collect();
    let step = json!({"id": id, "kind": "tool", "tools": ["http_fetch"], "inputs": inputs});
    serde_json::from_value(step).unwrap()
}

/// A step for each item of a list.
pub(super) fn each(id: u32, from: u32, path: &str) -> PlanStep {
    let step = json!({"id": id, "kind": "tool", "tools": ["http_fetch"],
                      "for_each": {"from_step": from, "path": path, "as": "url"}});
    serde_json::from_value(step).unwrap()
}

/// Steps 1 to `length`, each after the one before; the first takes the task's `x`.
pub(super) fn chain(length: u32) -> Vec<PlanStep> {
    let input = |id: u32| if id == 1 { (0, "/x") } else { (id - 1, "/json/value") };
    (1..=length).map(|id| sum(id, &[input(id)])).collect()
}

impl Told {
    pub(super) fn new(tag: &str, submission: Submission) -> Self {
        Self {
            tag: tag.to_owned(),
            revisions: u32::from(submission.plan.is_some()),
            submission,
            submitted_ms: 0,
            last_ms: 0,
            specs: BTreeMap::new(),
            nodes: BTreeMap::new(),
            attempts: BTreeMap::new(),
            outputs: BTreeMap::new(),
        }
    }

    pub(super) fn plan(&mut self, step: &PlanStep) {
        let source = |(step, path): (u32, &str)| Source { step, path: path.to_owned() };
        let node = Node {
            step: step.id,
            answer: "/json/value".to_owned(),
            inputs: step.inputs.iter().filter_map(Input::reference).map(source).collect(),
            each: step.for_each.as_ref().map(|each| source((each.from_step, &each.path))),
            after: step.dependencies(),
        };
        self.nodes.insert(format!("n{}", step.id), node);
        self.specs.insert(step.id, step.clone());
    }

    pub(super) fn take(&mut self, id: StepId, value: &Value) {
        self.outputs.insert(id, json!({"json": {"value": value}}));
    }

    /// A step's output; of a `for_each`, the list.
    fn output(&self, step: u32) -> Option<Value> {
        if self.specs[&step].for_each.is_none() {
            return self.outputs.get(&StepId::plain(step)).cloned();
        }
        let items = self.outputs.range(StepId::item(step, 0)..=StepId::item(step, u32::MAX));
        Some(items.map(|(_, output)| output.clone()).collect())
    }

    pub(super) fn value(&self, from: u32, path: &str) -> Value {
        let whole = match from {
            0 => Some(Value::Object(self.submission.task.inputs.clone())),
            from => self.output(from),
        };
        whole.and_then(|whole| whole.pointer(path).cloned()).unwrap_or_default()
    }

    fn entries(&self) -> Vec<Value> {
        let mut entries = Vec::new();
        for (id, spec) in &self.specs {
            let of_step = || self.attempts.range(StepId::plain(*id)..=StepId::item(*id, u32::MAX));
            let attempts = of_step().map(|(_, attempt)| *attempt).max().unwrap_or(0);
            let output = self.output(*id);
            let state = if output.is_some() { "succeeded" } else { "cancelled" };
            entries.push(json!({"id": id, "state": state, "attempts": attempts, "output": output}));
            if spec.for_each.is_some() {
                entries.extend(of_step().map(|(id, attempt)| {
                    let output = self.outputs.get(id);
                    json!({"id": id.to_string(), "state": "succeeded", "attempts": attempt, "output": output})
                }));
            }
        }
        entries
    }
}

impl Story {
    /// The run's newest record has ended it: its document is kept.
    pub(super) fn end(&mut self, run: &RunId, state: &str, code: &str, message: &str) {
        let told = &self.runs[run];
        let answer = told.specs.keys().last().and_then(|last| told.output(*last));
        let document = json!({
            "run_id": run, "custom_id": told.tag, "state": state, "answer": answer,
            "end": {"code": code, "message": message},
            "revisions": (1..=told.revisions).map(|revision| json!({"revision": revision})).collect::<Vec<_>>(),
            "steps": told.entries(),
            "timings": {"total_ms": told.last_ms - told.submitted_ms},
        });
        self.wait(2);
        let seq = self.history.documents.len() as u64 + 1;
        let at_ms = self.now_ms;
        self.history.documents.push(Kept { seq, at_ms, run: run.clone(), document });
        self.told_end(1, run);
    }

    pub(super) fn succeed(&mut self, run: &RunId) {
        self.end(run, "succeeded", "completed", "");
    }
}
