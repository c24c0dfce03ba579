//! The server does what it is asked, and its answer is lost; or it hangs. What was
//! not answered is not known, so it is asked again under the same name; and
//! nothing waits without a bound.

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::StreamExt;
use planfleet_bus::broker::{
    CasOutcome, Error, Published, StreamKind,
    nats::{ConnectOptions, NatsBroker},
};
use tokio::time::{Instant, sleep};

use crate::{
    AnyBroker, PATIENCE, bucket_spec, message, new_log, publish, pull, soon, stream,
    support::{NatsServer, proxy::Proxy},
    take_one, work_queue,
};

/// The longest that one call may take here: a publish that is tried again for this
/// long, or a question that gets its one limit of 5 s; and a little for the machine.
const GIVE_UP: Duration = Duration::from_secs(3);
const CALL_MAX: Duration = Duration::from_secs(10);

/// How long the others wait for work before they ask again.
const PULL_AGAIN: Duration = Duration::from_millis(500);

/// A server, a proxy before it, and a broker that only knows the proxy.
async fn behind_a_proxy(publish_give_up: Duration) -> (NatsServer, Proxy, AnyBroker) {
    let server = NatsServer::start().await;
    let proxy = Proxy::start(server.port()).await;
    let options = ConnectOptions { url: proxy.url(), publish_give_up, ..ConnectOptions::default() };
    let broker = NatsBroker::connect(options).await.expect("a connection");
    (server, proxy, Arc::new(broker))
}

