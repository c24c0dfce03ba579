//! Plans: read, linted, put in order, and carried out to their end.

use std::collections::BTreeSet;

use planfleet_core::{
    json,
    plan::{
        Plan,
        lint::{self, Code, Existing, Fault, Scope},
        order, parse,
    },
    tool::ToolCatalog,
};
use serde_json::{Map, Value, json};

use super::{criteria, records};

/// As many as the runs of [`records`] may have.
pub const STEPS_MAX: usize = 1_000;

pub fn plan(bytes: &[u8]) {
    let Ok(value) = json::parse_strict(&super::text(bytes)) else { return };
    match parse::plan(value) {
        Ok(plan) => read(&plan),
        Err(faults) => {
            assert!(!faults.is_empty(), "refused for nothing");
            assert!(faults.iter().all(|fault| fault.code == Code::Malformed));
            told(&faults);
        }
    }
}

fn read(plan: &Plan) {
    let written = serde_json::to_value(plan).expect("a plan is JSON");
    assert_eq!(parse::plan(written).as_ref(), Ok(plan), "written and read again");
    let faults = lint::structure(plan, &Existing::default(), STEPS_MAX);
    about(plan, &faults);
    let full = linted(plan);
    about(plan, &full);
    assert!(full.starts_with(&faults));
    ordered(plan, &faults);
    for criterion in plan.steps.iter().flat_map(|step| &step.success_criteria) {
        for output in [Value::Null, json!("1"), json!([[], {"a": [1.5, "x"]}])] {
            criteria::checked(criterion, &output);
        }
    }
    if faults.is_empty() {
        records::carried_out(plan);
    }
}

/// A few tools of each kind, for plans that name some.
pub fn tools() -> ToolCatalog {
    let tool = |name: &str, effect: &str, arguments: Value| {
        let tool = json!({"name": name, "description": "", "arguments": arguments, "output": {},
            "effect": effect, "idempotent": true});
        (name.to_owned(), serde_json::from_value(tool).expect("a tool"))
    };
    ToolCatalog::from([
        tool(
            "http_fetch",
            "read",
            json!({"type": "object", "required": ["url"], "properties": {
                "url": {"type": "string"}, "bytes_max": {"type": ["integer", "null"]}}}),
        ),
        tool("text_split", "pure", json!({"required": ["text"], "properties": {"text": {}, "by": {}}})),
        tool("send", "write", json!({"type": "object"})),
    ])
}

fn linted(plan: &Plan) -> Vec<Fault> {
    let inputs = Map::from_iter([("country".to_owned(), json!("x")), ("a/b".to_owned(), json!([1]))]);
    let scope =
        Scope { tools: &tools(), inputs: Some(&inputs), pools: &["gpu".to_owned()], steps_max: STEPS_MAX };
    lint::full(plan, &Existing::default(), &scope)
}

/// Whoever has made a fault can read which.
pub fn told(faults: &[Fault]) {
    for fault in faults {
        assert!(!fault.message.trim().is_empty(), "{fault:?}");
        assert!(lint::describe(faults).contains(&fault.to_string()));
    }
}

fn about(plan: &Plan, faults: &[Fault]) {
    told(faults);
    let ids: BTreeSet<u32> = plan.steps.iter().map(|step| step.id).collect();
    assert!(faults.iter().all(|fault| fault.step.is_none_or(|step| ids.contains(&step))), "{faults:?}");
}

/// Putting a plan in order loses nothing, and cures what can be cured that way.
fn ordered(plan: &Plan, faults: &[Fault]) {
    let has = |faults: &[Fault], code: Code| faults.iter().any(|fault| fault.code == code);
    if has(faults, Code::ReusedId) {
        return;
    }
    let ordered = Plan { steps: order::by_dependency(plan.steps.clone()), ..*plan };
    assert_eq!(ordered.steps.len(), plan.steps.len());
    let after = lint::structure(&ordered, &Existing::default(), STEPS_MAX);
    assert_eq!(has(&after, Code::Cycle), has(faults, Code::Cycle));
    assert!(has(&after, Code::Cycle) || !has(&after, Code::ForwardReference), "{after:?}");
}
