//! Bad histories, each caught by the rule that is there for it.

use planfleet_core::{
    command::ResolvedValue,
    id::{RunId, StepId},
    json::Json,
    record::Fact,
};
use planfleet_proto::{
    decode::{Entry, Error},
    subjects::WorkKind,
};
use serde_json::json;

use super::{
    edit::{
        again, calls, dispatch, effect, kept, output, read, record, records, rewrite, run, spoilt, stored,
        success,
    },
    good::{LIMITS, good},
};
use crate::{
    check::{Limits, judge, rules::RULES},
    history::{Fate, History, Outcome, UNKNOWN, What},
};

const ONE: StepId = StepId::plain(1);
const TWO: StepId = StepId::plain(2);

/// What is done to a good history, and the rule that has to notice.
type Bad = (&'static str, &'static str, fn(&mut History));

const BAD: [Bad; 52] = [
    ("acked-is-present", "an acknowledged run is in no log", |history| {
        if let What::Submit { run, .. } = &mut calls(history, "chain", 1)[0].what {
            *run = Some(RunId::new(0, "ghost").unwrap());
        }
    }),
    ("acked-is-present", "one key is two runs", |history| {
        let other = run(history, "each");
        let mut again = calls(history, "chain", 1)[0].clone();
        if let What::Submit { run, tag, .. } = &mut again.what {
            (*run, *tag) = (Some(other), "each".to_owned());
        }
        history.clients.push(again);
    }),
    ("acked-is-present", "one tag is two runs, and nobody was told of the second", |history| {
        let submit = record(records(history, "each").remove(0)).unwrap();
        if let Fact::TaskSubmitted(submission) = &mut submit.fact {
            submission.task.custom_id = Some("chain".to_owned());
        }
    }),
    ("acked-is-present", "an acknowledged cancel is in no log", |history| {
        let run = run(history, "chain");
        let mut cancel = calls(history, "chain", 1)[0].clone();
        cancel.what = What::Cancel { run, outcome: Outcome::Ok };
        history.clients.push(cancel);
    }),
    ("one-end", "a document is lost", |history| {
        history.documents.retain(|kept| kept.document["custom_id"] != "chain");
    }),
    ("one-end", "a document is kept twice", |history| {
        let copy = kept(history, "chain").clone();
        history.documents.push(copy);
    }),
    ("one-end", "a client was told another answer", |history| {
        if let What::Ended { document, .. } = &mut calls(history, "chain", 2).pop().unwrap().what {
            document["answer"] = json!({"json": {"value": 31}});
        }
    }),
    ("one-end", "a client was told another end", |history| {
        if let What::Ended { document, .. } = &mut calls(history, "fail", 1).pop().unwrap().what {
            document["state"] = json!("succeeded");
        }
    }),
    ("one-end", "work is ordered after the end", |history| {
        let (end, _) = stored(history, "chain", StepId::plain(3));
        again(history, "chain", TWO, |copy| copy.log_seq = Some(end));
    }),
    ("one-end", "it ended at another time than its log says", |history| {
        rewrite(history, "chain", |document| document["timings"]["total_ms"] = json!(1));
    }),
    ("one-end", "it ended before its last step was done", |history| {
        let (_, second_ms) = stored(history, "retry", ONE);
        let submitted_ms = records(history, "retry")[0].at_ms;
        rewrite(history, "retry", |document| {
            document["timings"]["total_ms"] = json!(second_ms - submitted_ms);
        });
    }),
    ("one-end", "a run was never submitted", |history| {
        record(records(history, "late").remove(0)).unwrap().fact = Fact::RunResumeRequested;
    }),
    ("one-accepted-result", "the document has another output than the log", |history| {
        rewrite(history, "chain", |document| document["steps"][1]["output"]["json"]["value"] = json!(21));
    }),
    ("one-accepted-result", "the result of an older attempt was taken", |history| {
        rewrite(history, "retry", |document| {
            document["steps"][1]["attempts"] = json!(1);
            document["steps"][1]["output"] = output(77).value();
            document["answer"] = output(77).value();
        });
    }),
    ("one-accepted-result", "an attempt reports that nobody ordered", |history| {
        success(history, "retry", TWO, 1).attempt.attempt = 3;
    }),
    ("one-accepted-result", "the document leaves out a step", |history| {
        rewrite(history, "chain", |document| drop(document["steps"].as_array_mut().unwrap().remove(0)));
    }),
    ("one-accepted-result", "a step has succeeded without a result", |history| {
        rewrite(history, "cancel", |document| {
            document["steps"][0]["state"] = json!("succeeded");
            document["steps"][0]["output"] = output(5).value();
        });
    }),
    ("one-accepted-result", "an item has the output of another", |history| {
        rewrite(history, "each", |document| {
            let item = document["steps"][2]["output"].clone();
            document["steps"][3]["output"] = item;
        });
    }),
    ("one-accepted-result", "an output of a plan that was written twice comes from nowhere", |history| {
        rewrite(history, "drafts", |document| document["steps"][0]["output"] = output(99).value());
    }),
    ("no-early-start", "a step is ordered before what it waits for is read", |history| {
        let (done, _) = stored(history, "chain", ONE);
        dispatch(history, "chain", TWO, 1).log_seq = Some(done - 1);
    }),
    ("no-early-start", "so is one of a plan that was written twice", |history| {
        let (done, _) = stored(history, "drafts", ONE);
        dispatch(history, "drafts", TWO, 1).log_seq = Some(done - 1);
    }),
    ("no-early-start", "a step begins before what it waits for is done", |history| {
        let (_, done_ms) = stored(history, "chain", ONE);
        effect(history, "chain", "n2").began_ms = done_ms - 2;
    }),
    ("no-early-start", "a step is ordered before there is a plan", |history| {
        dispatch(history, "replan", ONE, 1).log_seq = Some(1);
    }),
    ("no-early-start", "an attempt is ordered that no retry asks for", |history| {
        dispatch(history, "chain", TWO, 1).work.attempt = 2;
    }),
    ("no-early-start", "a step is ordered again when its result was read", |history| {
        let (done, done_ms) = stored(history, "chain", TWO);
        again(history, "chain", TWO, |copy| (copy.log_seq, copy.at_ms) = (Some(done), done_ms + 1));
    }),
    ("no-early-start", "an effect has no run", |history| {
        effect(history, "chain", "n2").tag = "ghost".to_owned();
    }),
    ("cancelled-means-no-more", "work is ordered after the cancel", |history| {
        let cancelled = records(history, "cancel").remove(1).seq;
        dispatch(history, "cancel", ONE, 1).log_seq = Some(cancelled);
    }),
    ("cancelled-means-no-more", "a run goes on after its cancel", |history| {
        rewrite(history, "cancel", |document| document["state"] = json!("succeeded"));
    }),
    ("cancelled-means-no-more", "a run is cancelled after its end", |history| {
        rewrite(history, "late", |document| document["state"] = json!("cancelled"));
    }),
    ("inputs-are-accepted-outputs", "an effect saw another value", |history| {
        effect(history, "chain", "n2").inputs[0] = json!(11);
    }),
    ("inputs-are-accepted-outputs", "an order carries another value", |history| {
        let order = dispatch(history, "chain", TWO, 1).order.as_mut().unwrap();
        order.inputs[0].value = ResolvedValue::Json(Json::from_value(&json!(11)));
    }),
    ("inputs-are-accepted-outputs", "an order has another item", |history| {
        let order = dispatch(history, "each", StepId::item(2, 0), 1).order.as_mut().unwrap();
        order.inputs[0].value = ResolvedValue::Item(Json::from_value(&json!(4)));
    }),
    ("inputs-are-accepted-outputs", "an order leaves out an input", |history| {
        dispatch(history, "chain", TWO, 1).order.as_mut().unwrap().inputs.clear();
    }),
    ("inputs-are-accepted-outputs", "a result was never answered", |history| {
        effect(history, "chain", "n2").value = Some(json!(21));
    }),
    (
        "inputs-are-accepted-outputs",
        "an effect of a plan that was written twice saw another value",
        |history| {
            effect(history, "drafts", "n2").inputs[0] = json!(33);
        },
    ),
    ("reads-go-forward", "a run that has ended goes on", |history| {
        read(history, "chain", 2, "executing", 1, 3);
    }),
    ("reads-go-forward", "somebody else is shown that it goes on", |history| {
        read(history, "chain", 3, "executing", 1, 3);
    }),
    ("reads-go-forward", "what was done is not", |history| {
        if let What::Read { steps_done, .. } = &mut calls(history, "chain", 2)[1].what {
            *steps_done = Some(0);
        }
    }),
    ("reads-go-forward", "a plan is gone again", |history| {
        let first = &mut calls(history, "replan", 1)[1].what;
        if let What::Read { revision, state, .. } = first {
            (*revision, *state) = (2, "executing".to_owned());
        }
    }),
    ("reads-go-forward", "a run is forgotten", |history| read(history, "late", 1, UNKNOWN, 0, 0)),
    ("all-end-in-time", "a run does not end", |history| {
        history.documents.retain(|kept| kept.document["custom_id"] != "fail");
    }),
    ("all-end-in-time", "a run ends too late", |history| kept(history, "fail").at_ms += 400_000),
    ("right-answers", "the answer is another", |history| {
        rewrite(history, "late", |document| document["answer"] = output(3).value());
    }),
    ("right-answers", "a run fails for another reason", |history| {
        rewrite(history, "fail", |document| document["end"]["code"] = json!("unmendable"));
    }),
    ("right-answers", "a run is cancelled that nobody cancelled", |history| {
        let otherwise = Box::new(Fate::Succeeds { path: String::new(), answer: json!(1) });
        history.expected.get_mut("retry").unwrap().fate = Fate::Cancelled { otherwise };
        rewrite(history, "retry", |document| document["state"] = json!("cancelled"));
    }),
    ("right-answers", "a run was to be replanned", |history| {
        history.expected.get_mut("chain").unwrap().replanned = true;
    }),
    ("logs-are-whole", "a record is lost", |history| {
        let log = history.logs.get_mut(&0).unwrap();
        log.remove(5);
    }),
    ("logs-are-whole", "an epoch is opened twice", |history| {
        let log = history.logs.get_mut(&0).unwrap();
        let opened =
            |logged: &&mut crate::history::Logged| matches!(logged.entry, Ok(Entry::EpochOpened { .. }));
        if let Ok(Entry::EpochOpened { epoch, .. }) = &mut log.iter_mut().filter(opened).nth(1).unwrap().entry
        {
            *epoch = 1;
        }
    }),
    ("logs-are-whole", "an epoch that is long over has another owner", |history| {
        let log = history.logs.get_mut(&0).unwrap();
        let mut opened = log[0].clone();
        if let Ok(Entry::EpochOpened { owner, .. }) = &mut opened.entry {
            *owner = "c9".to_owned();
        }
        (opened.seq, opened.at_ms) = (log.len() as u64 + 1, log[log.len() - 1].at_ms);
        log.push(opened);
    }),
    ("logs-are-whole", "a record cannot be read", |history| {
        history.logs.get_mut(&1).unwrap().last_mut().unwrap().entry = Err(Error::Missing("fact"));
    }),
    ("logs-are-whole", "time goes back", |history| {
        history.logs.get_mut(&1).unwrap().last_mut().unwrap().at_ms -= 5_000;
    }),
    ("logs-are-whole", "a record is in another run's log", |history| {
        let foreign = history.logs[&0].last().unwrap().entry.clone();
        history.logs.get_mut(&1).unwrap().last_mut().unwrap().entry = foreign;
    }),
];

