//! Where one measurement takes place: a folder that goes with it, fresh servers, the
//! processes that work on them, and what all of these have used and moved so far.

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf, sync::Arc, time::Duration};

use async_nats::Client;
use futures::{
    FutureExt as _,
    future::{join_all, select_all},
};
use planfleet_bus::{
    Bus, Manage, Pool, Topology,
    broker::nats::{ConnectOptions, NatsBroker},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::{
    Options,
    child::{Child, Program},
    engine::Fleet,
    error::{Error, failed},
    machine,
    messages::Messages,
    server::{Servers, Traffic},
};

/// Shards of every measurement: the default for one machine.
pub(crate) const SHARDS: u16 = 4;

/// The ack wait of pools, as configured by default.
const ACK_WAIT: Duration = Duration::from_secs(30);

/// A cluster that has just started elects leaders for all streams.
const BOOTSTRAP_TIMEOUT: Duration = Duration::from_secs(30);

const BOOTSTRAP_AGAIN: Duration = Duration::from_millis(250);

/// Whose use is counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Server,
    Coordinator,
    Executor,
    Planner,
    Api,
    Model,
    /// Whoever submits, as a process of its own.
    Submitter,
    /// Who watches a run.
    Watcher,
    /// This process.
    Client,
}

impl Role {
    /// Everybody who is there from beginning to end.
    pub(crate) const ALL: [Self; 8] = [
        Self::Server,
        Self::Coordinator,
        Self::Executor,
        Self::Planner,
        Self::Api,
        Self::Model,
        Self::Watcher,
        Self::Client,
    ];
}

/// A place for one measurement.
pub(crate) struct Site {
    crew: Vec<(Role, Child)>,
    pub(crate) servers: Servers,
    pub(crate) bus: Bus,
    asking: Client,
    /// Last, so that it is removed when nobody uses it any more.
    folder: TempDir,
}

/// What had been used and moved at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) at: Instant,
    pub(crate) cpu_s: BTreeMap<Role, f64>,
    /// CPU seconds of the whole machine.
    pub(crate) busy_s: f64,
    /// Messages ever stored, by stream.
    pub(crate) stored: BTreeMap<String, u64>,
    pub(crate) traffic: Traffic,
}

impl Site {
    /// Fresh servers, and nobody who works on them yet.
    pub(crate) async fn open(options: &Options) -> Result<Self, Error> {
        let folder = tempfile::Builder::new().prefix("planfleet-bench-").tempdir();
        let folder = folder.map_err(failed("make a folder for the measurement"))?;
        let servers = Servers::start(&options.nats_server, options.broker, folder.path()).await?;
        let connecting = ConnectOptions {
            url: servers.url.clone(),
            name: "planfleet-bench".to_owned(),
            ..ConnectOptions::default()
        };
        let bus = Bus::new(Arc::new(NatsBroker::connect(connecting).await?), SHARDS);
        let asking = crate::floor::connect(&servers.url).await?;
        Ok(Self { crew: Vec::new(), servers, bus, asking, folder })
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> Result<PathBuf, Error> {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).map_err(failed(format!("write {name}")))?;
        Ok(path)
    }

    /// Makes the streams, as the engine does itself, with patience for a cluster that
    /// elects their leaders.
    pub(crate) async fn bootstrap(&self, options: &Options, fleet: &Fleet) -> Result<(), Error> {
        let pool = |name: &str, slots| Pool { name: name.to_owned(), slots, ack_wait: ACK_WAIT };
        let topology = Topology {
            shards: SHARDS,
            replicas: options.broker.replicas,
            pools: vec![pool("plan", fleet.plannings.max(4)), pool("default", fleet.slots)],
            manage: Manage::Create,
        };
        let began = Instant::now();
        loop {
            match self.bus.bootstrap(&topology).await {
                Err(error) if !error.is_permanent() && began.elapsed() < BOOTSTRAP_TIMEOUT => {
                    sleep(BOOTSTRAP_AGAIN).await;
                }
                outcome => return Ok(outcome?),
            }
        }
    }

    /// Starts this very program with other arguments.
    pub(crate) async fn hire(
        &mut self,
        options: &Options,
        role: Role,
        args: Vec<OsString>,
    ) -> Result<(), Error> {
        let name = format!("{role:?}-{}", self.crew.len()).to_lowercase();
        let child = self.errand(options, &name, args).await?;
        self.crew.push((role, child));
        Ok(())
    }

    /// The same for a process that is to end by itself.
    pub(crate) async fn errand(
        &self,
        options: &Options,
        name: &str,
        args: Vec<OsString>,
    ) -> Result<Child, Error> {
        let (path, folder) = (options.program.clone(), self.folder.path().to_owned());
        let program = Program { name: name.to_owned(), path, args, env: Vec::new(), folder };
        Child::start(&program).await
    }

