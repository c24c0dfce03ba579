//! Lists of runs: active ones from their owners, ended ones from the index, as one.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use planfleet_bus::{Client, client::Activity};
use planfleet_core::document::rfc3339;
use planfleet_runtime::clock;
use tokio::{sync::Mutex, time::Instant};

use crate::{
    index::{By, Count, Filter, Hit, Index, Order, nano, state_name, words},
    problem::Problem,
    view::{CostRow, Gaps, RunCounts, RunPage, Summary},
};

/// How old what is shown of active runs may be: all who look at lists share one look at the
/// fleet.
const ACTIVE_AGE: Duration = Duration::from_millis(500);

/// Active runs of one shard that a look takes in.
const ACTIVE_MAX: usize = 5_000;

/// Active runs come before all that have ended: above any position in a stream.
const ABOVE_ENDED: i64 = 1 << 60;

/// Lists of runs.
pub(crate) struct Listing {
    client: Client,
    index: Index,
    active: Mutex<Option<(Instant, Arc<Active>)>>,
}

struct Active {
    runs: Vec<Summary>,
    left_out: u64,
    shards_left_out: u64,
}

impl Listing {
    pub(crate) fn new(client: Client, index: Index) -> Self {
        Self { client, index, active: Mutex::default() }
    }

    /// The active runs, as they were half a second ago at most.
    async fn active(&self) -> Arc<Active> {
        let mut known = self.active.lock().await;
        if let Some((at, active)) = known.as_ref().filter(|(at, _)| at.elapsed() < ACTIVE_AGE) {
            let _ = at;
            return Arc::clone(active);
        }
        let Activity { runs, left_out, shards_left_out } = self.client.activity(ACTIVE_MAX).await;
        let runs = runs.into_iter().filter_map(|run| {
            serde_json::from_value(run)
                .map_err(|error| tracing::debug!(%error, "an active run is left out"))
                .ok()
        });
        let active = Arc::new(Active { runs: runs.collect(), left_out, shards_left_out });
        *known = Some((Instant::now(), Arc::clone(&active)));
        active
    }

    fn gaps(&self, active: &Active) -> Gaps {
        Gaps {
            indexing: !self.index.is_whole(),
            active_left_out: active.left_out,
            shards_left_out: active.shards_left_out,
        }
    }

