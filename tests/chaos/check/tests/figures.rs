//! What a campaign measures: numbers that are known, promises kept and not, and gaps.

use planfleet_core::{id::StepId, record::Fact};
use serde_json::json;

use super::{
    edit::{effect, record, records, spoilt},
    good::{LIMITS, good},
    steps::chain,
    story::Story,
};
use crate::{
    check::{Figures, Limits, Promise, judge},
    gate,
    history::{Fate, FaultKind, History, Target},
};

fn figures(history: &History) -> Figures {
    judge(history, &LIMITS).figures
}

#[test]
fn figures_are_what_the_history_says() {
    let figures = figures(&good());
    assert_eq!(figures.runs.values().sum::<u64>(), 8);
    assert_eq!(figures.strict, 7, "all but the one that was planned twice");
    assert_eq!((figures.steps, figures.duplicates), (17, 2));
    assert_eq!(figures.faults[&(FaultKind::Kill, Target::Coordinator)], 1);
    let longest = |promise| figures.timings[&promise].clear.longest().unwrap();
    let takeover = longest(Promise::Takeover(FaultKind::Kill));
    assert!((4_000..4_100).contains(&takeover), "{takeover}");
    let again = longest(Promise::BegunAgain(FaultKind::Kill));
    assert!((2_000..2_100).contains(&again), "{again}");
    let gap = figures.gaps_ms[&(FaultKind::Kill, Target::Coordinator)];
    assert!((4_000..4_100).contains(&gap), "{gap}");
    assert_eq!(figures.orphaned, 0);
    assert!(figures.missed.is_empty(), "{:?}", figures.missed);
    assert_eq!(gate::blind(&figures, false), Vec::<String>::new());
}

/// A coordinator that is killed, and `took_ms` until its shard is opened again.
fn taken_over_after(took_ms: u64, owner_again: bool) -> Story {
    let mut story = Story::new();
    story.take_over(0, "c0");
    let struck_ms = story.now_ms;
    story.fault(FaultKind::Kill, Target::Coordinator, "c0", struck_ms);
    story.wait(took_ms);
    match owner_again {
        true => story.take_over(0, "c1"),
        false => story.take_over(1, "c1"),
    }
    story
}

#[test]
fn a_takeover_that_comes_late_is_told() {
    assert!(figures(&taken_over_after(9_000, true).history).missed.is_empty());
    let late = taken_over_after(11_000, true).history;
    assert_eq!(figures(&late).missed.len(), 1);
    let patient = judge(&late, &Limits { patience: 3, ..LIMITS }).figures;
    assert!(patient.missed.is_empty(), "{:?}", patient.missed);
    let never = figures(&taken_over_after(11_000, false).history);
    assert_eq!((never.missed.len(), never.orphaned), (1, 1));
}

/// The broker is away for 5 s from a moment on: what it meets in time is given that, and
/// ten seconds to get over it, and no more.
#[test]
fn only_what_is_near_in_time_excuses_a_takeover() {
    let missed = |took_ms, away_after_ms| {
        let mut story = taken_over_after(took_ms, true);
        let away_ms = story.history.faults[0].from_ms + away_after_ms;
        story.fault(FaultKind::Kill, Target::Broker, "broker-1", away_ms);
        story.history.faults[1].to_ms = away_ms + 5_000;
        figures(&story.history).missed.len()
    };
    assert_eq!(missed(24_000, 9_000), 0);
    assert_eq!(missed(26_000, 9_000), 1);
    assert_eq!(missed(12_000, 10_500), 1, "it came when it was late already");
}

#[test]
fn a_call_that_goes_on_after_a_cancel_is_told() {
    let stopped_after = |ms: u64| {
        spoilt(|history| {
            // Nothing else is near.
            history.faults.clear();
            let mut of_run = records(history, "cancel").into_iter();
            let cancel = of_run.find_map(|logged| {
                let record = record(logged)?;
                matches!(record.fact, Fact::RunCancelRequested { .. }).then_some(record.at_ms)
            });
            let open = effect(history, "cancel", "n1");
            open.ended_ms = cancel.map(|cancelled_ms| cancelled_ms + ms);
        })
    };
    let in_time = figures(&stopped_after(900));
    assert_eq!(in_time.timings[&Promise::CallsAfterCancel].clear.longest(), Some(900));
    assert!(in_time.missed.is_empty(), "{:?}", in_time.missed);
    assert_eq!(figures(&stopped_after(1_100)).missed.len(), 1);
}

/// New runs and ended ones are no progress, and neither is the end of the history.
#[test]
fn a_gap_lasts_until_something_is_accepted() {
    let mut story = Story::new();
    let fate = || Fate::Succeeds { path: String::new(), answer: json!(null) };
    let first = story.submit(0, "first", Some(chain(2)), fate());
    story.wait(1_000);
    story.submit(0, "second", Some(chain(1)), fate());
    story.wait(1_000);
    story.cancel(&first);
    story.end(&first, "cancelled", "cancelled", "cancelled: enough");
    story.wait(1_000);
    let third = story.submit(0, "third", Some(chain(1)), fate());
    let gap = figures(&story.history).gap_in_peace_ms;
    assert!((3_000..3_200).contains(&gap), "{gap}");
    story.carry_out(&third, StepId::plain(1), 1, &json!(1));
    story.wait(5_000);
    story.take_over(0, "c1");
    let gap = figures(&story.history).gap_in_peace_ms;
    assert!((5_000..5_200).contains(&gap), "{gap}");
}

#[test]
fn orders_that_nobody_saw_make_a_campaign_invalid() {
    let mut history = good();
    let half = history.dispatches.len() / 2;
    history.dispatches.truncate(half);
    history.dispatches[0].log_seq = None;
    let figures = figures(&history);
    assert!(figures.seen < figures.reported, "{figures}");
    assert_eq!(gate::blind(&figures, false).len(), 1, "{figures}");
}

#[test]
fn what_was_at_work_when_it_healed_is_counted() {
    let mut story = Story::new();
    let fate = Fate::Succeeds { path: String::new(), answer: json!(null) };
    let run = story.submit(0, "run", Some(chain(2)), fate);
    let step = StepId::plain;
    story.carry_out(&run, step(1), 1, &json!(1));
    story.history.healed_ms = story.now_ms;
    let idle = gate::at_healing(&story.history);
    assert_eq!((idle.active, idle.calls, idle.orders), (1, 0, 0));
    story.order(&run, step(2), 1);
    story.history.healed_ms = story.now_ms;
    story.effect(&run, step(2), Some(json!(2)));
    let ordered = gate::at_healing(&story.history);
    assert_eq!((ordered.calls, ordered.orders), (0, 1));
    let effect = story.history.effects.last_mut().unwrap();
    (effect.began_ms, effect.ended_ms) = (story.history.healed_ms - 1, Some(story.history.healed_ms + 1));
    assert_eq!(gate::at_healing(&story.history).calls, 1);
}