/// Lets the next answer be lost, then no more.
async fn lose_one_answer(proxy: &Proxy) {
    let before = proxy.swallowed();
    proxy.swallow_answers();
    soon("an answer that is lost", async {
        while proxy.swallowed() == before {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    // What else the server says of the same moment is lost with it.
    sleep(Duration::from_millis(200)).await;
    proxy.pass_answers();
}

async fn with_its_answer_lost<T>(proxy: &Proxy, call: impl Future<Output = T>) -> T {
    let (outcome, ()) = soon("an outcome", async { tokio::join!(call, lose_one_answer(proxy)) }).await;
    outcome
}

#[tokio::test]
async fn a_log_keeps_both_copies_of_a_publish_whose_ack_was_lost() {
    let (_server, proxy, broker) = behind_a_proxy(PATIENCE).await;
    new_log(&broker).await;
    let published = with_its_answer_lost(&proxy, broker.publish(message("log.a", "1"))).await;
    assert!(matches!(published, Ok(Published::Stored(2))), "{published:?}");
    let state = broker.stream_state("LOG").await.expect("a log");
    assert_eq!(state.messages, 2, "the reader has to bear a second copy");
}

#[tokio::test]
async fn a_queue_refuses_the_second_copy_by_its_name() {
    let (_server, proxy, broker) = behind_a_proxy(PATIENCE).await;
    work_queue(&broker, PATIENCE).await;
    let published = with_its_answer_lost(&proxy, broker.publish(message("work.a", "1"))).await;
    assert!(matches!(published, Ok(Published::Present)), "{published:?}");
    assert_eq!(broker.backlog("WORK", "all").await.expect("a backlog"), 1);
}

#[tokio::test]
async fn what_is_written_once_is_there_once() {
    let (_server, proxy, broker) = behind_a_proxy(PATIENCE).await;
    broker.ensure_stream(&stream("DONE", "done.>", StreamKind::WriteOnce)).await.expect("a stream");
    let published = with_its_answer_lost(&proxy, broker.publish(message("done.a", "1"))).await;
    assert!(matches!(published, Ok(Published::Present)), "{published:?}");
    let kept = broker.last_on_subject("DONE", "done.a").await.expect("an answer").expect("a message");
    assert_eq!((kept.seq, &kept.payload[..]), (1, &b"1"[..]));
}

/// A second attempt would report the first one's success as a conflict.
#[tokio::test]
async fn a_compare_and_set_whose_answer_was_lost_is_unknown_and_not_repeated() {
    let (_server, proxy, broker) = behind_a_proxy(PATIENCE).await;
    broker.ensure_bucket(&bucket_spec("b")).await.expect("a bucket");
    let set = with_its_answer_lost(&proxy, broker.kv_cas("b", "k", Bytes::from_static(b"1"), 0)).await;
    assert!(matches!(set, Err(Error::Unreachable(_))), "{set:?}");
    let there = broker.kv_get("b", "k").await.expect("an answer").expect("it was written");
    let next = broker.kv_cas("b", "k", Bytes::from_static(b"2"), there.revision).await;
    assert!(matches!(next, Ok(CasOutcome::Written(2))), "{next:?}");
}

#[tokio::test]
async fn an_ack_is_asked_for_again_until_it_is_confirmed() {
    let (_server, proxy, broker) = behind_a_proxy(PATIENCE).await;
    work_queue(&broker, PATIENCE).await;
    publish(&broker, "work.a", "1").await;
    let delivery = take_one(&broker).await;
    with_its_answer_lost(&proxy, delivery.settle.ack()).await.expect("a confirmation");
    assert_eq!(publish(&broker, "work.a", "2").await, Published::Stored(2), "its name is free");
}

/// An ack that went down with the server: without a confirmation, somebody else would
/// do the work again. A server that was killed may not have noted the delivery
/// either, and confirms nothing until the work has been delivered again.
#[tokio::test]
async fn an_ack_outlives_the_server() {
    let (mut server, _proxy, broker) = behind_a_proxy(PATIENCE).await;
    work_queue(&broker, PATIENCE).await;
    publish(&broker, "work.a", "1").await;
    let delivery = take_one(&broker).await;
    server.kill().await;
    let others = async {
        sleep(Duration::from_millis(300)).await;
        server.revive().await;
        loop {
            // Until the connection is back there is nothing to pull from.
            let Ok(mut again) = broker.pull("WORK", "all", 1, PULL_AGAIN).await else {
                sleep(PULL_AGAIN).await;
                continue;
            };
            if let Some(Ok(delivery)) = again.next().await {
                delivery.settle.ack().await.expect("a confirmation of the second delivery");
            }
        }
    };
    let acked = soon("a confirmation", async {
        tokio::select! {
            acked = delivery.settle.ack() => acked,
            () = others => unreachable!("the others pull until the ack is confirmed"),
        }
    })
    .await;
    acked.expect("a confirmation");
    assert_eq!(broker.backlog("WORK", "all").await.expect("a backlog"), 0);
}

async fn ends<T>(what: &str, call: impl Future<Output = Result<T, Error>>) {
    let started = Instant::now();
    let outcome = tokio::time::timeout(CALL_MAX, call).await;
    let failed = match &outcome {
        Ok(Err(Error::Unreachable(_))) => true,
        Ok(Ok(_) | Err(_)) => false,
        Err(_) => panic!("{what} waits for longer than {CALL_MAX:?}"),
    };
    assert!(failed, "{what} has an answer of a server that says nothing, after {:?}", started.elapsed());
}

#[tokio::test]
async fn nothing_waits_without_a_bound_for_a_server_that_hangs() {
    let (_server, proxy, broker) = behind_a_proxy(GIVE_UP).await;
    work_queue(&broker, PATIENCE).await;
    new_log(&broker).await;
    broker.ensure_bucket(&bucket_spec("b")).await.expect("a bucket");
    broker.ensure_objects("o", 1).await.expect("a store");
    publish(&broker, "work.a", "1").await;
    let delivery = take_one(&broker).await;
    let mut pulled = pull(&broker, "all", 1, PATIENCE * 10).await;
    proxy.swallow_answers();
    let body = || Bytes::from_static(b"1");
    let (queue, bucket) = (stream("NEW", "new.>", StreamKind::WorkQueue), bucket_spec("c"));
    tokio::join!(
        ends("publish", broker.publish(message("log.a", "1"))),
        ends("ack", delivery.settle.ack()),
        ends("ensure_stream", broker.ensure_stream(&queue)),
        ends("ensure_bucket", broker.ensure_bucket(&bucket)),
        ends("ensure_objects", broker.ensure_objects("p", 1)),
        ends("stream_state", broker.stream_state("LOG")),
        ends("backlog", broker.backlog("WORK", "all")),
        ends("last_on_subject", broker.last_on_subject("LOG", "log.a")),
        ends("trim", broker.trim("LOG", 1)),
        ends("remove", broker.remove("LOG", 1)),
        ends("read_log", broker.read_log("LOG", 1)),
        ends("kv_get", broker.kv_get("b", "k")),
        ends("kv_cas", broker.kv_cas("b", "k", body(), 0)),
        ends("kv_delete", broker.kv_delete("b", "k")),
        ends("kv_all", broker.kv_all("b")),
        ends("object_put", broker.object_put("o", "name", body())),
        ends("object_get", broker.object_get("o", "name")),
        ends("flush", broker.flush()),
        ends("a running pull", async { pulled.next().await.unwrap_or(Err(Error::Missing(String::new()))) }),
    );
    soon("a broken connection", async {
        while broker.connected() {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    proxy.pass_answers();
    soon("its return", async {
        while broker.flush().await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    publish(&broker, "log.b", "1").await;
}
