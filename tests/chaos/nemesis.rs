//! The nemesis: carries out a plan of faults, proves each, and mends it.
//!
//! A fault takes the lock of what it befalls and gives it back mended, so that no two
//! meet one process, and the supervisor keeps away meanwhile. What is not proven is not
//! counted.

pub(crate) mod plan;
mod processes;
mod signals;

use std::{
    ops::RangeInclusive,
    sync::{Arc, Mutex as Book, PoisonError, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::{Mutex, MutexGuard},
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use self::plan::{Planned, shown};
use crate::{
    broker::Server,
    fleet::{Fleet, Member, Place},
    history::{Fault, FaultKind, Target},
    ledger::Ledger,
    model::Model,
    proxy::{Counters, Mode, Proxy},
    support::{Disk, Home, now_ms},
};

/// A process that is asked to stop drains for its grace at most, and some.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// How long the fleet may take to be at work again, elections and ack waits included.
const WORK_LIMIT: Duration = Duration::from_secs(30);

/// Plans are asked for now and then only, and by nobody while the broker is away.
const MODEL_LIMIT: Duration = Duration::from_secs(40);

/// How late bytes come: up to some times a lease's beat, less than the lease.
const DELAY_MS: RangeInclusive<u64> = 50..=700;

/// How long the broker may take to say that its disk is full: leases alone are renewed
/// several times a second.
const FULL_LIMIT: Duration = Duration::from_secs(10);

/// What a server writes into its log when there is no room.
const FULL: &str = "no space left on device";

/// What a model answers with in its bad moments.
const BAD_STATUS: [u16; 3] = [429, 500, 503];

/// Everything that can be harmed.
pub(crate) struct Nemesis {
    pub(crate) home: Arc<Home>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) servers: Vec<Mutex<Server>>,
    pub(crate) model: Mutex<Model>,
    /// Where it shows whether there is something to harm.
    pub(crate) ledger: Ledger,
    /// The broker's disk, where it is one that can be filled.
    pub(crate) disk: Option<Disk>,
    /// Every fault that was proven, and a word for each that was not.
    pub(crate) faults: Book<Vec<Fault>>,
    pub(crate) failed: Book<Vec<String>>,
    /// What the product did wrong meanwhile.
    pub(crate) findings: Book<Vec<String>>,
}

/// A fault that is over: what it befell, and the proof.
struct Done {
    name: String,
    owner: Option<String>,
    from_ms: u64,
    evidence: String,
}

impl Nemesis {
    /// Carries out the plan. Returns when the last fault is mended. That one comes when the
    /// others are mended and the fleet is at work again, so that it meets some of it, and
    /// there is something to go on with when all has healed.
    pub(crate) async fn carry_out(self: &Arc<Self>, mut plan: Vec<Planned>) {
        let began = Instant::now();
        let mut under_way = JoinSet::new();
        let last = plan.pop();
        for fault in plan {
            sleep_until(began + fault.at).await;
            let own = Arc::clone(self);
            under_way.spawn(async move { own.inflict(began, &fault).await });
        }
        while let Some(done) = under_way.join_next().await {
            done.expect("a fault does not panic");
        }
        if let Some(last) = last {
            sleep_until(began + last.at).await;
            // If it never is, the campaign says itself that it proves nothing.
            until(WORK_LIMIT, || self.ledger.is_at_work()).await;
            self.inflict(began, &last).await;
        }
    }

    async fn inflict(&self, began: Instant, fault: &Planned) {
        let what = shown((fault.kind, fault.target));
        let done = match (fault.kind, fault.target) {
            (FaultKind::BadModel, _) => self.bad_model(fault).await,
            (FaultKind::DiskFull, _) => self.fill_disk(fault).await,
            (_, Target::Broker) => self.harm_server(fault).await,
            (FaultKind::Kill | FaultKind::Freeze | FaultKind::Terminate, _) => self.harm_member(fault).await,
            (FaultKind::Cut | FaultKind::Refuse | FaultKind::Delay | FaultKind::Drip, _) => {
                self.harm_connections(fault).await
            }
        };
        let at = began.elapsed().as_secs_f64();
        match done {
            Ok(Done { name, owner, from_ms, evidence }) => {
                let to_ms = now_ms();
                println!("  {at:6.1} s  {what:20} {name:16} {:5} ms  {evidence}", to_ms - from_ms);
                let (kind, target) = (fault.kind, fault.target);
                let fault = Fault { kind, target, name, owner, from_ms, to_ms, evidence };
                noted(&self.faults, fault);
            }
            Err(why) => {
                println!("  {at:6.1} s  {what:20} not done: {why}");
                noted(&self.failed, format!("{what}: {why}"));
            }
        }
    }

    /// One process of that role, the one that is named or the next that nobody harms.
    async fn member(&self, fault: &Planned) -> (Arc<Place>, MutexGuard<'_, Member>) {
        let places: Vec<&Arc<Place>> = self.fleet.of(fault.target);
        let from = fault.which % places.len();
        for place in places[from..].iter().chain(&places[..from]) {
            if let Ok(member) = place.member.try_lock() {
                return (Arc::clone(place), member);
            }
        }
        (Arc::clone(places[from]), places[from].member.lock().await)
    }

    async fn harm_member(&self, fault: &Planned) -> Result<Done, String> {
        let (place, mut member) = self.member(fault).await;
        let (name, from_ms) = (member.name.clone(), now_ms());
        let harmed = match member.process.has_ended() {
            true => {
                self.fleet.note_death(&member);
                Err(format!("{name} had ended by itself"))
            }
            false => self.harm_process(fault, &name, &mut member.process).await,
        };
        if member.process.has_ended() {
            sleep(fault.lasts).await;
            self.fleet.restart(&place, &mut member).await;
        }
        let owner = (fault.target == Target::Coordinator).then(|| name.clone());
        Ok(Done { name, owner, from_ms, evidence: harmed? })
    }

    async fn harm_server(&self, fault: &Planned) -> Result<Done, String> {
        let mut server = self.server(fault).await;
        let (name, from_ms) = (server.name.clone(), now_ms());
        let harmed = match server.process.has_ended() {
            true => {
                let death = format!("{name} ended by itself");
                noted(&self.findings, death.clone());
                Err(death)
            }
            false => self.harm_process(fault, &name, &mut server.process).await,
        };
        if server.process.has_ended() {
            sleep(fault.lasts).await;
            server.restart(&self.home);
        }
        server.answers().await;
        Ok(Done { name, owner: None, from_ms, evidence: harmed? })
    }

    /// A server that nobody harms, or the one that is named.
    async fn server(&self, fault: &Planned) -> MutexGuard<'_, Server> {
        let from = fault.which % self.servers.len();
        let order = self.servers[from..].iter().chain(&self.servers[..from]);
        for server in order {
            if let Ok(server) = server.try_lock() {
                return server;
            }
        }
        self.servers[from].lock().await
    }

    async fn harm_connections(&self, fault: &Planned) -> Result<Done, String> {
        let (place, member) = self.member(fault).await;
        let (name, from_ms, proxy) = (member.name.clone(), now_ms(), &place.proxy);
        let before = counted(fault.kind, proxy.counters());
        match fault.kind {
            FaultKind::Cut => proxy.cut(),
            FaultKind::Refuse => proxy.set(Mode::Refuse),
            FaultKind::Delay => {
                let spread = DELAY_MS.end() - DELAY_MS.start() + 1;
                let delay_ms = DELAY_MS.start() + fault.detail % spread;
                proxy.set(Mode::Delay(Duration::from_millis(delay_ms)));
            }
            _ => proxy.set(Mode::Drip),
        }
        let harmed = harmed(fault, proxy, before).await;
        proxy.set(Mode::Open);
        let count = harmed?;
        let what = match fault.kind {
            FaultKind::Cut => "connections broken",
            FaultKind::Refuse => "connections refused",
            _ => "bytes",
        };
        let owner = (fault.target == Target::Coordinator).then(|| name.clone());
        Ok(Done { name, owner, from_ms, evidence: format!("{count} {what}") })
    }

    async fn bad_model(&self, fault: &Planned) -> Result<Done, String> {
        let model = self.model.lock().await;
        let from_ms = now_ms();
        let place = usize::try_from(fault.detail % BAD_STATUS.len() as u64).unwrap_or_default();
        let (status, before) = (BAD_STATUS[place], model.refused());
        model.refuse(Some(status));
        sleep(fault.lasts).await;
        let until = Instant::now() + MODEL_LIMIT;
        while model.refused() == before && Instant::now() < until {
            sleep(Duration::from_millis(50)).await;
        }
        model.refuse(None);
        match model.refused() - before {
            0 => Err("nobody has asked the model".to_owned()),
            count => Ok(Done {
                name: "model".to_owned(),
                owner: None,
                from_ms,
                evidence: format!("{count} requests answered with {status}"),
            }),
        }
    }

    /// Fills the disk, frees it, and starts the servers again, one after the other: a
    /// stream that could not store stays frozen until then. The servers' own word is the
    /// proof that they have met the full disk.
    async fn fill_disk(&self, fault: &Planned) -> Result<Done, String> {
        let Some(disk) = &self.disk else { return Err("there is no disk to fill".to_owned()) };
        let mut servers = Vec::new();
        for server in &self.servers {
            servers.push(server.lock().await);
        }
        let from_ms = now_ms();
        let known: Vec<usize> = servers.iter().map(|server| server.log().len()).collect();
        disk.fill();
        sleep(fault.lasts).await;
        let says = || {
            servers.iter().zip(&known).find_map(|(server, known)| {
                let log = server.log();
                let line = log.get(*known..)?.lines().find(|line| line.contains(FULL))?;
                let said = line.split_once("[ERR] ").map_or(line, |(_, said)| said);
                Some(format!("{} says {said:?}", server.name))
            })
        };
        let evidence = match until(FULL_LIMIT, || says().is_some()).await {
            true => says().unwrap_or_default(),
            false => String::new(),
        };
        disk.free();
        for server in &mut servers {
            server.process.kill();
            server.restart(&self.home);
            server.answers().await;
        }
        if evidence.is_empty() {
            return Err(format!("no server said {FULL:?} within {FULL_LIMIT:?}"));
        }
        Ok(Done { name: "disk".to_owned(), owner: None, from_ms, evidence })
    }
}

fn noted<T>(book: &Book<Vec<T>>, entry: T) {
    book.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
}

/// Waits until something holds; false if it never did.
async fn until(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if holds() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        sleep(Duration::from_millis(5)).await;
    }
}

fn counted(kind: FaultKind, counters: &Counters) -> u64 {
    let counter = match kind {
        FaultKind::Cut => &counters.broken,
        FaultKind::Refuse => &counters.refused,
        FaultKind::Delay => &counters.delayed,
        _ => &counters.dripped,
    };
    counter.load(Ordering::Relaxed)
}

/// Lets a fault last, and counts what it has done. It goes on until it has done something:
/// while the broker is away, there is nothing to be harmed.
async fn harmed(fault: &Planned, proxy: &Proxy, before: u64) -> Result<u64, String> {
    sleep(fault.lasts).await;
    let count = || counted(fault.kind, proxy.counters()) - before;
    let has_harmed = || {
        if fault.kind == FaultKind::Cut && count() == 0 {
            proxy.cut();
        }
        count() > 0
    };
    if until(STOP_LIMIT, has_harmed).await {
        return Ok(count());
    }
    Err(format!("nothing came through the proxy within {STOP_LIMIT:?}"))
}
