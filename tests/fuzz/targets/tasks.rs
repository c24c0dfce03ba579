//! Tasks as users submit them.

use planfleet_core::{
    record::Fact,
    task::{self, Task, TaskFault},
};
use serde_json::{Value, json};

use super::records;

pub fn task(bytes: &[u8]) {
    let text = super::text(bytes);
    match task::from_json(&text) {
        Ok(task) => {
            let written = written(&task);
            assert_eq!(task::from_value(written.clone()), Ok(task.clone()), "{written}");
            submitted(task);
        }
        Err(faults) => {
            assert!(!faults.is_empty(), "refused for nothing");
            faults.iter().for_each(told);
        }
    }
}

fn told(fault: &TaskFault) {
    assert!(!fault.path.is_empty() && !fault.message.is_empty(), "{fault:?}");
}

/// A task as its user would write it: money in dollars.
fn written(task: &Task) -> Value {
    let mut written = serde_json::to_value(task).expect("a task is JSON");
    #[expect(clippy::cast_precision_loss, reason = "a budget is at most 1e15 nano-USD")]
    let usd = task.budget.nano_usd.map(|nano| nano as f64 / 1e9);
    written["budget"] = json!({"usd": usd, "tokens": task.budget.tokens});
    written
}

/// What the log keeps of a task is what was meant.
fn submitted(task: Task) {
    let mut submission = records::submission();
    submission.task = task.clone();
    let fact = records::kept(Fact::TaskSubmitted(Box::new(submission)));
    let Fact::TaskSubmitted(kept) = fact else { panic!("another fact: {fact:?}") };
    // What became part of the envelope or the plan is not said twice.
    let said_once = Task {
        plan: None,
        tools: None,
        budget: Default::default(),
        deadline_s: None,
        max_replans: None,
        review: Default::default(),
        ..task
    };
    assert_eq!(kept.task, said_once);
}
