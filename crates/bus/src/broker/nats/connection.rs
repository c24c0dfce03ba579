//! One connection to the server: how it is opened, what it logs, when it is up.
//!
//! After the first connection the client reconnects by itself for ever, pausing for
//! a second at most: there is nothing better to do without a broker, and readiness
//! tells of it. Calls in between fail within their own time limits.

use std::{future::Future, sync::Arc, time::Duration};

use async_nats::{
    Client, ConnectOptions as ClientOptions, Event, RequestErrorKind, ServerAddr,
    connection::State,
    jetstream::{Context, context::ContextBuilder},
};
use tokio::time::timeout;

use super::{
    ConnectOptions,
    fetch::Idle,
    identity,
    replies::Replies,
    watch::{Outage, Watch},
};
use crate::broker::{Error, Server};

/// The limit of one question to the server. An election takes longer, so whoever
/// must outlast one asks again.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(5);

/// A hung server is noticed after three missed pongs, so within 6 s: about when the
/// others have elected a leader in its place. The client's default of a minute would
/// leave a fleet idle for three.
const PING_INTERVAL: Duration = Duration::from_secs(2);

/// The longest pause between two attempts to reconnect: a fleet that waits for its
/// broker should not wait much longer than the broker needs.
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Unanswered publishes of one connection. Enough to keep a 10 ms link at 400,000
/// messages a second; beyond it publishers wait for acks.
const PUBLISHES_IN_FLIGHT_MAX: usize = 4096;

/// Messages that one subscription may hold unread before the client drops newer
/// ones: more than any pull asks for, small enough for many subscriptions.
const SUBSCRIPTION_BUFFER: usize = 16_384;

/// A connection and the JetStream context on it.
pub(super) struct Link {
    pub(super) client: Client,
    pub(super) jetstream: Context,
    pub(super) replies: Replies,
    pub(super) idle: Idle,
    pub(super) watch: Arc<Watch>,
}

impl Link {
    /// Opens a connection; `purpose` tells those of one process apart.
    pub(super) async fn open(options: &ConnectOptions, purpose: &'static str) -> Result<Self, Error> {
        let watch = Arc::new(Watch::new(purpose));
        let addresses = addresses(&options.url)?;
        let each = each_of(addresses.len(), options.connect_timeout);
        let connecting =
            client_options(options, purpose, &watch).await?.connection_timeout(each).connect(addresses);
        let client = match timeout(options.connect_timeout, connecting).await {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => return Err(no_connection(options, &error.to_string())),
            Err(_) => return Err(no_connection(options, "no answer in time")),
        };
        let jetstream = ContextBuilder::new()
            .timeout(CALL_LIMIT)
            .ack_timeout(CALL_LIMIT)
            .max_ack_inflight(PUBLISHES_IN_FLIGHT_MAX)
            .build(client.clone());
        let replies = Replies::open(&client, watch.outage()).await?;
        Ok(Self { client, jetstream, replies, idle: Idle::default(), watch })
    }

    /// Runs one exchange with the server: until it is done, the connection breaks, or
    /// [`CALL_LIMIT`] is over. The limit is needed even where the client has one:
    /// handing over a command waits while its queue is full.
    pub(super) async fn limited<F: Future>(&self, what: &str, exchange: F) -> Result<F::Output, Error> {
        let mut outage = self.outage();
        tokio::select! {
            done = timeout(CALL_LIMIT, exchange) => done
                .map_err(|_| Error::Unreachable(format!("{what}: no answer within {CALL_LIMIT:?}"))),
            () = outage.begins() => Err(Error::Unreachable(format!("{what}: {CONNECTION_LOST}"))),
        }
    }

    /// Watches for outages from now on.
    pub(super) fn outage(&self) -> Outage {
        self.watch.outage()
    }

