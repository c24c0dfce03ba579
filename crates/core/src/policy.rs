//! Who acts on a failure. One table, one owner for each retry.

use crate::failure::{Failure, FailureClass};

/// The first wait before another attempt; doubled each time.
const BACKOFF_FIRST_MS: u64 = 1_000;

/// A minute lets a provider's rate window pass; longer waits are the provider's to ask for.
const BACKOFF_MAX_MS: u64 = 60_000;

/// An hour: a provider that asks for more is out for this run, and its planner is told.
const RETRY_AFTER_MS_MAX: u64 = 3_600_000;

/// The first wait for a model that is out of credit, where nobody says how long; doubled each time.
const QUOTA_WAIT_FIRST_MS: u64 = 60_000;

/// A quarter of an hour: people who have paid want to see it go on.
const QUOTA_WAIT_MAX_MS: u64 = 900_000;

/// What was tried already, and how much may be.
#[derive(Debug, Clone, Copy)]
pub struct Tries {
    /// The attempt that has failed, from 1.
    pub attempt: u32,
    /// How many of the attempts up to it found a model without credit: they count for nothing.
    pub without_credit: u32,
    /// Attempts that transient failures may use up.
    pub attempts_max: u32,
    /// Milliseconds for which the run may still wait for credit.
    pub quota_wait_left_ms: u64,
}

impl Tries {
    const fn counted(&self) -> u32 {
        self.attempt.saturating_sub(self.without_credit)
    }
}

/// What follows from a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Another attempt, after so many milliseconds.
    Retry {
        /// The wait.
        delay_ms: u64,
    },
    /// The planner revises.
    AskPlanner,
    /// The run ends.
    End,
}

/// What follows from the failure of an attempt of a step.
#[must_use]
pub fn on_step_failure(failure: &Failure, tries: Tries) -> Action {
    match failure.class {
        FailureClass::Transient if tries.counted() < tries.attempts_max => retry(failure, tries.counted()),
        FailureClass::Quota => await_credit(failure, tries),
        FailureClass::Transient
        | FailureClass::InvalidOutput
        | FailureClass::ToolError
        | FailureClass::Refused
        | FailureClass::ContextOverflow
        | FailureClass::Timeout
        | FailureClass::Lost
        | FailureClass::Denied => Action::AskPlanner,
        FailureClass::Budget | FailureClass::Deadline | FailureClass::Cancelled => Action::End,
    }
}

/// What follows when planning itself fails. Nobody can be asked then: it is
/// tried again or the run ends.
#[must_use]
pub fn on_plan_failure(failure: &Failure, tries: Tries) -> Action {
    let again = tries.counted() < tries.attempts_max;
    match failure.class {
        FailureClass::Transient | FailureClass::Timeout | FailureClass::Lost if again => {
            match retry(failure, tries.counted()) {
                Action::Retry { delay_ms } => Action::Retry { delay_ms },
                Action::AskPlanner | Action::End => Action::End,
            }
        }
        FailureClass::Quota => await_credit(failure, tries),
        _ => Action::End,
    }
}

/// A model is paused until people have paid: there is nothing that a planner could
/// mend, and no attempt that counts. Where no pause is named nobody waits for an
/// end of it: a model that is not configured stays so.
fn await_credit(failure: &Failure, tries: Tries) -> Action {
    let Some(paused_ms) = failure.retry_after_ms else { return Action::End };
    let doubled = QUOTA_WAIT_FIRST_MS.saturating_mul(1 << tries.without_credit.min(10));
    let delay_ms = doubled.min(QUOTA_WAIT_MAX_MS).max(paused_ms);
    if delay_ms > tries.quota_wait_left_ms { Action::End } else { Action::Retry { delay_ms } }
}

fn retry(failure: &Failure, attempt: u32) -> Action {
    let doubled = BACKOFF_FIRST_MS.saturating_mul(1 << (attempt.saturating_sub(1)).min(10));
    let own = doubled.min(BACKOFF_MAX_MS);
    match failure.retry_after_ms {
        Some(asked) if asked > RETRY_AFTER_MS_MAX => Action::AskPlanner,
        Some(asked) => Action::Retry { delay_ms: asked },
        None => Action::Retry { delay_ms: own },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tries(attempt: u32) -> Tries {
        Tries { attempt, without_credit: 0, attempts_max: 5, quota_wait_left_ms: 0 }
    }

    fn action(class: FailureClass, attempt: u32) -> Action {
        on_step_failure(&Failure::new(class, "x"), tries(attempt))
    }

    #[test]
    fn only_transient_failures_are_tried_again_and_only_so_often() {
        assert_eq!(action(FailureClass::Transient, 1), Action::Retry { delay_ms: 1_000 });
        assert_eq!(action(FailureClass::Transient, 4), Action::Retry { delay_ms: 8_000 });
        assert_eq!(action(FailureClass::Transient, 5), Action::AskPlanner);
        assert_eq!(action(FailureClass::InvalidOutput, 1), Action::AskPlanner);
        assert_eq!(action(FailureClass::Quota, 1), Action::End);
    }

    #[test]
    fn the_provider_s_wait_is_kept() {
        let asked = Failure { retry_after_ms: Some(7), ..Failure::new(FailureClass::Transient, "x") };
        assert_eq!(on_step_failure(&asked, tries(3)), Action::Retry { delay_ms: 7 });
    }

    #[test]
    fn credit_is_waited_for_as_long_as_the_run_may_and_counts_as_no_attempt() {
        let paused = Failure { retry_after_ms: Some(1_000), ..Failure::new(FailureClass::Quota, "x") };
        let waited = |without_credit, quota_wait_left_ms| Tries {
            attempt: without_credit + 1,
            without_credit,
            attempts_max: 1,
            quota_wait_left_ms,
        };
        for act in [on_step_failure, on_plan_failure] {
            assert_eq!(act(&paused, waited(0, 60_000)), Action::Retry { delay_ms: 60_000 });
            assert_eq!(act(&paused, waited(2, 240_000)), Action::Retry { delay_ms: 240_000 });
            assert_eq!(act(&paused, waited(9, 3_600_000)), Action::Retry { delay_ms: 900_000 });
            assert_eq!(act(&paused, waited(2, 239_999)), Action::End);
        }
        let slow = Failure { retry_after_ms: Some(2_000_000), ..paused };
        assert_eq!(on_step_failure(&slow, waited(0, 2_000_000)), Action::Retry { delay_ms: 2_000_000 });
        let unset = Failure::new(FailureClass::Quota, "no model is configured");
        assert_eq!(on_step_failure(&unset, waited(0, 3_600_000)), Action::End);
        let later = Tries { attempts_max: 2, ..waited(3, 0) };
        let transient = Failure::new(FailureClass::Transient, "x");
        assert_eq!(on_step_failure(&transient, later), Action::Retry { delay_ms: 1_000 });
    }
}
