//! How the command line ends: a message and an exit code, in one place.

use std::{fmt, process::ExitCode};

use planfleet_api::{batch::BatchError, template::library::LibraryError};
use planfleet_bus::{Error as BusError, batches::Tally, broker, client::RerunError};
use planfleet_core::document::RunState;
use serde_json::Value;

/// Exit codes, as documented in the README.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Code {
    Unexpected = 1,
    Usage = 2,
    RunFailed = 3,
    Cancelled = 4,
    TimedOut = 5,
    Budget = 6,
    Unreachable = 7,
    Interrupted = 130,
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    code: Code,
    message: String,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl fmt::Display) -> Self {
        Self { code, message: message.to_string() }
    }

    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Code::Usage, message)
    }

    /// A mistake of whoever asked, told with all of its causes.
    pub(crate) fn usage_because(error: &dyn std::error::Error) -> Self {
        let causes = std::iter::successors(error.source(), |cause| cause.source());
        Self::usage(causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}")))
    }

    pub(crate) fn unexpected(message: impl fmt::Display) -> Self {
        Self::new(Code::Unexpected, message)
    }

    pub(crate) fn unreachable(message: impl fmt::Display) -> Self {
        Self::new(Code::Unreachable, message)
    }

    /// There is no fleet where one was looked for.
    pub(crate) fn no_broker(error: impl fmt::Display) -> Self {
        Self::unreachable(format!("{error}; start one with `planfleet dev`, or set nats.url"))
    }

    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(self.code as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<BusError> for Failure {
    fn from(error: BusError) -> Self {
        match &error {
            BusError::Broker(broker::Error::Unreachable(_)) => Self::unreachable(error),
            BusError::NoOwner(_) => Self::unreachable(format!(
                "{error} After a crash another one takes over within ten seconds; where none runs, start one \
                 with `planfleet serve --roles coordinator`"
            )),
            BusError::KeyReused { .. } | BusError::UnknownBatch(_) => Self::usage(error),
            BusError::Broker(broker::Error::Missing(_)) => {
                Self::unreachable(format!("{error}; `planfleet serve` and `planfleet dev` make it"))
            }
            _ => Self::unexpected(error),
        }
    }
}

impl From<RerunError> for Failure {
    fn from(error: RerunError) -> Self {
        match error {
            RerunError::Bus(error) => error.into(),
            other => Self::unexpected(other),
        }
    }
}

impl From<BatchError> for Failure {
    fn from(error: BatchError) -> Self {
        match error {
            BatchError::Bus(error) => error.into(),
            other => Self::usage(other),
        }
    }
}

impl From<LibraryError> for Failure {
    fn from(error: LibraryError) -> Self {
        match error {
            LibraryError::Bus(error) => error.into(),
            refused @ LibraryError::Refused(_) => Self::usage(refused),
        }
    }
}

impl From<broker::Error> for Failure {
    fn from(error: broker::Error) -> Self {
        BusError::from(error).into()
    }
}

/// The exit code of a run that has ended, by its document.
pub(crate) fn of_run(document: &Value) -> ExitCode {
    let code = match document["state"].as_str() {
        Some("succeeded") => return ExitCode::SUCCESS,
        Some("cancelled") => Code::Cancelled,
        Some("expired") => Code::TimedOut,
        _ if document["end"]["code"] == "budget" => Code::Budget,
        _ => Code::RunFailed,
    };
    ExitCode::from(code as u8)
}

/// The exit code of a batch by its runs that did not succeed: the first of failed, out of
/// budget, expired and cancelled that there is one of; then that of refused lines.
pub(crate) fn of_batch(tally: &Tally, rejected: u64) -> ExitCode {
    let any = |wanted: &dyn Fn(RunState, bool) -> bool| {
        tally.unsuccessful.values().any(|miss| wanted(miss.state, miss.of_budget))
    };
    let code = if any(&|state, of_budget| state == RunState::Failed && !of_budget) {
        Code::RunFailed
    } else if any(&|_, of_budget| of_budget) {
        Code::Budget
    } else if any(&|state, _| state == RunState::Expired) {
        Code::TimedOut
    } else if any(&|state, _| state == RunState::Cancelled) {
        Code::Cancelled
    } else if rejected > 0 {
        Code::Usage
    } else {
        return ExitCode::SUCCESS;
    };
    ExitCode::from(code as u8)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_run_s_end_is_its_exit_code() {
        for (document, code) in [
            (json!({"state": "succeeded"}), 0),
            (json!({"state": "failed", "end": {"code": "no_goal"}}), 3),
            (json!({"state": "cancelled"}), 4),
            (json!({"state": "expired"}), 5),
            (json!({"state": "failed", "end": {"code": "budget"}}), 6),
        ] {
            assert_eq!(of_run(&document), ExitCode::from(code), "{document}");
        }
    }
}