    /// Whether the connection is up just now.
    pub(super) fn is_up(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Fails where there is no connection just now.
    pub(super) fn check_up(&self, what: &str) -> Result<(), Error> {
        if self.is_up() {
            return Ok(());
        }
        Err(Error::Unreachable(format!("{what}: not connected")))
    }

    /// Returns when the server has read everything sent before.
    ///
    /// The client offers no ping of its own, and its `flush` ends at the socket. A
    /// request to an inbox that nobody listens on is answered by the server alone,
    /// in the connection's order.
    pub(super) async fn round_trip(&self) -> Result<(), Error> {
        let nobody = self.client.new_inbox();
        let asked = self.limited("flush", self.client.request(nobody, "".into())).await?;
        match asked {
            Err(error) if error.kind() != RequestErrorKind::NoResponders => {
                Err(Error::Unreachable(format!("flush: {error}")))
            }
            _ => Ok(()),
        }
    }

    /// What the server said when the connection was opened.
    pub(super) fn describe(&self) -> Result<Server, Error> {
        let Some(info) = self.client.try_server_info() else {
            return Err(Error::Unreachable("the server has not introduced itself".to_owned()));
        };
        Ok(Server {
            id: info.server_id,
            version: info.version,
            jetstream: info.jetstream,
            cluster: info.cluster,
            servers: info.connect_urls.len(),
            payload_bytes_max: info.max_payload,
        })
    }
}

/// Why an exchange ended early.
pub(super) const CONNECTION_LOST: &str = "the connection is lost";

async fn client_options(
    options: &ConnectOptions,
    purpose: &'static str,
    watch: &Arc<Watch>,
) -> Result<ClientOptions, Error> {
    let base = identity::options(options).await?;
    let (on_attempt, on_event) = (watch.clone(), watch.clone());
    Ok(base
        .name(format!("{} ({purpose})", options.name))
        .request_timeout(Some(CALL_LIMIT))
        .ping_interval(PING_INTERVAL)
        .subscription_capacity(SUBSCRIPTION_BUFFER)
        .reconnect_delay_callback(move |attempts| {
            on_attempt.connecting(attempts);
            reconnect_pause(attempts)
        })
        .event_callback(move |event| {
            note(&on_event, purpose, &event);
            std::future::ready(())
        }))
}

/// What one of several servers may take of the time for all. A second is enough for
/// any server that is well.
fn each_of(servers: usize, all: Duration) -> Duration {
    let share = all / u32::try_from(servers.max(1)).unwrap_or(u32::MAX);
    share.max(all.min(Duration::from_secs(1)))
}

fn reconnect_pause(attempts: usize) -> Duration {
    let attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
    Duration::from_millis(50).saturating_mul(attempts).min(RECONNECT_PAUSE_MAX)
}

fn note(watch: &Watch, connection: &'static str, event: &Event) {
    match event {
        Event::Connected => watch.connected(),
        Event::Disconnected => watch.disconnected(),
        Event::LameDuckMode => tracing::info!(connection, "the broker is shutting down"),
        Event::SlowConsumer(subscription) => {
            tracing::warn!(connection, subscription, "too slow for a subscription, messages are lost");
        }
        // Missing permissions arrive here only; the request itself just times out.
        Event::ServerError(error) => tracing::error!(connection, %error, "the broker objects"),
        // One line per outage, however many attempts it takes.
        Event::ClientError(error) if watch.failed(&error.to_string()) => {
            tracing::debug!(connection, %error, "no connection yet");
        }
        Event::ClientError(error) => tracing::warn!(connection, %error, "broker client"),
        Event::Draining | Event::Closed => tracing::debug!(connection, %event, "broker client"),
    }
}

fn no_connection(options: &ConnectOptions, reason: &str) -> Error {
    Error::Unreachable(format!("{}: {reason}", without_credentials(&options.url)))
}

/// The servers of a URL list, which the client takes one by one only.
fn addresses(urls: &str) -> Result<Vec<ServerAddr>, Error> {
    let parse = |url: &str| url.trim().parse().map_err(|error: std::io::Error| not_an_url(url, &error));
    urls.split(',').map(parse).collect()
}

fn not_an_url(url: &str, error: &std::io::Error) -> Error {
    let shown = without_credentials(url);
    Error::Refused { what: format!("broker URL {shown:?}"), reason: error.to_string() }
}

/// The URL list as it may be shown: `user:password@` removed.
fn without_credentials(urls: &str) -> String {
    let shown: Vec<String> = urls.split(',').map(without_user).collect();
    shown.join(",")
}

fn without_user(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(s, rest)| (s, rest));
    let address = rest.rsplit_once('@').map_or(rest, |(_, address)| address);
    if scheme.is_empty() { address.to_owned() } else { format!("{scheme}://{address}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_stay_out_of_messages() {
        assert_eq!(without_credentials("nats://u:p@a:4222,tls://b:1,u:p@c"), "nats://a:4222,tls://b:1,c");
    }

    #[test]
    fn a_url_may_be_a_list() {
        let servers = addresses("nats://a:4222, b").unwrap();
        let hosts: Vec<&str> = servers.iter().map(ServerAddr::host).collect();
        assert_eq!(hosts, ["a", "b"]);
        let refused = addresses("nats://u:p@a:nine").unwrap_err().to_string();
        assert!(refused.starts_with("broker refused broker URL \"nats://a:nine\""), "{refused}");
    }

    #[test]
    fn a_server_that_hangs_leaves_time_for_the_others() {
        let second = Duration::from_secs(1);
        assert_eq!(each_of(1, second * 5), second * 5);
        assert_eq!(each_of(2, second * 5), second * 5 / 2);
        assert_eq!(each_of(30, second * 5), second);
        assert_eq!(each_of(3, second / 2), second / 2);
    }

    #[test]
    fn reconnecting_never_pauses_long() {
        assert_eq!(reconnect_pause(0), Duration::ZERO);
        assert_eq!(reconnect_pause(usize::MAX), RECONNECT_PAUSE_MAX);
    }
}
