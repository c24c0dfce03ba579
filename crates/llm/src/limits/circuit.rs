//! Whether a model fails again and again for reasons that pass.
//!
//! It stops no call: a role without another model goes on trying. Roles with one prefer it.

use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row that are no accident: a call's three tries, and most of a second's.
const FAILURES_OPEN: u32 = 5;

/// After this the first model gets its chance again.
const OPEN: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(super) struct Circuit {
    failures: u32,
    open_until: Option<Instant>,
}

impl Circuit {
    pub(super) fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FAILURES_OPEN {
            self.open_until = Some(now + OPEN);
        }
    }

    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.open_until.is_some_and(|until| until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_for_a_while() {
        let (mut circuit, now) = (Circuit::default(), Instant::now());
        for _ in 1..FAILURES_OPEN {
            circuit.failed(now);
        }
        assert!(!circuit.is_open(now));
        circuit.succeeded();
        circuit.failed(now);
        assert!(!circuit.is_open(now), "a success starts the count again");
        for _ in 1..FAILURES_OPEN {
            circuit.failed(now);
        }
        assert!(circuit.is_open(now) && !circuit.is_open(now + OPEN));
        circuit.failed(now + OPEN);
        assert!(circuit.is_open(now + OPEN), "one failure is enough until it answers");
    }
}
