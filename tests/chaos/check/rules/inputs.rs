//! inputs-are-accepted-outputs: what work sees is what was taken of other work.

use planfleet_core::{
    command::{ResolvedInput, ResolvedValue, StepOrder},
    id::StepId,
    plan::Input,
};
use serde_json::Value;

use crate::{
    check::{
        index::{Index, Seen},
        verdict::Pass,
    },
    history::{Effect, Node, Source},
};

/// Every value that an order carries, and every value that an effect saw, is what
/// the plan refers to in the accepted output. And what was taken of an effect's step
/// is what an effect of it has answered. Where a fold is loose, any output of that
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
            let planned = run.fold.steps.get(&order.step.step).filter(|_| run.is_strict());
            let same = planned.is_none_or(|step| {
                let inputs = order.inputs.len();
                *step.spec == *order.spec
                    && inputs == step.spec.inputs.len() + 2 * usize::from(order.step.item.is_some())
            });
            pass.check(same, at, dispatch.at_ms, || {
                format!("run {}: step {} was ordered otherwise than planned", run.id, order.step)
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
        for (name, node) in &expected.nodes {
            answered(at, run, name, node, pass);
        }
    }
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

/// What was taken of a node's step is the answer of one of its effects.
fn answered(at: usize, run: &Seen<'_>, name: &str, node: &Node, pass: &mut Pass) {
    let Some(step) = run.fold.steps.get(&node.step).filter(|_| run.is_strict()) else { return };
    for (item, work) in &step.works {
        let Some((taken, output)) = work.taken() else { continue };
        let output = output.value();
        let answer = output.pointer(&node.answer);
        let of_work = |effect: &&&Effect| effect.node == name && effect.item == *item;
        let mut effects = run.effects.iter().filter(of_work);
        let real = answer.is_some() && effects.any(|effect| effect.value.as_ref() == answer);
        pass.check(real, at, taken.at_ms, || {
            format!(
                "run {}: {answer:?} was taken of node {name} item {item:?}, and it never answered so",
                run.id
            )
        });
    }
}
