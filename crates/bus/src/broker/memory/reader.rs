//! What waits on a stream or bucket: pulls of a work queue, readers of a log, watchers
//! of keys.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::{
    sync::futures::Notified,
    time::{Instant, timeout_at},
};

use super::Inner;
use crate::broker::{Delivery, Error, KvChange, LogEntry, Settle};

/// Takes up to `max` messages until `expires` is over.
pub(super) fn pull(
    broker: Arc<Inner>,
    stream: &str,
    consumer: &str,
    max: usize,
    expires: Duration,
) -> BoxStream<'static, Result<Delivery, Error>> {
    let pull = Pull {
        broker,
        stream: stream.to_owned(),
        consumer: consumer.to_owned(),
        left: max,
        until: Instant::now() + expires,
    };
    stream::unfold(Some(pull), |pull| async move {
        let mut pull = pull?;
        let delivery = pull.next().await?;
        let rest = delivery.is_ok().then_some(pull);
        Some((delivery, rest))
    })
    .boxed()
}

/// Reads entries from `from_seq` on, without end.
pub(super) fn read_log(
    broker: Arc<Inner>,
    stream: &str,
    from_seq: u64,
) -> BoxStream<'static, Result<LogEntry, Error>> {
    let reader = (broker, stream.to_owned(), from_seq);
    stream::unfold(reader, |(broker, stream, from_seq)| async move {
        let entry = next_entry(&broker, &stream, from_seq).await;
        let next = entry.as_ref().map_or(from_seq, |entry| entry.seq + 1);
        Some((entry, (broker, stream, next)))
    })
    .boxed()
}

/// Reads what is there from `from_seq` to `last`, without the bodies.
pub(super) fn read_headers(
    broker: Arc<Inner>,
    stream: &str,
    from_seq: u64,
    last: u64,
) -> BoxStream<'static, Result<LogEntry, Error>> {
    let reader = (broker, stream.to_owned(), from_seq);
    stream::try_unfold(reader, move |(broker, stream, from_seq)| async move {
        let entry = broker.look(&stream, |stream| stream.entry_from(from_seq))?;
        Ok(entry.filter(|entry| entry.seq <= last).map(|entry| {
            let next = entry.seq + 1;
            (LogEntry { payload: Bytes::new(), ..entry }, (broker, stream, next))
        }))
    })
    .boxed()
}

/// Every key of a bucket, then every change, without end.
pub(super) fn kv_changes(broker: Arc<Inner>, bucket: &str) -> BoxStream<'static, Result<KvChange, Error>> {
    let watcher = (broker, bucket.to_owned(), 0);
    stream::try_unfold(watcher, |(broker, bucket, seen)| async move {
        let (revision, change) = next_change(&broker, &bucket, seen).await?;
        Ok(Some((change, (broker, bucket, revision))))
    })
    .boxed()
}

async fn next_change(broker: &Inner, bucket: &str, seen: u64) -> Result<(u64, KvChange), Error> {
    loop {
        // Before looking, as below.
        let rung = broker.key_bell.notified();
        if let Some(change) = broker.state().bucket(bucket)?.change_behind(seen) {
            return Ok(change);
        }
        rung.await;
    }
}

async fn next_entry(broker: &Inner, stream: &str, from_seq: u64) -> Result<LogEntry, Error> {
    loop {
        // Before looking, so that a change while we look rings for the next round.
        let rung = broker.bell.notified();
        if let Some(entry) = broker.look(stream, |stream| stream.entry_from(from_seq))? {
            return Ok(entry);
        }
        rung.await;
    }
}

struct Pull {
    broker: Arc<Inner>,
    stream: String,
    consumer: String,
    left: usize,
    until: Instant,
}

impl Pull {
    async fn next(&mut self) -> Option<Result<Delivery, Error>> {
        while self.left > 0 {
            let rung = self.broker.bell.notified();
            let now = Instant::now();
            match self.take(now) {
                Ok(Some(delivery)) => {
                    self.left -= 1;
                    return Some(Ok(delivery));
                }
                Ok(None) if now >= self.until => return None,
                Ok(None) => self.wait(rung).await,
                Err(error) => return Some(Err(error)),
            }
        }
        None
    }

    fn take(&self, now: Instant) -> Result<Option<Delivery>, Error> {
        let mut state = self.broker.state();
        let taken = state.stream(&self.stream)?.take(&self.consumer, now)?;
        Ok(taken.map(|(entry, deliveries)| Delivery {
            subject: entry.subject,
            headers: entry.headers,
            payload: entry.payload,
            deliveries,
            at_ms: entry.at_ms,
            settle: Arc::new(Receipt {
                broker: self.broker.clone(),
                stream: self.stream.clone(),
                consumer: self.consumer.clone(),
                seq: entry.seq,
            }),
        }))
    }

    /// Waits for a change, for an ack wait to be over, or for the end of the pull.
    async fn wait(&self, rung: Notified<'_>) {
        let wake = self.next_expiry().map_or(self.until, |expiry| expiry.min(self.until));
        // Either way we look again.
        let _ = timeout_at(wake, rung).await;
    }

    fn next_expiry(&self) -> Option<Instant> {
        let mut state = self.broker.state();
        let queue = state.stream(&self.stream).and_then(|stream| stream.queue(&self.consumer));
        queue.ok()?.next_expiry()
    }
}

struct Receipt {
    broker: Arc<Inner>,
    stream: String,
    consumer: String,
    seq: u64,
}

#[async_trait]
impl Settle for Receipt {
    async fn ack(&self) -> Result<(), Error> {
        self.broker.change(&self.stream, |stream| {
            stream.remove(self.seq);
            Ok(())
        })
    }

    async fn progress(&self) -> Result<(), Error> {
        self.broker.change(&self.stream, |stream| {
            stream.queue(&self.consumer)?.progress(self.seq, Instant::now());
            Ok(())
        })
    }

    async fn give_back(&self) -> Result<(), Error> {
        self.broker.change(&self.stream, |stream| {
            stream.queue(&self.consumer)?.give_back(self.seq);
            Ok(())
        })
    }
}
