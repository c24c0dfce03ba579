//! The planner: turns a goal into steps, and failures into revisions.
//!
//! Stateless: any number of them take work from the pool `plan`. Each step of a
//! first plan is published the moment its JSON object closes in the model's
//! stream, so that work starts while the model still writes. [`draft`] is one
//! job, and [`triage`] says whether anything is planned at all; [`prompt`] and [`schema`] are what the model is asked; [`elements`] and
//! [`answer`] are what is made of its answer.

pub mod answer;
pub mod elements;
pub mod preview;
pub mod prompt;
pub mod schema;

mod ask;
mod draft;
mod instruments;
mod triage;

use std::{sync::Arc, time::Duration};

use planfleet_bus::{Bus, Error, Pool, Worker};
use planfleet_core::{command::PlanOrder, tool::ToolCatalog};
use planfleet_llm::{ModelHandle, Purse};
use tokio_util::sync::CancellationToken;

use self::instruments::Instruments;

/// How a planner behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// The pool it takes work from.
    pub pool: Pool,
    /// Planning may take so long, repair turn included.
    pub planning_timeout: Duration,
    /// Planning work delivered more often than this has lost a planner each time.
    pub deliveries_max: u64,
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
}

impl Planner {
    /// A planner with these models and the tools that plans may name.
    #[must_use]
    pub fn build(bus: Bus, config: Config, models: Models, tools: ToolCatalog, purses: FindPurse) -> Self {
        let instruments = Instruments::new();
        Self { shared: Arc::new(Shared { bus, config, models, tools, purses, instruments }) }
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
