//! Run ids and the subjects of work.

use planfleet_core::{
    id::{RunId, StepId, check_name},
    task::Priority,
};
use planfleet_proto::subjects::{self, Work, WorkKind};

/// A text that may be a run's id or a subject; a tail of numbers names work.
pub fn name(bytes: &[u8]) {
    let text = super::text(bytes);
    if let Some(work) = subjects::work(&text) {
        // Each piece of work has one name, whoever may publish.
        let tokens: Vec<&str> = text.split('.').collect();
        assert_eq!(tokens[5..], tail(&work), "{text:?} is not how this is written");
    }
    let run = text.parse::<RunId>();
    if let Ok(run) = &run {
        identified(run, &text);
        written(run, bytes);
    }
    let token = |text: &str| !text.is_empty() && !text.contains(['.', ' ', '*', '>']);
    assert!(check_name("name", &text).is_err() || token(&text), "{text:?} is no token of a subject");
}

fn tail(work: &Work) -> [String; 3] {
    let what = match work.what {
        WorkKind::Step(step) => step.token(),
        WorkKind::Planning(revision) => format!("r{revision}"),
    };
    [work.run.to_string(), what, work.attempt.to_string()]
}

fn identified(run: &RunId, text: &str) {
    assert_eq!(run.as_str(), text);
    assert_eq!(RunId::new(run.shard(), &text[3..]).as_ref(), Ok(run));
    assert_eq!(serde_json::from_value::<RunId>(text.into()).expect("an id is a text"), *run);
}

/// What a subject is made of is what it says.
fn written(run: &RunId, bytes: &[u8]) {
    let number = |from: usize| {
        let mut four = [0; 4];
        bytes.iter().skip(from).zip(&mut four).for_each(|(byte, place)| *place = *byte);
        u32::from_le_bytes(four)
    };
    let attempt = number(0);
    for step in [StepId::plain(number(4)), StepId::item(number(4), number(8))] {
        let subject = subjects::step("default", Priority::Low, "tenant", run, step, attempt);
        let what = WorkKind::Step(step);
        assert_eq!(subjects::work(&subject), Some(Work { run: run.clone(), what, attempt }));
    }
    let subject = subjects::planning(Priority::High, "tenant", run, number(4), attempt);
    let what = WorkKind::Planning(number(4));
    assert_eq!(subjects::work(&subject), Some(Work { run: run.clone(), what, attempt }));
}
