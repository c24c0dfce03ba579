//! The executor: carries out one step knowing nothing else of its run.
//!
//! Stateless: any number of them take work from a pool. [`attempt`] is one job
//! from delivery to record; [`tool_step`] and [`model_step`] are what there is
//! to do. The outcome is in the log before the step leaves the queue.

pub mod instruments;

mod arguments;
mod attempt;
mod envelope;
mod judge;
mod limit;
mod model_step;
mod once;
mod prompt;
mod tool_step;

use std::{sync::Arc, time::Duration};

use planfleet_bus::{Bus, Error, Pool, Worker};
use planfleet_core::command::StepOrder;
use planfleet_llm::{ModelHandle, Purse};
use planfleet_tools::Registry;
use tokio_util::sync::CancellationToken;

use self::instruments::Instruments;

/// How an executor behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// The pool it takes work from.
    pub pool: Pool,
    /// An attempt may take so long.
    pub step_timeout: Duration,
    /// A step delivered more often than this has lost an executor each time:
    /// it is reported as lost, so that it cannot take the whole pool down.
    pub deliveries_max: u64,
    /// Model turns of one step: tool calls and answers.
    pub turns_max: u32,
    /// How long steps in flight may go on after a stop.
    pub grace: Duration,
    /// Milliseconds since the Unix epoch, for the times that records carry and for deadlines.
    /// An argument, so that tests can move it.
    pub now_ms: fn() -> u64,
}

/// The models that steps may use, by tier.
#[derive(Clone, Default)]
pub struct Models {
    /// For every tier but `strong`.
    pub executor: Option<ModelHandle>,
    /// For the tier `strong`.
    pub strong: Option<ModelHandle>,
    /// For `judge` criteria.
    pub judge: Option<ModelHandle>,
}

/// Finds what an order's model calls are paid from; `None` where nothing limits them.
pub type FindPurse = Arc<dyn Fn(&StepOrder) -> Option<Arc<dyn Purse>> + Send + Sync>;

/// The executor of one process and pool.
pub struct Executor {
    shared: Arc<Shared>,
}

/// What every attempt needs.
pub(crate) struct Shared {
    pub(crate) bus: Bus,
    pub(crate) config: Config,
    pub(crate) models: Models,
    pub(crate) tools: Arc<Registry>,
    pub(crate) purses: FindPurse,
    pub(crate) instruments: Instruments,
}

impl Executor {
    /// An executor with these models and tools.
    #[must_use]
    pub fn build(bus: Bus, config: Config, models: Models, tools: Arc<Registry>, purses: FindPurse) -> Self {
        let instruments = Instruments::new(&config.pool.name);
        let shared = Arc::new(Shared { bus, config, models, tools, purses, instruments });
        Self { shared }
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
            async move { attempt::carry_out(&shared, job).await }
        };
        worker.run(stop, grace, handler).await
    }
}