/// The same for orders, and for what is done more than once.
const BAD_ORDERS: [Bad; 7] = [
    ("orders-keep-to-epochs", "an owner goes on that has read of the next", |history| {
        dispatch(history, "chain", TWO, 1).epoch = Some(1);
    }),
    ("orders-keep-to-epochs", "a new owner orders before it has read to its own beginning", |history| {
        dispatch(history, "chain", ONE, 1).epoch = Some(2);
    }),
    ("orders-keep-to-epochs", "an epoch was never opened", |history| {
        dispatch(history, "chain", ONE, 1).epoch = Some(9);
    }),
    ("one-name-once", "a step is queued twice", |history| again(history, "chain", TWO, |_| {})),
    ("one-name-once", "a planning is queued twice", |history| {
        let mut copy =
            history.dispatches.iter().find(|one| one.work.what == WorkKind::Planning(1)).unwrap().clone();
        (copy.seq, copy.at_ms) = (1_000, copy.at_ms + 1);
        history.dispatches.push(copy);
    }),
    ("duplicates", "a step is done over and over", |history| {
        let copy = effect(history, "chain", "n2").clone();
        history.effects.extend([copy.clone(), copy]);
    }),
    ("duplicates", "an attempt that was tried again is done twice each time", |history| {
        let copy = effect(history, "retry", "n2").clone();
        history.effects.extend([copy.clone(), copy]);
    }),
];

