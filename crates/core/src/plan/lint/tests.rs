use serde_json::json;

use super::*;
use crate::{
    plan::parse,
    tool::{Effect, ToolSpec},
};

fn catalog() -> ToolCatalog {
    let tool = ToolSpec {
        name: "http_fetch".into(),
        description: String::new(),
        arguments: json!({"type": "object", "required": ["url"], "properties": {
            "url": {"type": "string"}, "bytes_max": {"type": "integer"}}}),
        output: json!({}),
        effect: Effect::Read,
        idempotent: true,
    };
    ToolCatalog::from([(tool.name.clone(), tool)])
}

fn codes(plan: Value) -> Vec<(Code, Option<u32>)> {
    let plan = parse::plan(plan).unwrap();
    let inputs = Map::from_iter([("country".to_owned(), json!("x"))]);
    let scope = Scope { tools: &catalog(), inputs: Some(&inputs), pools: &[], steps_max: 5 };
    full(&plan, &Existing::default(), &scope).into_iter().map(|f| (f.code, f.step)).collect()
}

#[test]
fn the_example_is_clean() {
    let plan = serde_json::from_str(include_str!("../../../tests/data/plan_example.json")).unwrap();
    assert_eq!(codes(plan), []);
}

#[test]
fn all_faults_are_reported_at_once() {
    let found = codes(json!({"steps": [
        {"id": 1, "description": "a", "depends_on": [2], "tier": "huge"},
        {"id": 2, "description": "b", "depends_on": [1, 9],
         "success_criteria": [{"kind": "matches", "arg": "("}]},
        {"id": 2, "kind": "tool", "tools": ["shell"]},
        {"id": 3, "kind": "tool", "tools": ["http_fetch"], "inputs": [
            {"name": "bytes_max", "value": "many"}, {"name": "uri", "value": "x"},
            {"name": "uri", "value": "x", "from_step": 0, "path": "town"}]},
        {"id": 4, "description": " "},
        {"id": 5, "kind": "tool", "tools": []}
    ], "final": 77}));
    for expected in [
        (Code::TooManySteps, None),
        (Code::DanglingReference, Some(2)),
        (Code::ReusedId, Some(2)),
        (Code::BadCriterion, Some(2)),
        (Code::UnknownTool, Some(2)),
        (Code::BadArgument, Some(3)),
        (Code::UnknownArgument, Some(3)),
        (Code::BadInput, Some(3)),
        (Code::BadPath, Some(3)),
        (Code::UnknownInput, Some(3)),
        (Code::MissingArgument, Some(3)),
        (Code::EmptyDescription, Some(4)),
        (Code::ToolCount, Some(5)),
        (Code::UnknownTier, Some(1)),
        (Code::UnreachableFinal, None),
    ] {
        assert!(found.contains(&expected), "{expected:?} not in {found:?}");
    }
}

#[test]
fn cycles_and_forward_references_are_told_apart() {
    let found = codes(json!({"steps": [
        {"id": 1, "description": "a", "depends_on": [2]},
        {"id": 2, "description": "b", "depends_on": [3]},
        {"id": 3, "description": "c", "depends_on": [2]},
        {"id": 4, "description": "d", "depends_on": [4]}
    ]}));
    assert_eq!(
        found,
        [
            (Code::ForwardReference, Some(1)),
            (Code::Cycle, Some(2)),
            (Code::Cycle, Some(3)),
            (Code::Cycle, Some(4)),
        ]
    );
}

#[test]
fn a_revision_may_lean_on_kept_steps_but_not_reuse_ids() {
    let plan = parse::plan(json!({"steps": [
        {"id": 2, "description": "taken"},
        {"id": 4, "description": "new", "inputs": [{"name": "x", "from_step": 1}, {"name": "y", "from_step": 3}]}
    ]}))
    .unwrap();
    let existing = Existing { kept: BTreeSet::from([1]), highest_id: 3 };
    let found: Vec<_> = structure(&plan, &existing, 100).into_iter().map(|f| (f.code, f.step)).collect();
    assert_eq!(found, [(Code::ReusedId, Some(2)), (Code::DanglingReference, Some(4))]);
}

#[test]
fn a_revision_after_the_highest_id_of_all_is_told_so() {
    let plan = parse::plan(json!({"steps": [{"id": 7, "description": "new"}]})).unwrap();
    let existing = Existing { kept: BTreeSet::new(), highest_id: u32::MAX };
    let faults = structure(&plan, &existing, 100);
    assert_eq!(faults[0].message, "id 7 is taken; there are no ids left in this run");
}

#[test]
fn a_for_each_item_fills_the_open_argument() {
    assert_eq!(
        codes(json!({"steps": [
            {"id": 1, "kind": "tool", "tools": ["http_fetch"], "for_each": {"from_step": 0, "path": "/country"}}
        ]})),
        []
    );
}

#[test]
fn a_chain_of_100_000_steps_is_linted_without_recursion() {
    let steps: Vec<_> = (1..=100_000u32)
        .map(|id| json!({"id": id, "description": "x", "depends_on": if id > 1 { vec![id - 1] } else { vec![] }}))
        .collect();
    let plan = parse::plan(json!({"steps": steps})).unwrap();
    assert_eq!(structure(&plan, &Existing::default(), 100_000), []);
}
