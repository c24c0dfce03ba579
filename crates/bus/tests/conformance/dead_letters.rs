//! Dead letters: listed, told about, sent again, dropped.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use planfleet_bus::{
    Bus, DeadLetter, Error, Manage, Pool, Topology,
    broker::{Headers, LogEntry, Outgoing},
    dead_letters::{About, Kept, Replay, Which},
};
use planfleet_core::{
    id::{RunId, StepId},
    record::Fact,
};
use planfleet_proto::{INLINE_BYTES_MAX, decode::Entry, encode, subjects};

use crate::{AnyBroker, soon};

crate::conformance! {
    the_newest_letters_come_last,
    letters_are_found_by_where_they_come_from,
    a_letter_says_what_it_was_about,
    a_replayed_record_is_in_its_log_again,
    a_body_by_reference_comes_again,
    a_body_that_is_gone_is_not_sent_again,
    a_submit_of_a_run_that_has_ended_is_not_sent_again,
    work_whose_name_is_taken_is_not_sent,
    a_letter_is_dropped_once,
    a_letter_that_cannot_be_read_can_be_dropped,
}

const WORK: &str = "pf.steps.default.1.acme.00-a.3-2.4";

async fn bus(broker: AnyBroker) -> Bus {
    let bus = Bus::new(broker, 2);
    let pool = Pool { name: "default".to_owned(), slots: 4, ack_wait: Duration::from_secs(10) };
    let topology = Topology { shards: 2, replicas: 1, pools: vec![pool], manage: Manage::Create };
    bus.bootstrap(&topology).await.expect("assets");
    bus
}

fn run() -> RunId {
    "00-a".parse().expect("a run id")
}

fn record(seq: u64, payload: impl Into<Bytes>) -> DeadLetter {
    DeadLetter {
        to: subjects::dead_record(0),
        stream: subjects::log(0),
        seq,
        subject: "pf.ev.00.cancel".to_owned(),
        reason: "no record".to_owned(),
        headers: Headers::from([
            ("Pf-Run".to_owned(), "00-a".to_owned()),
            ("Nats-Msg-Id".to_owned(), "x".to_owned()),
        ]),
        payload: payload.into(),
    }
}

fn work(pool: &str) -> DeadLetter {
    DeadLetter {
        to: subjects::dead_work(pool),
        stream: subjects::STEPS.to_owned(),
        seq: 0,
        subject: WORK.to_owned(),
        reason: "no order".to_owned(),
        headers: Headers::new(),
        payload: Bytes::from_static(b"order"),
    }
}

fn cancel(reason: &str) -> Vec<u8> {
    encode::record(run().as_str(), &Fact::RunCancelRequested { reason: reason.to_owned() })
}

/// Sets a letter aside and takes it as it is kept.
async fn set_aside(bus: &Bus, letter: DeadLetter) -> Kept {
    bus.set_aside(letter).await.expect("a broker");
    newest(bus, &Which::All, 1).await.pop().expect("a letter")
}

async fn newest(bus: &Bus, which: &Which, limit: usize) -> Vec<Kept> {
    bus.newest_dead_letters(which, limit).await.expect("letters")
}

fn seqs(letters: &[Kept]) -> Vec<u64> {
    letters.iter().map(|kept| kept.seq).collect()
}

async fn the_newest_letters_come_last(broker: AnyBroker) {
    let bus = bus(broker).await;
    assert_eq!(newest(&bus, &Which::All, 5).await, []);
    for seq in 1..=6 {
        bus.set_aside(record(seq, "x")).await.expect("a broker");
    }
    assert_eq!(seqs(&newest(&bus, &Which::All, 3).await), [4, 5, 6]);
    for seq in [2, 4, 6] {
        assert!(bus.drop_dead_letter(seq).await.expect("an answer"));
    }
    assert_eq!(seqs(&newest(&bus, &Which::All, 2).await), [3, 5], "gaps are no letters");
    assert_eq!(seqs(&newest(&bus, &Which::All, 50).await), [1, 3, 5]);
    assert_eq!(seqs(&newest(&bus, &Which::All, 0).await), [0; 0]);
    let all = bus.dead_letters(&Which::All).await.expect("letters");
    assert_eq!(seqs(&soon("the end", all.try_collect::<Vec<_>>()).await.expect("letters")), [1, 3, 5]);
}