    /// A page of runs.
    pub(crate) async fn page(
        &self,
        filter: Filter,
        order: Order,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<RunPage, Problem> {
        let mut after = cursor.map(|cursor| read_cursor(order, cursor)).transpose()?;
        let active = self.active().await;
        let matching = active.runs.iter().filter(|run| is_match(&filter, run));
        let mut waiting: Vec<Hit> = matching
            .map(|run| Hit { key: key(order, run), summary: run.clone() })
            .filter(|hit| after.is_none_or(|after| is_behind(order, hit.key, after)))
            .collect();
        sort(order, &mut waiting);
        loop {
            // No page needs more than these, and asking about all could take long.
            let rest = waiting.split_off(waiting.len().min(limit + 1));
            let mut hits = waiting;
            let looked_to = hits.last().map(|hit| hit.key).filter(|_| !rest.is_empty());
            let candidates = hits.iter().map(|hit| hit.summary.run_id.clone()).collect();
            let asked = self.index.page(filter.clone(), order, after, limit + 1, candidates).await?;
            // What has ended since the look at the fleet is in the index.
            hits.retain(|hit| !asked.known.contains(&hit.summary.run_id));
            hits.extend(asked.hits);
            // Behind the last that was asked about, active ones may come first.
            hits.retain(|hit| looked_to.is_none_or(|last| !is_behind(order, hit.key, last)));
            sort(order, &mut hits);
            let more = hits.len() > limit || looked_to.is_some();
            if hits.is_empty() && more {
                (waiting, after) = (rest, looked_to);
                continue;
            }
            hits.truncate(limit);
            let next_cursor = hits.last().filter(|_| more).map(|hit| write_cursor(order, hit.key));
            let runs = hits.into_iter().map(|hit| hit.summary).collect();
            return Ok(RunPage { runs, next_cursor, gaps: self.gaps(&active) });
        }
    }

    /// How many runs there are.
    pub(crate) async fn counts(&self, filter: Filter) -> Result<RunCounts, Problem> {
        let active = self.active().await;
        let mut counts = RunCounts { gaps: self.gaps(&active), ..RunCounts::default() };
        let mut nano_usd = 0;
        for run in active.runs.iter().filter(|run| is_match(&filter, run)) {
            *counts.by_state.entry(state_name(run.state).to_owned()).or_default() += 1;
            counts.total += 1;
            match run.usd {
                Some(usd) => nano_usd += nano(usd),
                None => counts.usd_unknown += 1,
            }
        }
        let ended = self.index.counts(filter).await?;
        counts.capped = ended.capped;
        for (state, Count { runs, nano_usd: of_state, unknown }) in ended.by_state {
            *counts.by_state.entry(state).or_default() += runs;
            counts.total += runs;
            nano_usd += of_state;
            counts.usd_unknown += unknown;
        }
        counts.usd = crate::index::dollars(nano_usd);
        Ok(counts)
    }

    /// What ended runs have cost, and whether all of them are counted.
    pub(crate) async fn costs(
        &self,
        filter: Filter,
        by: By,
        since_ms: Option<u64>,
    ) -> Result<(Vec<CostRow>, bool), Problem> {
        let rows = self.index.costs(filter, by, since_ms.map(|ms| ms / 86_400_000)).await?;
        Ok((rows, !self.index.is_whole()))
    }
}

/// Whether what has one key comes behind what has another.
fn is_behind(order: Order, key: (i64, i64), other: (i64, i64)) -> bool {
    if order == Order::Oldest { key > other } else { key < other }
}

fn sort(order: Order, hits: &mut [Hit]) {
    match order {
        Order::Oldest => hits.sort_by_key(|hit| hit.key),
        _ => hits.sort_by_key(|hit| std::cmp::Reverse(hit.key)),
    }
}

/// Where an active run comes in a list.
fn key(order: Order, run: &Summary) -> (i64, i64) {
    let since = run.created_at.parse::<humantime::Timestamp>().ok();
    let since = since.and_then(|at| SystemTime::from(at).duration_since(SystemTime::UNIX_EPOCH).ok());
    let begun = since.and_then(|since| i64::try_from(since.as_millis()).ok()).unwrap_or_default();
    // Those of one millisecond are told apart by their names.
    let place = ABOVE_ENDED + (begun << 12) + i64::from(fold(&run.run_id) & 0xfff);
    match order {
        Order::Newest | Order::Oldest => (place, place),
        Order::Cost => (run.usd.map_or(-1, nano), place),
        Order::Duration => (i64::try_from(run.total_ms).unwrap_or(i64::MAX), place),
    }
}

fn fold(text: &str) -> u32 {
    text.bytes().fold(17, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)))
}

fn is_match(filter: &Filter, run: &Summary) -> bool {
    let is = |wanted: &Option<String>, value: Option<&str>| {
        wanted.as_deref().is_none_or(|wanted| value == Some(wanted))
    };
    let template = run.template.as_deref();
    let name = template.and_then(|template| template.split_once('@')).map(|(name, _)| name);
    is(&filter.tenant, Some(&run.tenant))
        && (filter.states.is_empty() || filter.states.contains(&run.state))
        && is(&filter.class, run.class.as_deref())
        && is(&filter.batch, run.batch_id.as_deref())
        && (is(&filter.template, template) || is(&filter.template, name))
        && filter.labels.iter().all(|(name, value)| run.labels.get(name) == Some(value))
        && filter.until_ms.is_none_or(|until| clock::unix_ms() < until)
        && has_words(&filter.words, run)
}

/// Whether all words are in it; the last may be the beginning of one.
fn has_words(wanted: &[String], run: &Summary) -> bool {
    let Some((last, whole)) = wanted.split_last() else { return true };
    let texts = [&run.run_id].into_iter().chain(&run.custom_id).chain(&run.class).chain(&run.batch_id);
    let labels = run.labels.iter().flat_map(|(name, value)| [name, value]);
    let all: Vec<String> =
        texts.chain(labels).chain(&run.goal).chain(&run.reason).flat_map(|text| words(text)).collect();
    whole.iter().all(|word| all.contains(word)) && all.iter().any(|word| word.starts_with(last.as_str()))
}

const fn letter(order: Order) -> &'static str {
    match order {
        Order::Newest => "n",
        Order::Oldest => "o",
        Order::Cost => "c",
        Order::Duration => "d",
    }
}

fn write_cursor(order: Order, (value, place): (i64, i64)) -> String {
    format!("{}{value}_{place}", letter(order))
}

