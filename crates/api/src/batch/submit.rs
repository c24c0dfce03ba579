//! Submitting the lines of a batch, never further ahead of the fleet than a window.
//!
//! One loop takes turns with four things: how runs of the batch end, what the broker says
//! of submits under way, the clock, and the next line. A line is read only while there is
//! room, so a file of millions of lines takes no more memory than the window, the names
//! that are taken (nine bytes each), and what did not succeed.
//!
//! Lines may be submitted any number of times: the key of each is its batch and name. A
//! line that was submitted before counts as open until its end is seen, so a submit that
//! is taken up again is no further ahead than one that was never interrupted. Only in a batch
//! so old that ends of it are kept no more is a line asked after.

use std::{
    collections::{BTreeSet, HashSet},
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use futures::{
    StreamExt as _,
    future::BoxFuture,
    stream::{BoxStream, FuturesUnordered},
};
use planfleet_bus::{
    Client, Error,
    admission::Refused,
    batches::{Batch, End, FAULT_CHARS_MAX, REJECTIONS_MAX, Rejection},
    broker::LogEntry,
    client::{Found, Key, NewKey},
};
use planfleet_core::{document::RunState, failure::trim_chars, id::RunId, task::Submission};
use planfleet_telemetry::names::attribute;
use serde_json::{Value, json};
use tokio::{
    io::AsyncBufRead,
    time::{Interval, MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use super::{
    BatchError,
    line::{self, Entry},
    lines::{Line, Lines},
    order::{Desk, Event, Order, Outcome, Progress, open},
    status::forgotten,
    steer::cancel_active,
};
use crate::submission;

/// Submits under way: enough to keep a broker busy that syncs each message to disk, and
/// few beside a window.
const SUBMITS_MAX: usize = 256;

/// How long a line waits at most before it asks again whether there is room for its run.
const ROOM_AGAIN: Duration = Duration::from_secs(5);

/// How often it is written down how far submitting has come, and seen that it is to stop.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// A run whose submit is acked is known to its shard's owner well within this.
const OWNER_KNOWS: Duration = Duration::from_secs(1);

/// Most lines of one batch: their names take a hundred megabytes or so.
const LINES_MAX: usize = 10_000_000;

/// Submits the lines of a batch, and waits for the ends of their runs if that was asked
/// for. After an error or a stop it can be called again with the same lines.
///
/// # Errors
/// When the batch is somebody else's or cancelled, lines cannot be read, or the fleet
/// cannot be reached. What is wrong with a line is an event, and no error.
pub async fn submit<R: AsyncBufRead + Unpin>(
    desk: &Desk<'_>,
    order: Order,
    input: R,
    stop: &CancellationToken,
    on: &mut (dyn FnMut(Event<'_>) + Send),
) -> Result<Outcome, BatchError> {
    let batch = open(desk.client, &order, on).await?;
    let ends = desk.client.bus().follow_batch(&batch).await?;
    let forgotten = forgotten(desk.client, &batch).await?;
    let new_key = batch.new_key((order.now_ms)());
    let progress = Progress { total: order.total.or(batch.total), ..Progress::default() };
    let mut notes = interval(NOTE_EVERY);
    notes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut submitting = Submitting {
        desk,
        order,
        batch,
        new_key,
        forgotten,
        lines: Lines::new(input),
        ends,
        notes,
        submits: FuturesUnordered::new(),
        open: HashSet::new(),
        ended_early: HashSet::new(),
        is_swept: false,
        names: Names::default(),
        unused: BTreeSet::new(),
        rejections: Vec::new(),
        progress,
        on,
    };
    let stopped = submitting.run(stop).await?;
    let Submitting { batch, progress, .. } = submitting;
    Ok(Outcome { batch, progress, stopped })
}

/// A submit that the broker has not answered yet, and its answer.
type Submit = BoxFuture<'static, (u64, String, Result<Submitted, Error>)>;

/// A line that is a run now.
struct Submitted {
    run: RunId,
    new: bool,
    /// Whether its end is seen, sooner or later.
    ends: bool,
}

struct Submitting<'a, 'd, R> {
    desk: &'a Desk<'d>,
    order: Order,
    batch: Batch,
    new_key: NewKey,
    /// Whether ends of the batch may not be kept any more.
    forgotten: bool,
    lines: Lines<R>,
    ends: BoxStream<'static, Result<(End, LogEntry), Error>>,
    notes: Interval,
    submits: FuturesUnordered<Submit>,
    /// Runs of lines whose end was not seen.
    open: HashSet<u128>,
    /// Runs whose end was seen before the answer to their submit. On a first submit these
    /// are few; taken up again, as many as had ended.
    ended_early: HashSet<u128>,
    /// Whether, in a batch that was cancelled, what was still submitted is asked to end.
    is_swept: bool,
    names: Names,
    unused: BTreeSet<String>,
    rejections: Vec<Rejection>,
    progress: Progress,
    on: &'a mut (dyn FnMut(Event<'_>) + Send),
}

fn pause(refused: &Refused) -> Duration {
    Duration::from_secs(refused.retry_after_s()).min(ROOM_AGAIN)
}

impl<R: AsyncBufRead + Unpin> Submitting<'_, '_, R> {
    /// Says whether it was stopped before it was done.
    async fn run(&mut self, stop: &CancellationToken) -> Result<bool, BatchError> {
        loop {
            self.sweep().await;
            if self.is_done() {
                self.note().await?;
                return Ok(false);
            }
            let has_room = self.has_room();
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    self.note().await?;
                    return Ok(true);
                }
                end = self.ends.next() => match end {
                    Some(end) => {
                        let end = end?;
                        let cancelled = end.0.state == RunState::Cancelled;
                        self.ended(end).await;
                        // Perhaps all of them are: that is to be known before another line is read.
                        if cancelled && self.batch.cancelled.is_none() {
                            self.note().await?;
                        }
                    }
                    None => return Err(Error::Answer("the log of ended runs has ended".to_owned()).into()),
                },
                Some(submitted) = self.submits.next(), if !self.submits.is_empty() => {
                    self.submitted(submitted)?;
                }
                _ = self.notes.tick() => self.note().await?,
                line = self.lines.next(), if has_room => match line? {
                    Some(line) => self.line(line).await?,
                    None => self.progress.read = true,
                },
            }
        }
    }

    /// Whoever cancels a batch asks the runs that there are then. What was submitted before that
    /// was noticed here may have come later than its last look.
    async fn sweep(&mut self) {
        let Some(reason) = self.batch.cancelled.as_ref().filter(|_| self.submits.is_empty()) else { return };
        if !std::mem::replace(&mut self.is_swept, true) {
            let asked = cancel_active(self.desk.client, &self.order.id, reason, OWNER_KNOWS).await;
            if let Err(error) = asked {
                tracing::warn!(%error, "runs of a cancelled batch may go on; cancel it again");
            }
        }
    }

    fn is_done(&self) -> bool {
        let submitted = self.submits.is_empty() && (self.progress.read || self.batch.cancelled.is_some());
        submitted && (!self.order.wait || self.open.is_empty())
    }

    fn has_room(&self) -> bool {
        !self.progress.read
            && self.batch.cancelled.is_none()
            && self.submits.len() < SUBMITS_MAX
            && self.open.len() + self.submits.len() < self.order.window
    }

    async fn line(&mut self, Line { number, text }: Line) -> Result<(), BatchError> {
        if self.names.len() >= LINES_MAX {
            let message = format!("a batch has at most {LINES_MAX} lines; split it from line {number} on");
            return Err(BatchError::Refused(message));
        }
        let read = match text {
            Ok(text) => line::read(number, &text, &self.order.tenant),
            Err(message) => Err(line::Fault { custom_id: None, messages: vec![message] }),
        };
        let entry = match read {
            Ok(entry) => entry,
            Err(line::Fault { custom_id, messages }) => {
                self.reject(number, custom_id, &messages);
                return Ok(());
            }
        };
        if !self.names.take(&entry.custom_id) {
            let message = format!("custom_id: an earlier line is {:?} already", entry.custom_id);
            self.reject(number, Some(entry.custom_id), &[message]);
            return Ok(());
        }
        self.entry(number, entry).await
    }

    async fn entry(&mut self, number: u64, entry: Entry) -> Result<(), BatchError> {
        let Entry { custom_id, task, unused } = entry;
        if !unused.is_subset(&self.unused) {
            self.unused.extend(unused);
            (self.on)(Event::Unused(&self.unused));
        }
        let mut task = Value::Object(task);
        if let (Some(mode), true) = (self.order.mode, task["mode"].is_null() && task["goal"].is_string()) {
            task["mode"] = json!(mode);
        }
        let key = Key::of_batch(&self.order.id, &custom_id, &task);
        // Each task has a trace of its own: one of a million runs would be of no use to anybody.
        let span = submission::span("producer");
        match self.freeze(task).instrument(span.clone()).await? {
            Ok(submission) => {
                let (client, new_key, forgotten) = (self.desk.client.clone(), self.new_key, self.forgotten);
                let submit = async move {
                    let submitted = loop {
                        match client.submit_in_batch(submission.clone(), &key, new_key).await {
                            // The window is wider than the room that there is.
                            Err(Error::Refused(refused)) => sleep(pause(&refused)).await,
                            submitted => break submitted,
                        }
                    };
                    if let Ok((run, _)) = &submitted {
                        Span::current().record(attribute::RUN_ID, run.as_str());
                    }
                    let submitted = match submitted {
                        Ok((run, new)) => Ok(known(&client, run, new, forgotten).await),
                        Err(error) => Err(error),
                    };
                    (number, custom_id, submitted)
                };
                self.submits.push(Box::pin(submit.instrument(span)));
            }
            Err(faults) => self.reject(number, Some(custom_id), &faults),
        }
        Ok(())
    }

    async fn freeze(&mut self, task: Value) -> Result<Result<Submission, Vec<String>>, BatchError> {
        let found = match submission::template_of(&task) {
            Some(name) => (self.desk.templates)(name.to_owned()).await?,
            None => Err(Vec::new()),
        };
        let mut submission = match submission::freeze(task, self.desk.scope, &|_| found.clone()) {
            Ok(submission) => submission,
            Err(faults) => return Ok(Err(faults.iter().map(ToString::to_string).collect())),
        };
        submission.task.batch = Some(self.order.id.clone());
        for (name, value) in &self.batch.labels {
            submission.task.labels.entry(name.clone()).or_insert_with(|| value.clone());
        }
        Ok(Ok(submission))
    }

    fn submitted(
        &mut self,
        (number, custom_id, submitted): (u64, String, Result<Submitted, Error>),
    ) -> Result<(), BatchError> {
        match submitted {
            Ok(Submitted { run, new, ends }) => {
                self.progress.submitted += 1;
                self.progress.new += u64::from(new);
                let run = short(&run);
                if !self.ended_early.remove(&run) && ends {
                    self.open.insert(run);
                }
                Ok(())
            }
            // What trying again cannot help is the line's: the task is another one than
            // before, or too large.
            Err(error) if error.is_permanent() => {
                let message = match &error {
                    Error::KeyReused { run, .. } => format!(
                        "custom_id: was submitted in this batch with another task, that of run {run}; give \
                         the changed task another name"
                    ),
                    error => error.to_string(),
                };
                self.reject(number, Some(custom_id), &[message]);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn reject(&mut self, line: u64, custom_id: Option<String>, messages: &[String]) {
        let message = trim_chars(&messages.join("; "), FAULT_CHARS_MAX);
        let rejection = Rejection { line, custom_id, message };
        (self.on)(Event::Refused(&rejection));
        self.progress.rejected += 1;
        if self.rejections.len() < REJECTIONS_MAX {
            self.rejections.push(rejection);
        }
    }

    async fn ended(&mut self, (end, entry): (End, LogEntry)) {
        // A rerun is a run more, and no line's.
        if end.rerun_of.is_none() {
            let run = short(&end.run);
            if !self.open.remove(&run) {
                self.ended_early.insert(run);
            }
        }
        self.progress.tally.add(&end);
        let document = match self.order.documents {
            true => Some(self.desk.client.bus().document_text(entry).await),
            false => None,
        };
        (self.on)(Event::Ended { end: &end, document });
    }

    /// Writes down how far it has come, and sees what has become of the batch.
    async fn note(&mut self) -> Result<(), BatchError> {
        let progress = &mut self.progress;
        progress.open = self.open.len() as u64;
        if progress.read {
            progress.total = Some(progress.submitted + progress.rejected + self.submits.len() as u64);
        }
        let (now_ms, rejections, progress) = ((self.order.now_ms)(), &self.rejections, &self.progress);
        let cancelled = self.batch.cancelled.is_some();
        let noted = self.desk.client.bus().change_batch(&self.order.id, |batch| {
            batch.updated_at_ms = now_ms;
            batch.submitted = batch.submitted.max(progress.submitted);
            // What an earlier submit has refused is not right because this one has not come so far.
            if progress.read || progress.rejected >= batch.rejected {
                batch.rejected = progress.rejected;
                batch.rejections.clone_from(rejections);
            }
            if progress.total.is_some() {
                batch.total = progress.total;
            }
        });
        match noted.await {
            Ok(batch) => self.batch = batch,
            Err(error) if error.is_permanent() => return Err(error.into()),
            // An election, perhaps: the next note says as much, and submits wait by themselves.
            Err(error) => tracing::debug!(%error, "it is not noted how far a batch has come"),
        }
        (self.on)(Event::Progress(&self.progress));
        if self.batch.cancelled.is_some() && !cancelled {
            tracing::info!(batch = self.order.id, "the batch was cancelled: nothing more is submitted");
        }
        Ok(())
    }
}

/// What is known of a line's run. One that was submitted long ago has perhaps ended so long ago
/// that nobody will say so any more; one of which nobody can say anything now is waited for.
async fn known(client: &Client, run: RunId, new: bool, forgotten: bool) -> Submitted {
    let gone = !new && forgotten && matches!(client.find(&run).await, Ok(Found::Unknown));
    Submitted { run, new, ends: !gone }
}

/// A run of a batch in sixteen bytes: the unique part of its id is as many in hexadecimal.
fn short(run: &RunId) -> u128 {
    let text = run.as_str();
    text.get(text.len().saturating_sub(32)..)
        .and_then(|unique| u128::from_str_radix(unique, 16).ok())
        .unwrap_or_default()
}

/// The names that are taken, as hashes: of ten million lines, two have the same by chance
/// once in some hundred thousand batches, and then one of them is refused.
#[derive(Default)]
struct Names {
    hash: RandomState,
    taken: HashSet<u64>,
}

impl Names {
    /// Whether nobody has had the name.
    fn take(&mut self, name: &str) -> bool {
        self.taken.insert(self.hash.hash_one(name))
    }

    fn len(&self) -> usize {
        self.taken.len()
    }
}
