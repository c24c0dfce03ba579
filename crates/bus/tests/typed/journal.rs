//! Records in a shard's log, and bodies that travel by reference.

use bytes::Bytes;
use futures::StreamExt as _;
use planfleet_bus::{
    Bus, DeadLetter, Error, JournalEntry,
    broker::{self, Headers, Outgoing, Published},
    work::Origin,
};
use planfleet_core::record::Fact;
use planfleet_proto::{BLOB_BYTES_MAX, INLINE_BYTES_MAX, decode::Entry, subjects};

use super::{dead_letter, document, new_bus, order, run_id, soon, submission, succeeded};

async fn read(bus: &Bus, from_seq: u64, count: usize) -> Vec<JournalEntry> {
    let journal = bus.read_journal(0, from_seq).await.expect("a log");
    let entries = soon("the entries", journal.take(count).collect::<Vec<_>>()).await;
    entries.into_iter().map(|entry| entry.expect("an entry")).collect()
}

fn fact(entry: &JournalEntry) -> &Fact {
    match &entry.content {
        Ok(Entry::Run(record)) => &record.fact,
        other => panic!("no record of a run: {other:?}"),
    }
}

async fn newest(bus: &Bus, subject: &str) -> broker::LogEntry {
    let newest = bus.broker().last_on_subject(&subjects::log(0), subject).await.expect("an answer");
    newest.expect("an entry")
}

#[tokio::test(start_paused = true)]
async fn records_come_back_in_order_and_as_they_were() {
    let bus = new_bus().await;
    let run = run_id("00-a");
    let facts = [
        Fact::TaskSubmitted(Box::new(submission("g"))),
        succeeded(1, "out"),
        Fact::RunCancelRequested { reason: "enough".to_owned() },
    ];
    for fact in &facts {
        bus.append(&run, fact).await.unwrap();
    }
    let entries = read(&bus, 1, 3).await;
    for (entry, (expected, seq)) in entries.iter().zip(facts.iter().zip(1..)) {
        assert_eq!(fact(entry), expected);
        assert_eq!(entry.seq, seq);
        assert!(entry.at_ms > 0);
    }
    assert_eq!(read(&bus, 3, 1).await[0].subject, "pf.ev.00.cancel");
    assert_eq!(bus.journal_tail(0).await.unwrap(), 3);
    assert_eq!(bus.journal_tail(1).await.unwrap(), 0, "the other shard has a log of its own");
}