#[test]
fn what_is_bad_is_caught_by_the_rule_that_is_there_for_it() {
    for (rule, what, harm) in BAD.into_iter().chain(BAD_ORDERS) {
        let verdict = judge(&spoilt(harm), &LIMITS);
        assert!(verdict.broken().contains(&rule), "{what}: {rule} does not notice\n{verdict}");
    }
}

#[test]
fn every_rule_is_there_for_at_least_two_bad_histories() {
    for (rule, _) in RULES {
        let caught = BAD.iter().chain(&BAD_ORDERS).filter(|(by, ..)| *by == rule).count();
        assert!(caught >= 2, "{rule} is there for {caught}");
    }
}

#[test]
fn without_faults_nothing_is_done_twice() {
    let verdict = judge(&good(), &Limits::WITHOUT_FAULTS);
    assert_eq!(verdict.broken(), ["duplicates"], "{verdict}");
}

#[test]
fn a_finding_shows_the_first_bad_event_and_what_was_around_it() {
    let history = spoilt(|history| {
        effect(history, "chain", "n3").inputs[0] = json!(11);
        effect(history, "chain", "n2").inputs[0] = json!(11);
    });
    let verdict = judge(&history, &LIMITS);
    let judged = verdict.rules.iter().find(|judged| judged.finding.is_some()).unwrap();
    let finding = judged.finding.as_ref().unwrap();
    assert!(finding.text.contains("node n2"), "{}", finding.text);
    assert_eq!(finding.more, 1);
    let story = finding.story.join("\n");
    for part in [
        "StepSucceeded step 1 attempt 1",
        "queue",
        "+0 ms  effect of node n2",
        "FAULT Kill of Coordinator c0",
    ] {
        assert!(story.contains(part), "{part} is not in:\n{story}");
    }
    assert_eq!(verdict.json()["rules"][5]["finding"]["more"], 1);
}
