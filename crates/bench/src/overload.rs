//! `overload`: ten times as many tasks as a fleet gets done, offered over HTTP. First how many it
//! gets done with enough to do; then whether it gets as many done while it refuses the others, how
//! fast it refuses, and whether all that it has accepted ends. Steps only wait, so that it is the
//! slots that are short and not the CPU that offering takes too.

use std::{collections::BTreeSet, time::Duration};

use futures::StreamExt as _;
use planfleet_core::{document::RunState, id::RunId};
use planfleet_proto::{Message as _, subjects, wire};
use tokio::time::timeout;

use crate::{
    Options, STALL,
    engine::{self, Fleet, User},
    error::Error,
    graph::{self, WAIT_MS},
    offer::{Api, Offered},
    sample::Sample,
    site::{Role, SHARDS, Site},
    usage::Usage,
};

/// So many tasks offered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Overload {
    pub(crate) runs: u64,
}

/// A fleet whose tenfold load one machine can offer beside it.
const SLOTS: usize = 8;

/// Times the rate that the fleet gets done.
const TIMES: f64 = 10.0;

/// The most that the fleet takes: some seconds of work, so that it is never without. A tenth of
/// what is offered is done meanwhile, and of the rest the most is to be refused.
const ACTIVE_MAX: u64 = 1_000;

/// And the least: leases count runs for a second that have ended, those of the warm-up too.
const ACTIVE_MIN: u64 = 8 * WARM_UP;

/// The part of what is offered that the fleet takes at once, where little is offered.
const ACTIVE_PART: u64 = 8;

/// Runs before anything is measured.
const WARM_UP: u64 = 8;

/// The part of a time at its beginning, and of some ends on either side, that is no steady state.
const UNSTEADY: f64 = 0.2;

impl Overload {
    /// Steps of all that is offered.
    pub(crate) const fn steps(self) -> u64 {
        self.runs
    }

    fn active_max(self) -> u64 {
        (self.runs / ACTIVE_PART).clamp(ACTIVE_MIN, ACTIVE_MAX)
    }

    pub(crate) async fn engine(self, options: &Options) -> Result<Sample, Error> {
        let slots = options.slots.unwrap_or(SLOTS);
        let active_max = self.active_max();
        let (listen, port) = Api::config()?;
        let config =
            format!("{listen}[limits]\nactive_runs = {active_max}\nactive_runs_per_tenant = {active_max}\n");
        let fleet = Fleet { slots, config, ..Fleet::usual(options) };
        let mut site = Site::open(options).await?;
        engine::start(&mut site, options, &fleet).await?;
        let api = Api::start(&mut site, options, port).await?;
        let task = graph::wait_task(WAIT_MS);
        let mut user = User::new(&site, graph::freeze(task.clone())?);
        site.with_crew(user.submit(WARM_UP)).await?;

        // None of it is refused, however it is spread over the shards: of many there is half as much
        // room again in each, and few have room in one.
        let burst = if active_max < ACTIVE_MAX { active_max / u64::from(SHARDS) } else { active_max / 2 };
        site.with_crew(user.submit(burst)).await?;
        let ends = Ends::read(&site, 1 + WARM_UP, burst).await?;
        let peak = ends.steady_per_s();

        let mut pids = Vec::new();
        for role in [Role::Coordinator, Role::Api] {
            pids.extend(site.pids(role).into_iter().map(|pid| (role, pid)));
        }
        let offering = Usage::of(&pids, api.offer(&task, self.runs, peak * TIMES));
        let (offered, usage) = site.with_crew(offering).await?;
        let accepted = offered.accepted.len() as u64;
        let ends = Ends::read(&site, 1 + WARM_UP + burst, accepted).await?;
        ends.are_those_of(&offered)?;

        let mut sample = Sample::of(site.servers.sync_interval().await?);
        let goodput = ends.per_s_within(offered.over);
        sample.set("peak_runs_per_s", peak);
        sample.set("offered_runs_per_s", offered.per_s());
        sample.set("offered_times_peak", offered.per_s() / peak);
        sample.set("steps_per_s", goodput);
        sample.set("goodput_of_peak", goodput / peak);
        sample.set("accepted", accepted as f64);
        sample.set("refused", offered.refused_after.len() as f64);
        let Offered { accepted_after, refused_after, .. } = offered;
        sample.percentiles(["refusal_p50_ms", "refusal_p99_ms", "refusal_p999_ms"], refused_after);
        sample.percentiles(["accept_p50_ms", "accept_p99_ms", "accept_p999_ms"], accepted_after);
        for (role, peak, growth) in [
            (Role::Coordinator, "coordinator_rss_mb", "coordinator_growth_mb"),
            (Role::Api, "api_rss_mb", "api_growth_mb"),
        ] {
            usage.peak_mb(role).into_iter().for_each(|mb| sample.set(peak, mb));
            usage.growth_mb(role).into_iter().for_each(|mb| sample.set(growth, mb));
        }
        site.close().await;
        Ok(sample)
    }
}

