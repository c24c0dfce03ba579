//! What only a server can show: what holds when it dies and comes back.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::StreamExt;
use planfleet_bus::broker::{
    Broker, CasOutcome, Error, Headers, Outgoing, Published, StreamKind,
    nats::{ConnectOptions, NatsBroker},
};

use crate::{
    AnyBroker, PATIENCE, bucket_spec, message, new_log, publish, pull, soon, stream, support::NatsServer,
    take_one, work_queue,
};

/// Long enough that an ack comes in time, short enough to wait for.
const ACK_WAIT: Duration = Duration::from_secs(5);

async fn server_and_broker() -> (NatsServer, AnyBroker) {
    let server = NatsServer::start().await;
    let broker = Arc::new(server.connect().await);
    (server, broker)
}

#[tokio::test]
async fn a_name_stays_refused_over_a_crash() {
    let (mut server, broker) = server_and_broker().await;
    work_queue(&broker, ACK_WAIT).await;
    publish(&broker, "work.in_flight", "1").await;
    let in_flight = take_one(&broker).await;
    publish(&broker, "work.queued", "1").await;
    server.kill().await;
    server.revive().await;
    assert_eq!(publish(&broker, "work.queued", "2").await, Published::Present);
    assert_eq!(publish(&broker, "work.in_flight", "2").await, Published::Present);
    in_flight.settle.ack().await.expect("an ack");
    // A server that died before it had noted the delivery knows nothing of it, and
    // gives the message out again: then that one has to be acked.
    soon("the name's release", async {
        while publish(&broker, "work.in_flight", "2").await == Published::Present {
            let mut again = pull(&broker, "all", 1, ACK_WAIT).await;
            if let Some(Ok(delivery)) = again.next().await {
                delivery.settle.ack().await.expect("an ack");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_publish_waits_for_the_server() {
    let (mut server, broker) = server_and_broker().await;
    new_log(&broker).await;
    server.kill().await;
    let publishing = broker.publish(message("log.a", "1"));
    let (stored, ()) = tokio::join!(publishing, server.revive());
    // Not necessarily the first copy: what was under way when the server died may have
    // been sent once more by the client itself, and a log keeps both.
    assert!(matches!(stored, Ok(Published::Stored(_))), "{stored:?}");
}

#[tokio::test]
async fn a_log_reader_goes_on_after_a_crash_without_gap_or_repeat() {
    let (mut server, broker) = server_and_broker().await;
    new_log(&broker).await;
    let mut entries = broker.read_log("LOG", 1).await.expect("a reader");
    let mut expected = 0;
    for _ in 0..3 {
        for _ in 0..5 {
            publish(&broker, "log.a", "x").await;
        }
        for _ in 0..5 {
            expected += 1;
            let entry = soon("an entry", entries.next()).await.expect("no end").expect("no error");
            assert_eq!(entry.seq, expected);
        }
        server.kill().await;
        server.revive().await;
    }
}

#[tokio::test]
async fn a_watcher_of_keys_goes_on_after_a_crash_without_a_gap() {
    let (mut server, broker) = server_and_broker().await;
    broker.ensure_bucket(&bucket_spec("b")).await.expect("a bucket");
    let mut changes = broker.kv_changes("b").await.expect("a watcher");
    for round in 0..3 {
        server.kill().await;
        server.revive().await;
        // By somebody else: the watcher's own connection may still be down.
        let other = server.connect().await;
        let key = format!("k.{round}");
        let written = async {
            while !matches!(other.kv_cas("b", &key, Bytes::new(), 0).await, Ok(CasOutcome::Written(_))) {}
        };
        soon("the write", written).await;
        let change = soon("a change", changes.next()).await.expect("no end").expect("no error");
        assert_eq!(change.key, key);
    }
}

#[tokio::test]
async fn a_removal_that_was_cut_short_is_listed_and_can_be_ended() {
    let server = NatsServer::start().await;
    let broker = server.connect().await;
    broker.ensure_objects("o", 1).await.expect("a bucket");
    let body = Bytes::from(vec![7; 300_000]);
    broker.object_put("o", "x", body.clone()).await.expect("room");
    // What a removal has written when it dies behind its first step.
    let meta = broker.last_on_subject("OBJ_o", "$O.o.M.>").await.expect("an answer").expect("a meta message");
    let mut said: serde_json::Value = serde_json::from_slice(&meta.payload).expect("JSON");
    (said["deleted"], said["size"], said["chunks"]) = (true.into(), 0.into(), 0.into());
    let marked = Outgoing {
        subject: meta.subject,
        headers: Headers::from([("Nats-Rollup".to_owned(), "sub".to_owned())]),
        payload: said.to_string().into(),
        ..Outgoing::default()
    };
    broker.publish(marked).await.expect("an answer");
    assert_eq!(broker.object_get("o", "x").await.expect("an answer"), None);
    let listed: Vec<_> = broker.object_list("o").await.expect("a list").collect().await;
    let [Ok(left)] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!((left.name.as_str(), left.bytes), ("x", 0));
    assert!(broker.object_delete("o", "x", Some(left.revision)).await.expect("an answer"));
    let state = broker.stream_state("OBJ_o").await.expect("a state");
    assert_eq!(state.messages, 0, "neither chunks nor meta messages are left");
}

#[tokio::test]
async fn nothing_is_left_of_objects_that_were_put_at_once_and_removed() {
    let server = NatsServer::start().await;
    let broker = server.connect().await;
    broker.ensure_objects("o", 1).await.expect("a bucket");
    let bodies = [7, 8].map(|byte| Bytes::from(vec![byte; 300_000]));
    let puts = (0..10).map(|n| broker.object_put("o", "x", bodies[n % 2].clone()));
    for put in futures::future::join_all(puts).await {
        put.expect("room");
    }
    // Three chunks and the meta message of the last who put.
    assert_eq!(broker.stream_state("OBJ_o").await.expect("a state").messages, 4);
    assert!(broker.object_delete("o", "x", None).await.expect("an answer"));
    assert_eq!(broker.stream_state("OBJ_o").await.expect("a state").messages, 0);
}

#[tokio::test]
async fn what_a_put_has_left_that_died_is_cleared() {
    let server = NatsServer::start().await;
    let broker = server.connect().await;
    broker.ensure_objects("o", 1).await.expect("a bucket");
    let body = Bytes::from(vec![7; 300_000]);
    for name in ["x", "y"] {
        broker.object_put("o", name, body.clone()).await.expect("room");
    }
    for _ in 0..2 {
        broker.publish(message("$O.o.C.died", "a chunk")).await.expect("an answer");
    }
    let messages = async || broker.stream_state("OBJ_o").await.expect("a state").messages;
    let whole = messages().await;
    let leftovers =
        async |before_ms, remove| broker.object_leftovers("o", before_ms, remove).await.expect("an answer");
    assert_eq!(leftovers(1_700_000_000_000, true).await, 0, "it may be under way");
    assert_eq!(leftovers(u64::MAX, false).await, 1);
    assert_eq!(messages().await, whole);
    assert_eq!(leftovers(u64::MAX, true).await, 1);
    assert_eq!(messages().await, whole - 2);
    assert_eq!(leftovers(u64::MAX, true).await, 0);
    assert!(broker.object_get("o", "x").await.expect("an answer") == Some(body));
}

#[tokio::test]
async fn a_log_that_lost_its_tail_is_an_error() {
    let (mut server, broker) = server_and_broker().await;
    new_log(&broker).await;
    publish(&broker, "log.a", "1").await;
    publish(&broker, "log.a", "2").await;
    let mut entries = broker.read_log("LOG", 1).await.expect("a reader");
    for _ in 0..2 {
        soon("an entry", entries.next()).await.expect("no end").expect("no error");
    }
    server.kill().await;
    server.forget_everything();
    server.revive().await;
    let log = stream("LOG", "log.>", StreamKind::Log);
    soon("a new log", async { while broker.ensure_stream(&log).await.is_err() {} }).await;
    publish(&broker, "log.a", "another first").await;
    soon("the loss", async {
        loop {
            match entries.next().await.expect("no end") {
                Err(Error::Refused { reason, .. }) => break assert!(reason.contains("ends at")),
                // While the log is not there again.
                Err(Error::Missing(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_waiting_pull_ends_with_an_error_when_the_server_dies() {
    let (mut server, broker) = server_and_broker().await;
    work_queue(&broker, PATIENCE).await;
    let mut pulled = pull(&broker, "all", 1, PATIENCE * 10).await;
    server.kill().await;
    let outcome = soon("an error", pulled.next()).await.expect("an error, not an end");
    assert!(matches!(outcome.err(), Some(Error::Unreachable(_))));
    server.revive().await;
    publish(&broker, "work.a", "1").await;
    take_one(&broker).await;
}

#[tokio::test]
async fn a_dead_server_fails_calls_in_time() {
    let mut server = NatsServer::start().await;
    let options = ConnectOptions {
        url: server.url(),
        publish_give_up: Duration::from_millis(300),
        ..ConnectOptions::default()
    };
    let broker = NatsBroker::connect(options).await.expect("a connection");
    assert!(broker.connected());
    server.kill().await;
    let publishing = broker.publish(message("log.a", "1"));
    assert!(matches!(soon("an error", publishing).await, Err(Error::Unreachable(_))));
    assert!(matches!(soon("an error", broker.flush()).await, Err(Error::Unreachable(_))));
    assert!(!broker.connected());
}

#[tokio::test]
async fn a_server_that_is_not_there_is_one_clear_line() {
    // Bound and closed again: nobody listens there now.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port();
    let url = format!("nats://user:secret@127.0.0.1:{port}");
    let options = ConnectOptions { url, ..ConnectOptions::default() };
    let refused = soon("an error", NatsBroker::connect(options)).await;
    let line = refused.err().expect("nobody there").to_string();
    let expected = format!("broker unreachable: nats://127.0.0.1:{port}: ");
    assert!(line.starts_with(&expected) && line.contains("refused"), "{line}");
    assert!(!line.contains('\n') && !line.contains("secret"), "{line}");
}

#[tokio::test]
async fn the_server_describes_itself() {
    let (_server, broker) = server_and_broker().await;
    let description = broker.describe().await.expect("a description").to_string();
    assert!(description.starts_with("nats-server 2."), "{description}");
    assert!(description.ends_with(", jetstream, 1 server, max_payload 1 MiB"), "{description}");
}
