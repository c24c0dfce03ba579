//! Creating what the broker keeps.

use std::time::Duration;

use planfleet_bus::broker::{Error, StreamKind};

use crate::{AnyBroker, bucket_spec, consumer, stream, work_queue};

const ACK_WAIT: Duration = Duration::from_secs(30);

crate::conformance! {
    everything_may_be_ensured_twice,
    many_may_ensure_at_once,
    a_stream_that_differs_is_not_touched,
    verifying_creates_nothing,
    a_consumers_limits_are_updated_and_its_filter_is_not,
    a_consumer_needs_its_stream,
}

async fn everything_may_be_ensured_twice(broker: AnyBroker) {
    for _ in 0..2 {
        for (name, kind) in
            [("L", StreamKind::Log), ("Q", StreamKind::WorkQueue), ("O", StreamKind::WriteOnce)]
        {
            let mut spec = stream(name, &format!("{name}.>"), kind);
            spec.max_age = Some(Duration::from_secs(3600));
            broker.ensure_stream(&spec).await.expect("a stream");
            broker.verify_stream(&spec).await.expect("the same stream");
        }
        work_queue(&broker, ACK_WAIT).await;
        broker.ensure_bucket(&bucket_spec("b")).await.expect("a bucket");
        broker.ensure_objects("o", 1).await.expect("an object bucket");
    }
}

async fn many_may_ensure_at_once(broker: AnyBroker) {
    let all = (0..10).map(async |_| {
        work_queue(&broker, ACK_WAIT).await;
        broker.ensure_bucket(&bucket_spec("b")).await.expect("a bucket");
        broker.ensure_objects("o", 1).await.expect("an object bucket");
    });
    futures::future::join_all(all).await;
}

async fn a_stream_that_differs_is_not_touched(broker: AnyBroker) {
    let there = stream("S", "s.>", StreamKind::Log);
    broker.ensure_stream(&there).await.expect("a stream");
    let mut wanted = stream("S", "s.>", StreamKind::WorkQueue);
    wanted.max_age = Some(Duration::from_secs(60));
    for outcome in [broker.ensure_stream(&wanted).await, broker.verify_stream(&wanted).await] {
        let Err(Error::Differs { name, difference }) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(name, "stream S");
        assert!(difference.contains("WorkQueue") && difference.contains("max_age"), "{difference}");
    }
    broker.verify_stream(&there).await.expect("the old stream");
}

async fn verifying_creates_nothing(broker: AnyBroker) {
    let spec = stream("S", "s.>", StreamKind::Log);
    for _ in 0..2 {
        let outcome = broker.verify_stream(&spec).await;
        assert!(matches!(&outcome, Err(Error::Missing(name)) if name == "S"), "{outcome:?}");
    }
}

async fn a_consumers_limits_are_updated_and_its_filter_is_not(broker: AnyBroker) {
    work_queue(&broker, ACK_WAIT).await;
    let mut changed = consumer("all", "work.>", ACK_WAIT * 2);
    changed.max_ack_pending = 7;
    broker.ensure_consumer(&changed).await.expect("new limits");
    let refiltered = broker.ensure_consumer(&consumer("all", "work.a", ACK_WAIT)).await;
    assert!(matches!(&refiltered, Err(Error::Differs { .. })), "{refiltered:?}");
}

async fn a_consumer_needs_its_stream(broker: AnyBroker) {
    let outcome = broker.ensure_consumer(&consumer("all", "work.>", ACK_WAIT)).await;
    assert!(matches!(&outcome, Err(Error::Missing(name)) if name == "WORK"), "{outcome:?}");
}
