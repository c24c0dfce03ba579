//! Names: runs, steps, attempts. Together they name a dispatch everywhere, as
//! message subject, idempotency key and span attribute.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// Longest name in characters: fits a NATS subject token many times over.
pub const ID_CHARS_MAX: usize = 64;

/// Why a text is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {text:?} is not valid: {expected}")]
pub struct IdError {
    what: &'static str,
    text: String,
    expected: &'static str,
}

/// Checks a user-given name (tenant, pool, custom id): `[A-Za-z0-9_-]{1,64}`.
///
/// # Errors
/// Says which name is wrong and what would be right.
pub fn check_name(what: &'static str, text: &str) -> Result<(), IdError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if (1..=ID_CHARS_MAX).contains(&text.len()) && text.chars().all(allowed) {
        return Ok(());
    }
    Err(IdError { what, text: text.chars().take(80).collect(), expected: "use 1 to 64 of A-Z a-z 0-9 _ -" })
}

/// A shard's number.
pub type ShardId = u16;

/// Begins the unique part of a run in a batch. Other unique parts are hexadecimal and
/// have no dash.
const IN_BATCH: &str = "b-";

/// One run's name. Its leading two hexadecimal digits name the shard it lives in,
/// so that growing the number of shards moves no run.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(Arc<str>);

impl RunId {
    /// The run id in `shard` with that unique part (`[A-Za-z0-9_-]{1,61}`).
    ///
    /// # Errors
    /// When the parts do not make a valid name.
    pub fn new(shard: ShardId, unique: &str) -> Result<Self, IdError> {
        format!("{shard:02x}-{unique}").parse()
    }

    /// The id of a run that is part of a batch, likewise. Its document is kept where the
    /// documents of its batch are, and the id alone has to say that it is there.
    ///
    /// # Errors
    /// When the parts do not make a valid name.
    pub fn in_batch(shard: ShardId, unique: &str) -> Result<Self, IdError> {
        Self::new(shard, &format!("{IN_BATCH}{unique}"))
    }

    /// Whether the run is part of a batch.
    #[must_use]
    pub fn is_in_batch(&self) -> bool {
        self.0[3..].starts_with(IN_BATCH)
    }

    /// The shard that the run lives in.
    #[must_use]
    pub fn shard(&self) -> ShardId {
        // Checked when parsed.
        ShardId::from_str_radix(&self.0[..2], 16).unwrap_or_default()
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RunId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        check_name("run id", text)?;
        let lower_hex = |b: &u8| b.is_ascii_digit() || (b'a'..=b'f').contains(b);
        let bytes = text.as_bytes();
        if bytes.len() >= 4 && bytes[..2].iter().all(lower_hex) && bytes[2] == b'-' {
            return Ok(Self(text.into()));
        }
        Err(IdError {
            what: "run id",
            text: text.to_owned(),
            expected: "it starts with its shard as two hexadecimal digits and a dash",
        })
    }
}

impl TryFrom<String> for RunId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One piece of dispatchable work: a step, or one item of a `for_each` step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId {
    /// The step's number in its plan, from 1.
    pub step: u32,
    /// The item's position, from 0, in a `for_each` step.
    pub item: Option<u32>,
}

impl StepId {
    /// A step that is not an item.
    #[must_use]
    pub const fn plain(step: u32) -> Self {
        Self { step, item: None }
    }

    /// One item of a `for_each` step.
    #[must_use]
    pub const fn item(step: u32, item: u32) -> Self {
        Self { step, item: Some(item) }
    }

    /// The id as one token of a subject: `3` or `3-0`.
    #[must_use]
    pub fn token(self) -> String {
        match self.item {
            None => self.step.to_string(),
            Some(item) => format!("{}-{item}", self.step),
        }
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.item {
            None => write!(f, "{}", self.step),
            Some(item) => write!(f, "{}[{item}]", self.step),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_id_carries_its_shard() {
        let id = RunId::new(11, "abc_1").unwrap();
        assert_eq!(id.as_str(), "0b-abc_1");
        assert_eq!(id.shard(), 11);
        assert_eq!("0b-abc_1".parse::<RunId>().unwrap(), id);
    }

    #[test]
    fn ill_formed_run_ids_are_refused() {
        for text in ["", "0b", "0b-", "zz-abc", "0B-abc", "0b_abc", "0b-a b", "0b-é", &"0".repeat(65)] {
            assert!(text.parse::<RunId>().is_err(), "{text}");
        }
    }

    #[test]
    fn items_have_their_own_token() {
        assert_eq!(StepId::item(3, 0).to_string(), "3[0]");
        assert_eq!(StepId::item(3, 0).token(), "3-0");
        assert_eq!(StepId::plain(3).token(), "3");
    }
}