#[tokio::test(start_paused = true)]
async fn a_trimmed_log_starts_later() {
    let bus = new_bus().await;
    for step in 1..=4 {
        bus.append(&run_id("00-a"), &succeeded(step, "x")).await.unwrap();
    }
    bus.trim_journal(0, 3).await.unwrap();
    assert_eq!(read(&bus, 1, 2).await[0].seq, 3);
    assert_eq!(bus.journal_tail(0).await.unwrap(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_large_body_goes_by_reference_and_comes_back_equal() {
    let bus = new_bus().await;
    let run = run_id("00-a");
    let (small, large) = ("x".repeat(INLINE_BYTES_MAX / 2), "ä".repeat(INLINE_BYTES_MAX));
    bus.append(&run, &succeeded(1, &small)).await.unwrap();
    assert!(newest(&bus, "pf.ev.00.result").await.payload.len() > small.len());
    bus.append(&run, &succeeded(1, &large)).await.unwrap();
    let stored = newest(&bus, "pf.ev.00.result").await;
    assert!(stored.payload.is_empty(), "the message itself carries nothing");
    assert!(stored.headers.contains_key("Pf-Blob"), "{:?}", stored.headers);
    assert_eq!(stored.headers["Pf-Run"], "00-a", "the run is told even where the body is out of reach");
    let entries = read(&bus, 1, 2).await;
    assert_eq!(fact(&entries[0]), &succeeded(1, &small));
    assert_eq!(fact(&entries[1]), &succeeded(1, &large));
}

/// Publishes the reference of a large record under another digest or body.
async fn append_broken(bus: &Bus, break_it: impl AsyncFnOnce(&Bus, &str) -> String) {
    bus.append(&run_id("00-a"), &succeeded(1, &"x".repeat(INLINE_BYTES_MAX))).await.unwrap();
    let stored = newest(bus, "pf.ev.00.result").await;
    let (name, digest) = stored.headers.first_key_value().expect("a reference");
    let digest = break_it(bus, digest).await;
    let headers = Headers::from([(name.clone(), digest)]);
    let subject = stored.subject.clone();
    bus.broker()
        .publish(Outgoing { subject, headers, payload: Bytes::new(), ..Outgoing::default() })
        .await
        .unwrap();
}

async fn problem_of_broken(break_it: impl AsyncFnOnce(&Bus, &str) -> String) -> (String, String) {
    let bus = new_bus().await;
    append_broken(&bus, break_it).await;
    bus.append(&run_id("00-a"), &succeeded(2, "after")).await.unwrap();
    let entries = read(&bus, 2, 2).await;
    assert_eq!(fact(&entries[1]), &succeeded(2, "after"), "the log goes on behind it");
    match &entries[0].content {
        Err(Error::Blob { problem, subject, .. }) => ((*problem).to_owned(), subject.clone()),
        other => panic!("not a blob's problem: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_body_is_an_error_of_its_entry_alone() {
    let missing = problem_of_broken(async |_, _| "00ff".repeat(16)).await;
    assert_eq!(missing, ("missing".to_owned(), "pf.ev.00.result".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_corrupt_body_is_an_error_of_its_entry_alone() {
    let corrupt = problem_of_broken(async |bus, digest| {
        let other = Bytes::from_static(b"something else");
        bus.broker().object_put(subjects::BLOBS, digest, other).await.unwrap();
        digest.to_owned()
    });
    assert_eq!(corrupt.await.0, "corrupt");
}

#[tokio::test(start_paused = true)]
async fn a_body_over_the_limit_is_refused() {
    let bus = new_bus().await;
    let error = bus.append(&run_id("00-a"), &succeeded(1, &"x".repeat(BLOB_BYTES_MAX))).await.unwrap_err();
    let Error::Broker(broker::Error::TooLarge { max, .. }) = error else { panic!("{error}") };
    assert_eq!(max, BLOB_BYTES_MAX);
    assert_eq!(bus.journal_tail(0).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_no_record_are_an_error_of_their_entry() {
    let bus = new_bus().await;
    let subject = "pf.ev.00.result".to_owned();
    let payload = Bytes::from_static(b"\xff\xff");
    bus.broker().publish(Outgoing { subject, payload, ..Outgoing::default() }).await.unwrap();
    let entry = read(&bus, 1, 1).await.remove(0);
    assert!(matches!(entry.content, Err(Error::Decode { .. })), "{:?}", entry.content);
    assert_eq!(&entry.payload[..], b"\xff\xff", "what it was is kept for the dead letters");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_is_queued_once_for_as_long_as_it_is_there() {
    let bus = new_bus().await;
    let order = order(&run_id("00-a"), 1);
    assert_eq!(bus.dispatch_step(&order, Origin::default()).await.unwrap(), Published::Stored(1));
    assert_eq!(bus.dispatch_step(&order, Origin::default()).await.unwrap(), Published::Present);
    let mut again = order.clone();
    again.attempt = 2;
    assert_eq!(
        bus.dispatch_step(&again, Origin::default()).await.unwrap(),
        Published::Stored(2),
        "another name"
    );
    assert_eq!(bus.broker().backlog(subjects::STEPS, "pool_default").await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_ended_run_has_one_document() {
    let bus = new_bus().await;
    let run = run_id("00-a");
    assert!(bus.ended(&run).await.unwrap().is_none());
    bus.finish(&document(&run, "first")).await.unwrap();
    bus.finish(&document(&run, "second")).await.unwrap();
    let ended = bus.ended(&run).await.unwrap().expect("a document");
    assert_eq!(ended.document["run_id"], "00-a");
    assert_eq!(ended.document["answer"], "first");
    assert_eq!(bus.broker().stream_state(subjects::DONE).await.unwrap().messages, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_set_aside_can_be_found_again() {
    let bus = new_bus().await;
    let letter = DeadLetter {
        to: subjects::dead_record(1),
        stream: subjects::log(1),
        seq: 7,
        subject: "pf.ev.01.result".to_owned(),
        reason: "no record".to_owned(),
        headers: Headers::new(),
        payload: Bytes::from_static(b"\x00\x01"),
    };
    bus.set_aside(letter).await.unwrap();
    let (found, _) = dead_letter(&bus, "pf.dlq.log.01").await.expect("a dead letter");
    assert_eq!((found.stream.as_str(), found.sequence, found.reason.as_str()), ("PF_EV_01", 7, "no record"));
    assert_eq!((found.subject.as_str(), &found.payload[..]), ("pf.ev.01.result", &b"\x00\x01"[..]));
}
