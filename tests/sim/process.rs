//! Processes of the fleet: the real services, each with a link of its own, and
//! what befalls them in the life of a world.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::FutureExt as _;
use planfleet_bus::{Bus, Pool};
use planfleet_coordinator::{Coordinator, FlowSettings, TenantFlow, Upkeep};
use planfleet_executor::{Executor, Models};
use planfleet_planner::Planner;
use planfleet_runtime::tasks::Tasks;
use tokio_util::sync::CancellationToken;

use super::{
    dice::Dice,
    gate::Gate,
    link::{Connection, Link},
    models, time, tools,
    world::World,
};

/// A stop ends by itself well within this.
const STOP_PATIENCE: Duration = Duration::from_secs(120);

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    Coordinator,
    Planner,
    Executor,
}

impl Service {
    const fn letter(self) -> char {
        match self {
            Self::Coordinator => 'c',
            Self::Planner => 'p',
            Self::Executor => 'e',
        }
    }
}

/// A place in the fleet, where one process after the other does the same work.
pub(crate) struct Place {
    pub(crate) service: Service,
    pub(crate) number: usize,
}

/// One process.
struct Process {
    link: Arc<Link>,
    stop: CancellationToken,
    tasks: Tasks,
}

/// What befalls a process.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    Crash,
    Pause,
    Cut,
    Stop,
}

impl Place {
    /// Lives through everything that befalls its processes, until the world ends.
    pub(crate) async fn live(self, world: Arc<World>) {
        let place = format!("{}{}", self.service.letter(), self.number);
        let dice = Dice::of(world.seed, &place);
        let mut generation = 1;
        world.sleep(dice.millis(0, 400)).await;
        let mut process = self.start(&world, &format!("{place}-{generation}"));
        while let Some(trouble) = next(&world, &dice).await {
            match trouble {
                Trouble::Pause => process.pause(&world, &dice).await,
                Trouble::Cut => process.cut_off(&world, &dice).await,
                Trouble::Crash | Trouble::Stop => {
                    process.end(&world, trouble).await;
                    world.sleep(dice.millis(0, 6_000)).await;
                    generation += 1;
                    process = self.start(&world, &format!("{place}-{generation}"));
                }
            }
        }
        world.over.cancelled().await;
        process.end(&world, Trouble::Stop).await;
    }

    fn start(&self, world: &Arc<World>, name: &str) -> Process {
        world.witness.line(name, format_args!("starts"));
        let link = link(world, name);
        let bus = Bus::new(Arc::new(Connection(Arc::clone(&link))), world.shards);
        let (stop, tasks) = (CancellationToken::new(), Tasks::new("process"));
        let dice = Dice::of(world.seed, &format!("{name} start"));
        let now_ms = *dice.pick(&time::CLOCKS);
        let stopped = stop.clone();
        let pool = match self.service {
            Service::Coordinator => None,
            Service::Planner => Some("plan"),
            Service::Executor => Some("default"),
        };
        if let Some(pool) = pool {
            let (bus, name, stop) = (bus.clone(), name.to_owned(), stop.clone());
            let slots = [(pool.to_owned(), world.slots)].into();
            tasks.spawn("slots", async move { bus.keep_slots_known(&name, &slots, stop).await });
        }
        match self.service {
            Service::Coordinator => {
                let config = coordinator(name, &dice, now_ms);
                let (coordinator, set) = (Coordinator::build(bus, config), tasks.clone());
                tasks.spawn("coordinator", async move { coordinator.run(&set, stopped).await });
            }
            Service::Planner => {
                let model =
                    models::handle(models::Role::Planner, Dice::of(world.seed, &format!("{name} model")));
                let models = planfleet_planner::Models { planner: Some(model), triage: None };
                let tools = tools::registry().catalog();
                let planner = Planner::build(bus, planner(world, now_ms), models, tools, Arc::new(|_| None));
                tasks.spawn("planner", async move { planner.run(stopped).await });
            }
            Service::Executor => {
                let model =
                    |role| Some(models::handle(role, Dice::of(world.seed, &format!("{name} {role:?}"))));
                let models = Models {
                    executor: model(models::Role::Executor),
                    strong: None,
                    judge: model(models::Role::Judge),
                };
                let (config, tools) = (executor(world, now_ms), tools::registry());
                let executor = Executor::build(bus, config, models, tools, Arc::new(|_| None));
                tasks.spawn("executor", async move { executor.run(stopped).await });
            }
        }
        Process { link, stop, tasks }
    }
}

