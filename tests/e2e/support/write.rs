//! Plans as a planner model writes them.

use serde_json::{Value, json};

/// A step that is being written.
pub(crate) struct Step(Value);

/// A model step.
pub(crate) fn step(id: u32, description: &str) -> Step {
    Step(json!({
        "id": id, "description": description, "kind": "model", "tools": [], "inputs": [], "for_each": null,
        "depends_on": [], "expected_output": "", "success_criteria": [], "tier": "default",
    }))
}

/// A tool step.
pub(crate) fn tool(id: u32, name: &str) -> Step {
    let mut step = step(id, &format!("Call {name}."));
    step.0["kind"] = "tool".into();
    step.0["tools"] = json!([name]);
    step
}

/// A place in a step's output.
pub(crate) fn at(step: u32, path: &str) -> Value {
    json!({"from_step": step, "path": path})
}

impl Step {
    /// Refers to an output.
    pub(crate) fn uses(self, name: &str, from: u32, path: &str) -> Self {
        self.push("inputs", json!({"name": name, "value": null, "from_step": from, "path": path}))
    }

    pub(crate) fn literal(self, name: &str, value: &str) -> Self {
        self.push("inputs", json!({"name": name, "value": value, "from_step": null, "path": null}))
    }

    pub(crate) fn after(self, id: u32) -> Self {
        self.push("depends_on", json!(id))
    }

    pub(crate) fn must(self, kind: &str, arg: &str) -> Self {
        self.push("success_criteria", json!({"kind": kind, "arg": arg}))
    }

    pub(crate) fn for_each(mut self, list: Value) -> Self {
        self.0["for_each"] = list;
        self.0["for_each"]["as"] = Value::Null;
        self
    }

    /// Gives a model step a tool to call itself.
    pub(crate) fn with_tool(self, name: &str) -> Self {
        self.push("tools", json!(name))
    }

    fn push(mut self, list: &str, value: Value) -> Self {
        self.0[list].as_array_mut().unwrap().push(value);
        self
    }
}

/// A plan; the last step is its final one.
pub(crate) fn plan(steps: impl IntoIterator<Item = Step>) -> Value {
    let steps: Vec<Value> = steps.into_iter().map(|step| step.0).collect();
    let last = steps.last().map(|step| step["id"].clone());
    json!({"steps": steps, "final": last})
}

/// A revision; the last step is the new final one.
pub(crate) fn replan(reason: &str, steps: impl IntoIterator<Item = Step>) -> Value {
    let Value::Object(plan) = plan(steps) else { unreachable!("a plan is an object") };
    let mut answer = json!({"decision": "revise", "reason": reason, "drop": [], "answer": null});
    answer.as_object_mut().unwrap().extend(plan);
    answer
}
