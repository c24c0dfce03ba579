//! Reading a log in order, for ever.
//!
//! The reader holds one number that matters: the sequence it wants next. The
//! consumer on the server is disposable; at any doubt (an error, a silence, a gap)
//! it is dropped and a new one starts at that number. Only what no retry can mend
//! reaches the caller: a stream that is gone, or a log that has lost its tail.

use std::{sync::Arc, time::Duration};

use async_nats::{
    Message,
    jetstream::consumer::{DeliverPolicy, pull::BatchConfig},
};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::time::sleep;

use super::{
    connection::Link,
    fetch::{Arrival, HEARTBEAT, Inbox, STALL, Stored, View},
    streams,
};
use crate::broker::{Error, LogEntry};

/// Messages per request. At the largest inline payload of 64 KiB they are 16 MiB.
const BATCH: usize = 256;

/// A request of a waiting reader is renewed this often.
const EXPIRES: Duration = Duration::from_secs(30);

/// Pauses between two attempts to get going again.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Reads what is on a subject from `from_seq` on. Fails at once if the log cannot be opened now; later
/// errors are waited out.
pub(super) async fn read(
    link: Arc<Link>,
    stream: &str,
    subject: &str,
    from_seq: u64,
) -> Result<BoxStream<'static, Result<LogEntry, Error>>, Error> {
    let next = from_seq.max(1);
    let tail = Tail::open(&link, stream, subject, next).await?;
    let reader = Reader {
        link,
        stream: stream.to_owned(),
        subject: subject.to_owned(),
        next,
        tail: Some(tail),
        pause: PAUSE_MIN,
        in_trouble: false,
    };
    let entries = stream::unfold(reader, |mut reader| async move {
        let entry = reader.next_entry().await;
        Some((entry, reader))
    });
    Ok(entries.boxed())
}

struct Reader {
    link: Arc<Link>,
    stream: String,
    subject: String,
    next: u64,
    tail: Option<Tail>,
    pause: Duration,
    in_trouble: bool,
}

impl Reader {
    async fn next_entry(&mut self) -> Result<LogEntry, Error> {
        loop {
            match self.advance().await {
                Ok(Some(entry)) => {
                    self.recovered();
                    return Ok(entry);
                }
                Ok(None) => {}
                Err(error) => self.back_off(error).await?,
            }
        }
    }

    async fn advance(&mut self) -> Result<Option<LogEntry>, Error> {
        let tail = match &mut self.tail {
            Some(tail) => tail,
            none => none.insert(Tail::open(&self.link, &self.stream, &self.subject, self.next).await?),
        };
        let Some(entry) = tail.next().await? else {
            return Ok(None);
        };
        self.next = entry.seq + 1;
        Ok(Some(entry))
    }

    /// Drops the consumer and waits; hands on what waiting will not mend. The pause
    /// comes first either way, so that no caller can turn an error into a busy loop.
    async fn back_off(&mut self, error: Error) -> Result<(), Error> {
        self.tail = None;
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        if !matches!(error, Error::Unreachable(_)) {
            return Err(error);
        }
        // One line per outage, however many attempts it takes.
        if !self.in_trouble {
            self.in_trouble = true;
            tracing::warn!(stream = self.stream, next = self.next, %error, "log reader starts over");
        }
        Ok(())
    }

    fn recovered(&mut self) {
        self.pause = PAUSE_MIN;
        if std::mem::take(&mut self.in_trouble) {
            tracing::info!(stream = self.stream, next = self.next, "log reader goes on");
        }
    }
}

/// A disposable consumer at the end of the log.
struct Tail {
    inbox: Inbox,
    /// Messages that the running request may still bring; 0 when none is running.
    left: usize,
    delivered: u64,
}

impl Tail {
    async fn open(link: &Arc<Link>, stream: &str, subject: &str, next: u64) -> Result<Self, Error> {
        check_tail(link, stream, next).await?;
        let policy = DeliverPolicy::ByStartSequence { start_sequence: next };
        let view = View { filter: subject.to_owned(), ..View::all(policy) };
        let (inbox, _) = Inbox::open_ephemeral(link, stream, view).await?;
        Ok(Self { inbox, left: 0, delivered: 0 })
    }

    /// The next entry, or nothing for now. Every error means: open another one.
    async fn next(&mut self) -> Result<Option<LogEntry>, Error> {
        if self.left == 0 {
            self.ask().await?;
        }
        match self.inbox.next(STALL).await {
            Arrival::Message(message) => self.accept(message).map(Some),
            Arrival::Heartbeat => Ok(None),
            Arrival::Ended => {
                self.left = 0;
                Ok(None)
            }
            Arrival::Silence => Err(Error::Unreachable(format!("silent for {STALL:?}"))),
            // The consumer, not the log: its loss is ours to mend.
            Arrival::Lost(error) => Err(Error::Unreachable(error.to_string())),
        }
    }

    async fn ask(&mut self) -> Result<(), Error> {
        let batch = BatchConfig {
            batch: BATCH,
            expires: Some(EXPIRES),
            idle_heartbeat: HEARTBEAT,
            ..BatchConfig::default()
        };
        self.inbox.request(&batch).await?;
        self.left = BATCH;
        Ok(())
    }

    fn accept(&mut self, message: Message) -> Result<LogEntry, Error> {
        let stored = Stored::read(message)?;
        if stored.delivery != self.delivered + 1 {
            let lost = format!("delivery {} followed {}", stored.delivery, self.delivered);
            return Err(Error::Unreachable(lost));
        }
        self.delivered = stored.delivery;
        self.left -= 1;
        Ok(stored.entry)
    }
}

/// A log that ends below what was already read was recreated or has lost acked
/// messages. The server would wait without a word until the log has grown that far
/// again, and reading on then would mix two histories.
async fn check_tail(link: &Link, stream: &str, next: u64) -> Result<(), Error> {
    let last = streams::state(link, stream).await?.last_seq;
    if last + 1 >= next {
        return Ok(());
    }
    Err(Error::Refused {
        what: format!("read {stream} from {next}"),
        reason: format!("the log ends at {last}: it was recreated or has lost its tail"),
    })
}
