//! What one connection goes through: when it breaks and is back, and which writes
//! the server leaves unanswered. Each outage is logged at its begin and at its end.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Gauge},
};
use planfleet_telemetry::names::metric;
use tokio::{sync::watch, time::Instant};

use crate::broker::trouble::{Kind, Trouble};

/// Writes without an answer are forgotten when nobody has tried again for this long:
/// twice as long as a publish is tried, so that only who has no work any more goes quiet.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// The watch over one connection.
pub(super) struct Watch {
    connection: &'static str,
    /// Rung when the connection breaks. The client does not fail what is under way
    /// then; without this, everything would sit out its full time limit.
    broken: watch::Sender<()>,
    attempts: AtomicU64,
    state: Mutex<State>,
    up: Gauge<u64>,
    reconnects: Counter<u64>,
}

#[derive(Default)]
struct State {
    down: Option<Down>,
    /// By the beginning of their subjects: as many as there are streams and buckets.
    unanswered: BTreeMap<String, Unanswered>,
}

struct Down {
    since: Instant,
    last: Option<String>,
}

struct Unanswered {
    since: Instant,
    newest: Instant,
    attempts: u64,
    last: String,
}

impl Watch {
    pub(super) fn new(connection: &'static str) -> Self {
        Self {
            connection,
            broken: watch::Sender::new(()),
            attempts: AtomicU64::new(0),
            state: Mutex::default(),
            up: metric::BROKER_CONNECTED.gauge(),
            reconnects: metric::BROKER_RECONNECTS.counter(),
        }
    }

    /// Watches for outages from now on.
    pub(super) fn outage(&self) -> Outage {
        Outage(self.broken.subscribe())
    }

    /// The client tries to connect, for this many times in a row.
    pub(super) fn connecting(&self, attempts: usize) {
        self.attempts.store(attempts as u64, Ordering::Relaxed);
    }

