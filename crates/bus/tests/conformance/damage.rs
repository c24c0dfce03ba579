//! What only a server can show: objects that have lost some of what they are made of.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use planfleet_bus::broker::{Error, LogEntry};

use crate::{AnyBroker, soon, support::NatsServer};

const BUCKET: &str = "OBJ_o";

async fn server_and_object(body: &Bytes) -> (NatsServer, AnyBroker) {
    let server = NatsServer::start().await;
    let broker: AnyBroker = Arc::new(server.connect().await);
    broker.ensure_objects("o", 1).await.expect("a bucket");
    broker.object_put("o", "o", body.clone()).await.expect("room");
    (server, broker)
}

/// The messages that hold an object's body.
async fn chunks(broker: &AnyBroker) -> Vec<LogEntry> {
    let count = broker.stream_state(BUCKET).await.expect("a bucket").messages;
    let entries = broker.read_log(BUCKET, 1).await.expect("a bucket");
    let all: Vec<_> = soon("all messages", entries.take(count as usize).collect()).await;
    all.into_iter()
        .map(|entry| entry.expect("a message"))
        .filter(|entry| entry.subject.contains(".C."))
        .collect()
}

async fn is_damaged(broker: &AnyBroker) {
    let told = soon("an answer", broker.object_get("o", "o")).await;
    assert!(matches!(told, Err(Error::Damaged(_))), "{told:?}");
}

#[tokio::test]
async fn an_object_that_has_lost_a_chunk_is_damaged_and_can_be_put_again() {
    let body: Bytes = (0..400_000_u32).map(|n| (n % 251) as u8).collect();
    let (_server, broker) = server_and_object(&body).await;
    let lost = chunks(&broker).await;
    assert!(lost.len() > 2, "{}", lost.len());
    assert!(broker.remove(BUCKET, lost[1].seq).await.expect("an answer"));
    is_damaged(&broker).await;
    broker.object_put("o", "o", body.clone()).await.expect("room");
    assert_eq!(broker.object_get("o", "o").await.expect("an answer"), Some(body));
}

#[tokio::test]
async fn an_object_that_has_lost_all_chunks_is_damaged_at_once() {
    let (_server, broker) = server_and_object(&Bytes::from_static(b"body")).await;
    for lost in chunks(&broker).await {
        assert!(broker.remove(BUCKET, lost.seq).await.expect("an answer"));
    }
    is_damaged(&broker).await;
}