    /// The same for what stands for other machines: it gets what the fleet leaves of the CPUs.
    pub(crate) async fn hire_aside(
        &mut self,
        options: &Options,
        role: Role,
        args: Vec<OsString>,
    ) -> Result<(), Error> {
        let name = format!("{role:?}-{}", self.crew.len()).to_lowercase();
        let niced = ["-n".into(), "10".into(), options.program.clone().into_os_string()];
        let (args, folder) = (niced.into_iter().chain(args).collect(), self.folder.path().to_owned());
        let program = Program { name, path: "nice".into(), args, env: Vec::new(), folder };
        self.crew.push((role, Child::start(&program).await?));
        Ok(())
    }

    /// Starts a process of the floor.
    pub(crate) async fn hire_floor(
        &mut self,
        options: &Options,
        role: Role,
        name: &str,
        messages: Option<&Messages>,
    ) -> Result<(), Error> {
        let messages = serde_json::to_string(&messages).map_err(failed("write down the messages"))?;
        let url = self.servers.url.clone();
        let args = ["bench-floor", name, "--url", &url, "--messages", &messages];
        self.hire(options, role, args.map(OsString::from).into()).await
    }

    /// Kills the processes of a role.
    pub(crate) async fn dismiss(&mut self, role: Role) {
        let (gone, kept) = std::mem::take(&mut self.crew).into_iter().partition(|(of, _)| *of == role);
        self.crew = kept;
        join_all(Vec::into_iter(gone).map(|(_, child)| child.stop())).await;
    }

    /// What a role's newest process has written.
    pub(crate) fn said(&self, role: Role) -> String {
        let of_role = self.crew.iter().rev().find(|(of, _)| *of == role);
        of_role.map(|(_, child)| child.said()).unwrap_or_default()
    }

    /// Fails if anybody has ended.
    pub(crate) fn check(&mut self) -> Result<(), Error> {
        self.crew.iter_mut().try_for_each(|(_, child)| child.check())
    }

    /// Does something that needs everybody: fails as soon as anybody ends.
    pub(crate) async fn with_crew<T>(
        &mut self,
        doing: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let crew = self.crew.iter_mut().map(|(_, child)| child);
        let ends = crew.chain(&mut self.servers.children).map(|child| child.ended().boxed_local());
        let first_end = select_all(ends);
        tokio::select! {
            biased;
            done = doing => done,
            (error, ..) = first_end => Err(error),
        }
    }

    /// The processes of a role.
    pub(crate) fn pids(&self, role: Role) -> Vec<i32> {
        match role {
            Role::Client => vec![machine::own_pid()],
            Role::Server => self.servers.children.iter().map(Child::pid).collect(),
            _ => self.crew.iter().filter(|(of, _)| *of == role).map(|(_, child)| child.pid()).collect(),
        }
    }

    /// What has been used and moved so far.
    pub(crate) async fn read(&self) -> Result<Reading, Error> {
        let at = Instant::now();
        let mut cpu_s = BTreeMap::new();
        for role in Role::ALL {
            let each: Result<Vec<f64>, Error> = self.pids(role).into_iter().map(machine::cpu_s).collect();
            cpu_s.insert(role, each?.iter().sum());
        }
        let busy_s = machine::busy_s()?;
        let (stored, traffic) = (self.stored().await?, self.servers.traffic().await?);
        Ok(Reading { at, cpu_s, busy_s, stored, traffic })
    }

    /// The peak memory of a role's processes together, in MiB.
    pub(crate) fn peak_rss_mb(&self, role: Role) -> Result<f64, Error> {
        self.pids(role).into_iter().map(machine::peak_rss_mb).sum()
    }

    /// How many messages each stream has ever stored.
    async fn stored(&self) -> Result<BTreeMap<String, u64>, Error> {
        let what = "list the streams";
        let answer = self.asking.request("$JS.API.STREAM.LIST", "{}".into()).await.map_err(failed(what))?;
        let list: Value = serde_json::from_slice(&answer.payload).map_err(failed(what))?;
        let streams = list["streams"].as_array().cloned().unwrap_or_default();
        let named = |stream: &Value| {
            let name = stream["config"]["name"].as_str()?.to_owned();
            Some((name, stream["state"]["last_seq"].as_u64()?))
        };
        Ok(streams.iter().filter_map(named).collect())
    }

    /// Kills everybody.
    pub(crate) async fn close(self) {
        let children = self.crew.into_iter().map(|(_, child)| child).chain(self.servers.children);
        join_all(children.map(Child::stop)).await;
    }
}
