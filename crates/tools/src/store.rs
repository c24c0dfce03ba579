//! What the storing tools store in: somebody else's business, behind a trait.
//!
//! Keys are a tenant's own. What one run has put, another of the same tenant can get.

use async_trait::async_trait;

/// The two kinds of what can be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A small value under a key.
    Value,
    /// A document under a name.
    Object,
}

/// Why a store has not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct StoreError {
    /// In words.
    pub reason: String,
    /// Whether the same call may work later.
    pub transient: bool,
}

/// A store of values and objects. Every call ends within the store's own time.
#[async_trait]
pub trait Store: Send + Sync {
    /// What a tenant has put there; `None` where it has put nothing.
    async fn get(&self, kind: Kind, tenant: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError>;
    /// Puts it there, in place of what was there.
    async fn put(&self, kind: Kind, tenant: &str, key: &str, content: Vec<u8>) -> Result<(), StoreError>;
}
