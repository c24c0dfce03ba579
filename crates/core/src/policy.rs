//! Who acts on a failure. One table, one owner for each retry.

use crate::failure::{Failure, FailureClass};

/// The first wait before another attempt; doubled each time.
const BACKOFF_FIRST_MS: u64 = 1_000;

/// A minute lets a provider's rate window pass; longer waits are the provider's to ask for.
const BACKOFF_MAX_MS: u64 = 60_000;

/// An hour: a provider that asks for more is out for this run, and its planner is told.
const RETRY_AFTER_MS_MAX: u64 = 3_600_000;

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

/// What follows from the failure of attempt number `attempt` of a step.
#[must_use]
pub fn on_step_failure(failure: &Failure, attempt: u32, attempts_max: u32) -> Action {
    match failure.class {
        FailureClass::Transient if attempt < attempts_max => retry(failure, attempt),
        FailureClass::Transient
        | FailureClass::InvalidOutput
        | FailureClass::ToolError
        | FailureClass::Refused
        | FailureClass::ContextOverflow
        | FailureClass::Timeout
        | FailureClass::Lost
        | FailureClass::Denied => Action::AskPlanner,
        FailureClass::Quota | FailureClass::Budget | FailureClass::Deadline | FailureClass::Cancelled => {
            Action::End
        }
    }
}

/// What follows when planning itself fails. Nobody can be asked then: it is
/// tried again or the run ends.
#[must_use]
pub fn on_plan_failure(failure: &Failure, attempt: u32, attempts_max: u32) -> Action {
    match failure.class {
        FailureClass::Transient | FailureClass::Timeout | FailureClass::Lost if attempt < attempts_max => {
            match retry(failure, attempt) {
                Action::Retry { delay_ms } => Action::Retry { delay_ms },
                Action::AskPlanner | Action::End => Action::End,
            }
        }
        _ => Action::End,
    }
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

    fn action(class: FailureClass, attempt: u32) -> Action {
        on_step_failure(&Failure::new(class, "x"), attempt, 5)
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
        assert_eq!(on_step_failure(&asked, 3, 5), Action::Retry { delay_ms: 7 });
    }
}
