//! One campaign from the first process to the history of it all.

use std::{
    env,
    net::SocketAddr,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use planfleet_core::seeded::{self, Bug};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout},
};

use crate::{
    api::Api,
    broker,
    clients::Clients,
    fleet::{Fleet, Setup},
    gate,
    history::{FaultKind, History},
    ledger::Ledger,
    model::Model,
    nemesis::{
        Nemesis,
        plan::{self, Planned, shown},
    },
    support::{Disk, Home, now_ms},
    witness::Witness,
    workload,
};

/// Every run has to end this long after the last fault, by what is promised.
pub(crate) const END_WITHIN: Duration = Duration::from_secs(300);

/// How long the last calls of clients that have given up may take.
const LAST_CALLS: Duration = Duration::from_secs(30);

/// Room for everything that a campaign stores, and quickly filled.
const DISK_MIB: u32 = 512;

/// The same for each of many runs.
const DISK_MIB_PER_HUNDRED_RUNS: u32 = 25;

fn disk_mib(runs: usize) -> u32 {
    let hundreds = u32::try_from(runs / 100).unwrap_or(u32::MAX);
    DISK_MIB.max(hundreds.saturating_mul(DISK_MIB_PER_HUNDRED_RUNS))
}

/// Set to 1 by those who know that no disk can be filled where they are.
const WITHOUT_MOUNT: &str = "PLANFLEET_TESTS_WITHOUT_MOUNT";

/// Between the first submit and the first fault: the fleet is at work by then.
const WARM_UP: Duration = Duration::from_secs(1);

/// Shards change hands while a fleet starts, and a result that comes at that moment may be
/// asked for again: peace begins when each has its owner.
const SPREAD: Duration = Duration::from_secs(4);

/// After the last end, logs may still grow for a moment: late results, timers.
const SETTLE: Duration = Duration::from_secs(2);

/// How a campaign is fought.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// What tasks and faults follow from.
    pub(crate) seed: u64,
    /// Tasks at most.
    pub(crate) runs: usize,
    /// Clients that submit, each one run at a time.
    pub(crate) users: u32,
    /// How long faults happen.
    pub(crate) length: Duration,
    /// What may go wrong; nothing, in peace.
    pub(crate) mix: &'static [plan::Named],
    /// Between two faults, on average.
    pub(crate) every: Duration,
    /// Servers of the broker: 1 or 3.
    pub(crate) nodes: usize,
    /// Every run has to end this long after the last fault.
    pub(crate) end_within: Duration,
    /// The bug that the fleet has on purpose.
    pub(crate) bug: Option<Bug>,
}

impl Settings {
    /// Whether nothing goes wrong.
    pub(crate) const fn is_peaceful(&self) -> bool {
        self.mix.is_empty()
    }
}

/// What a campaign leaves to be judged.
pub(crate) struct Fought {
    pub(crate) history: History,
    /// What went wrong that is no matter of the history.
    pub(crate) findings: Vec<String>,
    /// Faults that were planned and not proven: it proves nothing.
    pub(crate) unproven: Vec<String>,
    /// What the fleet should have had to do and had not: likewise.
    pub(crate) idle: Vec<String>,
    /// What else is worth to be known.
    pub(crate) notes: Vec<String>,
    /// Where the processes' logs are, for as long as it is held.
    pub(crate) home: Arc<Home>,
}

/// Everything that takes part.
struct Field {
    home: Arc<Home>,
    fleet: Arc<Fleet>,
    ledger: Ledger,
    clients: Arc<Clients>,
    nemesis: Arc<Nemesis>,
    witness: Witness,
}

/// Fights a campaign.
pub(crate) async fn fight(settings: &Settings) -> Fought {
    let (field, plan) = Field::set_up(settings).await;
    let Field { fleet, clients, nemesis, .. } = &field;
    if settings.is_peaceful() {
        sleep(SPREAD).await;
    }
    let mut calling = clients.start();
    let supervised = Arc::clone(fleet);
    let supervising = tokio::spawn(async move { supervised.supervise().await });

    let began = Instant::now();
    sleep(WARM_UP).await;
    nemesis.carry_out(plan.clone()).await;
    if settings.is_peaceful() {
        sleep(settings.length.saturating_sub(began.elapsed())).await;
    }
    let last_ms = noted(&nemesis.faults).iter().map(|fault| fault.to_ms).max();
    let healed_ms = last_ms.unwrap_or_else(now_ms);
    fleet.serves().await;
    println!("healed after {:.1?}; {} runs go on", began.elapsed(), clients.active().len());

    clients.close(healed_ms + u64::try_from(settings.end_within.as_millis()).unwrap_or(u64::MAX));
    let calls = async { while calling.join_next().await.is_some() {} };
    timeout(settings.end_within + LAST_CALLS, calls).await.expect("clients give up by themselves");
    println!("the last run ended {} ms later", now_ms() - healed_ms);
    sleep(SETTLE).await;
    fleet.stop();
    supervising.await.expect("the supervisor ends by itself");
    fleet.keep_logs().await;
    field.leave(&plan, healed_ms).await
}

