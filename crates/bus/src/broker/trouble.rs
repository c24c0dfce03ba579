//! What is wrong between us and the broker just now, for people and for readiness.

use std::{fmt, time::Duration};

/// One thing that keeps the broker from being of use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// For how long it has lasted.
    pub lasting: Duration,
    /// What it is.
    pub kind: Kind,
}

/// What can be wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A connection is down, and is being made again for ever.
    Disconnected {
        /// What the connection is for.
        connection: &'static str,
        /// Attempts to reconnect so far.
        attempts: u64,
        /// How the last attempt failed, if one has.
        last: Option<String>,
    },
    /// The connection is up, but what is written is not acknowledged: the servers elect
    /// a leader, or cannot write to their disks.
    NothingStored {
        /// The beginning of the subjects that are written to.
        subjects: String,
        /// Attempts without an answer.
        attempts: u64,
        /// What the last attempt came to.
        last: String,
    },
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.lasting.as_secs();
        match &self.kind {
            Kind::Disconnected { connection, attempts, last } => {
                let times = if *attempts == 1 { "attempt" } else { "attempts" };
                write!(f, "connection `{connection}` lost {seconds} s ago, {attempts} {times} to reconnect")?;
                last.as_ref().map_or(Ok(()), |last| write!(f, ", the last: {last}"))
            }
            Kind::NothingStored { subjects, attempts, last } => write!(
                f,
                "the broker does not answer what is written to {subjects}.>, for {seconds} s \
                 ({attempts} attempts, the last: {last})"
            ),
        }
    }
}