    /// The connection is there, for the first time or again.
    pub(super) fn connected(&self) {
        let connection = self.connection;
        self.up.record(1, &self.label());
        let Some(down) = self.lock().down.take() else {
            return tracing::info!(connection, "connected to the broker");
        };
        self.reconnects.add(1, &self.label());
        let lasted_ms = u64::try_from(down.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let attempts = self.attempts.load(Ordering::Relaxed);
        tracing::info!(connection, lasted_ms, attempts, "connected to the broker again");
    }

    /// The connection is lost.
    pub(super) fn disconnected(&self) {
        self.broken.send_replace(());
        self.up.record(0, &self.label());
        self.attempts.store(0, Ordering::Relaxed);
        let began = self.lock().down.replace(Down { since: Instant::now(), last: None }).is_none();
        if began {
            tracing::warn!(connection = self.connection, "lost the broker, reconnecting");
        }
    }

    /// Notes why an attempt to connect has failed; says whether it is part of an outage,
    /// whose begin has been logged.
    pub(super) fn failed(&self, error: &str) -> bool {
        let mut state = self.lock();
        let Some(down) = &mut state.down else { return false };
        down.last = Some(error.to_owned());
        true
    }

    /// Notes how a write that began then has ended.
    pub(super) fn wrote(&self, subject: &str, began: Instant, unanswered: Option<&str>) {
        let mut state = self.lock();
        let Some(reason) = unanswered else {
            // Nearly always there is nothing to forget.
            if !state.unanswered.is_empty() {
                state.unanswered.remove(beginning(subject));
            }
            return;
        };
        let noted = state.unanswered.entry(beginning(subject).to_owned()).or_insert(Unanswered {
            since: began,
            newest: began,
            attempts: 0,
            last: String::new(),
        });
        noted.newest = Instant::now();
        noted.attempts += 1;
        reason.clone_into(&mut noted.last);
    }

    /// What is wrong just now.
    pub(super) fn troubles(&self) -> Vec<Trouble> {
        let mut state = self.lock();
        state.unanswered.retain(|_, noted| noted.newest.elapsed() < FORGOTTEN_AFTER);
        let down = state.down.iter().map(|down| Trouble {
            lasting: down.since.elapsed(),
            kind: Kind::Disconnected {
                connection: self.connection,
                attempts: self.attempts.load(Ordering::Relaxed),
                last: down.last.clone(),
            },
        });
        let unanswered = state.unanswered.iter().map(|(subjects, noted)| Trouble {
            // For as long as it was tried in vain: what nobody tries again is no trouble.
            lasting: noted.newest.duration_since(noted.since),
            kind: Kind::NothingStored {
                subjects: subjects.clone(),
                attempts: noted.attempts,
                last: noted.last.clone(),
            },
        });
        down.chain(unanswered).collect()
    }

    fn label(&self) -> [KeyValue; 1] {
        [KeyValue::new("connection", self.connection)]
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each critical section leaves the state whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part of a subject that tells one stream or bucket from another: its first two
/// parts, and the third where that is the number of a log, behind which the kind of
/// record comes.
fn beginning(subject: &str) -> &str {
    let mut parts = subject.splitn(4, '.').skip(2);
    let number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let of_a_log = parts.next().is_some_and(number) && parts.next().is_some();
    let end = if of_a_log { 2 } else { 1 };
    subject.match_indices('.').nth(end).map_or(subject, |(end, _)| &subject[..end])
}

/// Tells when a connection breaks.
pub(super) struct Outage(watch::Receiver<()>);

impl Outage {
    /// Returns when the connection breaks, or has broken since this was last asked.
    pub(super) async fn begins(&mut self) {
        if self.0.changed().await.is_err() {
            // Without a sender nothing breaks any more.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(watch: &Watch) -> Vec<String> {
        watch.troubles().iter().map(ToString::to_string).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_told_with_its_length_and_its_attempts() {
        let watch = Watch::new("send");
        watch.connected();
        assert!(shown(&watch).is_empty());
        watch.disconnected();
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(shown(&watch), ["connection `send` lost 7 s ago, 0 attempts to reconnect"]);
        watch.connecting(3);
        assert!(watch.failed("connection refused"));
        assert_eq!(
            shown(&watch),
            ["connection `send` lost 7 s ago, 3 attempts to reconnect, the last: connection refused"]
        );
        watch.connected();
        assert!(shown(&watch).is_empty() && !watch.failed("something else"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_log_stores_says_nothing_of_another() {
        let watch = Watch::new("send");
        let began = Instant::now();
        tokio::time::advance(Duration::from_secs(12)).await;
        watch.wrote("x.ev.07.submit", began, Some("no answer"));
        watch.wrote("x.ev.08.result", began, None);
        watch.wrote("x.done.t.1", began, None);
        let troubles = watch.troubles();
        assert_eq!(troubles.len(), 1, "{troubles:?}");
        assert_eq!(troubles[0].lasting, Duration::from_secs(12));
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(watch.troubles()[0].lasting, Duration::from_secs(12), "nobody has tried since");
        watch.wrote("x.ev.07.result", Instant::now(), None);
        assert!(watch.troubles().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn writes_are_told_as_unanswered_until_one_is_answered() {
        let watch = Watch::new("send");
        let began = Instant::now();
        tokio::time::advance(Duration::from_secs(5)).await;
        watch.wrote("log.00.a.submit", began, Some("no answer"));
        watch.wrote("log.00.b.result", began, Some("no stream takes it"));
        watch.wrote("done.t.1", Instant::now(), None);
        assert_eq!(
            shown(&watch),
            ["the broker does not answer what is written to log.00.>, for 5 s (2 attempts, the last: \
              no stream takes it)"]
        );
        watch.wrote("log.00.a.submit", Instant::now(), None);
        assert!(shown(&watch).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_writes_any_more_is_no_trouble() {
        let watch = Watch::new("send");
        watch.wrote("$KV.b.key", Instant::now(), Some("no answer"));
        tokio::time::advance(FORGOTTEN_AFTER).await;
        assert!(shown(&watch).is_empty());
    }

    #[test]
    fn the_beginning_of_a_subject_is_its_stream_s_or_bucket_s() {
        assert_eq!(beginning("steps.pool.default.1.t.00-x.1.1"), "steps.pool");
        assert_eq!(beginning("$KV.shards.03"), "$KV.shards");
        assert_eq!(beginning("log.ev.03.submit"), "log.ev.03");
        assert_eq!(beginning("done.t.03"), "done.t");
        assert_eq!(beginning("one"), "one");
        assert_eq!(beginning("one.two"), "one.two");
    }
}
