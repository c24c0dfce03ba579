//! From two readings and some latencies to figures. What their names leave open:
//! `engine_cpu` is that of coordinators, executors, planners and the API, `floor_cpu` that of
//! the floor's processes and its servers together; `messages` are those that streams
//! and buckets have stored; `bytes` and `server_messages` are what the servers have got
//! and sent, acks and requests included; `peak_rss` is the sum over all processes but
//! the client; `others_cpu_share` is the part of the machine that others have used.

use std::{collections::BTreeMap, time::Duration};

use planfleet_proto::subjects;

use crate::{
    error::Error,
    machine,
    sample::Sample,
    site::{Reading, Role, SHARDS, Site},
};

/// Whose figures they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Engine,
    Floor,
}

/// What happened between two readings.
pub(crate) struct Span {
    pub(crate) before: Reading,
    pub(crate) after: Reading,
    /// Runs and the steps of all of them.
    pub(crate) runs: u64,
    pub(crate) steps: u64,
}

impl Span {
    pub(crate) fn seconds(&self) -> f64 {
        (self.after.at - self.before.at).as_secs_f64()
    }

    /// CPU seconds of some roles.
    pub(crate) fn cpu_s(&self, roles: &[Role]) -> f64 {
        let of = |reading: &Reading| roles.iter().filter_map(|role| reading.cpu_s.get(role)).sum::<f64>();
        of(&self.after) - of(&self.before)
    }

    /// CPU seconds of the whole machine.
    pub(crate) fn busy_s(&self) -> f64 {
        self.after.busy_s - self.before.busy_s
    }

    /// The part of the machine that others have used: figures beside much of it say little.
    pub(crate) fn others_cpu_share(&self) -> f64 {
        (self.busy_s() - self.cpu_s(&Role::ALL)).max(0.0) / (self.seconds() * machine::cpus())
    }

    /// Messages stored meanwhile, all streams and buckets.
    pub(crate) fn messages(&self) -> u64 {
        self.stored(|_| true)
    }

    /// Steps that were put into the queue, those that were there twice counted twice.
    pub(crate) fn dispatched(&self) -> u64 {
        self.stored(|name| name == subjects::STEPS)
    }

    fn stored(&self, wanted: impl Fn(&str) -> bool) -> u64 {
        let sum = |stored: &BTreeMap<String, u64>| {
            stored.iter().filter(|(name, _)| wanted(name)).map(|(_, last)| last).sum::<u64>()
        };
        sum(&self.after.stored).saturating_sub(sum(&self.before.stored))
    }

    /// Fails unless every step was dispatched and has a result: what did less was no
    /// measurement of the workload.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let dispatched = self.dispatched();
        let logs: Vec<String> = (0..SHARDS).map(subjects::log).collect();
        let logged = self.stored(|name| logs.iter().any(|log| log == name));
        let ended = self.stored(|name| name == subjects::DONE);
        if dispatched >= self.steps && logged >= self.steps + self.runs && ended == self.runs {
            return Ok(());
        }
        Err(Error::Void(format!(
            "{} runs of {} steps in all left {dispatched} dispatches, {logged} records and {ended} ends",
            self.runs, self.steps
        )))
    }

    /// All figures of a side.
    pub(crate) async fn sample(
        &self,
        site: &Site,
        side: Side,
        latencies: Vec<Duration>,
    ) -> Result<Sample, Error> {
        let mut sample = Sample::of(site.servers.sync_interval().await?);
        let steps = self.steps as f64;
        let per_1k = |cpu_s: f64| cpu_s * 1_000.0 / steps;
        let server = self.cpu_s(&[Role::Server]);
        let workers = self.cpu_s(&[Role::Coordinator, Role::Executor, Role::Planner, Role::Api]);
        let client = self.cpu_s(&[Role::Client]);
        let rss = |role| site.peak_rss_mb(role);
        let all = rss(Role::Server)? + rss(Role::Coordinator)? + rss(Role::Executor)? + rss(Role::Planner)?;
        let moved = self.after.traffic.bytes - self.before.traffic.bytes;
        let sent = self.after.traffic.messages - self.before.traffic.messages;
        match side {
            Side::Engine => {
                sample.set("steps_per_s", steps / self.seconds());
                sample.percentiles(["p50_ms", "p99_ms", "p999_ms"], latencies);
                sample.set("engine_cpu_s_per_1k", per_1k(workers));
                sample.set("coordinator_cpu_s_per_1k", per_1k(self.cpu_s(&[Role::Coordinator])));
                sample.set("executor_cpu_s_per_1k", per_1k(self.cpu_s(&[Role::Executor])));
                sample.set("server_cpu_s_per_1k", per_1k(server));
                sample.set("client_cpu_s_per_1k", per_1k(client));
                sample.set("peak_rss_mb", all);
                sample.set("coordinator_rss_mb", rss(Role::Coordinator)?);
                sample.set("executor_rss_mb", rss(Role::Executor)?);
                sample.set("server_rss_mb", rss(Role::Server)?);
                sample.set("engine_messages", self.messages() as f64);
                sample.set("messages_per_step", self.messages() as f64 / steps);
                sample.set("bytes_per_step", moved / steps);
                sample.set("server_messages_per_step", sent / steps);
                sample.set("others_cpu_share", self.others_cpu_share());
            }
            Side::Floor => {
                sample.set("floor_steps_per_s", steps / self.seconds());
                sample.percentiles(["floor_p50_ms", "floor_p99_ms", "floor_p999_ms"], latencies);
                sample.set("floor_cpu_s_per_1k", per_1k(server + workers));
                sample.set("floor_server_cpu_s_per_1k", per_1k(server));
                sample.set("floor_client_cpu_s_per_1k", per_1k(client));
                sample.set("floor_peak_rss_mb", all);
                sample.set("floor_messages", self.messages() as f64);
                sample.set("floor_messages_per_step", self.messages() as f64 / steps);
                sample.set("floor_bytes_per_step", moved / steps);
                sample.set("floor_server_messages_per_step", sent / steps);
                sample.set("floor_others_cpu_share", self.others_cpu_share());
            }
        }
        Ok(sample)
    }
}
