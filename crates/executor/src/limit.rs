//! How long an attempt may take, and what it is to pass that.

use std::time::Duration;

use planfleet_core::{
    command::StepOrder,
    failure::{Failure, FailureClass},
};

/// The time that an attempt has, and whose limit it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) left: Duration,
    whose: Whose,
}

/// Whose limit it is. Of two that end together the first counts: no plan helps
/// against the run's deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Whose {
    Run,
    /// Counted from the dispatch, waiting in the queue included: the coordinator
    /// stops waiting at the same time.
    Step,
    Executor,
}

impl Limit {
    /// The first of all limits to end, for an attempt that begins at `now_ms`.
    pub(crate) fn of(order: &StepOrder, own: Duration, now_ms: u64) -> Self {
        let until = |at_ms: u64| Duration::from_millis(at_ms.saturating_sub(now_ms));
        let run = order.deadline_at_ms.map(|at_ms| (until(at_ms), Whose::Run));
        let step = order.timeout_at_ms.map(|at_ms| (until(at_ms), Whose::Step));
        let (left, whose) = [run, step].into_iter().flatten().fold((own, Whose::Executor), Ord::min);
        Self { left, whose }
    }

    /// The failure of an attempt that is not done by then.
    pub(crate) fn passed(&self) -> Failure {
        match self.whose {
            Whose::Run => Failure::new(FailureClass::Deadline, "the run's time is up"),
            Whose::Step if self.left.is_zero() => {
                let message = "the time that its step allows was up before an executor was free for it";
                Failure::new(FailureClass::Timeout, message)
            }
            Whose::Step => Failure::new(FailureClass::Timeout, "not done in the time that its step allows"),
            Whose::Executor => {
                let message =
                    format!("not done within the {} s that its pool allows", self.left.as_secs_f64());
                Failure::new(FailureClass::Timeout, message)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_000_000;
    const OWN: Duration = Duration::from_secs(60);

    fn limit(deadline: Option<u64>, step: Option<u64>) -> Limit {
        let order = StepOrder {
            deadline_at_ms: deadline.map(|after| NOW_MS + after),
            timeout_at_ms: step.map(|after| NOW_MS + after),
            ..crate::prompt::tests::order(Vec::new())
        };
        Limit::of(&order, OWN, NOW_MS)
    }

    #[test]
    fn the_first_limit_to_end_counts() {
        for (deadline, step, left, whose) in [
            (None, None, OWN, Whose::Executor),
            (Some(90_000), Some(70_000), OWN, Whose::Executor),
            (Some(90_000), Some(5), Duration::from_millis(5), Whose::Step),
            (Some(5), Some(70_000), Duration::from_millis(5), Whose::Run),
            (Some(5), Some(5), Duration::from_millis(5), Whose::Run),
            (Some(60_000), Some(60_000), OWN, Whose::Run),
            (None, Some(60_000), OWN, Whose::Step),
        ] {
            assert_eq!(limit(deadline, step), Limit { left, whose }, "{deadline:?} {step:?}");
        }
    }

    #[test]
    fn a_time_that_is_past_leaves_none() {
        let order = StepOrder { timeout_at_ms: Some(NOW_MS - 1), ..crate::prompt::tests::order(Vec::new()) };
        let limit = Limit::of(&order, OWN, NOW_MS);
        assert_eq!(limit, Limit { left: Duration::ZERO, whose: Whose::Step });
        assert!(limit.passed().message.contains("before an executor was free"));
    }
}
