//! The time of day of a simulated world: an epoch of its own that moves with
//! the paused clock of its runtime, and clocks that are wrong by a bit.

use std::cell::Cell;

use tokio::time::Instant;

/// When every world begins, in milliseconds since the Unix epoch.
pub(crate) const DAWN_MS: u64 = 1_700_000_000_000;

thread_local! {
    static STARTED: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// A world begins on this thread.
pub(crate) fn begin() {
    STARTED.set(Some(Instant::now()));
}

/// Milliseconds since the world began.
pub(crate) fn elapsed_ms() -> u64 {
    STARTED.get().map_or(0, |started| u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX))
}

/// The time of day, as the broker sees it.
pub(crate) fn now_ms() -> u64 {
    DAWN_MS + elapsed_ms()
}

/// The clocks of machines: right, slow and fast.
pub(crate) const CLOCKS: [fn() -> u64; 5] =
    [now_ms, now_ms, || now_ms() - 1_700, || now_ms() + 450, || now_ms() + 2_300];
