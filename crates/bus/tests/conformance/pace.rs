//! A server that syncs each message to disk before it answers gets batches, and each
//! message of a batch its own answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, stream};
use planfleet_bus::broker::{Outgoing, Published};
use tokio::time::{Instant, sleep};

use crate::{AnyBroker, PATIENCE, message, new_log, soon, support::NatsServer, work_queue};

/// Publishes that wait for their answers at once.
const AT_ONCE: usize = 256;

/// Enough to find out how the server works, and to have it work so for a while.
const MESSAGES: u64 = 6_000;

/// Where a sync takes less, nobody needs batches, and none may come.
const SLOW_SYNC: Duration = Duration::from_micros(180);

fn to(stream: &'static str, subject: String) -> Outgoing {
    Outgoing { stream: stream.into(), ..message(&subject, "body") }
}

/// Publishes all of them, [`AT_ONCE`] at a time; says what the broker said of each number.
async fn publish_all(
    broker: &AnyBroker,
    numbers: impl IntoIterator<Item = u64>,
    outgoing: fn(u64) -> Outgoing,
) -> BTreeMap<u64, Published> {
    let publish = |n| async move { (n, broker.publish(outgoing(n)).await.expect("an answer")) };
    stream::iter(numbers).map(publish).buffer_unordered(AT_ONCE).collect().await
}

/// What one message takes that nobody else disturbs.
async fn shortest_wait(broker: &AnyBroker) -> Duration {
    let mut shortest = Duration::MAX;
    for _ in 0..32 {
        let began = Instant::now();
        broker.publish(to("LOG", "log.alone".to_owned())).await.expect("an answer");
        shortest = shortest.min(began.elapsed());
    }
    shortest
}

#[tokio::test]
async fn what_is_published_to_a_server_that_syncs_is_there_once_and_where_it_is_said_to_be() {
    let server = NatsServer::syncing().await;
    let broker: AnyBroker = Arc::new(server.connect().await);
    new_log(&broker).await;
    let alone = shortest_wait(&broker).await;
    let answers = soon("answers", publish_all(&broker, 0..MESSAGES, |n| to("LOG", format!("log.{n}")))).await;
    let said: BTreeMap<u64, u64> = answers
        .into_iter()
        .map(|(n, published)| match published {
            Published::Stored(seq) => (seq, n),
            Published::Present => panic!("a log refuses nothing"),
        })
        .collect();
    assert_eq!(said.len() as u64, MESSAGES, "each has a place of its own");
    let mut log = broker.read_log("LOG", 33).await.expect("a log");
    let mut batched = 0;
    for (seq, n) in said {
        let entry = soon("an entry", log.next()).await.expect("more").expect("an entry");
        assert_eq!((entry.seq, entry.subject), (seq, format!("log.{n}")));
        batched += u64::from(entry.headers.contains_key("Nats-Batch-Id"));
    }
    if alone > SLOW_SYNC {
        assert!(batched > MESSAGES / 2, "{batched} of {MESSAGES} in batches, {alone:?} for one alone");
    }
}

#[tokio::test]
async fn in_a_batch_too_only_the_names_that_are_taken_are_refused() {
    let server = NatsServer::syncing().await;
    let broker: AnyBroker = Arc::new(server.connect().await);
    broker.note_sync(true);
    work_queue(&broker, PATIENCE).await;
    let work = |n| to("WORK", format!("work.{n}"));
    // Every hundredth name is taken before the others come.
    let taken: BTreeSet<u64> = (0..MESSAGES).step_by(100).collect();
    publish_all(&broker, taken.iter().copied(), work).await;
    let others = soon("answers", publish_all(&broker, 0..MESSAGES, work)).await;
    let refused: BTreeSet<u64> =
        others.into_iter().filter(|(_, said)| *said == Published::Present).map(|(n, _)| n).collect();
    assert_eq!(refused, taken);
    assert_eq!(broker.backlog("WORK", "all").await.expect("a backlog"), MESSAGES);
}

#[tokio::test]
async fn what_was_answered_outlives_a_server_that_dies_in_the_middle_of_batches() {
    let mut server = NatsServer::syncing().await;
    let broker: AnyBroker = Arc::new(server.connect().await);
    broker.note_sync(true);
    new_log(&broker).await;
    let publishing = publish_all(&broker, 0..MESSAGES, |n| to("LOG", format!("log.{n}")));
    let crash = async {
        // With a part of them stored, and batches on their way.
        while broker.stream_state("LOG").await.expect("a log").messages < MESSAGES / 4 {
            sleep(Duration::from_millis(1)).await;
        }
        server.kill().await;
        server.revive().await;
    };
    let (answers, ()) = soon("answers", async { tokio::join!(publishing, crash) }).await;
    assert_eq!(answers.len() as u64, MESSAGES);
    let last = broker.stream_state("LOG").await.expect("a log").last_seq;
    let mut log = broker.read_log("LOG", 1).await.expect("a log");
    let mut there = BTreeSet::new();
    loop {
        let entry = soon("an entry", log.next()).await.expect("more").expect("an entry");
        there.insert(entry.subject);
        if entry.seq == last {
            break;
        }
    }
    assert_eq!(there.len() as u64, MESSAGES, "a second copy is the reader's business, a loss is not");
}
