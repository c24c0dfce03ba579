//! Follows a run to its end: on a terminal its steps live, elsewhere a line for
//! each change. News are hints; the document is the truth.

mod view;

use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use planfleet_bus::{Client, client::Found};
use planfleet_core::id::RunId;
use planfleet_runtime::signals::Signals;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::view::View;
use crate::{cli::Cli, exit::Failure};

/// The shortest time between two looks: a run with thousands of steps must not
/// be slowed by who watches it.
const LOOK_MIN: Duration = Duration::from_millis(100);

/// The longest: news may have been missed.
const LOOK_MAX: Duration = Duration::from_millis(500);

/// How long the fleet may be out of reach before following ends.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a submit may wait behind a shard's backlog before anything is known of it.
const BACKLOG_PATIENCE: Duration = Duration::from_secs(600);

/// How following ended.
pub(super) enum End {
    /// The run has ended; its document.
    Ended(Value),
    /// The time given is over.
    TimedOut,
    /// A signal.
    Interrupted,
}

/// How a run is followed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Limits<'a> {
    /// For how long.
    pub(super) within: Option<Duration>,
    /// Where others reach the run, if they do not find it by themselves.
    pub(super) broker: Option<&'a str>,
}

pub(super) async fn follow(
    cli: &Cli,
    client: &Client,
    run: &RunId,
    Limits { within, broker }: Limits<'_>,
) -> Result<End, Failure> {
    let mut signals = Signals::listen(CancellationToken::new()).map_err(Failure::unexpected)?;
    let mut view = View::new(cli, broker);
    let ended = tokio::select! {
        ended = until_ended(client, run, &mut view) => Some(ended),
        () = elapsed(within) => None,
        _ = signals.next() => {
            view.finish();
            return Ok(End::Interrupted);
        }
    };
    view.finish();
    ended.map_or(Ok(End::TimedOut), |ended| ended.map(End::Ended))
}

async fn elapsed(within: Option<Duration>) {
    match within {
        Some(within) => sleep(within).await,
        None => std::future::pending().await,
    }
}

async fn until_ended(client: &Client, run: &RunId, view: &mut View) -> Result<Value, Failure> {
    let mut news = client.watch(run).await?;
    let (mut trouble_since, mut unknown_since) = (None, None);
    loop {
        match client.find(run).await {
            Ok(Found::Ended(document)) => {
                view.show(&document);
                return Ok(document);
            }
            Ok(Found::Active(document)) => {
                trouble_since = None;
                view.show(&document);
            }
            Ok(Found::Unknown) => {
                let unknown = || {
                    Failure::unreachable(format!("no coordinator has taken up run {run}; is one running?"))
                };
                wait_out(&mut unknown_since, BACKLOG_PATIENCE).ok_or_else(unknown)?;
            }
            Err(error) => wait_out(&mut trouble_since, PATIENCE).ok_or_else(|| Failure::from(error))?,
        }
        if let Ok(Some(piece)) = timeout(LOOK_MAX, news.next()).await {
            view.hint(&piece);
        }
        sleep(LOOK_MIN).await;
        // Whatever has piled up by now is in the document that is read next.
        while let Some(Some(piece)) = news.next().now_or_never() {
            view.hint(&piece);
        }
    }
}

/// A coordinator that is being taken over, or a broker that elects, is waited
/// for; `None` when patience is at its end.
fn wait_out(since: &mut Option<Instant>, patience: Duration) -> Option<()> {
    let since = since.get_or_insert_with(Instant::now);
    (since.elapsed() < patience).then_some(())
}
