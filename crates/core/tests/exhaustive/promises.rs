//! What the fold promises of every log: checked for each class of prefixes and
//! each entry that can follow, whether or not a coordinator ever reads it.

use planfleet_core::{
    command::{Command, StepOrder},
    json::Json,
};

use super::{
    cases::{Case, seen},
    fold::{Answer, Book, result_of},
    words::{Cmd, Entry, Name},
};

type Kept = Result<(), String>;

fn promise(kept: bool, broken: impl FnOnce() -> String) -> Kept {
    if kept { Ok(()) } else { Err(broken()) }
}

/// Two coordinators that have read the same log decide the same.
pub(crate) fn same(one: &Answer, other: &Answer) -> Kept {
    promise(one.commands == other.commands && one.owed == other.owed, || {
        format!(
            "two coordinators decide differently after the same log: {:?} and {:?}",
            one.commands, other.commands
        )
    })
}

/// A coordinator that begins behind the run's end, at a checkpoint, knows nothing of it.
pub(crate) fn nothing_without_submission(entry: Entry, answer: &Answer) -> Kept {
    let silent = !answer.taken && answer.commands.is_empty() && answer.owed.is_empty();
    promise(entry == Entry::Submitted || silent, || format!("{entry} of an unknown run is not ignored"))
}

/// What holds for one entry after a prefix.
pub(crate) fn kept(case: &Case, book: &Book, entry: Entry, answer: &Answer) -> Kept {
    promise(answer.taken || answer.commands.is_empty(), || {
        format!("{entry} is ignored, and commands follow from it: {:?}", answer.commands)
    })?;
    let twice = result_of(entry).filter(|name| answer.taken && book.taken.contains(name));
    promise(twice.is_none(), || format!("a second result of one attempt is taken: {entry}"))?;
    ends_once(book, entry, answer)?;
    for command in &answer.commands {
        match command {
            Command::DispatchStep(order) => {
                new_name(book, entry, Name::Step(order.step, order.attempt))?;
                rests_on_successes(case, book, entry, order)?;
            }
            Command::DispatchPlan(order) => {
                new_name(book, entry, Name::Plan(order.draft.revision, order.draft.attempt))?;
            }
            Command::FinishRun(document) => {
                let attempts = book.reported.len() + usize::from(result_of(entry).is_some());
                promise(document.usage.executor.calls <= attempts as u64, || {
                    format!("{} calls are charged for {attempts} attempts", document.usage.executor.calls)
                })?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// After its end a run orders nothing, and with its end no work.
fn ends_once(book: &Book, entry: Entry, answer: &Answer) -> Kept {
    let finishes = answer.commands.iter().any(|command| matches!(command, Command::FinishRun(_)));
    let works = |command: &Command| {
        matches!(command, Command::DispatchStep(_) | Command::DispatchPlan(_) | Command::ArmTimer { .. })
    };
    promise(entry != Entry::Cancel || !answer.taken || finishes, || "a cancel ends nothing".to_owned())?;
    promise(!finishes || !answer.commands.iter().any(works), || {
        format!("work is ordered with the run's end: {:?}", answer.commands)
    })?;
    let over = book.has_ended() || finishes;
    promise(!over || answer.owed.is_empty(), || format!("an ended run owes {:?}", answer.owed))?;
    promise(!book.has_ended() || (answer.commands.is_empty() && !answer.taken), || {
        format!("{entry} changes a run that has ended: {:?}", answer.commands)
    })
}

/// Attempts are ordered once. Only a draft that goes on with what an earlier one
/// has begun may order it again, as long as there is no result of it.
fn new_name(book: &Book, entry: Entry, name: Name) -> Kept {
    let goes_on =
        matches!(entry, Entry::Planned { .. } | Entry::Sealed { .. }) && !book.taken.contains(&name);
    let ordered = book.orders.contains_key(&Cmd::Dispatch(name, 0));
    promise(!ordered || goes_on, || format!("{name} is ordered twice"))
}

/// Whoever emits a command under a name, and however often, it is the same command.
pub(crate) fn one_content(book: &Book, command: Cmd, content: u32) -> Kept {
    let same = book.orders.get(&command.named()).is_none_or(|ordered| *ordered == content);
    promise(same, || format!("{command} is ordered twice, with different contents"))
}

/// A step starts after the newest attempts of all that it needs have succeeded,
/// and sees what they brought.
fn rests_on_successes(case: &Case, book: &Book, entry: Entry, order: &StepOrder) -> Kept {
    let mut outputs = book.outputs.clone();
    if let Entry::Succeeded { step, attempt, again } = entry {
        outputs.insert(step, (attempt, again));
    }
    for (on, value) in seen(order) {
        let mut list = Vec::new();
        for piece in case.pieces(on) {
            let ordered = |cmd: &&Cmd| matches!(cmd, Cmd::Dispatch(Name::Step(step, _), _) if *step == piece);
            let newest = book.orders.keys().rfind(ordered);
            let done = outputs.get(&piece);
            let is_newest = done
                .is_some_and(|(attempt, _)| newest == Some(&Cmd::Dispatch(Name::Step(piece, *attempt), 0)));
            promise(is_newest, || {
                format!("step {} is dispatched before step {piece} has succeeded", order.step)
            })?;
            list.extend(done.map(|(attempt, again)| case.output(piece, *attempt, *again)));
        }
        let expected = whole(case, on, &list);
        promise(value.is_none() || value == expected, || {
            format!("step {} sees {value:?} of step {on}, which brought {expected:?}", order.step)
        })?;
    }
    Ok(())
}

fn whole(case: &Case, step: u32, pieces: &[Json]) -> Option<Json> {
    if case.pieces(step).iter().all(|piece| piece.item.is_none()) {
        return pieces.first().cloned();
    }
    let list = pieces.iter().map(Json::value).collect();
    Some(Json::from_value(&serde_json::Value::Array(list)))
}

/// What is owed was ordered, under that name and with that content.
pub(crate) fn owed_as_ordered(book: &Book, command: Cmd, content: u32) -> Kept {
    let ordered = book.orders.get(&command.named());
    promise(ordered == Some(&content), || match ordered {
        None => format!("{command} is owed and was never ordered: two owners use different names"),
        Some(_) => format!("{command} is owed with another content than it was ordered with"),
    })
}
