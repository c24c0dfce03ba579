//! The floor's executor: takes a message, publishes the result, acks.

use async_nats::Subject;
use planfleet_proto::subjects::{self, Kind};

use super::{
    body::About,
    link::{Link, wrong},
    work::Work,
};
use crate::{
    error::{Error, failed},
    messages::Messages,
    site::SHARDS,
};

pub(super) async fn run(url: &str, messages: &Messages) -> Result<(), Error> {
    let mut link = Link::<Subject>::open(url).await?;
    let mut work = Work::open(&link).await?;
    let logs: Vec<Subject> =
        (0..SHARDS).map(|shard| Subject::from(subjects::record(shard, Kind::Result))).collect();
    loop {
        tokio::select! {
            settled_at = link.acked(), if link.is_waiting() => {
                // The result is stored; whoever delivers it is told that the work is done.
                link.client.publish(settled_at?, "+ACK".into()).await.map_err(failed("ack"))?;
            }
            message = work.next(), if link.has_room() => {
                let message = message?;
                let about = About::read(&message.payload).ok_or_else(|| wrong("work about nothing"))?;
                let stage = messages.stages.get(about.stage as usize);
                let result = stage.ok_or_else(|| wrong("a stage that is not there"))?.result;
                let settled_at = message.reply.ok_or_else(|| wrong("work that cannot be acked"))?;
                let log = logs[about.run as usize % logs.len()].clone();
                link.publish(log, about.body(result), settled_at).await?;
            }
        }
    }
}
