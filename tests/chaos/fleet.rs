//! The fleet: one process for each place in it, and its way to the broker.

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};

use crate::{
    history::Target,
    proxy::Proxy,
    support::{Home, Process},
};

/// How long a process may take until it serves, on a broker that may be away: two of the
/// longest faults of the broker, one after the other, and as long again to recover.
const START_LIMIT: Duration = Duration::from_secs(120);

/// Between two looks of the supervisor.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The folder of a home in which logs are kept, those of the broker's servers too.
pub(crate) const LOGS: &str = "logs";

/// How many processes have which role.
const PLACES: [(Target, usize); 4] =
    [(Target::Api, 1), (Target::Coordinator, 3), (Target::Planner, 2), (Target::Executor, 3)];

/// Silence after which the broker gives work away, in seconds: the least that tells a slow
/// worker from a dead one on a busy machine.
pub(crate) const ACK_WAIT_S: u64 = 3;

/// Logs of the fleet.
pub(crate) const SHARDS: u16 = 4;

/// A place in the fleet. Processes come and go; each has a name of its own.
pub(crate) struct Place {
    pub(crate) role: Target,
    number: usize,
    pub(crate) proxy: Proxy,
    /// What its processes are told besides: the API's port stays the same.
    settings: Vec<String>,
    /// The process, locked by whoever does something to it.
    pub(crate) member: Mutex<Member>,
    incarnation: AtomicU32,
}

/// A process and what it is called.
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) process: Process,
}

/// All places.
pub(crate) struct Fleet {
    pub(crate) places: Vec<Arc<Place>>,
    api_url: String,
    home: Arc<Home>,
    configuration: String,
    /// Processes that ended although nobody had done anything to them.
    pub(crate) deaths: std::sync::Mutex<Vec<String>>,
    /// Processes that found no broker when they started.
    pub(crate) in_vain: AtomicU32,
    stopping: AtomicBool,
}

/// What a fleet is made with.
pub(crate) struct Setup<'a> {
    pub(crate) home: Arc<Home>,
    pub(crate) servers: &'a [SocketAddr],
    pub(crate) model_url: String,
}

fn word(role: Target) -> &'static str {
    match role {
        Target::Api => "api",
        Target::Coordinator => "coordinator",
        Target::Planner => "planner",
        Target::Executor => "executor",
        Target::Broker | Target::Model => unreachable!("no role of a fleet"),
    }
}

impl Fleet {
    /// Starts everything and waits until it serves.
    pub(crate) async fn start(setup: Setup<'_>) -> Self {
        let Setup { home, servers, model_url } = setup;
        let configuration =
            home.write("fleet.toml", configuration(&model_url, servers.len())).display().to_string();
        let port = crate::support::free_port();
        let mut places = Vec::new();
        for (role, number) in PLACES.iter().flat_map(|(role, count)| (1..=*count).map(|n| (*role, n))) {
            let proxy = Proxy::start(servers).await;
            let listens = (role == Target::Api).then(|| format!("api.listen=127.0.0.1:{port}"));
            let settings: Vec<String> = listens.into_iter().collect();
            let name = format!("{}-{number}-0", word(role));
            let mut process = launch(&home, &configuration, role, &name, &proxy.url(), &settings);
            if role == Target::Api {
                // What all need on the broker is made by one, once.
                serves(&mut process).await.expect("the broker is there");
            }
            let member = Mutex::new(Member { name, process });
            let incarnation = AtomicU32::new(0);
            places.push(Arc::new(Place { role, number, proxy, settings, member, incarnation }));
        }
        let fleet = Self {
            places,
            api_url: format!("http://127.0.0.1:{port}"),
            home,
            configuration,
            deaths: std::sync::Mutex::default(),
            in_vain: AtomicU32::new(0),
            stopping: AtomicBool::new(false),
        };
        fleet.serves().await;
        fleet
    }

    pub(crate) fn api_url(&self) -> &str {
        &self.api_url
    }

    pub(crate) fn of(&self, role: Target) -> Vec<&Arc<Place>> {
        self.places.iter().filter(|place| place.role == role).collect()
    }