impl Field {
    /// Starts everything, and says what will go wrong.
    async fn set_up(settings: &Settings) -> (Self, Vec<Planned>) {
        let mut home = Home::new();
        if let Some(bug) = settings.bug {
            home.set(seeded::VARIABLE, bug.name());
        }
        let home = Arc::new(home);
        let store = home.path("broker");
        let disk = Disk::mount(&store, disk_mib(settings.runs));
        let plan = faults(settings, &disk);
        let servers = broker::start(&home, settings.nodes, &store).await;
        let addresses: Vec<SocketAddr> = servers.iter().map(broker::Server::address).collect();
        let ledger = Ledger::start().await;
        let mut jobs = workload::jobs(settings.seed, settings.runs, &ledger.url());
        let rules = jobs.iter_mut().flat_map(|job| std::mem::take(&mut job.rules)).collect();
        let model = Model::start(rules).await;
        let setup = Setup { home: Arc::clone(&home), servers: &addresses, model_url: model.url() };
        let fleet = Arc::new(Fleet::start(setup).await);
        let witness = Witness::start(&addresses).await;
        let clients = Clients::new(Api::new(fleet.api_url()), settings.users, jobs);
        let nemesis = Arc::new(Nemesis {
            home: Arc::clone(&home),
            fleet: Arc::clone(&fleet),
            servers: servers.into_iter().map(Mutex::new).collect(),
            model: Mutex::new(model),
            ledger: ledger.clone(),
            disk: disk.ok(),
            faults: std::sync::Mutex::default(),
            failed: std::sync::Mutex::default(),
            findings: std::sync::Mutex::default(),
        });
        (Self { home, fleet, ledger, clients, nemesis, witness }, plan)
    }

    /// What is left of it all.
    async fn leave(self, plan: &[Planned], healed_ms: u64) -> Fought {
        let Self { home, fleet, ledger, clients, nemesis, witness } = self;
        let testimony = witness.finish().await;
        let injected = noted(&nemesis.faults);
        let submitted = clients.submitted();
        let tasks = workload::by_kind(submitted.iter().map(|job| &**job));
        let found = [clients.refusals(), noted(&nemesis.findings), noted(&fleet.deaths)];
        let in_vain = fleet.in_vain.load(Ordering::Relaxed);
        let mut notes = vec![
            format!("tasks: {tasks:?}"),
            format!("{in_vain} processes found no broker when they started"),
        ];
        notes.extend(noted(&nemesis.failed).iter().map(|why| format!("not done: {why}")));
        let unproven = gate::unproven(plan, &injected);
        let history = History {
            clients: clients.calls(),
            logs: testimony.logs,
            dispatches: testimony.dispatches,
            documents: testimony.documents,
            effects: ledger.effects(),
            faults: injected,
            expected: workload::expectations(submitted.iter().map(|job| &**job)),
            healed_ms,
        };
        let healing = gate::at_healing(&history);
        notes.push(format!("when it had healed: {healing}"));
        let idle = gate::idle(&tasks, healing);
        Fought { history, findings: found.concat(), unproven, idle, notes, home }
    }
}

fn noted<T: Clone>(book: &std::sync::Mutex<Vec<T>>) -> Vec<T> {
    book.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// The plan, printed.
fn faults(settings: &Settings, disk: &Result<Disk, String>) -> Vec<Planned> {
    if settings.is_peaceful() {
        return Vec::new();
    }
    let wanted = |named: &plan::Named| settings.mix.contains(named);
    let plan_of = |possible: &dyn Fn(&plan::Named) -> bool| {
        plan::plan(settings.seed, settings.length, settings.every, possible)
    };
    let mut plan = plan_of(&wanted);
    if let Err(why) = disk
        && plan.iter().any(|fault| fault.kind == FaultKind::DiskFull)
    {
        let known = env::var(WITHOUT_MOUNT).is_ok_and(|known| known == "1");
        assert!(
            known,
            "no disk can be filled here, and {WITHOUT_MOUNT}=1 would say that this is known: {why}"
        );
        println!("no disk is filled, as {WITHOUT_MOUNT}=1 wants it: {why}");
        plan = plan_of(&|named| wanted(named) && named.0 != FaultKind::DiskFull);
    }
    println!("SEED={} NODES={}: {} faults", settings.seed, settings.nodes, plan.len());
    for fault in &plan {
        let (at, what) = (fault.at.as_secs_f64(), shown((fault.kind, fault.target)));
        println!("  {at:6.1} s  {what:20} {:?}", fault.lasts);
    }
    plan
}
