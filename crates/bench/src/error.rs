//! Why a benchmark could not be carried out.

use std::{fmt, time::Duration};

/// What went wrong, and where.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Workloads that do not exist.
    #[error("there is no workload {name:?}; there are {known}")]
    UnknownWorkload {
        /// What was asked for.
        name: String,
        /// What there is, separated by commas.
        known: String,
    },
    /// An option that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A process that was to stay has ended.
    #[error("{process} has ended ({status}); the end of its log:\n{log}")]
    Ended {
        /// Which one.
        process: String,
        /// Its exit status.
        status: String,
        /// The last lines that it wrote.
        log: String,
    },
    /// Something that should have happened by now.
    #[error("waited {} s for {what}", within.as_secs_f64())]
    Late {
        /// What was waited for.
        what: String,
        /// For how long.
        within: Duration,
    },
    /// The operating system's or another program's trouble.
    #[error("{what}: {why}")]
    Failed {
        /// What was tried.
        what: String,
        /// What came of it.
        why: String,
    },
    /// The engine did something else than the workload asks for.
    #[error("the measurement is void: {0}")]
    Void(String),
    /// The bus's own trouble.
    #[error(transparent)]
    Bus(#[from] planfleet_bus::Error),
}

impl From<planfleet_bus::broker::Error> for Error {
    fn from(error: planfleet_bus::broker::Error) -> Self {
        Self::Bus(error.into())
    }
}

/// Says what was tried when something failed.
pub(crate) fn failed<E: fmt::Display>(what: impl Into<String>) -> impl FnOnce(E) -> Error {
    let what = what.into();
    move |error| Error::Failed { what, why: error.to_string() }
}
