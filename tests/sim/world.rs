//! One world: a seed, a fleet, its users, a time of trouble, a time of calm.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::{BoxFuture, FutureExt as _, join_all};
use planfleet_bus::{
    Bus, Manage, Topology,
    broker::{LogEntry, memory::MemoryBroker},
};
use planfleet_core::id::{RunId, ShardId};
use planfleet_proto::subjects;
use serde_json::Value;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    dice::{Dice, Weather},
    process::{Place, Service},
    tally::Tally,
    time,
    user::{self, User},
    verdict,
    witness::Witness,
};

/// Calls of the time of trouble that nobody answers have ended after so much calm.
const LAST_CALLS: Duration = Duration::from_secs(7);

/// Longer than anybody waits before he asks again.
const QUIET: Duration = Duration::from_millis(1_200);

/// One world.
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) shards: ShardId,
    pub(crate) slots: usize,
    /// The longest that a process is left alone, in milliseconds; 0 for ever.
    pub(crate) troubles: u64,
    pub(crate) broker: MemoryBroker,
    pub(crate) witness: Arc<Witness>,
    pub(crate) weather: Arc<Weather>,
    /// Nothing goes wrong any more.
    pub(crate) calm: CancellationToken,
    /// Everything is done: the processes stop.
    pub(crate) over: CancellationToken,
    told: Mutex<BTreeMap<RunId, Value>>,
}

/// What became of a world.
pub(crate) struct Report {
    /// Every log, as it was.
    pub(crate) logs: BTreeMap<ShardId, Vec<LogEntry>>,
    pub(crate) transcript: String,
    pub(crate) tally: Tally,
    pub(crate) violations: Vec<String>,
}

/// Lives through the world of a seed.
pub(crate) fn simulate(seed: u64) -> std::io::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    let report = runtime.block_on(async {
        time::begin();
        let dice = Dice::of(seed, "world");
        let world = World::make(seed, &dice).await;
        let lived = timeout(user::PATIENCE, Arc::clone(&world).live(&dice)).await;
        match lived {
            Ok(()) => {
                world.witness.counter.add("seconds", time::elapsed_ms() / 1_000);
                verdict::judge(&world).await;
            }
            Err(_) => world.witness.violation(format!("it hangs: {}", world.standing())),
        }
        world.report().await
    });
    Ok(report)
}

impl World {
    async fn make(seed: u64, dice: &Dice) -> Arc<Self> {
        let broker = MemoryBroker::started_at(time::DAWN_MS);
        let shards = *dice.pick(&[1, 1, 1, 2, 2, 3, 4]);
        let bus = Bus::new(Arc::new(broker.clone()), shards);
        let world = Arc::new(Self {
            seed,
            shards,
            slots: dice.count(1, 4),
            troubles: *dice.pick(&[0, 4_000, 8_000, 8_000, 15_000]),
            witness: Arc::new(Witness::new(bus.clone())),
            weather: Arc::new(Weather::draw(dice)),
            broker,
            calm: CancellationToken::new(),
            over: CancellationToken::new(),
            told: Mutex::default(),
        });
        let pools = vec![world.pool("plan"), world.pool("default")];
        let topology = Topology { shards, replicas: 1, pools, manage: Manage::Create };
        if let Err(error) = bus.bootstrap(&topology).await {
            world.witness.violation(format!("no assets: {error}"));
        }
        world
    }

    async fn live(self: Arc<Self>, dice: &Dice) {
        let mut actors: Vec<BoxFuture<'static, ()>> = Vec::new();
        let fleet = [
            (Service::Coordinator, *dice.pick(&[1, 2, 2, 3])),
            (Service::Planner, dice.count(1, 2)),
            (Service::Executor, dice.count(1, 3)),
        ];
        for (service, count) in fleet {
            let places = (1..=count).map(|number| Place { service, number });
            actors.extend(places.map(|place| place.live(Arc::clone(&self)).boxed()));
        }
        let users: Vec<_> = (1..=dice.count(1, 6)).map(|number| User::new(&self, number).live()).collect();
        self.witness.line(
            "",
            format_args!("{} shards, {} users, {:?}", self.shards, users.len(), self.weather.odds()),
        );
        let trouble = dice.millis(3_000, 13_000);
        let course = async {
            let quieten = async {
                sleep(trouble).await;
                self.weather.calm_down();
                self.calm.cancel();
                self.witness.line("", format_args!("calm"));
                sleep(LAST_CALLS).await;
            };
            futures::join!(quieten, join_all(users));
            self.quiet().await;
            self.over.cancel();
        };
        futures::join!(course, join_all(actors));
    }

    /// Waits until all work has been settled, wanted or not, and nobody is about
    /// to repeat what was asked for.
    async fn quiet(&self) {
        let mut heard = 0;
        while heard != self.witness.noise() || self.broker_state(subjects::STEPS).await > 0 {
            heard = self.witness.noise();
            sleep(QUIET).await;
        }
    }

    pub(crate) async fn broker_state(&self, stream: &str) -> u64 {
        let state = self.witness.bus().broker().stream_state(stream).await;
        state.map_or(u64::MAX, |state| state.messages)
    }

    /// Sleeps, but not into the calm.
    pub(crate) async fn sleep(&self, duration: Duration) {
        tokio::select! {
            biased;
            () = self.calm.cancelled() => {}
            () = sleep(duration) => {}
        }
    }

    /// A user was told how a run ended.
    pub(crate) fn told(&self, run: RunId, document: Value) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(run, document);
    }

    /// What users were told.
    pub(crate) fn all_told(&self) -> BTreeMap<RunId, Value> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is not done.
    fn standing(&self) -> String {
        let active: Vec<String> =
            (0..self.shards).flat_map(|shard| self.witness.look(shard, |log| log.active())).collect();
        format!("active runs {active:?}, {} told", self.all_told().len())
    }

    async fn report(&self) -> Report {
        let mut logs = BTreeMap::new();
        for shard in 0..self.shards {
            logs.insert(shard, self.witness.all_entries(&subjects::log(shard)).await.unwrap_or_default());
        }
        Report {
            logs,
            transcript: self.witness.transcript.text(),
            tally: self.witness.counter.tally(),
            violations: self.witness.violations(),
        }
    }
}
