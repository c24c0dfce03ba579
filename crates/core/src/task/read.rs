//! From JSON to a [`Task`], with every mistake reported at once.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{Budget, Review, Task};
use crate::{
    id::check_name,
    json,
    plan::{TIMEOUT_S_MAX, lint::Fault, parse},
    usage::NanoUsd,
};

/// A task's deadline is at most 30 days away: a day less than logs keep their records.
const DEADLINE_S_MAX: u64 = 30 * 24 * 3600;

/// Replans cost planner calls; a run that needs more than this is not converging.
const REPLANS_MAX: u32 = 100;

/// One mistake in a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskFault {
    /// The field, as a path.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for TaskFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Reads a task from JSON text.
///
/// # Errors
/// All mistakes; where the text is no JSON, that alone.
pub fn from_json(text: &str) -> Result<Task, Vec<TaskFault>> {
    let value = json::parse_strict(text)
        .map_err(|error| vec![TaskFault { path: "task".into(), message: format!("not JSON: {error}") }])?;
    from_value(value)
}

/// Reads a task from a JSON value.
///
/// # Errors
/// All mistakes.
pub fn from_value(value: Value) -> Result<Task, Vec<TaskFault>> {
    let Value::Object(object) = value else {
        let message = format!("a task is an object, not a {}", json::type_name(&value));
        return Err(vec![TaskFault { path: "task".into(), message }]);
    };
    let mut fields = Fields { object, faults: Vec::new() };
    let task = task(&mut fields);
    fields.finish(task)
}

const KEYS: &str = "goal, inputs, custom_id, plan, template, class, mode, tools, budget, deadline_s, max_replans, review, approval, step_timeout_s, priority, tenant, labels";

fn task(fields: &mut Fields) -> Task {
    let task = Task {
        goal: fields.text("goal"),
        inputs: fields.take("inputs", "an object").unwrap_or_default(),
        custom_id: fields.name("custom_id"),
        plan: fields.plan(),
        template: fields.text("template"),
        class: fields.name("class"),
        mode: fields.take("mode", "auto, plan or direct").unwrap_or_default(),
        tools: fields.take("tools", "a list of tool names"),
        budget: fields.budget(),
        deadline_s: fields.within("deadline_s", "whole seconds", 1, DEADLINE_S_MAX),
        max_replans: fields.within("max_replans", "a whole number", 0, REPLANS_MAX),
        review: fields.take("review", "on_failure, after_each_step or never").unwrap_or_default(),
        approval: fields
            .take("approval", "an object such as {\"plan\": true, \"tools\": [\"http_request\"]}")
            .unwrap_or_default(),
        step_timeout_s: fields.within("step_timeout_s", "whole seconds", 1, TIMEOUT_S_MAX),
        priority: fields.take("priority", "high, normal or low").unwrap_or_default(),
        tenant: fields.name("tenant"),
        labels: fields.take("labels", "an object of texts").unwrap_or_default(),
    };
    sources(&task, fields);
    task
}

/// A task says what it wants exactly once.
fn sources(task: &Task, fields: &mut Fields) {
    // A field that was there but wrong has its fault already.
    let given = |name: &str, is_some: bool| is_some || fields.faults.iter().any(|f| f.path.starts_with(name));
    let (goal, plan, template) = (
        given("goal", task.goal.is_some()),
        given("plan", task.plan.is_some()),
        given("template", task.template.is_some()),
    );
    if !goal && !plan && !template {
        fields.fault("goal", "missing: a task has a goal, a plan or a template");
    }
    if task.review == Review::AfterEachStep && !goal {
        fields.fault("review", "after_each_step needs a goal: the planner measures results by it");
    }
    if plan && template {
        fields.fault("template", "given besides a plan; a task has one of the two");
    }
}

struct Fields {
    object: Map<String, Value>,
    faults: Vec<TaskFault>,
}

impl Fields {
    fn fault(&mut self, path: &str, message: impl Into<String>) {
        self.faults.push(TaskFault { path: path.to_owned(), message: message.into() });
    }

    /// The field's value; absent and null are the same.
    fn remove(&mut self, key: &str) -> Option<Value> {
        self.object.remove(key).filter(|value| !value.is_null())
    }

    fn take<T: DeserializeOwned>(&mut self, key: &str, expected: &str) -> Option<T> {
        let value = self.remove(key)?;
        let shown = crate::failure::trim_chars(&value.to_string(), 80);
        let read = serde_json::from_value(value).ok();
        if read.is_none() {
            self.fault(key, format!("{shown} is not {expected}"));
        }
        read
    }

    fn text(&mut self, key: &str) -> Option<String> {
        let text: String = self.take(key, "a text")?;
        if text.trim().is_empty() {
            self.fault(key, "is empty");
            return None;
        }
        Some(text)
    }

