//! Logs and write-once streams.

use std::time::Duration;

use futures::{FutureExt, StreamExt};
use planfleet_bus::broker::{Error, Headers, LogEntry, Outgoing, Published, StreamKind, StreamState};

use crate::{AnyBroker, PATIENCE, message, new_log, publish, soon, stream, take_one, work_queue};

crate::conformance! {
    a_message_is_stored_at_the_next_sequence,
    a_log_keeps_every_copy,
    entries_come_in_order_from_where_a_reader_wants,
    entries_carry_subject_headers_and_time,
    a_waiting_reader_sees_what_comes_later,
    readers_do_not_disturb_each_other,
    a_reader_of_many_entries_misses_none,
    a_trimmed_log_starts_later,
    the_newest_message_on_a_subject_is_found,
    messages_are_found_from_a_place_on,
    a_removed_message_leaves_a_gap,
    a_write_once_subject_is_written_once,
    a_missing_log_is_named,
    nobody_reads_from_beyond_the_end,
    headers_are_read_to_the_end,
    headers_are_read_over_gaps,
    headers_of_a_queue_are_read_beside_its_workers,
    a_subject_is_read_alone,
    headers_of_a_subject_are_read_to_its_end,
}

async fn read(broker: &AnyBroker, from: u64, count: usize) -> Vec<LogEntry> {
    let entries = broker.read_log("LOG", from).await.expect("a reader");
    let entries = entries.map(|entry| entry.expect("an entry")).take(count);
    soon("the entries", entries.collect()).await
}

fn payloads(entries: &[LogEntry]) -> Vec<&str> {
    entries.iter().map(|entry| std::str::from_utf8(&entry.payload).expect("text")).collect()
}

async fn a_message_is_stored_at_the_next_sequence(broker: AnyBroker) {
    new_log(&broker).await;
    assert_eq!(publish(&broker, "log.a", "1").await, Published::Stored(1));
    assert_eq!(publish(&broker, "log.b", "2").await, Published::Stored(2));
}

async fn a_log_keeps_every_copy(broker: AnyBroker) {
    new_log(&broker).await;
    publish(&broker, "log.a", "1").await;
    publish(&broker, "log.a", "1").await;
    assert_eq!(payloads(&read(&broker, 1, 2).await), ["1", "1"]);
}

async fn entries_come_in_order_from_where_a_reader_wants(broker: AnyBroker) {
    new_log(&broker).await;
    for payload in ["1", "2", "3", "4"] {
        publish(&broker, "log.a", payload).await;
    }
    assert_eq!(payloads(&read(&broker, 0, 4).await), ["1", "2", "3", "4"]);
    let tail = read(&broker, 3, 2).await;
    assert_eq!(payloads(&tail), ["3", "4"]);
    assert_eq!((tail[0].seq, tail[1].seq), (3, 4));
}

async fn entries_carry_subject_headers_and_time(broker: AnyBroker) {
    new_log(&broker).await;
    let headers = Headers::from([("traceparent".to_owned(), "00-1-2-01".to_owned())]);
    let sent = Outgoing { headers: headers.clone(), ..message("log.0.submit", "") };
    broker.publish(sent).await.expect("an answer");
    let entry = read(&broker, 1, 1).await.remove(0);
    assert_eq!((entry.subject.as_str(), &entry.headers), ("log.0.submit", &headers));
    assert!(entry.payload.is_empty());
    // Some time in this century, and not in microseconds.
    assert!((1_700_000_000_000..4_000_000_000_000).contains(&entry.at_ms), "{}", entry.at_ms);
}

async fn a_waiting_reader_sees_what_comes_later(broker: AnyBroker) {
    new_log(&broker).await;
    let mut entries = broker.read_log("LOG", 1).await.expect("a reader");
    assert!(entries.next().now_or_never().is_none());
    for payload in ["1", "2"] {
        publish(&broker, "log.a", payload).await;
        let entry = soon("the entry", entries.next()).await.expect("no end").expect("no error");
        assert_eq!(entry.payload, payload);
    }
}

