//! Everything that is wrong with a template: its plan's faults, and where plan and slots
//! do not fit together.

use std::{collections::BTreeSet, fmt};

use planfleet_core::plan::lint::{self, Existing, Fault};
use serde::Serialize;
use serde_json::Value;

use super::Template;
use crate::submission::Scope;

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The linter's code for a plan, or `unknown_slot`, `unused_slot`, `unnamed`.
    pub code: String,
    /// The step it is in, if it is in one.
    pub step: Option<u32>,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.step {
            Some(step) => write!(f, "step {step}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

pub(super) fn findings(template: &Template, scope: &Scope) -> Vec<Finding> {
    let plan_scope = lint::Scope {
        tools: &scope.tools,
        // Which inputs there are is the slots' to say.
        inputs: None,
        pools: &scope.pools,
        steps_max: scope.limits.steps_max as usize,
    };
    let faults = lint::full(&template.plan, &Existing::default(), &plan_scope);
    let mut findings: Vec<Finding> = faults.into_iter().map(of_plan).collect();
    findings.extend(slots(template));
    if template.name.is_none() {
        findings.push(Finding {
            code: "unnamed".to_owned(),
            step: None,
            message: "has no \"name\", so tasks can name it by its path alone".to_owned(),
        });
    }
    findings
}

fn of_plan(fault: Fault) -> Finding {
    let code = serde_json::to_value(fault.code).unwrap_or_default();
    let code = code.as_str().unwrap_or_default().to_owned();
    Finding { code, step: fault.step, message: fault.message }
}

/// Slots that are used and not declared, and the other way round. Slots whose schema does
/// not list them can have any name.
fn slots(template: &Template) -> Vec<Finding> {
    let Some(declared) = template.slots.get("properties").and_then(Value::as_object) else {
        return Vec::new();
    };
    let (mut used, mut whole, mut findings) = (BTreeSet::new(), false, Vec::new());
    for step in &template.plan.steps {
        let inputs = step.inputs.iter().filter_map(|input| input.reference());
        let list = step.for_each.as_ref().map(|list| (list.from_step, list.path.as_str()));
        for (_, path) in inputs.chain(list).filter(|(from, _)| *from == 0) {
            let Some(slot) = slot_of(path) else {
                whole = true;
                continue;
            };
            if !declared.contains_key(&slot) {
                let names: Vec<&str> = declared.keys().map(String::as_str).collect();
                let message = format!("uses the slot {slot:?}; the slots are {}", names.join(", "));
                findings.push(Finding { code: "unknown_slot".to_owned(), step: Some(step.id), message });
            }
            used.insert(slot);
        }
    }
    let unused = declared.keys().filter(|slot| !whole && !used.contains(*slot));
    findings.extend(unused.map(|slot| Finding {
        code: "unused_slot".to_owned(),
        step: None,
        message: format!("no step uses the slot {slot:?}; refer to it with from_step 0, or leave it out"),
    }));
    findings
}

/// The slot that a JSON Pointer into the task's inputs begins with; none for all of them.
fn slot_of(path: &str) -> Option<String> {
    let first = path.strip_prefix('/')?.split('/').next()?;
    Some(first.replace("~1", "/").replace("~0", "~"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plan_and_slots_have_to_fit() {
        let text = r#"{"slots": {"properties": {"used": {}, "idle": {}}}, "plan": {"steps": [
            {"id": 1, "description": "x", "inputs": [{"name": "a", "from_step": 0, "path": "/used/b"},
                                                     {"name": "b", "from_step": 0, "path": "/other"}]},
            {"id": 2, "kind": "tool", "tools": ["nope"]}]}}"#;
        let findings = Template::parse(text).unwrap().lint(&Scope::default());
        let codes: Vec<_> = findings.iter().map(|finding| (finding.code.as_str(), finding.step)).collect();
        let expected =
            [("unknown_tool", Some(2)), ("unknown_slot", Some(1)), ("unused_slot", None), ("unnamed", None)];
        assert_eq!(codes, expected);
    }
}