    fn name(&mut self, key: &'static str) -> Option<String> {
        let name: String = self.take(key, "a text")?;
        if let Err(error) = check_name(key, &name) {
            self.fault(key, error.to_string());
            return None;
        }
        Some(name)
    }

    fn within<T>(&mut self, key: &str, expected: &str, low: T, high: T) -> Option<T>
    where
        T: DeserializeOwned + PartialOrd + fmt::Display,
    {
        let number: T = self.take(key, expected)?;
        if number < low || number > high {
            self.fault(key, format!("{number} is not from {low} to {high}"));
            return None;
        }
        Some(number)
    }

    fn plan(&mut self) -> Option<crate::plan::Plan> {
        match parse::plan(self.remove("plan")?) {
            Ok(plan) => Some(plan),
            Err(faults) => {
                for fault in &faults {
                    self.fault("plan", Fault::to_string(fault));
                }
                None
            }
        }
    }

    fn budget(&mut self) -> Budget {
        let Some(value) = self.remove("budget") else {
            return Budget::default();
        };
        let Value::Object(object) = value else {
            self.fault("budget", "is not an object {\"usd\": 0.5, \"tokens\": 100000}");
            return Budget::default();
        };
        let mut inner = Self { object, faults: Vec::new() };
        let budget = Budget {
            nano_usd: inner.take::<f64>("usd", "a number of dollars").and_then(|usd| inner.nano_usd(usd)),
            tokens: inner.take("tokens", "a whole number"),
        };
        for key in inner.object.keys() {
            inner
                .faults
                .push(TaskFault { path: shown(key), message: "unknown; a budget has usd and tokens".into() });
        }
        for fault in inner.faults {
            self.fault(&format!("budget.{}", fault.path), fault.message);
        }
        budget
    }

    fn nano_usd(&mut self, usd: f64) -> Option<NanoUsd> {
        // A million dollars bounds the sum of many budgets far below overflow.
        if !(0.0..=1e6).contains(&usd) {
            self.fault("usd", format!("{usd} is not from 0 to 1000000"));
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to be from 0 to 1e15"
        )]
        let nano = (usd * 1e9).round() as NanoUsd;
        Some(nano)
    }

    fn finish(mut self, task: Task) -> Result<Task, Vec<TaskFault>> {
        let unknown: Vec<String> = self.object.keys().cloned().collect();
        for key in unknown {
            self.fault(&shown(&key), format!("unknown; a task has {KEYS}"));
        }
        if self.faults.is_empty() { Ok(task) } else { Err(self.faults) }
    }
}

/// A key as part of a path: one that is empty would look like none.
fn shown(key: &str) -> String {
    if key.is_empty() { "\"\"".to_owned() } else { key.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Mode;

    #[test]
    fn three_mistakes_are_all_named() {
        let faults = from_json(r#"{"goal": 3, "deadline_s": -1, "colour": "red"}"#).unwrap_err();
        let paths: Vec<_> = faults.iter().map(|fault| fault.path.as_str()).collect();
        assert_eq!(paths, ["goal", "deadline_s", "colour"]);
    }

    #[test]
    fn a_key_without_characters_is_named_all_the_same() {
        let faults = from_json(r#"{"goal": "g", "": 1, "budget": {"": 1}}"#).unwrap_err();
        let paths: Vec<_> = faults.iter().map(|fault| fault.path.as_str()).collect();
        assert_eq!(paths, [r#"budget."""#, r#""""#]);
    }

    #[test]
    fn a_whole_task_reads() {
        let task = from_json(
            r#"{"goal": "g", "inputs": {"a": 1}, "custom_id": "c-1", "mode": "direct", "tools": [],
                "budget": {"usd": 0.5, "tokens": 100}, "deadline_s": 60, "max_replans": 2,
                "review": "never", "priority": "high", "tenant": "t", "labels": {"k": "v"}}"#,
        )
        .unwrap();
        assert_eq!(task.budget.nano_usd, Some(500_000_000));
        assert_eq!(task.tools, Some(vec![]));
        assert_eq!(task.mode, Mode::Direct);
    }

    #[test]
    fn a_task_says_what_it_wants_exactly_once() {
        assert!(from_json("{}").unwrap_err()[0].message.contains("a goal, a plan or a template"));
        let both = from_json(r#"{"template": "t", "plan": {"steps": [{"id": 1, "description": "x"}]}}"#);
        assert_eq!(both.unwrap_err().len(), 1);
    }

    #[test]
    fn every_malformed_step_of_an_inline_plan_is_named() {
        let faults =
            from_json(r#"{"plan": {"steps": [{"id": "one"}, {"id": 2, "kind": "x"}]}}"#).unwrap_err();
        assert_eq!(faults.len(), 2, "{faults:?}");
    }
}
