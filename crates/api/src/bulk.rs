//! Many runs at once: those that a filter finds are cancelled, or run again.
//!
//! What goes on is asked of the owners of all shards, page by page; what has ended is read
//! from the store of ended runs. Both are done over and over without harm: a run is cancelled
//! once, and run again once for each time that it did not succeed.

use std::{collections::BTreeMap, time::SystemTime};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use planfleet_bus::{Client, Error, client::RerunError};
use planfleet_core::{
    document::RunState,
    id::{RunId, ShardId},
};
use serde::Deserialize;

/// Orders under way at once: enough to keep a broker busy.
const ORDERS_MAX: usize = 128;

/// Runs that one filter finds at most: their ids take a hundred megabytes. What is left is
/// found when it is asked again.
pub const FOUND_MAX: usize = 1_000_000;

/// The key of every retry by a filter, among those of the run that it goes on from.
const RETRY_KEY: &str = "bulk-retry";

/// Which runs: those that fit all of what is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// In one of these states; none means all that can be meant.
    pub states: Vec<RunState>,
    /// Of this tenant.
    pub tenant: Option<String>,
    /// Of this class.
    pub class: Option<String>,
    /// With a plan from this template.
    pub template: Option<String>,
    /// Of this batch.
    pub batch: Option<String>,
    /// With all of these labels.
    pub labels: BTreeMap<String, String>,
    /// Submitted at this time or later.
    pub since: Option<SystemTime>,
    /// Submitted before this time.
    pub before: Option<SystemTime>,
}

/// What a list says of a run, as far as filters ask.
#[derive(Debug, Deserialize)]
struct Row {
    run_id: RunId,
    state: RunState,
    tenant: String,
    class: Option<String>,
    template: Option<String>,
    batch_id: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    created_at: Option<String>,
}

impl Filter {
    fn fits(&self, row: &Row) -> bool {
        let is = |wanted: &Option<String>, own: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| own == Some(wanted))
        };
        // A template's name stands for all its versions.
        let template = row.template.as_deref().and_then(|name| name.split('@').next());
        let any_version = self.template.as_deref().is_some_and(|name| !name.contains('@'));
        (self.states.is_empty() || self.states.contains(&row.state))
            && is(&self.tenant, Some(&row.tenant))
            && is(&self.class, row.class.as_deref())
            && is(&self.template, if any_version { template } else { row.template.as_deref() })
            && is(&self.batch, row.batch_id.as_deref())
            && self.labels.iter().all(|(name, value)| row.labels.get(name) == Some(value))
            && self.fits_time(row.created_at.as_deref())
    }

    fn fits_time(&self, created_at: Option<&str>) -> bool {
        if self.since.is_none() && self.before.is_none() {
            return true;
        }
        let created = created_at.and_then(|at| humantime::parse_rfc3339(at).ok());
        created.is_some_and(|created| {
            self.since.is_none_or(|since| created >= since)
                && self.before.is_none_or(|before| created < before)
        })
    }
}

/// The runs that a filter has found.
#[derive(Debug, Default)]
pub struct Found {
    /// Their ids, up to [`FOUND_MAX`].
    pub runs: Vec<RunId>,
    /// Shards that nobody answers for: which runs go on there is not known.
    pub silent: Vec<ShardId>,
}

/// The runs that go on.
///
/// # Errors
/// When an owner answers what nobody understands. One that does not answer is said in
/// [`Found::silent`].
pub async fn active(client: &Client, filter: &Filter) -> Result<Found, Error> {
    let mut found = Found::default();
    for shard in 0..client.shards() {
        let mut after = None;
        loop {
            let Ok(page) = client.active_page(shard, after.as_ref()).await else {
                found.silent.push(shard);
                break;
            };
            let Some(last) = page.last() else { break };
            let last: Row = row(last)?;
            for run in &page {
                let row = row(run)?;
                if filter.fits(&row) && found.runs.len() < FOUND_MAX {
                    found.runs.push(row.run_id);
                }
            }
            after = Some(last.run_id);
        }
    }
    Ok(found)
}