async fn readers_do_not_disturb_each_other(broker: AnyBroker) {
    new_log(&broker).await;
    publish(&broker, "log.a", "1").await;
    let (one, other) = tokio::join!(read(&broker, 1, 1), read(&broker, 1, 1));
    assert_eq!(payloads(&one), payloads(&other));
}

/// More than several requests of a reader bring.
async fn a_reader_of_many_entries_misses_none(broker: AnyBroker) {
    const MANY: u64 = 1000;
    new_log(&broker).await;
    let publishing = (0..MANY).map(|n| message("log.a", &n.to_string()));
    let stored: Vec<_> = futures::stream::iter(publishing)
        .map(|message| broker.publish(message))
        .buffer_unordered(100)
        .collect()
        .await;
    assert!(stored.iter().all(|outcome| matches!(outcome, Ok(Published::Stored(_)))));
    let seqs: Vec<u64> = read(&broker, 1, MANY as usize).await.iter().map(|e| e.seq).collect();
    assert_eq!(seqs, (1..=MANY).collect::<Vec<_>>());
}

async fn a_trimmed_log_starts_later(broker: AnyBroker) {
    new_log(&broker).await;
    let empty = StreamState { first_seq: 1, last_seq: 0, messages: 0, replicas: 1 };
    assert_eq!(broker.stream_state("LOG").await.expect("a state"), empty);
    for payload in ["1", "2", "3"] {
        publish(&broker, "log.a", payload).await;
    }
    broker.trim("LOG", 1).await.expect("nothing to trim");
    broker.trim("LOG", 3).await.expect("a trim");
    let trimmed = StreamState { first_seq: 3, last_seq: 3, messages: 1, replicas: 1 };
    assert_eq!(broker.stream_state("LOG").await.expect("a state"), trimmed);
    assert_eq!(payloads(&read(&broker, 1, 1).await), ["3"]);
    // What lies beyond the end stays what it will be.
    broker.trim("LOG", 100).await.expect("a trim");
    let emptied = StreamState { first_seq: 4, last_seq: 3, messages: 0, replicas: 1 };
    assert_eq!(broker.stream_state("LOG").await.expect("a state"), emptied);
    assert_eq!(publish(&broker, "log.a", "4").await, Published::Stored(4));
}

async fn the_newest_message_on_a_subject_is_found(broker: AnyBroker) {
    new_log(&broker).await;
    for (subject, payload) in [("log.a.x", "1"), ("log.a.y", "2"), ("log.a.x", "3"), ("log.b", "4")] {
        publish(&broker, subject, payload).await;
    }
    for (subject, seq) in [("log.a.y", 2), ("log.a.x", 3), ("log.a.*", 3), ("log.>", 4)] {
        let newest = broker.last_on_subject("LOG", subject).await.expect("an answer");
        let newest = newest.expect("a message");
        assert_eq!((newest.seq, newest.payload.to_vec()), (seq, seq.to_string().into_bytes()));
    }
    assert!(broker.last_on_subject("LOG", "log.c").await.expect("an answer").is_none());
}

async fn messages_are_found_from_a_place_on(broker: AnyBroker) {
    new_log(&broker).await;
    for subject in ["log.a", "log.b", "log.a", "log.b"] {
        publish(&broker, subject, "x").await;
    }
    for (subject, from, found) in [
        ("log.a", 0, Some(1)),
        ("log.a", 2, Some(3)),
        ("log.*", 2, Some(2)),
        ("log.>", 4, Some(4)),
        ("log.a", 4, None),
        ("log.>", 5, None),
        ("log.c", 1, None),
    ] {
        let first = broker.first_on_subject("LOG", subject, from).await.expect("an answer");
        assert_eq!(first.map(|entry| entry.seq), found, "{subject} from {from}");
    }
    let missing = broker.first_on_subject("NONE", ">", 1).await;
    assert!(matches!(missing, Err(Error::Missing(name)) if name == "NONE"));
}