/// Ends of runs, in their order, and when the broker has kept them.
struct Ends(Vec<(RunId, u64)>);

impl Ends {
    /// So many, from that place on in the log of ended runs.
    async fn read(site: &Site, from: u64, count: u64) -> Result<Self, Error> {
        let mut log = site.bus.broker().read_log(subjects::DONE, from).await?;
        let mut ends = Vec::new();
        while (ends.len() as u64) < count {
            let late = |_| {
                let what = format!("accepted runs: {} of {count} have ended", ends.len());
                Error::Late { what, within: STALL }
            };
            let entry = timeout(STALL, log.next()).await.map_err(late)?;
            let entry = entry.ok_or_else(|| Error::Void("the log of ended runs has ended".to_owned()))??;
            let run = subjects::done_run(&entry.subject)
                .ok_or_else(|| Error::Void(format!("{} names no run", entry.subject)))?;
            let finished = wire::RunFinished::decode(entry.payload)
                .map_err(|error| Error::Void(format!("the end of run {run} cannot be read: {error}")))?;
            if finished.state != RunState::Succeeded.as_str() {
                return Err(Error::Void(format!("run {run} was accepted and is {:?}", finished.state)));
            }
            ends.push((run, entry.at_ms));
        }
        Ok(Self(ends))
    }

    /// Ends a second, the first and the last ones left out.
    fn steady_per_s(&self) -> f64 {
        let left_out = part(self.0.len(), UNSTEADY);
        let steady = &self.0[left_out..self.0.len() - left_out];
        let (Some((_, first)), Some((_, last))) = (steady.first(), steady.last()) else { return 0.0 };
        (steady.len() - 1) as f64 * 1_000.0 / last.saturating_sub(*first).max(1) as f64
    }

    /// Ends a second from the first one on, within so much time, its beginning left out.
    fn per_s_within(&self, time: Duration) -> f64 {
        let Some((_, first)) = self.0.first() else { return 0.0 };
        let ms = time.as_secs_f64() * 1_000.0;
        let steady = |at: u64| {
            let after = at.saturating_sub(*first) as f64;
            (ms * UNSTEADY..ms).contains(&after)
        };
        let count = self.0.iter().filter(|(_, at)| steady(*at)).count();
        count as f64 * 1_000.0 / (ms * (1.0 - UNSTEADY))
    }

    /// Fails unless every run that was accepted is among them.
    fn are_those_of(&self, offered: &Offered) -> Result<(), Error> {
        let ended: BTreeSet<&RunId> = self.0.iter().map(|(run, _)| run).collect();
        let lost: Vec<&RunId> = offered.accepted.iter().filter(|run| !ended.contains(run)).collect();
        match lost.first() {
            None => Ok(()),
            Some(run) => Err(Error::Void(format!("{} accepted runs are lost, as {run}", lost.len()))),
        }
    }
}

fn part(count: usize, part: f64) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "fewer than there are")]
    let part = (count as f64 * part) as usize;
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(times: impl IntoIterator<Item = u64>) -> Ends {
        Ends(times.into_iter().map(|at| (RunId::new(0, &format!("r{at}")).unwrap(), at)).collect())
    }

    #[test]
    fn a_rate_is_that_of_the_middle() {
        // Ten a second, but for a slow beginning and a slow end.
        let times = [0, 900].into_iter().chain((0..10).map(|n| 1_000 + n * 100)).chain([2_800, 3_700]);
        let rate = ends(times).steady_per_s();
        assert!((rate - 10.0).abs() < 0.01, "{rate}");
        assert_eq!(ends([]).steady_per_s(), 0.0);
    }

    #[test]
    fn goodput_is_that_of_the_time_in_which_more_was_offered() {
        // Ten a second for ten seconds, of which five were overload.
        let rate = ends((0..100).map(|n| 5_000 + n * 100)).per_s_within(Duration::from_secs(5));
        assert!((rate - 10.0).abs() < 0.01, "{rate}");
    }

    #[test]
    fn an_accepted_run_that_never_ends_is_lost() {
        let ends = ends([1, 2]);
        let run = |name: &str| RunId::new(0, name).unwrap();
        let offered = |names: &[&str]| Offered {
            accepted: names.iter().map(|name| run(name)).collect(),
            ..Offered::default()
        };
        assert!(ends.are_those_of(&offered(&["r1", "r2"])).is_ok());
        let lost = ends.are_those_of(&offered(&["r1", "r3"])).unwrap_err().to_string();
        assert!(lost.contains("1 accepted runs are lost"), "{lost}");
    }
}
