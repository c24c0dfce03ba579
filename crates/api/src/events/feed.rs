//! One watched run: a reader of its log, and all who watch.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use futures::{StreamExt as _, stream::BoxStream};
use planfleet_bus::{
    Bus, Error,
    live::{News, RUN_FINISHED},
};
use planfleet_core::{id::RunId, record::Fact};
use planfleet_proto::{decode::Entry, subjects};
use planfleet_runtime::clock;
use serde_json::Value;
use tokio::{
    sync::{broadcast, watch},
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};

use super::{
    chunk::{Chunk, Said},
    told::{self, AttemptOf},
};
use crate::view::RunEvent;

/// Events of one run that are kept for who comes later; some hundred bytes each.
const PAST_MAX: usize = 20_000;

/// What is said within this time goes out together: a busy run says thousands of things a second,
/// and each by itself would cost every watcher a write. What is said after a silence goes out at once.
const GATHER: Duration = Duration::from_millis(100);

/// Events that go out together at most: some hundred kilobytes.
const CHUNK_MAX: usize = 1_000;

/// Chunks that a watcher may be behind before it is let go: seconds of a busy run.
const BEHIND_MAX: usize = 64;

/// How often it is looked whether anybody still watches, and whether the run has ended
/// while the news of that was lost.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Wait before a log that cannot be read is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Records of a run may be stored this long after its end by the broker's clock: what was
/// on its way. Later ones say nothing about it.
const AFTER_END_MS: u64 = 2_000;

/// When a run was submitted and when it ended, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    from_ms: u64,
    to_ms: Option<u64>,
}

impl Span {
    pub(super) fn of(document: &Value) -> Self {
        let ms = |name: &str| millis(document[name].as_str()?);
        Self { from_ms: ms("created_at").unwrap_or_default(), to_ms: ms("ended_at") }
    }
}

/// An RFC 3339 time in milliseconds since the Unix epoch.
fn millis(text: &str) -> Option<u64> {
    let since = humantime::parse_rfc3339(text).ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok()
}

/// A watched run.
pub(crate) struct Feed {
    run: RunId,
    past: Mutex<Past>,
    said: broadcast::Sender<Arc<Chunk>>,
    /// Whether all that was in the log when it was opened has been read.
    whole: watch::Sender<bool>,
}

#[derive(Default)]
struct Past {
    events: VecDeque<Arc<Said>>,
    /// What is gathered for those who watch.
    gathered: Vec<Arc<Said>>,
    told_at: Option<Instant>,
    attempts: Vec<AttemptOf>,
    traceparent: Option<String>,
    /// Older events were let go, or were gone from the log.
    cut: bool,
    ended: bool,
    /// Nobody reads the log for it any more.
    over: bool,
}

/// What a watcher gets.
pub(crate) struct Watcher {
    /// What has happened since the position that it named.
    pub(crate) past: Vec<Arc<Said>>,
    /// What happens; lags when the watcher is too slow.
    pub(crate) next: broadcast::Receiver<Arc<Chunk>>,
    /// Whether the run is over, so that nothing more comes.
    pub(crate) ended: bool,
}

impl Feed {
    pub(super) fn new(run: RunId) -> Self {
        let said = broadcast::Sender::new(BEHIND_MAX);
        Self { run, past: Mutex::default(), said, whole: watch::Sender::new(false) }
    }

    /// Whether somebody still reads the log for it, or all of it is read.
    pub(super) fn is_usable(&self) -> bool {
        let past = self.past();
        !past.over || past.ended
    }

