//! What the simulated model answers: the same plan for every task, calls of `search` one after
//! the other for whom nobody plans, and the answer that is known to be right.

use serde_json::{Value, json};

use super::{
    mode::Mode,
    tasks::{MOVIES, Task},
    tokens,
};
use crate::plan_text::PlanText;

/// Look every movie up, each on its own, and choose.
pub(crate) fn plan() -> PlanText {
    let place = |movie: usize| match movie.checked_sub(MOVIES / 2) {
        None => format!("/liked/{movie}"),
        Some(option) => format!("/options/{option}"),
    };
    let look_up = |movie: usize| {
        json!({
            "id": movie + 1, "description": "Look the movie up.", "kind": "tool", "tools": ["search"],
            "inputs": [{"name": "title", "from_step": 0, "path": place(movie)}],
        })
    };
    let inputs = ["id", "liked", "options"]
        .map(|name| json!({"name": name, "from_step": 0, "path": format!("/{name}")}))
        .into_iter();
    let summary =
        |movie: usize| json!({"name": format!("summary_{movie}"), "from_step": movie, "path": "/summary"});
    let join = json!({
        "id": MOVIES + 1, "kind": "model", "tools": [],
        "description": "Choose the one of the options that is most like the movies that are liked, by the \
                        summaries of all of them and by what you know. Answer with its title alone.",
        "inputs": inputs.chain((1..=MOVIES).map(summary)).collect::<Vec<Value>>(),
        "success_criteria": [{"kind": "min_length", "arg": "1"}],
    });
    PlanText::new((0..MOVIES).map(look_up).chain([join]).collect())
}

/// The script for these tasks.
pub(super) fn script(mode: Mode, plan: &PlanText, tasks: &[Task]) -> Value {
    let rules: Vec<Value> = match mode {
        Mode::Direct => tasks.iter().flat_map(react).collect(),
        _ => std::iter::once(planner(mode, plan)).chain(tasks.iter().map(join)).collect(),
    };
    json!({"rules": rules})
}

fn planner(mode: Mode, plan: &PlanText) -> Value {
    json!({
        "when": {"schema": "plan"}, "reply": {"text": plan.text},
        "latency": mode.planner_latency(plan), "usage": tokens::usage(tokens::PLANNER),
    })
}

fn join(task: &Task) -> Value {
    json!({
        "when": {"contains": [task.id]}, "reply": {"text": task.answer},
        "latency": Mode::join_latency(), "usage": tokens::usage(tokens::JOIN),
    })
}

/// Its calls in turn.
fn react(task: &Task) -> Vec<Value> {
    let call = |place: usize| {
        let reply = match task.movies.get(place) {
            Some(title) => {
                json!({"tool_calls": [{"name": "search", "arguments": {"title": title}}]})
            }
            None => json!({"text": task.answer}),
        };
        json!({
            "when": {"contains": [task.id]}, "times": 1, "reply": reply,
            "latency": Mode::react_latency(), "usage": tokens::usage(tokens::react(place)),
        })
    };
    (0..=MOVIES).map(call).collect()
}
