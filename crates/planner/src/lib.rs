//! The planner: turns a goal into steps, and failures into revisions.
//!
//! Stateless: any number of them take work from the pool `plan`. Each step of a
//! first plan is published the moment its JSON object closes in the model's
//! stream, so that work starts while the model still writes. [`draft`] is one
//! job, [`triage`] says whether anything is planned at all, and [`cached`] whether it was planned before; [`prompt`] and [`schema`] are what the model is asked; [`elements`] and
//! [`answer`] are what is made of its answer.

pub mod answer;
pub mod elements;
pub mod preview;
pub mod prompt;
pub mod schema;

mod ask;
mod cached;
mod draft;
mod instruments;
mod kind;
mod triage;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use planfleet_bus::{Bus, Error, Pool, Worker, plans::Kept};
use planfleet_core::{cache::Way, command::PlanOrder, tool::ToolCatalog};
use planfleet_llm::{ModelHandle, Purse};
use tokio::{sync::Mutex, time::Instant};
use tokio_util::sync::CancellationToken;

use self::{instruments::Instruments, triage::KnownClass};

/// How a planner behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// The pool it takes work from.
    pub pool: Pool,
    /// Planning may take so long, repair turns included.
    pub planning_timeout: Duration,
    /// Planning work delivered more often than this has lost a planner each time.
    pub deliveries_max: u64,
    /// Whether plans are used again for tasks of the same kind.
    pub cache: bool,
    /// How long planning in flight may go on after a stop.
    pub grace: Duration,
    /// Milliseconds since the Unix epoch, for the times that records carry.
    /// An argument, so that tests can move it.
    pub now_ms: fn() -> u64,
}

/// The models of a planner.
#[derive(Clone, Default)]
pub struct Models {
    /// Plans; where there is none, every job that needs one fails and says so.
    pub planner: Option<ModelHandle>,
    /// Decides whether a task is planned; without one every task is.
    pub triage: Option<ModelHandle>,
}

/// Finds what an order's model calls are paid from; `None` where nothing limits them.
pub type FindPurse = Arc<dyn Fn(&PlanOrder) -> Option<Arc<dyn Purse>> + Send + Sync>;

/// The planner of one process.
pub struct Planner {
    shared: Arc<Shared>,
}

/// What every job needs.
pub(crate) struct Shared {
    pub(crate) bus: Bus,
    pub(crate) config: Config,
    pub(crate) models: Models,
    pub(crate) tools: ToolCatalog,
    pub(crate) purses: FindPurse,
    pub(crate) instruments: Instruments,
    classes: Mutex<Classes>,
}

/// The classes of task that models are told of, by tenant, and when they were read.
#[derive(Default)]
struct Classes {
    read: Option<Instant>,
    by_tenant: BTreeMap<String, Vec<KnownClass>>,
}

/// How old the list of classes may be: a class that has just come up may come up twice.
const CLASSES_AGE: Duration = Duration::from_secs(2);

impl Shared {
    /// The classes of a tenant's tasks whose slots are taken from their goals.
    pub(crate) async fn known_classes(&self, tenant: &str) -> Vec<KnownClass> {
        let mut classes = self.classes.lock().await;
        if classes.read.is_none_or(|read| read.elapsed() > CLASSES_AGE) {
            match self.bus.cached_plans().await {
                Ok(kept) => classes.by_tenant = by_tenant(kept),
                Err(error) => tracing::debug!(%error, "the known classes are out of reach"),
            }
            classes.read = Some(Instant::now());
        }
        classes.by_tenant.get(tenant).cloned().unwrap_or_default()
    }
}

fn by_tenant(kept: BTreeMap<String, Kept>) -> BTreeMap<String, Vec<KnownClass>> {
    let mut by_tenant = BTreeMap::<String, Vec<KnownClass>>::new();
    let is_sound = |kept: &Kept| kept.entry.slots.iter().all(|name| triage::is_slot_name(name));
    let of_use =
        |kept: &Kept| kept.entry.extracted && !matches!(kept.entry.way, Way::Each { .. }) && is_sound(kept);
    for Kept { entry, .. } in kept.into_values().filter(of_use) {
        let known = KnownClass { class: entry.class, slots: entry.slots, goal: entry.goal };
        by_tenant.entry(entry.tenant).or_default().push(known);
    }
    by_tenant
}

impl Planner {
    /// A planner with these models and the tools that plans may name.
    #[must_use]
    pub fn build(bus: Bus, config: Config, models: Models, tools: ToolCatalog, purses: FindPurse) -> Self {
        let instruments = Instruments::new(&config.pool.name);
        let classes = Mutex::default();
        Self { shared: Arc::new(Shared { bus, config, models, tools, purses, instruments, classes }) }
    }

    /// Works until `stop`, then drains.
    ///
    /// # Errors
    /// When the broker refuses at the start what trying again cannot mend; one that is out
    /// of reach is waited for.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        let shared = self.shared;
        let worker = Worker::new(shared.bus.clone(), shared.config.pool.clone());
        let grace = shared.config.grace;
        let handler = move |job| {
            let shared = Arc::clone(&shared);
            async move { draft::write(&shared, job).await }
        };
        worker.run(stop, grace, handler).await
    }
}