fn read_cursor(order: Order, cursor: &str) -> Result<(i64, i64), Problem> {
    let read = || {
        let (value, place) = cursor.strip_prefix(letter(order))?.split_once('_')?;
        Some((value.parse().ok()?, place.parse().ok()?))
    };
    read().ok_or_else(|| {
        Problem::query("cursor: give next_cursor of a page with the same query, or leave it out")
    })
}

/// The time that a query names: RFC 3339, or a duration before now such as `24h`.
pub(crate) fn time(name: &str, written: &str) -> Result<u64, Problem> {
    if let Ok(before) = humantime::parse_duration(written) {
        let before = u64::try_from(before.as_millis()).unwrap_or(u64::MAX);
        return Ok(clock::unix_ms().saturating_sub(before));
    }
    let at = humantime::parse_rfc3339_weak(written).ok();
    let since = at.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    since.and_then(|since| u64::try_from(since.as_millis()).ok()).ok_or_else(|| {
        let now = rfc3339(clock::unix_ms());
        Problem::query(format!(
            "{name}: {written:?} is no time; give such as {now}, or a duration before now, as 24h"
        ))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use planfleet_bus::{Bus, broker::memory::MemoryBroker};

    use super::*;
    use crate::{index::tests::filled, view::RunState};

    /// Runs that were active at the last look at the fleet: those of the index that are named,
    /// which have ended since, and as many more.
    async fn with_active(index: Index, ended: std::ops::Range<usize>) -> (Listing, usize) {
        let all = index.page(Filter::default(), Order::Oldest, None, 1_000, Vec::new()).await.unwrap().hits;
        let count = ended.len();
        let active = all[ended].iter().cycle().take(count * 2).enumerate().map(|(n, hit)| {
            let run_id = if n < count { hit.summary.run_id.clone() } else { format!("00-active{n}") };
            // In each order, those that have ended come first and among the others.
            let second = if n < count { 2 * n } else { 2 * (n - count) + 1 };
            let created_at = format!("2026-01-02T00:00:{second:02}.000Z");
            let (state, total_ms, usd) = (RunState::Executing, 90_000 + second as u64, Some(second as f64));
            Summary { run_id, created_at, state, total_ms, usd, ended_at: None, ..hit.summary.clone() }
        });
        let runs = active.collect();
        let client = Client::new(Bus::new(Arc::new(MemoryBroker::new()), 1));
        let active = Arc::new(Active { runs, left_out: 0, shards_left_out: 0 });
        // A look that stays new for as long as the test.
        let at = Instant::now() + Duration::from_secs(3_600);
        (Listing { client, index, active: Mutex::new(Some((at, active))) }, all.len() + count)
    }

    #[tokio::test]
    async fn pages_go_through_active_and_ended_runs_while_runs_end() {
        for ended in [0..0, 5..6, 0..3, 20..30] {
            let (listing, count) = with_active(filled(40).await, ended.clone()).await;
            for order in [Order::Newest, Order::Oldest, Order::Cost, Order::Duration] {
                for limit in [1, 2, 3, 7, 100] {
                    let (mut seen, mut listed, mut cursor) = (BTreeSet::new(), 0, None::<String>);
                    loop {
                        let page = listing.page(Filter::default(), order, cursor.as_deref(), limit);
                        let page = page.await.unwrap();
                        assert!(page.runs.len() <= limit);
                        assert!(!page.runs.is_empty() || page.next_cursor.is_none());
                        listed += page.runs.len();
                        seen.extend(page.runs.into_iter().map(|run| run.run_id));
                        let Some(next) = page.next_cursor else { break };
                        cursor = Some(next);
                    }
                    assert_eq!((listed, seen.len()), (count, count), "{ended:?}, {order:?} by {limit}");
                }
            }
        }
    }

    #[test]
    fn a_cursor_goes_on_with_its_own_order() {
        for order in [Order::Newest, Order::Oldest, Order::Cost, Order::Duration] {
            let cursor = write_cursor(order, (-1, 7));
            assert_eq!(read_cursor(order, &cursor).unwrap(), (-1, 7));
        }
        for wrong in ["", "n", "n1", "c1_2", "n1_x", "nx_1"] {
            assert!(read_cursor(Order::Newest, wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_absolute_or_before_now() {
        assert_eq!(time("since", "1970-01-01T00:00:01Z").unwrap(), 1_000);
        assert_eq!(time("since", "1970-01-01 00:00:02").unwrap(), 2_000);
        assert!(time("since", "1h").unwrap() + 3_600_000 <= clock::unix_ms());
        assert!(time("since", "yesterday").is_err());
    }
}