    /// Whether nobody watches it any more: then nobody reads for it either, and whoever comes
    /// next needs another.
    pub(super) fn closes(&self) -> bool {
        // Under the lock, as watchers come under it: none can come in between.
        let mut past = self.past();
        past.over |= self.said.receiver_count() == 0;
        past.over
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        // Each critical section leaves it whole.
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches from behind a position of the log on.
    pub(crate) fn watch(&self, after: u64) -> Watcher {
        let mut past = self.past();
        // What is gathered is part of the past, and others wait for it.
        self.tell(&mut past);
        let next = self.said.subscribe();
        let behind = |said: &&Arc<Said>| said.event.seq.is_none_or(|seq| seq > after);
        Watcher { past: past.events.iter().filter(behind).cloned().collect(), next, ended: past.ended }
    }

    /// All that has happened, once the log is read as far as it was when the feed was
    /// opened or that time is over; and whether anything is missing.
    pub(crate) async fn history(&self, within: Duration) -> (Vec<RunEvent>, bool) {
        let whole = self.is_whole(within).await;
        let past = self.past();
        (past.events.iter().map(|said| said.event.clone()).collect(), past.cut || !whole)
    }

    async fn is_whole(&self, within: Duration) -> bool {
        let mut whole = self.whole.subscribe();
        matches!(tokio::time::timeout(within, whole.wait_for(|whole| *whole)).await, Ok(Ok(_)))
    }

    /// The attempts that the log tells of, and the trace that the run belongs to, likewise.
    pub(crate) async fn attempts(&self, within: Duration) -> (Vec<AttemptOf>, Option<String>) {
        let _ = self.is_whole(within).await;
        let past = self.past();
        let trace = past.traceparent.as_deref().and_then(|parent| parent.split('-').nth(1));
        (past.attempts.clone(), trace.map(str::to_owned))
    }

    fn say(&self, event: RunEvent) {
        let said = Arc::new(Said::new(event));
        let mut past = self.past();
        if said.event.seq.is_some() || said.is_last() {
            past.events.push_back(Arc::clone(&said));
        }
        if past.events.len() > PAST_MAX {
            past.events.pop_front();
            past.cut = true;
        }
        past.ended |= said.is_last();
        past.gathered.push(said);
        let is_due = past.told_at.is_none_or(|at| at.elapsed() >= GATHER);
        if is_due || past.ended || past.gathered.len() >= CHUNK_MAX {
            self.tell(&mut past);
        }
    }

    /// Tells those who watch what is gathered. Under the lock, so that whoever begins to watch just
    /// now misses nothing and gets nothing twice.
    fn tell(&self, past: &mut Past) {
        if past.gathered.is_empty() {
            return;
        }
        let gathered = std::mem::take(&mut past.gathered);
        past.told_at = Some(Instant::now());
        if self.said.receiver_count() > 0 {
            // Nobody listening any more is no error.
            let _ = self.said.send(Arc::new(Chunk::of(gathered)));
        }
    }

    /// When what is gathered is to be told.
    fn due(&self) -> Option<Instant> {
        let past = self.past();
        past.told_at.filter(|_| !past.gathered.is_empty()).map(|at| at + GATHER)
    }

    /// Reads the log for as long as anybody watches and the run goes on.
    pub(super) async fn read(self: Arc<Self>, bus: Bus, span: Span) {
        let mut after = 0;
        while let Err(error) = self.follow(&bus, span, &mut after).await {
            tracing::debug!(run = %self.run, %error, "cannot follow a run's log; trying again");
            if self.closes() {
                self.past().cut = true;
                break;
            }
            sleep(RETRY).await;
        }
        self.past().over = true;
        self.whole.send_replace(true);
    }

    /// `after` is the position up to which the log is read.
    async fn follow(&self, bus: &Bus, span: Span, after: &mut u64) -> Result<(), Error> {
        let shard = self.run.shard();
        let mut news = bus.watch(&self.run).await?;
        let from = if *after == 0 { self.begin(bus, span.from_ms).await? } else { *after + 1 };
        let mut tail = bus.journal_tail(shard).await?;
        let mut ending = span.to_ms;
        let mut log = bus.read_log(shard, from).await?;
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        look.reset();
        *after = (*after).max(from.saturating_sub(1));
        loop {
            if *after >= tail {
                self.whole.send_replace(true);
                if ending.is_some() {
                    self.finish(ending);
                    return Ok(());
                }
            }
            let due = self.due();
            tokio::select! {
                biased;
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.tell(&mut self.past());
                }
                entry = log.next() => {
                    let Some(entry) = entry.transpose()? else { return Err(lost()) };
                    *after = entry.seq;
                    if span.to_ms.is_some_and(|to_ms| entry.at_ms > to_ms + AFTER_END_MS) {
                        tail = entry.seq;
                    } else if Bus::run_of(&entry).as_ref() == Some(&self.run) {
                        self.note(bus, entry).await;
                    }
                }
                said = next(&mut news) => if said.event == RUN_FINISHED {
                    // What is in the log before that is told first.
                    tail = bus.journal_tail(shard).await?;
                    ending = Some(clock::unix_ms());
                } else {
                    let step = said.step.map(told::key);
                    let bare = told::bare(None, clock::unix_ms(), &said.event);
                    // What is a record too is told from the log.
                    if !is_record(&said.event) {
                        self.say(RunEvent { step, model: said.model, ..bare });
                    }
                },
                _ = look.tick() => {
                    if *self.whole.borrow() && self.closes() {
                        return Ok(());
                    }
                    if ending.is_none() && bus.has_ended(&self.run).await? {
                        tail = bus.journal_tail(shard).await?;
                        ending = Some(clock::unix_ms());
                    }
                }
            }
        }
    }

    fn finish(&self, at_ms: Option<u64>) {
        if !self.past().ended {
            self.say(told::bare(None, at_ms.unwrap_or_else(clock::unix_ms), RUN_FINISHED));
        }
    }

