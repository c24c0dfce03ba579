//! inputs-are-accepted-outputs: what work sees is what was taken of other work.

use std::collections::BTreeMap;

use planfleet_core::{
    command::{ResolvedInput, ResolvedValue, StepOrder},
    id::StepId,
    plan::Input,
};
use planfleet_proto::subjects::{Work, WorkKind};
use serde_json::Value;

use super::orders::SLACK_MS;

use crate::{
    check::{
        index::{Index, Seen},
        verdict::Pass,
    },
    history::{Dispatch, Effect, Node, Source},
};

/// Every value that an order carries, and every value that an effect saw, is what
/// the plan refers to in the accepted output. And whatever is a result of a step with
/// effects is what one of them was answered. Where a fold is loose, any output of that
/// step will do.
pub(super) fn inputs_are_accepted_outputs(index: &Index<'_>, pass: &mut Pass) {
    for (at, run) in index.each() {
        for dispatch in &run.dispatches {
            let Some(order) = &dispatch.order else { continue };
            for input in &order.inputs {
                let fine = carries(run, order, input);
                pass.check(fine, at, dispatch.at_ms, || {
                    let ResolvedInput { name, value } = input;
                    format!("run {}: input {name:?} of step {} is {value:?}", run.id, order.step)
                });
            }
            let same = is_as_planned(run, order) && names(dispatch, order);
            pass.check(same, at, dispatch.at_ms, || {
                format!("run {}: step {} was ordered otherwise than planned or named", run.id, order.step)
            });
        }
        let Some(expected) = run.expected else { continue };
        for effect in &run.effects {
            let Some(node) = expected.nodes.get(&effect.node) else { continue };
            pass.check(saw(run, effect, node), at, effect.began_ms, || {
                let Effect { node, item, inputs, .. } = effect;
                format!("run {}: node {node} item {item:?} saw {inputs:?}", run.id)
            });
        }
        let mut by_node: BTreeMap<&str, Vec<&Effect>> = BTreeMap::new();
        for effect in &run.effects {
            by_node.entry(&effect.node).or_default().push(effect);
        }
        for (name, node) in &expected.nodes {
            let effects = by_node.get(name.as_str()).map(Vec::as_slice).unwrap_or_default();
            answered(at, run, effects, node, pass);
        }
    }
}

/// Whether the order is for the step of the plan, with all of its inputs.
fn is_as_planned(run: &Seen<'_>, order: &StepOrder) -> bool {
    let of_item = 2 * usize::from(order.step.item.is_some());
    let whole = order.inputs.len() == order.spec.inputs.len() + of_item;
    let planned = run.fold.steps.get(&order.step.step).filter(|_| run.is_strict());
    whole && planned.is_none_or(|step| *step.spec == *order.spec)
}

/// Whether the subject names what is in the body.
fn names(dispatch: &Dispatch, order: &StepOrder) -> bool {
    let Work { run, what, attempt } = &dispatch.work;
    (run, *what, *attempt) == (&order.run, WorkKind::Step(order.step), order.attempt)
}

fn carries(run: &Seen<'_>, order: &StepOrder, input: &ResolvedInput) -> bool {
    let spec = run
        .fold
        .steps
        .get(&order.step.step)
        .filter(|_| run.is_strict())
        .map_or(&*order.spec, |step| step.spec);
    let planned = spec.inputs.iter().find(|planned| planned.name == input.name);
    match (&input.value, planned.map(Input::reference), order.step.item) {
        (ResolvedValue::Literal(text), Some(None), _) => {
            planned.is_some_and(|planned| planned.value.as_ref().is_none_or(|value| value == text))
        }
        (ResolvedValue::Json(json), Some(Some((from, path))), _) => refers(run, from, path, &json.value()),
        (ResolvedValue::Item(json), None, Some(item)) => spec
            .for_each
            .as_ref()
            .is_some_and(|each| refers(run, each.from_step, &format!("{}/{item}", each.path), &json.value())),
        (ResolvedValue::Index(index), None, Some(item)) => *index == item,
        _ => false,
    }
}

/// Whether that is the value there, of what was taken or, loosely, put out.
fn refers(run: &Seen<'_>, from: u32, path: &str, value: &Value) -> bool {
    if from == 0 || run.is_strict() {
        return run.fold.value(from, path).as_ref() == Some(value);
    }
    let whole = run.fold.successes.get(&StepId::plain(from)).into_iter().flatten();
    let mut whole = whole.map(|success| success.output.value());
    // The items of a list may be of different attempts: they are looked at one by one.
    let listed = run.fold.successes.contains_key(&StepId::item(from, 0));
    listed || whole.any(|output| output.pointer(path) == Some(value))
}

fn saw(run: &Seen<'_>, effect: &Effect, node: &Node) -> bool {
    let item = node
        .each
        .iter()
        .zip(effect.item)
        .map(|(list, item)| Source { step: list.step, path: format!("{}/{item}", list.path) });
    let sources: Vec<Source> = node.inputs.iter().cloned().chain(item).collect();
    node.each.is_some() == effect.item.is_some()
        && sources.len() == effect.inputs.len()
        && sources
            .iter()
            .zip(&effect.inputs)
            .all(|(source, seen)| refers(run, source.step, &source.path, seen))
}

/// Every result of a node's step, taken or not, is the answer of a call that had
/// begun by then.
fn answered(at: usize, run: &Seen<'_>, effects: &[&Effect], node: &Node, pass: &mut Pass) {
    let of_step = StepId::plain(node.step)..=StepId::item(node.step, u32::MAX);
    for (id, successes) in run.fold.successes.range(of_step) {
        for success in successes {
            let output = success.output.value();
            let answer = output.pointer(&node.answer);
            let real = answer.is_some()
                && effects.iter().any(|effect| {
                    let begun = effect.began_ms <= success.at.at_ms + SLACK_MS;
                    effect.item == id.item && effect.value.as_ref() == answer && begun
                });
            pass.check(real, at, success.at.at_ms, || {
                format!("run {}: {answer:?} is a result of step {id}, and no call was answered so", run.id)
            });
        }
    }
}