async fn letters_are_found_by_where_they_come_from(broker: AnyBroker) {
    let bus = bus(broker).await;
    for letter in [work("default"), record(7, "x"), work("gpu"), record(8, "x"), work("default")] {
        bus.set_aside(letter).await.expect("a broker");
    }
    assert_eq!(seqs(&newest(&bus, &Which::Pool("default".to_owned()), 9).await), [1, 5]);
    assert_eq!(seqs(&newest(&bus, &Which::Pool("gpu".to_owned()), 9).await), [3]);
    assert_eq!(seqs(&newest(&bus, &Which::Shard(0), 1).await), [4]);
    assert_eq!(seqs(&newest(&bus, &Which::Shard(1), 9).await), [0; 0]);
}

async fn a_letter_says_what_it_was_about(broker: AnyBroker) {
    let bus = bus(broker).await;
    let of_work = set_aside(&bus, work("default")).await.letter.about();
    let step = Some(StepId::item(3, 2));
    assert_eq!(of_work, About { run: Some(run()), step, planning: None, attempt: Some(4) });
    let by_header = set_aside(&bus, record(1, "no record")).await;
    assert_eq!(by_header.letter, record(1, "no record"), "it is kept as it was");
    assert!(by_header.at_ms > 0);
    let about_run = About { run: Some(run()), ..About::default() };
    assert_eq!(by_header.letter.about(), about_run);
    let headers = Headers::new();
    let by_bytes = set_aside(&bus, DeadLetter { headers, ..record(2, cancel("why")) }).await;
    assert_eq!(by_bytes.letter.about(), about_run);
}

async fn last_in_log(bus: &Bus) -> LogEntry {
    let last = bus.broker().last_on_subject(&subjects::log(0), "pf.ev.00.*").await.expect("an answer");
    last.expect("an entry")
}

async fn a_replayed_record_is_in_its_log_again(broker: AnyBroker) {
    let bus = bus(broker).await;
    let kept = set_aside(&bus, record(9, cancel("why"))).await;
    assert_eq!(bus.replay(&kept).await.expect("a broker"), Replay::Sent);
    let entry = last_in_log(&bus).await;
    assert_eq!((entry.subject.as_str(), &entry.payload[..]), ("pf.ev.00.cancel", &cancel("why")[..]));
    assert_eq!(entry.headers["Pf-Run"], "00-a");
    assert_ne!(entry.headers["Nats-Msg-Id"], "x", "the broker would take it for what it has seen");
    assert_eq!(newest(&bus, &Which::All, 9).await, []);
}

/// Appends a record whose body travels by reference, and its letter.
async fn set_large_aside(bus: &Bus) -> (Fact, Kept) {
    let fact = Fact::RunCancelRequested { reason: "x".repeat(2 * INLINE_BYTES_MAX) };
    bus.append(&run(), &fact).await.expect("a broker");
    let LogEntry { seq, headers, payload, .. } = last_in_log(bus).await;
    assert!(payload.is_empty());
    let kept = set_aside(bus, DeadLetter { headers, ..record(seq, payload) }).await;
    (fact, kept)
}

async fn a_body_by_reference_comes_again(broker: AnyBroker) {
    let bus = bus(broker).await;
    let (fact, kept) = set_large_aside(&bus).await;
    assert!(bus.dead_body(&kept.letter).await.expect("a body").len() > INLINE_BYTES_MAX);
    assert_eq!(bus.replay(&kept).await.expect("a broker"), Replay::Sent);
    let mut journal = bus.read_journal(0, kept.letter.seq + 1).await.expect("a log");
    let again = soon("the record", journal.next()).await.expect("an entry").expect("an entry");
    let Ok(Entry::Run(record)) = again.content else { panic!("{again:?}") };
    assert_eq!((record.run, record.fact), (run(), fact));
}

async fn a_body_that_is_gone_is_not_sent_again(broker: AnyBroker) {
    let bus = bus(broker).await;
    let (_, mut kept) = set_large_aside(&bus).await;
    kept.letter.headers.insert("Pf-Blob".to_owned(), "00".repeat(32));
    let error = bus.replay(&kept).await.expect_err("no body");
    assert!(matches!(error, Error::Blob { problem: "missing", .. }), "{error}");
    assert_eq!(bus.journal_tail(0).await.expect("a log"), kept.letter.seq, "nothing was sent");
    assert!(bus.dead_letter(kept.seq).await.expect("an answer").is_some(), "the letter is kept");
}

