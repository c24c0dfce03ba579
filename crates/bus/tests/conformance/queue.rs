//! Work queues: names, deliveries, acks.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use futures::{FutureExt, StreamExt};
use planfleet_bus::broker::{Error, Headers, Outgoing, Published};

use crate::{AnyBroker, consumer, message, publish, pull, soon, stream, take_one, work_queue};

crate::conformance! {
    a_name_is_refused_while_it_is_queued,
    a_name_is_refused_while_it_is_in_flight,
    a_name_is_free_after_the_ack,
    an_unacked_delivery_comes_again_after_the_ack_wait,
    progress_extends_the_ack_wait,
    what_is_given_back_goes_to_another_at_once,
    a_pull_ends_at_its_maximum,
    a_pull_that_finds_nothing_ends_when_it_expires,
    a_waiting_pull_gets_what_is_published_later,
    a_dropped_pull_gives_back_what_it_has_not_read,
    every_consumer_gets_what_its_filter_takes,
    no_more_than_the_limit_is_in_flight,
    the_backlog_counts_what_waits_and_what_is_in_flight,
    headers_arrive_with_the_work,
    its_names_are_listed_without_its_messages,
    a_missing_consumer_is_named,
    what_no_stream_could_carry_is_too_large,
}

/// Longer than any test, where redelivery must not be what helps.
const LONG: Duration = Duration::from_secs(120);
const BRIEF: Duration = Duration::from_millis(200);

async fn a_name_is_refused_while_it_is_queued(broker: AnyBroker) {
    work_queue(&broker, LONG).await;
    assert_eq!(publish(&broker, "work.a", "1").await, Published::Stored(1));
    assert_eq!(publish(&broker, "work.a", "2").await, Published::Present);
    assert_eq!(publish(&broker, "work.b", "1").await, Published::Stored(2));
}

async fn a_name_is_refused_while_it_is_in_flight(broker: AnyBroker) {
    work_queue(&broker, LONG).await;
    publish(&broker, "work.a", "1").await;
    let delivery = take_one(&broker).await;
    assert_eq!(delivery.payload, "1");
    assert_eq!(publish(&broker, "work.a", "2").await, Published::Present);
}

async fn a_name_is_free_after_the_ack(broker: AnyBroker) {
    work_queue(&broker, LONG).await;
    publish(&broker, "work.a", "1").await;
    take_one(&broker).await.settle.ack().await.expect("an ack");
    // The server applies acks behind its answer to the flush, so the name is free
    // soon, not at once.
    broker.flush().await.expect("a flush");
    let stored = soon("the name's release", async {
        while publish(&broker, "work.a", "2").await == Published::Present {}
    });
    stored.await;
    let delivery = take_one(&broker).await;
    assert_eq!((delivery.payload.as_ref(), delivery.deliveries), (b"2".as_ref(), 1));
}

async fn an_unacked_delivery_comes_again_after_the_ack_wait(broker: AnyBroker) {
    work_queue(&broker, Duration::from_secs(1)).await;
    publish(&broker, "work.a", "1").await;
    assert_eq!(take_one(&broker).await.deliveries, 1);
    let again = take_one(&broker).await;
    assert_eq!((again.subject.as_str(), again.deliveries), ("work.a", 2));
}

async fn progress_extends_the_ack_wait(broker: AnyBroker) {
    work_queue(&broker, Duration::from_secs(3)).await;
    publish(&broker, "work.a", "1").await;
    let delivery = take_one(&broker).await;
    // Together four seconds, and nobody else gets it meanwhile.
    for _ in 0..4 {
        let mut others = pull(&broker, "all", 1, Duration::from_secs(1)).await;
        assert!(soon("the end of a pull", others.next()).await.is_none());
        delivery.settle.progress().await.expect("a progress ack");
    }
    assert_eq!(take_one(&broker).await.deliveries, 2, "without progress it comes again");
}

async fn what_is_given_back_goes_to_another_at_once(broker: AnyBroker) {
    work_queue(&broker, LONG).await;
    publish(&broker, "work.a", "1").await;
    take_one(&broker).await.settle.give_back().await.expect("a nak");
    let again = take_one(&broker).await;
    assert_eq!((again.payload.as_ref(), again.deliveries), (b"1".as_ref(), 2));
}

async fn a_pull_ends_at_its_maximum(broker: AnyBroker) {
    work_queue(&broker, LONG).await;
    for name in ["work.a", "work.b", "work.c"] {
        publish(&broker, name, "1").await;
    }
    let pulled = pull(&broker, "all", 2, LONG).await.map(|taken| taken.expect("work").subject);
    let names: Vec<String> = soon("the end of the pull", pulled.collect()).await;
    assert_eq!(names, ["work.a", "work.b"]);
}

async fn a_pull_that_finds_nothing_ends_when_it_expires(broker: AnyBroker) {
    work_queue(&broker, LONG).await;
    let mut pulled = pull(&broker, "all", 5, BRIEF).await;
    assert!(soon("the end of the pull", pulled.next()).await.is_none());
}

async fn a_waiting_pull_gets_what_is_published_later(broker: AnyBroker) {
    work_queue(&broker, LONG).await;
    let mut pulled = pull(&broker, "all", 1, LONG).await;
    assert!(pulled.next().now_or_never().is_none());
    publish(&broker, "work.a", "1").await;
    let delivery = soon("the delivery", pulled.next()).await.expect("work").expect("no error");
    assert_eq!(delivery.subject, "work.a");
}

