//! What planfleet calls what it exports, for every crate: [`names`] has all names of spans,
//! attributes and metrics, [`metric`] makes instruments of them, [`ids`] says where in its
//! trace a run is. `runtime::telemetry` sets exporting up, and knows none of this but the ids.

pub mod ids;
pub mod metric;
pub mod names;

use std::sync::atomic::{AtomicBool, Ordering};

pub use metric::Metric;
pub use opentelemetry::KeyValue;

/// Of the process, as telemetry is.
static EXPORTS_TRACES: AtomicBool = AtomicBool::new(false);

/// Whether this process exports traces. Where it does not, nobody needs to know whose child a
/// span is.
#[must_use]
pub fn exports_traces() -> bool {
    EXPORTS_TRACES.load(Ordering::Relaxed)
}

/// For whoever sets telemetry up.
pub fn set_exports_traces(exports: bool) {
    EXPORTS_TRACES.store(exports, Ordering::Relaxed);
}
