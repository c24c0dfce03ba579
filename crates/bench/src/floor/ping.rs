//! Core NATS ping-pong between two processes: the shortest way there and back.

use std::time::Duration;

use futures::StreamExt as _;
use tokio::time::{Instant, sleep, timeout};

use super::link::wrong;
use crate::{
    STALL,
    error::{Error, failed},
};

const SUBJECT: &str = "bench.ping";

/// What is sent there and back.
const PAYLOAD: [u8; 200] = [b'x'; 200];

/// Whoever answers pings is there within this time.
const START: Duration = Duration::from_secs(10);

const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Answers pings until the process ends.
pub(super) async fn pong(url: &str) -> Result<(), Error> {
    let client = super::connect(url).await?;
    let mut pings = client.subscribe(SUBJECT).await.map_err(failed("subscribe to pings"))?;
    while let Some(ping) = pings.next().await {
        if let Some(reply) = ping.reply {
            client.publish(reply, ping.payload).await.map_err(failed("answer a ping"))?;
        }
    }
    Ok(())
}

/// Asks so often, one question at a time; gives the times there and back.
pub(crate) async fn ping(url: &str, times: u64) -> Result<Vec<Duration>, Error> {
    let client = super::connect(url).await?;
    let inbox = client.new_inbox();
    let mut pongs = client.subscribe(inbox.clone()).await.map_err(failed("subscribe to pongs"))?;
    let (began, mut taken) = (Instant::now(), Vec::new());
    while (taken.len() as u64) < times {
        let asked = Instant::now();
        let asking = client.publish_with_reply(SUBJECT, inbox.clone(), PAYLOAD.as_slice().into());
        asking.await.map_err(failed("ping"))?;
        let late = |_| Error::Late { what: "a pong".to_owned(), within: STALL };
        let pong = timeout(STALL, pongs.next()).await.map_err(late)?;
        match pong.ok_or_else(|| wrong("the connection is closed"))?.status {
            None => taken.push(asked.elapsed()),
            // Whoever answers is just being started.
            Some(_) if began.elapsed() < START => sleep(LOOK_EVERY).await,
            Some(_) => {
                return Err(Error::Late { what: "somebody who answers pings".to_owned(), within: START });
            }
        }
    }
    Ok(taken)
}