async fn a_dropped_pull_gives_back_what_it_has_not_read(broker: AnyBroker) {
    work_queue(&broker, LONG).await;
    publish(&broker, "work.a", "1").await;
    publish(&broker, "work.b", "1").await;
    let mut pulled = pull(&broker, "all", 2, LONG).await;
    let first = soon("the first", pulled.next()).await.expect("work").expect("no error");
    // Both were sent together; after a round trip the second has arrived, too.
    broker.flush().await.expect("a flush");
    drop(pulled);
    assert_eq!(first.subject, "work.a");
    assert_eq!(take_one(&broker).await.subject, "work.b");
}

async fn every_consumer_gets_what_its_filter_takes(broker: AnyBroker) {
    let spec = stream("WORK", "work.>", planfleet_bus::broker::StreamKind::WorkQueue);
    broker.ensure_stream(&spec).await.expect("a queue");
    broker.ensure_consumer(&consumer("high", "work.*.0.>", LONG)).await.expect("a consumer");
    broker.ensure_consumer(&consumer("low", "work.*.1.>", LONG)).await.expect("a consumer");
    publish(&broker, "work.p.1.x", "low").await;
    publish(&broker, "work.p.0.x.y", "high").await;
    for name in ["high", "low"] {
        let pulled = pull(&broker, name, 5, BRIEF).await.map(|taken| taken.expect("work").payload);
        let taken: Vec<_> = soon("the end of the pull", pulled.collect()).await;
        assert_eq!(taken, [name]);
    }
    let overlapping = broker.ensure_consumer(&consumer("third", "work.p.>", LONG)).await;
    assert!(matches!(overlapping, Err(Error::Refused { .. })), "{overlapping:?}");
}

async fn no_more_than_the_limit_is_in_flight(broker: AnyBroker) {
    work_queue(&broker, LONG).await;
    let mut limited = consumer("all", "work.>", LONG);
    limited.max_ack_pending = 1;
    broker.ensure_consumer(&limited).await.expect("new limits");
    publish(&broker, "work.a", "1").await;
    publish(&broker, "work.b", "1").await;
    let first = take_one(&broker).await;
    let mut second = pull(&broker, "all", 1, BRIEF).await;
    assert!(soon("the end of the pull", second.next()).await.is_none());
    first.settle.ack().await.expect("an ack");
    assert_eq!(take_one(&broker).await.subject, "work.b");
}

async fn the_backlog_counts_what_waits_and_what_is_in_flight(broker: AnyBroker) {
    work_queue(&broker, LONG).await;
    assert_eq!(broker.backlog("WORK", "all").await.expect("a number"), 0);
    publish(&broker, "work.a", "1").await;
    publish(&broker, "work.b", "1").await;
    let _in_flight = take_one(&broker).await;
    assert_eq!(broker.backlog("WORK", "all").await.expect("a number"), 2);
}

async fn its_names_are_listed_without_its_messages(broker: AnyBroker) {
    work_queue(&broker, LONG).await;
    let names = async |pattern: &str| broker.subjects("WORK", pattern).await.expect("an answer");
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(names("work.>").await, set(&[]));
    for name in ["work.a.1", "work.a.2", "work.b.1", "work.b.2"] {
        publish(&broker, name, "body").await;
    }
    take_one(&broker).await.settle.ack().await.expect("an ack");
    let in_flight = take_one(&broker).await;
    let acked = soon("the ack's effect", async {
        while names("work.>").await.contains("work.a.1") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    acked.await;
    assert_eq!(names("work.>").await, set(&["work.a.2", "work.b.1", "work.b.2"]));
    assert_eq!(names("work.a.*").await, set(&[&in_flight.subject]));
    assert_eq!(names("work.c.>").await, set(&[]));
    let missing = broker.subjects("NONE", ">").await.err();
    assert!(matches!(&missing, Some(Error::Missing(name)) if name == "NONE"), "{missing:?}");
}

async fn headers_arrive_with_the_work(broker: AnyBroker) {
    work_queue(&broker, LONG).await;
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers = Headers::from([
        ("traceparent".to_owned(), traceparent.to_owned()),
        ("Other".to_owned(), "x y".to_owned()),
    ]);
    let sent = Outgoing { headers: headers.clone(), ..message("work.a", "1") };
    broker.publish(sent).await.expect("an answer");
    assert_eq!(take_one(&broker).await.headers, headers);
}

async fn a_missing_consumer_is_named(broker: AnyBroker) {
    work_queue(&broker, LONG).await;
    let started = Instant::now();
    let mut pulled = pull(&broker, "nobody", 1, LONG).await;
    let first = soon("an error", pulled.next()).await.expect("an error, not an end");
    assert!(matches!(&first, Err(Error::Missing(what)) if what.contains("nobody")));
    assert!(started.elapsed() < LONG);
    assert!(matches!(broker.backlog("WORK", "nobody").await, Err(Error::Missing(_))));
}

async fn what_no_stream_could_carry_is_too_large(broker: AnyBroker) {
    work_queue(&broker, LONG).await;
    let body = "x".repeat((1 << 20) + 1);
    let refused = broker.publish(message("work.a", &body)).await;
    assert!(matches!(refused, Err(Error::TooLarge { bytes, max })
        if bytes == body.len() && max == 1 << 20));
}
