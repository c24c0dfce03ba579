//! Reading what a stream holds now, once. Unlike [`super::log`] it ends, and it does
//! not recover: at any doubt the whole scan has failed.

use std::{collections::VecDeque, sync::Arc};

use async_nats::jetstream::consumer::pull::BatchConfig;

use super::{
    connection::{CALL_LIMIT, Link},
    fetch::{Arrival, Inbox, Stored, View},
};
use crate::broker::{Error, LogEntry};

/// Messages per request. At the largest inline payload of 64 KiB they are 16 MiB.
const BATCH: usize = 256;

/// A disposable consumer that is read to its end.
pub(super) struct Scan {
    inbox: Inbox,
    /// What the last request has brought.
    batch: VecDeque<LogEntry>,
    /// How many messages wait behind the batch.
    pending: u64,
    delivered: u64,
}

impl Scan {
    pub(super) async fn open(link: &Arc<Link>, stream: &str, view: View) -> Result<Self, Error> {
        let (inbox, pending) = Inbox::open_ephemeral(link, stream, view).await?;
        Ok(Self { inbox, batch: VecDeque::new(), pending, delivered: 0 })
    }

    /// The next message; `None` when no more is there.
    pub(super) async fn next(&mut self) -> Result<Option<LogEntry>, Error> {
        while self.batch.is_empty() && self.pending > 0 {
            self.read_batch().await?;
        }
        Ok(self.batch.pop_front())
    }

    async fn read_batch(&mut self) -> Result<(), Error> {
        self.inbox.request(&BatchConfig { batch: BATCH, no_wait: true, ..BatchConfig::default() }).await?;
        // What was said to wait may have been removed since.
        self.pending = 0;
        while self.batch.len() < BATCH {
            match self.inbox.next(CALL_LIMIT).await {
                Arrival::Message(message) => {
                    self.accept(Stored::read(message)?)?;
                    if self.pending == 0 {
                        break;
                    }
                }
                Arrival::Heartbeat => {}
                Arrival::Ended => break,
                Arrival::Silence => return Err(stopped("nothing more came")),
                Arrival::Lost(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn accept(&mut self, stored: Stored) -> Result<(), Error> {
        if stored.delivery != self.delivered + 1 {
            return Err(stopped(&format!("delivery {} followed {}", stored.delivery, self.delivered)));
        }
        self.delivered = stored.delivery;
        self.pending = stored.pending;
        self.batch.push_back(stored.entry);
        Ok(())
    }
}

fn stopped(why: &str) -> Error {
    Error::Unreachable(format!("a list broke off: {why}"))
}
