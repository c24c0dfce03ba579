//! What a filter may use, and how it is stopped.
//!
//! The interpreter copies its context at practically every evaluation step, and
//! part of the context is ours: [`Meter`]. Copying it counts a step, and past a
//! bound it unwinds the thread's stack to the `catch_unwind` in
//! [`super::engine::run`]. Unwinding is the only way out of an interpreter that
//! has no notion of stopping; it is started with `resume_unwind`, which reports
//! no panic.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use jaq_core::data::HasLut;
use jaq_core::{DataT, Lut};
use jaq_json::Val;

/// Enough for a dozen operations on each of tens of thousands of elements. A
/// loop that wraps a value once per turn makes it some 300,000 levels deep
/// within this many steps.
const STEPS_MAX: u64 = 1_000_000;

/// What `+` and `*` may append and repeat in one run: many times what an output may hold, and what a
/// process can spare. Values share their parts, so most of it is never there at once.
const MADE_BYTES_MAX: usize = 64 << 20;

/// What `+` may copy of its left sides, most of which is soon gone again: ten thousand pieces can
/// be added one by one to what becomes a hundred kilobytes, and at worst as much is kept.
const COPIED_BYTES_MAX: usize = 512 << 20;

/// The thread's stack, which dropping or printing such a value has to fit into
/// (measured: 0.9 KB a level when optimised, up to 2.7 KB when not). It is
/// reserved, not used: pages cost memory when touched.
pub(super) const STACK_BYTES: usize = if cfg!(debug_assertions) { 2048 << 20 } else { 512 << 20 };

/// Recursion of the filter itself stops here; the rest is for recursion over
/// the values that it has made.
const RECURSION_BYTES_MAX: usize = 64 << 20;

/// Reading a clock costs more than a step does.
const STEPS_PER_CLOCK_READ: u64 = 1024;

/// Why a filter was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stop {
    #[error("it takes more than {STEPS_MAX} steps; it may never end, or asks too much of one call")]
    Steps,
    #[error("it makes more than {} MiB with + and *; make less, or in parts", MADE_BYTES_MAX >> 20)]
    Made,
    #[error("it recurses too deeply; it may never end")]
    Recursion,
    #[error("it takes too long")]
    Time,
    #[error("the call was abandoned")]
    Abandoned,
}

/// What is left for one run of a filter.
pub(super) struct Budget {
    steps: Cell<u64>,
    made_bytes: Cell<usize>,
    copied_bytes: Cell<usize>,
    stack_start: usize,
    deadline: Instant,
    abandoned: Arc<AtomicBool>,
}

impl Budget {
    /// To be made on the thread that the filter will run on.
    pub(super) fn new(deadline: Instant, abandoned: Arc<AtomicBool>) -> Self {
        let stack_start = stack_position();
        Self {
            steps: Cell::new(0),
            made_bytes: Cell::new(0),
            copied_bytes: Cell::new(0),
            stack_start,
            deadline,
            abandoned,
        }
    }

    /// Counts one step, or unwinds.
    pub(super) fn step(&self) {
        let steps = self.steps.get() + 1;
        self.steps.set(steps);
        if let Some(stop) = self.exceeded(steps) {
            std::panic::resume_unwind(Box::new(stop));
        }
    }

    /// Counts bytes that are about to be made, or unwinds.
    pub(super) fn make(&self, bytes: usize) {
        let made = self.made_bytes.get().saturating_add(bytes);
        if made > MADE_BYTES_MAX {
            std::panic::resume_unwind(Box::new(Stop::Made));
        }
        self.made_bytes.set(made);
    }

    /// Counts bytes that are about to be copied, or unwinds.
    pub(super) fn copy(&self, bytes: usize) {
        let copied = self.copied_bytes.get().saturating_add(bytes);
        if copied > COPIED_BYTES_MAX {
            std::panic::resume_unwind(Box::new(Stop::Made));
        }
        self.copied_bytes.set(copied);
    }

    fn exceeded(&self, steps: u64) -> Option<Stop> {
        if steps > STEPS_MAX {
            return Some(Stop::Steps);
        }
        if stack_position().abs_diff(self.stack_start) > RECURSION_BYTES_MAX {
            return Some(Stop::Recursion);
        }
        if !steps.is_multiple_of(STEPS_PER_CLOCK_READ) {
            return None;
        }
        if self.abandoned.load(Ordering::Relaxed) {
            return Some(Stop::Abandoned);
        }
        (Instant::now() > self.deadline).then_some(Stop::Time)
    }
}

/// Roughly where the stack ends now: the address of something on it.
#[inline(never)]
fn stack_position() -> usize {
    let mark = 0_u8;
    std::ptr::from_ref(std::hint::black_box(&mark)).addr()
}

/// The interpreter's data type: JSON values, with a [`Meter`] beside the code.
pub(super) struct Metered;

impl DataT for Metered {
    type V<'a> = Val;
    type Data<'a> = Meter<'a>;
}

/// Counts a step whenever it is copied.
pub(super) struct Meter<'a> {
    pub(super) code: &'a Lut<Metered>,
    pub(super) budget: &'a Budget,
}

impl Clone for Meter<'_> {
    fn clone(&self) -> Self {
        self.budget.step();
        Self { code: self.code, budget: self.budget }
    }
}

impl<'a> HasLut<'a, Metered> for Meter<'a> {
    fn lut(&self) -> &'a Lut<Metered> {
        self.code
    }
}
