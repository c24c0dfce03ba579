//! The floor: a bare program that moves the messages of a workload through the same
//! streams and knows nothing else, only counters. No plan, no state, no retries, no
//! fold: whatever the engine does, it cannot do with less.
//!
//! It is as fast as we can make it: the core client alone, one inbox for all publish
//! acks, a bounded window of publishes in flight, pulls of many messages with several
//! requests outstanding, a thread for each process. [`coordinator`] and [`executor`]
//! run in processes of their own; [`Client`] is the user's side.

mod body;
mod client;
mod coordinator;
mod executor;
mod link;
mod ping;
mod work;

use std::time::Duration;

pub(crate) use self::{client::Client, ping::ping};
use crate::{
    error::{Error, failed},
    messages::Messages,
};

/// What a process of the floor does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Reads the logs, counts, and dispatches what is next.
    Coordinator,
    /// Takes work and publishes its result.
    Executor,
    /// Answers pings.
    Pong,
}

/// Does it until the process ends.
///
/// # Errors
/// When the broker is not there, or does not take a message.
pub async fn serve(role: Role, url: &str, messages: Option<Messages>) -> Result<(), Error> {
    match (role, messages) {
        (Role::Coordinator, Some(messages)) => coordinator::run(url, &messages).await,
        (Role::Executor, Some(messages)) => executor::run(url, &messages).await,
        (Role::Pong, _) => ping::pong(url).await,
        (_, None) => Err(Error::Usage("the floor is not told which messages it moves".to_owned())),
    }
}

/// Messages that a subscription may hold unread before the client drops newer ones:
/// more than a workload has in flight.
const SUBSCRIPTION_BUFFER: usize = 1 << 21;

/// A connection of its own.
pub(crate) async fn connect(url: &str) -> Result<async_nats::Client, Error> {
    let what = format!("connect to {url}");
    let servers: Result<Vec<async_nats::ServerAddr>, _> = url.split(',').map(str::parse).collect();
    let options = async_nats::ConnectOptions::new()
        .name("planfleet-bench")
        .connection_timeout(Duration::from_secs(5))
        .subscription_capacity(SUBSCRIPTION_BUFFER)
        .skip_subject_validation(true);
    options.connect(servers.map_err(failed(&what))?).await.map_err(failed(what))
}