    async fn note(&self, bus: &Bus, entry: planfleet_bus::broker::LogEntry) {
        let opened = bus.open(entry).await;
        let Ok(Entry::Run(record)) = opened.content else { return };
        {
            let mut past = self.past();
            if let Fact::TaskSubmitted(submission) = &record.fact {
                past.traceparent.clone_from(&submission.traceparent);
            }
            if past.attempts.len() < PAST_MAX {
                past.attempts.extend(AttemptOf::of(&record.fact));
            }
        }
        self.say(told::event(opened.seq, opened.at_ms, &record.fact));
    }

    /// The position in the log from which on the run's records are: found by when it was
    /// submitted, as positions grow with time.
    async fn begin(&self, bus: &Bus, from_ms: u64) -> Result<u64, Error> {
        let (shard, filter) = (self.run.shard(), subjects::log_filter(self.run.shard()));
        let log = subjects::log(shard);
        let (mut low, mut high) = (bus.journal_head(shard).await?, bus.journal_tail(shard).await? + 1);
        let first = bus.broker().first_on_subject(&log, &filter, low).await?;
        if first.is_none_or(|first| first.at_ms > from_ms) {
            self.past().cut = true;
            return Ok(low);
        }
        while low < high {
            let middle = low + (high - low) / 2;
            match bus.broker().first_on_subject(&log, &filter, middle).await? {
                Some(entry) if entry.at_ms < from_ms => low = entry.seq + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }
}

fn is_record(event: &str) -> bool {
    !matches!(event, planfleet_bus::live::STEP_STARTED | planfleet_bus::live::APPROVAL_ASKED)
}

fn lost() -> Error {
    Error::Answer("the log has ended".to_owned())
}

/// The next news; those whose subscription is gone with its connection never come, which
/// looking now and then makes up for.
async fn next(news: &mut BoxStream<'static, News>) -> News {
    match news.next().await {
        Some(news) => news,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use tokio::{sync::broadcast::error::RecvError, time::advance};

    use super::*;

    fn event(seq: u64) -> RunEvent {
        told::bare(Some(seq), 1, "StepSucceeded")
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_watcher_is_let_go_and_nobody_waits_for_it() {
        let feed = Feed::new("00-a".parse().unwrap());
        let mut slow = feed.watch(0).next;
        let mut quick = feed.watch(0).next;
        for seq in 1..=3 * BEHIND_MAX as u64 {
            advance(GATHER).await;
            feed.say(event(seq));
            assert_eq!(quick.recv().await.unwrap().len(), 1);
        }
        assert!(matches!(slow.recv().await, Err(RecvError::Lagged(_))));
        let back = feed.watch(7);
        assert_eq!(back.past.first().unwrap().event.seq, Some(8));
        assert_eq!(back.past.len(), 3 * BEHIND_MAX - 7);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_said_at_about_the_same_time_is_told_together() {
        let feed = Feed::new("00-a".parse().unwrap());
        let mut early = feed.watch(0).next;
        for seq in 1..=4 {
            feed.say(event(seq));
        }
        assert_eq!(early.recv().await.unwrap().len(), 1, "the first after a silence at once");
        assert_eq!(feed.due(), Some(Instant::now() + GATHER));
        let late = feed.watch(2);
        assert_eq!(late.past.len(), 2, "what is gathered is told to who comes, once");
        let told = early.recv().await.unwrap();
        assert_eq!((told.len(), feed.due()), (3, None));
        let text = |after| String::from_utf8(told.text(after).to_vec()).unwrap();
        assert!(text(0).starts_with("id: 2\ndata: {\"seq\":2,") && text(0).ends_with("}\n\n"), "{}", text(0));
        assert_eq!(
            (text(0).matches("id: ").count(), text(3).matches("id: ").count(), text(9).len()),
            (3, 1, 0)
        );
        let mut late = late.next;
        feed.say(told::bare(None, 1, RUN_FINISHED));
        assert!(
            early.recv().await.unwrap().is_last() && late.recv().await.unwrap().is_last(),
            "the end at once"
        );
    }

    #[tokio::test]
    async fn what_is_kept_of_a_long_run_is_bounded_and_says_so() {
        let feed = Feed::new("00-a".parse().unwrap());
        for seq in 1..=PAST_MAX as u64 + 5 {
            feed.say(event(seq));
        }
        feed.say(told::bare(None, 1, RUN_FINISHED));
        feed.whole.send_replace(true);
        let (events, incomplete) = feed.history(Duration::ZERO).await;
        assert_eq!((events.len(), incomplete), (PAST_MAX, true));
        assert!(feed.watch(0).ended);
    }
}