async fn a_removed_message_leaves_a_gap(broker: AnyBroker) {
    new_log(&broker).await;
    for payload in ["1", "2", "3"] {
        publish(&broker, "log.a", payload).await;
    }
    assert!(broker.remove("LOG", 3).await.expect("an answer"));
    assert!(!broker.remove("LOG", 3).await.expect("an answer"), "it is gone already");
    assert!(!broker.remove("LOG", 9).await.expect("an answer"), "it never was");
    let newest = broker.last_on_subject("LOG", "log.a").await.expect("an answer");
    assert_eq!(newest.expect("a message").seq, 2);
    assert!(broker.remove("LOG", 1).await.expect("an answer"));
    let state = StreamState { first_seq: 2, last_seq: 3, messages: 1, replicas: 1 };
    assert_eq!(broker.stream_state("LOG").await.expect("a state"), state);
    assert_eq!(publish(&broker, "log.a", "4").await, Published::Stored(4));
    assert_eq!(payloads(&read(&broker, 1, 2).await), ["2", "4"]);
}

async fn a_write_once_subject_is_written_once(broker: AnyBroker) {
    broker.ensure_stream(&stream("DONE", "done.>", StreamKind::WriteOnce)).await.expect("a stream");
    assert_eq!(publish(&broker, "done.t.r1", "first").await, Published::Stored(1));
    assert_eq!(publish(&broker, "done.t.r1", "second").await, Published::Present);
    assert_eq!(publish(&broker, "done.t.r2", "other").await, Published::Stored(2));
    let kept = broker.last_on_subject("DONE", "done.t.r1").await.expect("an answer");
    assert_eq!(kept.expect("a message").payload, "first");
}

async fn a_missing_log_is_named(broker: AnyBroker) {
    let reader = broker.read_log("LOG", 1).await;
    assert!(matches!(reader.err(), Some(Error::Missing(name)) if name == "LOG"));
    let state = broker.stream_state("LOG").await;
    assert!(matches!(state, Err(Error::Missing(name)) if name == "LOG"));
}

async fn nobody_reads_from_beyond_the_end(broker: AnyBroker) {
    new_log(&broker).await;
    publish(&broker, "log.a", "1").await;
    assert!(broker.read_log("LOG", 2).await.is_ok());
    let refused = broker.read_log("LOG", 3).await.err();
    assert!(matches!(&refused, Some(Error::Refused { .. })), "{refused:?}");
}

async fn headers(broker: &AnyBroker, stream: &str, from: u64) -> Vec<LogEntry> {
    let entries = broker.read_headers(stream, from).await.expect("a reader");
    let entries = entries.map(|entry| entry.expect("no error"));
    soon("the end of the headers", entries.collect()).await
}

/// More than one request brings.
async fn headers_are_read_to_the_end(broker: AnyBroker) {
    new_log(&broker).await;
    assert!(headers(&broker, "LOG", 1).await.is_empty());
    for n in 0..600 {
        let headers = Headers::from([("Pf-N".to_owned(), n.to_string())]);
        broker.publish(Outgoing { headers, ..message("log.a", "body") }).await.expect("an answer");
    }
    let read = headers(&broker, "LOG", 1).await;
    assert_eq!(read.len(), 600);
    for (n, entry) in read.iter().enumerate() {
        assert_eq!((entry.seq, entry.subject.as_str()), (n as u64 + 1, "log.a"));
        assert_eq!(entry.headers, Headers::from([("Pf-N".to_owned(), n.to_string())]));
        assert!(entry.payload.is_empty());
    }
    let missing = broker.read_headers("NONE", 1).await.err();
    assert!(matches!(&missing, Some(Error::Missing(name)) if name == "NONE"), "{missing:?}");
}

