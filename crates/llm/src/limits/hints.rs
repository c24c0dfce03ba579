//! What processes tell each other of a model. All of it may be lost, late or wrong by a clock:
//! each process finds out by itself what nobody tells it.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::rates::RateLimits;

/// Something learnt of a model. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "hint", rename_all = "snake_case")]
pub enum Hint {
    /// Only people can mend it; it is left alone until then.
    Paused { reason: String, since_ms: u64, until_ms: u64 },
    /// It answers again.
    Resumed,
    /// The provider has asked to be left alone until then.
    Asked { until_ms: u64 },
    /// What the provider says of its limits.
    Rates { told: RateLimits },
}

impl Hint {
    pub(super) fn paused(reason: &str, left: Duration) -> Self {
        let since_ms = now_ms();
        Self::Paused { reason: reason.to_owned(), since_ms, until_ms: since_ms.saturating_add(ms(left)) }
    }

    pub(super) fn asked(wish: Duration) -> Self {
        Self::Asked { until_ms: now_ms().saturating_add(ms(wish)) }
    }

    /// What a later hint of this name replaces.
    #[must_use]
    pub fn topic(&self) -> &'static str {
        match self {
            Self::Paused { .. } | Self::Resumed => "paused",
            Self::Asked { .. } => "asked",
            Self::Rates { .. } => "rates",
        }
    }
}

/// Where hints go.
pub trait Hints: fmt::Debug + Send + Sync {
    /// Tells the others. Must not block, and may lose it.
    fn tell(&self, model: &str, hint: Hint);
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, ms)
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