/// One whose log is kept so short that a short life is full of snapshots.
fn coordinator(name: &str, dice: &Dice, now_ms: fn() -> u64) -> planfleet_coordinator::Config {
    planfleet_coordinator::Config {
        standby: dice.chance(600),
        upkeep: Upkeep {
            snapshot_entries: dice.number(4, 60),
            log_entries: dice.number(0, 80),
            trim_entries: dice.number(1, 30),
        },
        flow: flow(dice),
        now_ms,
        ..planfleet_coordinator::Config::named(name)
    }
}

/// Here and there windows so small that work waits, and limits that are reached.
fn flow(dice: &Dice) -> FlowSettings {
    let usual = FlowSettings::default();
    if !dice.chance(400) {
        return usual;
    }
    let limited = TenantFlow { weight: 1, concurrency: dice.chance(500).then(|| dice.count(1, 3)) };
    FlowSettings {
        window_per_slot: dice.count(1, 2),
        window_without_workers: dice.count(1, 6),
        tenants: [("default".to_owned(), limited)].into(),
        ..usual
    }
}

fn planner(world: &World, now_ms: fn() -> u64) -> planfleet_planner::Config {
    planfleet_planner::Config {
        pool: world.pool("plan"),
        planning_timeout: Duration::from_secs(18),
        deliveries_max: 5,
        cache: true,
        grace: Duration::from_secs(2),
        now_ms,
    }
}

fn executor(world: &World, now_ms: fn() -> u64) -> planfleet_executor::Config {
    planfleet_executor::Config {
        pool: world.pool("default"),
        step_timeout: Duration::from_secs(12),
        deliveries_max: 5,
        turns_max: 4,
        grace: Duration::from_secs(2),
        now_ms,
    }
}

/// A connection for the actor of that name.
pub(crate) fn link(world: &World, name: &str) -> Arc<Link> {
    Arc::new(Link {
        who: name.to_owned(),
        broker: world.broker.clone(),
        witness: Arc::clone(&world.witness),
        weather: Arc::clone(&world.weather),
        dice: Dice::of(world.seed, name),
        gate: Gate::default(),
        cut: AtomicBool::new(false),
    })
}

/// What befalls a process next; nothing more once the world is calm.
async fn next(world: &World, dice: &Dice) -> Option<Trouble> {
    let often = world.troubles;
    if often == 0 {
        world.calm.cancelled().await;
        return None;
    }
    world.sleep(dice.millis(300, often)).await;
    let trouble = match dice.count(0, 9) {
        0..=2 => Trouble::Crash,
        3..=6 => Trouble::Pause,
        7 => Trouble::Cut,
        _ => Trouble::Stop,
    };
    (!world.calm.is_cancelled()).then_some(trouble)
}

impl Process {
    /// Everything that it asks for waits, long enough for others to think it dead or not.
    async fn pause(&self, world: &World, dice: &Dice) {
        let pause = dice.millis(200, 9_000);
        world.witness.fault(&self.link.who, "pauses", format_args!("{pause:?}"));
        let before = self.link.gate.waited();
        self.link.gate.shut();
        world.sleep(pause).await;
        let held_up = self.link.gate.waited() - before;
        self.link.gate.open();
        world.witness.line(&self.link.who, format_args!("goes on, {held_up} held up"));
    }

    /// A coordinator that cannot renew its leases, and can do all else.
    async fn cut_off(&self, world: &World, dice: &Dice) {
        let long = dice.millis(1_000, 8_000);
        world.witness.fault(&self.link.who, "cuts", format_args!("{long:?}"));
        self.link.cut.store(true, Ordering::Relaxed);
        world.sleep(long).await;
        self.link.cut.store(false, Ordering::Relaxed);
    }

    async fn end(&self, world: &World, how: Trouble) {
        let who = &self.link.who;
        if let Trouble::Crash = how {
            world.witness.fault(who, "crashes", format_args!("now"));
            self.link.gate.brick_up();
            let _ = self.tasks.shutdown(Duration::ZERO).await;
        } else {
            world.witness.fault(who, "stops", format_args!("by itself"));
            self.stop.cancel();
            let unfinished = self.tasks.shutdown(STOP_PATIENCE).await;
            if !unfinished.is_empty() {
                world.witness.violation(format!("{who} does not stop: {unfinished}"));
            }
            world.witness.line(who, format_args!("has stopped"));
        }
        if let Some(failure) = self.tasks.first_failure().now_or_never() {
            world.witness.violation(format!("{who} failed: {failure:?}"));
        }
    }
}

impl World {
    /// A pool of a few slots, whose work is redelivered soon.
    pub(crate) fn pool(&self, name: &str) -> Pool {
        Pool { name: name.to_owned(), slots: self.slots, ack_wait: Duration::from_secs(4) }
    }
}
