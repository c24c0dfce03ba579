//! The floor's user: submits, and reads in the stream of ended runs what has ended.

use std::{collections::VecDeque, time::Duration};

use async_nats::Subject;
use futures::StreamExt as _;
use planfleet_proto::subjects::{self, Kind};
use tokio::time::{Instant, timeout};

use super::{
    body::{About, SUBMIT},
    link::{Link, wrong},
};
use crate::{STALL, error::Error, messages::Messages, site::SHARDS};

/// A user.
pub(crate) struct Client {
    link: Link<()>,
    ended: async_nats::Subscriber,
    logs: Vec<Subject>,
    submit_bytes: usize,
    /// When each run was submitted, by its number.
    submitted: Vec<Instant>,
}

impl Client {
    pub(crate) async fn open(url: &str, messages: &Messages) -> Result<Self, Error> {
        let link = Link::open(url).await?;
        let ended = link.read_logs(&[subjects::DONE.to_owned()]).await?;
        let logs = (0..SHARDS).map(|shard| Subject::from(subjects::record(shard, Kind::Submit))).collect();
        Ok(Self { link, ended, logs, submit_bytes: messages.submit, submitted: Vec::new() })
    }

    /// Submits so many runs and waits until all have ended; gives their latencies.
    pub(crate) async fn submit(&mut self, runs: u64) -> Result<Vec<Duration>, Error> {
        let runs = usize::try_from(runs).map_err(wrong)?;
        let until = self.submitted.len() + runs;
        let mut latencies = VecDeque::with_capacity(runs);
        while latencies.len() < runs || self.link.is_waiting() {
            while self.submitted.len() < until && self.link.has_room() {
                self.submit_one().await?;
            }
            let turn = async {
                tokio::select! {
                    acked = self.link.acked(), if self.link.is_waiting() => acked.map(|()| None),
                    ended = self.ended.next() => Ok(ended.and_then(|ended| About::read(&ended.payload))),
                }
            };
            let what = || format!("the floor: {} of {runs} runs ended", latencies.len());
            let late = |_| Error::Late { what: what(), within: STALL };
            if let Some(About { run, .. }) = timeout(STALL, turn).await.map_err(late)?? {
                let submitted = self.submitted.get(run as usize).ok_or_else(|| wrong("the end of no run"))?;
                latencies.push_back(submitted.elapsed());
            }
        }
        Ok(latencies.into())
    }

    async fn submit_one(&mut self) -> Result<(), Error> {
        let run = u32::try_from(self.submitted.len()).map_err(wrong)?;
        let log = self.logs[run as usize % self.logs.len()].clone();
        self.submitted.push(Instant::now());
        let about = About { run, stage: SUBMIT };
        self.link.publish(log, about.body(self.submit_bytes), ()).await
    }
}
