//! Acks of work, confirmed in groups where that means as much as one by one.
//!
//! A single server reads what a connection sends in order, and each consumer takes its acks
//! in that order. So the confirmation of one tells of all that were sent before it on the
//! same connection, and of acks that come in while one is being confirmed only the last
//! asks for it: that saves the server an answer for nearly every step. Between servers of
//! a cluster an election may come in between, so there each ack asks for itself.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use async_nats::{HeaderMap, Subject, jetstream::AckKind};
use futures::future::try_join_all;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use super::{connection::Link, place, replies::Unanswered};
use crate::broker::Error;

/// Acks that are confirmed together: about what a busy executor has in the time of one
/// answer. One that is not confirmed has all of its group sent again.
const GROUP_MAX: usize = 256;

/// Acks that wait for their group: the answers of some groups. Beyond it jobs wait here.
const WAITING_MAX: usize = 4 * GROUP_MAX;

/// What waits for its group.
struct Ack {
    settled_at: Subject,
    confirmed: oneshot::Sender<Result<(), Error>>,
}

/// The acks of one connection.
pub(super) struct Acks {
    waiting: mpsc::Sender<Ack>,
    /// Ends with this.
    _sender: JoinSet<()>,
}

impl Acks {
    /// Sends what comes in, for as long as this lives.
    pub(super) fn of(link: &Arc<Link>) -> Self {
        let (waiting, acks) = mpsc::channel(WAITING_MAX);
        let mut sender = JoinSet::new();
        sender.spawn(send(Arc::downgrade(link), acks));
        Self { waiting, _sender: sender }
    }

    /// One ack, until the server has confirmed it or one that came after it.
    ///
    /// # Errors
    /// When there was no confirmation: it may have been taken all the same.
    pub(super) async fn confirm(&self, settled_at: Subject) -> Result<(), Error> {
        let (confirmed, answer) = oneshot::channel();
        let gone = || Error::Unreachable("ack: the connection is closed".to_owned());
        self.waiting.send(Ack { settled_at, confirmed }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

async fn send(link: Weak<Link>, mut acks: mpsc::Receiver<Ack>) {
    let mut group = Vec::with_capacity(GROUP_MAX);
    while acks.recv_many(&mut group, GROUP_MAX).await > 0 {
        let Some(link) = link.upgrade() else { return };
        let outcome = confirm(&link, &group).await;
        for ack in group.drain(..) {
            // Whoever waited may have been stopped.
            let _ = ack.confirmed.send(outcome.clone());
        }
    }
}

/// Sends a group. The last of each consumer asks to be confirmed.
async fn confirm(link: &Link, group: &[Ack]) -> Result<(), Error> {
    link.check_up("ack")?;
    let last: BTreeMap<&str, usize> =
        group.iter().enumerate().map(|(n, ack)| (place::consumer(&ack.settled_at), n)).collect();
    let sending = async {
        let (asking, plain): (Vec<_>, Vec<_>) =
            group.iter().enumerate().partition(|(n, _)| last.values().any(|last| last == n));
        // One after the other, as only what is sent before an ack is confirmed with it.
        for (_, ack) in plain {
            let sent = link.client.publish(ack.settled_at.clone(), AckKind::Ack.into()).await;
            sent.map_err(Unanswered::NotSent)?;
        }
        let asked = asking
            .into_iter()
            .map(|(_, ack)| link.replies.ask(ack.settled_at.clone(), HeaderMap::new(), AckKind::Ack.into()));
        try_join_all(asked).await
    };
    // All of it on one connection: what was sent before a reconnect would not be confirmed.
    match link.limited("ack", sending).await? {
        Ok(_) => Ok(()),
        Err(unanswered) => Err(Error::Unreachable(format!("ack: {unanswered}"))),
    }
}