    /// Starts new processes at a place whose last one has ended, until one serves: a
    /// process that finds no broker when it starts says so and ends.
    pub(crate) async fn restart(&self, place: &Place, member: &mut Member) {
        let until = Instant::now() + START_LIMIT;
        loop {
            let incarnation = place.incarnation.fetch_add(1, Ordering::Relaxed) + 1;
            let name = format!("{}-{}-{incarnation}", word(place.role), place.number);
            let url = place.proxy.url();
            let process = launch(&self.home, &self.configuration, place.role, &name, &url, &place.settings);
            let last = std::mem::replace(member, Member { name, process });
            self.keep(&last.name, &last.process);
            let Err(why) = serves(&mut member.process).await else { return };
            assert!(Instant::now() < until, "{} does not start: {why}", member.name);
            self.in_vain.fetch_add(1, Ordering::Relaxed);
            sleep(LOOK_EVERY).await;
        }
    }

    /// Starts again what has ended by itself, until [`Fleet::stop`]. Whoever does something
    /// to a process holds its lock meanwhile, and starts it again before that is given back.
    pub(crate) async fn supervise(&self) {
        while !self.stopping.load(Ordering::Relaxed) {
            for place in &self.places {
                if let Ok(mut member) = place.member.try_lock()
                    && member.process.has_ended()
                {
                    self.note_death(&member);
                    self.restart(place, &mut member).await;
                }
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Writes down that a process has ended although nobody has done anything to it.
    pub(crate) fn note_death(&self, member: &Member) {
        let death = format!("{} ended by itself: {}", member.name, last_line(&member.process));
        println!("  {death}");
        self.deaths.lock().expect("no panic holds it").push(death);
    }

    /// Waits until every process serves.
    pub(crate) async fn serves(&self) {
        for place in &self.places {
            let mut member = place.member.lock().await;
            let served = serves(&mut member.process).await;
            served.unwrap_or_else(|why| panic!("{}: {why}", member.name));
        }
    }

    /// Puts a process's log beside the others, under its name.
    fn keep(&self, name: &str, process: &Process) {
        let file = self.home.path(LOGS).join(format!("{name}.log"));
        fs::write(&file, process.err()).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }

    /// Likewise of every process that is there.
    pub(crate) async fn keep_logs(&self) {
        for place in &self.places {
            let member = place.member.lock().await;
            self.keep(&member.name, &member.process);
        }
    }

    /// Ends the supervision. Processes end when the fleet is dropped.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}

/// Waits until a process says that it serves; or gives what it says when it ends.
async fn serves(process: &mut Process) -> Result<(), String> {
    let until = Instant::now() + START_LIMIT;
    while !process.err().contains("serving ") {
        if process.has_ended() {
            return Err(last_line(process));
        }
        assert!(Instant::now() < until, "it does not serve within {START_LIMIT:?}: {}", process.err());
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn last_line(process: &Process) -> String {
    process.err().trim_end().lines().last().unwrap_or_default().to_owned()
}

fn launch(
    home: &Home,
    configuration: &str,
    role: Target,
    name: &str,
    broker: &str,
    more: &[String],
) -> Process {
    let nats = format!("nats.url={broker}");
    let mut args = vec!["--config", configuration, "serve", "--roles", word(role), "--name", name];
    for setting in [&nats].into_iter().chain(more) {
        args.extend(["--set", setting]);
    }
    home.start(args)
}

/// The settings of every process. Replans, attempts and prices are left as they are.
fn configuration(model_url: &str, nodes: usize) -> String {
    format!(
        "[models.brain]\nbase_url = \"{model_url}\"\nmodel = \"brain\"\n\
         [roles]\nplanner = \"brain\"\nexecutor = \"brain\"\n\
         [nats]\nshards = {SHARDS}\nreplicas = {nodes}\nconnect_timeout_s = 30\n\
         [pools.default]\nack_wait_s = {ACK_WAIT_S}\ngrace_s = 5\n\
         [pools.plan]\nslots = 4\nack_wait_s = {ACK_WAIT_S}\ngrace_s = 5\n\
         [tools]\nallow_loopback = true\n\
         # More deliveries than a campaign can spoil: what is lost would rightly fail its run.\n\
         [limits]\ndeliveries = 50\n\
         [health]\nlisten = \"127.0.0.1:0\"\n\
         [telemetry]\nlog_format = \"json\"\n"
    )
}