async fn a_submit_of_a_run_that_has_ended_is_not_sent_again(broker: AnyBroker) {
    let bus = bus(broker).await;
    let submit =
        set_aside(&bus, DeadLetter { subject: "pf.ev.00.submit".to_owned(), ..record(1, "x") }).await;
    let cancelled = set_aside(&bus, record(2, "x")).await;
    let subject = subjects::done("acme", &run());
    bus.broker().publish(Outgoing { subject, ..Outgoing::default() }).await.expect("a broker");
    assert_eq!(bus.replay(&submit).await.expect("a broker"), Replay::RunEnded);
    assert_eq!(bus.replay(&cancelled).await.expect("a broker"), Replay::Sent, "which its shard ignores");
    assert_eq!(newest(&bus, &Which::All, 9).await, [submit]);
    assert_eq!(bus.journal_tail(0).await.expect("a log"), 1);
}

async fn work_whose_name_is_taken_is_not_sent(broker: AnyBroker) {
    let bus = bus(broker).await;
    let kept = set_aside(&bus, work("default")).await;
    let queued = Outgoing { subject: WORK.to_owned(), payload: "other".into(), ..Outgoing::default() };
    bus.broker().publish(queued).await.expect("a broker");
    assert_eq!(bus.replay(&kept).await.expect("a broker"), Replay::NameTaken);
    assert!(bus.dead_letter(kept.seq).await.expect("an answer").is_some(), "the letter is kept");

    let mut pulled = bus
        .broker()
        .pull(subjects::STEPS, &subjects::pool_consumer("default"), 1, Duration::from_secs(5))
        .await
        .expect("a pull");
    let other = soon("the other", pulled.next()).await.expect("a delivery").expect("a delivery");
    other.settle.ack().await.expect("an ack");
    bus.broker().flush().await.expect("a broker");
    assert_eq!(bus.replay(&kept).await.expect("a broker"), Replay::Sent);
    let sent = bus.broker().last_on_subject(subjects::STEPS, WORK).await.expect("an answer");
    assert_eq!(sent.expect("work").payload, "order");
    assert_eq!(newest(&bus, &Which::All, 9).await, []);
}

async fn a_letter_is_dropped_once(broker: AnyBroker) {
    let bus = bus(broker).await;
    let kept = set_aside(&bus, record(1, "x")).await;
    assert!(bus.drop_dead_letter(kept.seq).await.expect("an answer"));
    for seq in [kept.seq, 99, 0] {
        assert!(!bus.drop_dead_letter(seq).await.expect("an answer"), "{seq}");
        assert!(bus.dead_letter(seq).await.expect("an answer").is_none(), "{seq}");
    }
}

async fn a_letter_that_cannot_be_read_can_be_dropped(broker: AnyBroker) {
    let bus = bus(broker).await;
    let subject = subjects::dead_record(0);
    let junk = Outgoing { subject, payload: Bytes::from_static(b"\xff\xff"), ..Outgoing::default() };
    bus.broker().publish(junk).await.expect("a broker");
    let kept = newest(&bus, &Which::All, 1).await.pop().expect("a letter");
    assert!(kept.letter.reason.contains("the letter itself"), "{}", kept.letter.reason);
    assert_eq!(&kept.letter.payload[..], b"\xff\xff");
    assert_eq!(bus.replay(&kept).await.expect("a broker"), Replay::NoOrigin);
    assert!(bus.drop_dead_letter(kept.seq).await.expect("an answer"));
}

/// Only a server knows a message by its id.
#[tokio::test]
async fn a_replay_that_is_repeated_is_one_record() {
    let server = crate::support::NatsServer::start().await;
    let bus = bus(std::sync::Arc::new(server.connect().await)).await;
    let kept = set_aside(&bus, record(1, cancel("why"))).await;
    for _ in 0..2 {
        // As if its ack, or the drop of its letter, had been lost.
        assert_eq!(bus.replay(&kept).await.expect("a broker"), Replay::Sent);
    }
    assert_eq!(bus.journal_tail(0).await.expect("a log"), 1);
}
