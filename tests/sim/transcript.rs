//! What happened in one world, line by line, with its times: the same seed
//! gives the same text.

use std::{
    fmt,
    fmt::Write as _,
    sync::{Mutex, PoisonError},
};

use super::time;

/// The lines so far.
#[derive(Default)]
pub(crate) struct Transcript(Mutex<String>);

impl Transcript {
    /// Adds a line about an actor.
    pub(crate) fn line(&self, who: &str, what: fmt::Arguments<'_>) {
        let ms = time::elapsed_ms();
        let mut text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{:>4}.{:03} {who:<8} {what}", ms / 1_000, ms % 1_000);
    }

    /// The whole text.
    pub(crate) fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
