//! The index follows the stream of ended runs: from where it stopped, or from the start.

use std::{sync::atomic::Ordering, time::Duration};

use futures::StreamExt as _;
use planfleet_bus::{Bus, Error, broker::LogEntry};
use planfleet_proto::subjects;
use rusqlite::OptionalExtension as _;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Index, row::Row, write};

/// Documents that are written at once: enough to be fast, and a list is never further behind.
const BATCH_MAX: usize = 500;

/// A list may be this far behind the end of a run.
const BEHIND_MAX: Duration = Duration::from_millis(100);

/// How often it is looked which documents are not kept any more.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// Wait before a stream that cannot be read, or a file that cannot be written, is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Why filling stops for a while.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Bus(#[from] Error),
    #[error("the index cannot be written: {0}")]
    File(#[from] rusqlite::Error),
}

/// Fills an index until `stop`, whatever happens on the way. A file that is found to be
/// damaged is made anew.
pub(crate) async fn fill(index: Index, bus: Bus, stop: CancellationToken) {
    let filling = async {
        let mut told = String::new();
        loop {
            let trouble = tokio::select! {
                biased;
                () = index.0.damaged.notified() => heal(&index).await.err(),
                followed = follow(&index, &bus) => followed.err(),
            };
            match trouble {
                // Others tell of the broker; of a file that stays as it is, once is enough.
                Some(trouble @ Trouble::File(_)) if trouble.to_string() != told => {
                    tracing::warn!(%trouble, "the index of runs is not up to date; trying again");
                    told = trouble.to_string();
                }
                Some(trouble) => {
                    tracing::debug!(%trouble, "the index of runs is not up to date; trying again");
                }
                None => told.clear(),
            }
            sleep(RETRY).await;
        }
    };
    tokio::select! {
        () = filling => {}
        () = stop.cancelled() => {}
    }
}

async fn heal(index: &Index) -> Result<(), Trouble> {
    tracing::warn!("the index of runs is damaged; it is made anew");
    // Without a file there is nothing else to do.
    Ok(index.make_anew().await.inspect_err(|_| index.0.damaged.notify_one())?)
}

async fn follow(index: &Index, bus: &Bus) -> Result<(), Trouble> {
    let state = bus.broker().stream_state(subjects::DONE).await.map_err(Error::from)?;
    let mut last = resume(index, bus, state.last_seq).await?;
    let (goal, started, from) = (state.last_seq, Instant::now(), last);
    if goal > last {
        tracing::info!(documents = goal - last.max(state.first_seq.saturating_sub(1)), "indexing ended runs");
    } else {
        index.0.whole.store(true, Ordering::Release);
    }
    forget(index, state.first_seq).await?;
    let mut log = bus.broker().read_log(subjects::DONE, last + 1).await.map_err(Error::from)?;
    let mut forgotten = Instant::now();
    loop {
        let mut rows = Vec::new();
        let until = Instant::now() + BEHIND_MAX;
        let mut read = last;
        while rows.len() < BATCH_MAX {
            let wait =
                if read > last { until.saturating_duration_since(Instant::now()) } else { FORGET_EVERY };
            match timeout(wait, log.next()).await {
                Ok(Some(entry)) => {
                    let entry = entry.map_err(Error::from)?;
                    read = entry.seq;
                    rows.extend(row(bus, entry).await?);
                }
                Ok(None) => return Err(Error::Answer("the log of ended runs has ended".to_owned()).into()),
                Err(_) => break,
            }
        }
        if !rows.is_empty() {
            index.change(move |connection| write::add(connection, &rows)).await?;
        }
        last = read;
        if last >= goal && !index.0.whole.swap(true, Ordering::AcqRel) {
            tracing::info!(documents = goal - from, took = ?started.elapsed(), "the index of runs is whole");
        }
        if forgotten.elapsed() >= FORGET_EVERY {
            forgotten = Instant::now();
            let state = bus.broker().stream_state(subjects::DONE).await.map_err(Error::from)?;
            forget(index, state.first_seq).await?;
        }
    }
}

/// A document as a row; one that nobody can read is left out, and whoever asks for the run
/// itself is told.
async fn row(bus: &Bus, entry: LogEntry) -> Result<Option<Row>, Trouble> {
    let (seq, at_ms) = (entry.seq, entry.at_ms);
    let read = match bus.document_text(entry).await {
        Ok(text) => Row::of(seq, at_ms, &text).map_err(|error| error.to_string()),
        Err(error @ Error::Broker(_)) if !error.is_permanent() => return Err(error.into()),
        Err(error) => Err(error.to_string()),
    };
    Ok(read.map_err(|error| tracing::warn!(seq, error, "an ended run is left out of the index")).ok())
}

/// The position up to which the index is filled: 0 after it was cleared, because it is of
/// another fleet or of a stream that was made anew.
async fn resume(index: &Index, bus: &Bus, tail: u64) -> Result<u64, Trouble> {
    let newest = index
        .change(|connection| {
            let newest = "SELECT seq, run_id FROM runs ORDER BY seq DESC LIMIT 1";
            connection
                .query_row(newest, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))
                .optional()
        })
        .await?;
    let Some((seq, run)) = newest else { return Ok(0) };
    let seq = u64::try_from(seq).unwrap_or_default();
    let there = bus.broker().first_on_subject(subjects::DONE, subjects::DONE_FILTER, seq).await;
    let same = match there.map_err(Error::from)? {
        Some(entry) if entry.seq == seq => {
            subjects::done_run(&entry.subject).is_some_and(|of| of.as_str() == run)
        }
        // It has been dropped for its age, as all before it.
        _ => seq <= tail,
    };
    if same {
        return Ok(seq);
    }
    tracing::info!("the index of runs is of another fleet; it is made anew");
    index.0.whole.store(false, Ordering::Release);
    index.change(write::clear).await?;
    Ok(0)
}

async fn forget(index: &Index, first: u64) -> Result<(), Trouble> {
    while index.change(move |connection| write::forget(connection, first)).await? {}
    Ok(())
}
