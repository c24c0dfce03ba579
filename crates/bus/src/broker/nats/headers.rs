//! What a stream holds now, without the bodies: for who wants to know what messages
//! refer to, and must not miss one.
//!
//! A log is read by a consumer. A work queue has room for its workers' consumers only,
//! so its messages are asked for one by one, from the leader.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::{consumer::DeliverPolicy, stream::RetentionPolicy};
use bytes::Bytes;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::time::{Instant, sleep};

use super::{
    connection::{CALL_LIMIT, Link},
    fetch::View,
    scan::Scan,
    streams,
};
use crate::broker::{Error, LogEntry};

/// The server's own, on a message whose body it has left out.
const BODY_SIZE: &str = "Nats-Msg-Size";

/// How often a reader that is ahead of its replica looks again.
const PAUSE: Duration = Duration::from_millis(100);

/// Reads what is there now on a subject from `from_seq` on, oldest first.
pub(super) async fn read(
    link: Arc<Link>,
    stream: &str,
    subject: &str,
    from_seq: u64,
) -> Result<BoxStream<'static, Result<LogEntry, Error>>, Error> {
    let (name, subject) = (stream.to_owned(), subject.to_owned());
    let info = streams::info(&link, stream).await?;
    let last = info.state.last_sequence;
    if info.config.retention == RetentionPolicy::WorkQueue {
        let reader = (link, name, subject, from_seq);
        return Ok(stream::try_unfold(reader, move |(link, name, subject, from)| async move {
            let entry = streams::first_on_subject(&link, &name, &subject, from).await?;
            Ok(entry.filter(|entry| entry.seq <= last).map(|entry| {
                let next = entry.seq + 1;
                (LogEntry { payload: Bytes::new(), ..entry }, (link, name, subject, next))
            }))
        })
        .boxed());
    }
    let reader = Reader { link, stream: name, subject, seen: from_seq.saturating_sub(1), last, scan: None };
    Ok(stream::try_unfold(reader, |mut reader| async move {
        let entry = reader.next().await?;
        Ok(entry.map(|entry| (entry, reader)))
    })
    .boxed())
}

struct Reader {
    link: Arc<Link>,
    stream: String,
    subject: String,
    /// Everything up to here was read.
    seen: u64,
    /// The leader's last sequence when this began.
    last: u64,
    scan: Option<Scan>,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<LogEntry>, Error> {
        let patience = Instant::now() + CALL_LIMIT;
        while self.seen < self.last {
            let scan = match &mut self.scan {
                Some(scan) => scan,
                none => {
                    let from = DeliverPolicy::ByStartSequence { start_sequence: self.seen + 1 };
                    let view = View { filter: self.subject.clone(), headers_only: true, ..View::all(from) };
                    none.insert(Scan::open(&self.link, &self.stream, view).await?)
                }
            };
            if let Some(mut entry) = scan.next().await? {
                self.seen = entry.seq;
                entry.headers.remove(BODY_SIZE);
                return Ok(Some(entry));
            }
            // The consumer may live on a replica that lags: the leader knows what is left.
            self.scan = None;
            let left =
                streams::first_on_subject(&self.link, &self.stream, &self.subject, self.seen + 1).await?;
            if left.is_none_or(|left| left.seq > self.last) {
                break;
            }
            if Instant::now() >= patience {
                let stream = &self.stream;
                return Err(Error::Unreachable(format!("{stream} ends at {} on a replica", self.seen)));
            }
            sleep(PAUSE).await;
        }
        Ok(None)
    }
}