/// The runs that have ended without success.
///
/// # Errors
/// When the broker cannot be reached.
pub async fn unsuccessful(client: &Client, filter: &Filter) -> Result<Found, Error> {
    let mut found = Found::default();
    let mut ended = client.bus().all_ended().await?;
    while let Some(kept) = ended.next().await {
        let document = match kept {
            Ok((_, ended)) => ended.document,
            Err(Error::Broker(error)) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, "an ended run is left out");
                continue;
            }
        };
        // A part of a run is done again by doing that run again.
        let is_whole = document["parent"].is_null();
        let row = row(&document)?;
        if is_whole && row.state != RunState::Succeeded && filter.fits(&row) && found.runs.len() < FOUND_MAX {
            found.runs.push(row.run_id);
        }
    }
    Ok(found)
}

fn row(run: &serde_json::Value) -> Result<Row, Error> {
    Row::deserialize(run).map_err(|error| Error::Answer(format!("a run in a list: {error}")))
}

/// Asks for the end of runs; gives how many were asked.
///
/// # Errors
/// When the broker has not taken it; asking again is safe.
pub async fn cancel(client: &Client, runs: &[RunId], reason: &str) -> Result<usize, Error> {
    let asked = stream::iter(runs.to_vec()).map(|run| async move { client.cancel(&run, reason).await });
    asked.buffer_unordered(ORDERS_MAX).try_collect::<()>().await?;
    Ok(runs.len())
}

/// Runs that go on from others, and others that cannot be run again.
#[derive(Debug, Default)]
pub struct Retried {
    /// The new runs, with those that they go on from.
    pub runs: Vec<(RunId, RunId)>,
    /// Why others are not run again.
    pub refused: Vec<(RunId, String)>,
}

/// Runs again what did not succeed, from where each run stopped. One that was run again by a
/// filter before is not run again; its new run is, once that has ended without success.
///
/// # Errors
/// When the fleet cannot be reached, or takes no more; asking again goes on.
pub async fn retry(client: &Client, runs: &[RunId]) -> Result<Retried, Error> {
    again(client, runs.to_vec(), RETRY_KEY).await
}

/// The same under another key: who asks with it again gets the same new runs.
pub(crate) async fn again(client: &Client, runs: Vec<RunId>, key: &str) -> Result<Retried, Error> {
    let again = stream::iter(runs).map(|run| async move {
        let rerun = client.rerun(&run, Some(key)).await;
        (run, rerun)
    });
    let mut again = again.buffer_unordered(ORDERS_MAX);
    let mut retried = Retried::default();
    while let Some((run, rerun)) = again.next().await {
        match rerun {
            Ok(new) => retried.runs.push((new, run)),
            Err(RerunError::Bus(error)) => return Err(error),
            Err(other) => retried.refused.push((run, other.to_string())),
        }
    }
    Ok(retried)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fits(filter: &Filter) -> bool {
        let run = json!({
            "run_id": "00-a", "state": "failed", "tenant": "acme", "class": "report", "batch_id": null,
            "template": "review@0123456789ab", "labels": {"team": "x", "city": "y"},
            "created_at": "2026-11-23T08:00:00Z", "goal": "more than is asked for",
        });
        filter.fits(&row(&run).unwrap())
    }

    #[test]
    fn a_run_fits_what_fits_it_all() {
        let some = |text: &str| Some(text.to_owned());
        let at = |text: &str| humantime::parse_rfc3339(text).ok();
        let label = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let any = Filter::default;
        for fitting in [
            any(),
            Filter { states: vec![RunState::Failed, RunState::Expired], tenant: some("acme"), ..any() },
            Filter { class: some("report"), labels: label("team", "x"), ..any() },
            Filter { template: some("review"), ..any() },
            Filter { template: some("review@0123456789ab"), ..any() },
            Filter { since: at("2026-11-23T08:00:00Z"), before: at("2026-11-23T08:00:01Z"), ..any() },
        ] {
            assert!(fits(&fitting), "{fitting:?}");
        }
        for other in [
            Filter { states: vec![RunState::Expired], ..any() },
            Filter { tenant: some("other"), class: some("report"), ..any() },
            Filter { class: some("other"), ..any() },
            Filter { template: some("review@ba9876543210"), ..any() },
            Filter { batch: some("b"), ..any() },
            Filter { labels: label("team", "y"), ..any() },
            Filter { labels: label("other", "x"), ..any() },
            Filter { since: at("2026-11-23T08:00:01Z"), ..any() },
            Filter { before: at("2026-11-23T08:00:00Z"), ..any() },
        ] {
            assert!(!fits(&other), "{other:?}");
        }
    }
}