async fn headers_are_read_over_gaps(broker: AnyBroker) {
    new_log(&broker).await;
    for payload in ["1", "2", "3", "4"] {
        publish(&broker, "log.a", payload).await;
    }
    for removed in [2, 4] {
        assert!(broker.remove("LOG", removed).await.expect("an answer"));
    }
    let seqs: Vec<_> = headers(&broker, "LOG", 1).await.iter().map(|entry| entry.seq).collect();
    assert_eq!(seqs, [1, 3]);
    for (from, first) in [(0, Some(1)), (2, Some(3)), (3, Some(3)), (4, None), (9, None)] {
        let read = headers(&broker, "LOG", from).await;
        assert_eq!(read.first().map(|entry| entry.seq), first, "from {from}");
    }
    broker.trim("LOG", 100).await.expect("a trim");
    assert!(headers(&broker, "LOG", 1).await.is_empty());
}

async fn headers_of_a_queue_are_read_beside_its_workers(broker: AnyBroker) {
    work_queue(&broker, PATIENCE).await;
    for n in 0..4 {
        let headers = Headers::from([("Pf-N".to_owned(), n.to_string())]);
        let sent = Outgoing { headers, ..message(&format!("work.{n}"), "body") };
        broker.publish(sent).await.expect("an answer");
    }
    take_one(&broker).await.settle.ack().await.expect("an ack");
    let in_flight = take_one(&broker).await;
    let acked = |seqs: Vec<u64>| seqs == [2, 3, 4];
    // The server removes what was acked a moment later.
    let read = soon("the ack's effect", async {
        loop {
            let read = headers(&broker, "WORK", 1).await;
            if acked(read.iter().map(|entry| entry.seq).collect()) {
                return read;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(read[0].headers, Headers::from([("Pf-N".to_owned(), "1".to_owned())]));
    assert!(read.iter().all(|entry| entry.payload.is_empty()));
    assert_eq!(headers(&broker, "WORK", 4).await.len(), 1);
    assert_eq!(in_flight.payload, "body");
    assert_eq!(take_one(&broker).await.subject, "work.2", "workers are not disturbed");
}

async fn a_subject_is_read_alone(broker: AnyBroker) {
    new_log(&broker).await;
    for n in 0..10 {
        publish(&broker, &format!("log.{}.x", n % 3), &n.to_string()).await;
    }
    for (subject, from, expected) in
        [("log.1.x", 1, vec!["1", "4", "7"]), ("log.*.x", 9, vec!["8", "9"]), ("log.2.*", 4, vec!["5", "8"])]
    {
        let entries = broker.read_subject("LOG", subject, from).await.expect("a reader");
        let entries = entries.map(|entry| entry.expect("an entry")).take(expected.len());
        let read: Vec<LogEntry> = soon("the entries", entries.collect()).await;
        assert_eq!(payloads(&read), expected, "{subject} from {from}");
    }
    let mut later = broker.read_subject("LOG", "log.1.x", 9).await.expect("a reader");
    publish(&broker, "log.2.x", "other").await;
    publish(&broker, "log.1.x", "later").await;
    let entry = soon("the entry", later.next()).await.expect("no end").expect("no error");
    assert_eq!((entry.payload.as_ref(), entry.seq), (b"later".as_slice(), 12));
}

async fn headers_of_a_subject_are_read_to_its_end(broker: AnyBroker) {
    new_log(&broker).await;
    for n in 0..900 {
        publish(&broker, &format!("log.{}", n % 3), "body").await;
    }
    for (subject, from, count) in [("log.1", 1, 300), ("log.0", 890, 3), ("log.0", 899, 0), ("log.9", 1, 0)] {
        let entries = broker.read_headers_of("LOG", subject, from).await.expect("a reader");
        let read: Vec<_> = soon("the end of the headers", entries.collect()).await;
        assert_eq!(read.len(), count, "{subject} from {from}");
        for entry in read {
            let entry = entry.expect("no error");
            assert!(entry.subject == subject && entry.payload.is_empty() && entry.seq >= from);
        }
    }
}
