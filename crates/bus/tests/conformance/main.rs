//! One suite, two brokers: what holds over JetStream holds in memory.
//!
//! A case is an async function over any broker; `conformance!` makes two tests of
//! it. The in-memory ones run on a paused clock, so their ack waits take no time.
//! What only a server can show is in `restart` (its death) and
//! `lost_answers` (its silence), and whom it obeys in `permissions`.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, and clippy knows test functions but not their helpers"
)]

#[path = "../support/mod.rs"]
mod support;

mod assets;
mod blobs;
mod damage;
mod dead_letters;
mod kv;
mod live;
mod log;
mod lost_answers;
mod objects;
mod pace;
mod permissions;
mod queue;
mod restart;

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use planfleet_bus::broker::{
    Broker, BucketSpec, ConsumerSpec, Delivery, Error, Outgoing, Published, StreamKind, StreamSpec,
};

/// Makes a test on each broker of every case.
#[macro_export]
macro_rules! conformance {
    ($($case:ident),* $(,)?) => {
        mod memory {
            use planfleet_bus::broker::memory::MemoryBroker;
            $(
                #[tokio::test(start_paused = true)]
                async fn $case() {
                    super::$case(std::sync::Arc::new(MemoryBroker::new())).await;
                }
            )*
        }
        mod nats {
            $(
                #[tokio::test]
                async fn $case() {
                    let server = $crate::support::NatsServer::start().await;
                    super::$case(std::sync::Arc::new(server.connect().await)).await;
                }
            )*
        }
    };
}

type AnyBroker = Arc<dyn Broker>;

/// Nothing here takes this long; without it a lost wake-up would hang the suite.
const PATIENCE: Duration = Duration::from_secs(40);

async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, event).await {
        Ok(value) => value,
        Err(_) => panic!("no sign of {what} within {PATIENCE:?}"),
    }
}

fn stream(name: &str, subjects: &str, kind: StreamKind) -> StreamSpec {
    StreamSpec {
        name: name.to_owned(),
        subjects: vec![subjects.to_owned()],
        kind,
        max_age: None,
        replicas: 1,
    }
}

fn bucket_spec(name: &str) -> BucketSpec {
    BucketSpec { name: name.to_owned(), max_age: None, replicas: 1 }
}

fn consumer(name: &str, filter: &str, ack_wait: Duration) -> ConsumerSpec {
    ConsumerSpec {
        stream: "WORK".to_owned(),
        name: name.to_owned(),
        filter: filter.to_owned(),
        ack_wait,
        max_ack_pending: 100,
    }
}

fn message(subject: &str, payload: &str) -> Outgoing {
    Outgoing {
        subject: subject.to_owned(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        ..Outgoing::default()
    }
}

async fn publish(broker: &AnyBroker, subject: &str, payload: &str) -> Published {
    broker.publish(message(subject, payload)).await.expect("an answer")
}

/// A work queue `WORK` on `work.>` with one consumer `all`.
async fn work_queue(broker: &AnyBroker, ack_wait: Duration) {
    let spec = stream("WORK", "work.>", StreamKind::WorkQueue);
    broker.ensure_stream(&spec).await.expect("a queue");
    broker.ensure_consumer(&consumer("all", "work.>", ack_wait)).await.expect("a consumer");
}

/// A log `LOG` on `log.>`.
async fn new_log(broker: &AnyBroker) {
    broker.ensure_stream(&stream("LOG", "log.>", StreamKind::Log)).await.expect("a log");
}

type Pulled = BoxStream<'static, Result<Delivery, Error>>;

async fn pull(broker: &AnyBroker, name: &str, max: usize, expires: Duration) -> Pulled {
    broker.pull("WORK", name, max, expires).await.expect("a pull")
}

/// Takes one message of the consumer `all`, waiting as long as it takes.
async fn take_one(broker: &AnyBroker) -> Delivery {
    let mut pulled = pull(broker, "all", 1, PATIENCE).await;
    soon("a delivery", pulled.next()).await.expect("one before the pull expires").expect("no error")
}
