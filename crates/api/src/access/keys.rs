//! API keys: 256 bits that are shown once, of which only a hash is kept.
//!
//! A key is found by the SHA-256 of itself. A slow hash is for passwords, which people
//! choose and others guess; nobody guesses 256 random bits, and each request pays for the
//! hash. As the hash is the name that is looked up, nothing is compared in time that tells.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use planfleet_bus::{
    Bus, Error,
    broker::{self, CasOutcome},
};
use planfleet_core::id::{IdError, check_name};
use planfleet_proto::subjects;
use planfleet_runtime::clock;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::Role;

/// Begins every key, so that scanners of leaked secrets find it.
const PREFIX: &str = "pfk_";

/// Bytes of chance in a key.
const SECRET_BYTES: usize = 32;

/// Bytes of its own hash at a key's end: what is mistyped or made up is refused without
/// asking the broker.
const CHECK_BYTES: usize = 4;

/// How long a key counts as it did: a request costs no question, and a revoked key works
/// for no longer than this.
const REMEMBERED: Duration = Duration::from_secs(5);

/// Keys that are remembered: far more than call at once.
const REMEMBERED_MAX: usize = 10_000;

/// What is kept of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// What it is called by, and revoked.
    pub id: String,
    /// Whose it is, in words.
    pub name: String,
    /// The tenant; none for the whole fleet.
    pub tenant: Option<String>,
    /// What it may.
    pub role: Role,
    /// In milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// From then on it is no key, likewise.
    pub expires_ms: Option<u64>,
}

impl ApiKey {
    /// Whether its time is up.
    #[must_use]
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_ms.is_some_and(|expires_ms| now_ms >= expires_ms)
    }
}

/// A key that is wanted.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// Whose it is, in words.
    pub name: String,
    /// The tenant; none for the whole fleet.
    pub tenant: Option<String>,
    /// What it may.
    pub role: Role,
    /// How long it holds; for ever unless said.
    pub lasts: Option<Duration>,
}

/// Why a key is not made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A name that is none.
    #[error(transparent)]
    Name(#[from] IdError),
    /// The system gives no chance.
    #[error("the system gives no random bytes")]
    Random,
    /// It cannot be kept.
    #[error(transparent)]
    Bus(#[from] Error),
}

/// The keys of a fleet.
pub struct Keys {
    bus: Bus,
    remembered: Mutex<HashMap<String, (Instant, ApiKey)>>,
}

impl Keys {
    /// Those that are kept there.
    #[must_use]
    pub fn on(bus: Bus) -> Self {
        Self { bus, remembered: Mutex::default() }
    }

    /// Makes a key; what it is called with is given once and never again.
    ///
    /// # Errors
    /// When a name is none, or it cannot be kept.
    pub async fn create(&self, new: NewKey) -> Result<(String, ApiKey), KeyError> {
        check_name("name", &new.name)?;
        if let Some(tenant) = &new.tenant {
            check_name("tenant", tenant)?;
        }
        let mut secret = [0; SECRET_BYTES];
        SystemRandom::new().fill(&mut secret).map_err(|_| KeyError::Random)?;
        let check = &Sha256::digest(secret)[..CHECK_BYTES];
        let text = format!("{PREFIX}{}{}", hex::encode(secret), hex::encode(check));
        let (hash, now_ms) = (hash(&text), clock::unix_ms());
        let lasts_ms = new.lasts.map(|lasts| u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX));
        let key = ApiKey {
            // Enough to name one of many, and nothing of the secret.
            id: hash[..12].to_owned(),
            name: new.name,
            tenant: new.tenant,
            role: new.role,
            created_ms: now_ms,
            expires_ms: lasts_ms.map(|lasts_ms| now_ms.saturating_add(lasts_ms)),
        };
        let value = serde_json::to_vec(&key).map_err(|error| Error::Answer(error.to_string()))?;
        let kept = self.bus.broker().kv_cas(subjects::API_KEYS, &hash, Bytes::from(value), 0).await;
        match kept.map_err(Error::from)? {
            CasOutcome::Written(_) => Ok((text, key)),
            CasOutcome::Conflict => Err(KeyError::Random),
        }
    }

    /// All keys, the newest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn list(&self) -> Result<Vec<ApiKey>, Error> {
        let mut keys: Vec<ApiKey> = self.all().await?.into_iter().map(|(_, key)| key).collect();
        keys.sort_by(|a, b| b.created_ms.cmp(&a.created_ms).then_with(|| a.id.cmp(&b.id)));
        Ok(keys)
    }

    /// Ends a key; `None` when there is none of that id. It works for five seconds more at most.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn revoke(&self, id: &str) -> Result<Option<ApiKey>, Error> {
        let found = self.all().await?.into_iter().find(|(_, key)| key.id == id);
        let Some((hash, key)) = found else { return Ok(None) };
        self.bus.broker().kv_delete(subjects::API_KEYS, &hash).await?;
        Ok(Some(key))
    }

    async fn all(&self) -> Result<Vec<(String, ApiKey)>, Error> {
        let all = match self.bus.read_all(subjects::API_KEYS, |entry| read(&entry.value)).await {
            // A fleet whose buckets somebody else makes has none until then.
            Err(Error::Broker(broker::Error::Missing(_))) => return Ok(Vec::new()),
            all => all?,
        };
        Ok(all.into_iter().collect())
    }

    /// Whether a text looks like a key, and not like a token.
    pub(super) fn is_key(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// What is kept of a key that holds.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub(super) async fn find(&self, text: &str) -> Result<Option<ApiKey>, Error> {
        if !is_whole(text) {
            return Ok(None);
        }
        let hash = hash(text);
        let known =
            self.lock().get(&hash).filter(|(at, _)| at.elapsed() < REMEMBERED).map(|(_, key)| key.clone());
        let key = match known {
            Some(key) => key,
            None => {
                let entry = match self.bus.broker().kv_get(subjects::API_KEYS, &hash).await {
                    Err(broker::Error::Missing(_)) => None,
                    entry => entry?,
                };
                let Some(entry) = entry else { return Ok(None) };
                let key: ApiKey = read(&entry.value)?;
                let mut remembered = self.lock();
                if remembered.len() >= REMEMBERED_MAX {
                    remembered.retain(|_, (at, _)| at.elapsed() < REMEMBERED);
                }
                if remembered.len() < REMEMBERED_MAX {
                    remembered.insert(hash, (Instant::now(), key.clone()));
                }
                key
            }
        };
        Ok((!key.is_expired(clock::unix_ms())).then_some(key))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (Instant, ApiKey)>> {
        // Each critical section leaves the map whole.
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(value: &[u8]) -> Result<ApiKey, Error> {
    serde_json::from_slice(value)
        .map_err(|error| Error::Answer(format!("an API key that cannot be read: {error}")))
}

fn hash(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

/// Whether the end of a key is that of its beginning.
fn is_whole(text: &str) -> bool {
    let bytes = text.strip_prefix(PREFIX).and_then(|text| hex::decode(text).ok()).unwrap_or_default();
    let Some((secret, check)) = bytes.split_at_checked(SECRET_BYTES) else { return false };
    check == &Sha256::digest(secret)[..CHECK_BYTES]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use planfleet_bus::{Manage, Topology, broker::memory::MemoryBroker};

    use super::*;

    async fn keys() -> Keys {
        let bus = Bus::new(Arc::new(MemoryBroker::new()), 1);
        let topology = Topology { shards: 1, replicas: 1, pools: Vec::new(), manage: Manage::Create };
        bus.bootstrap(&topology).await.unwrap();
        Keys::on(bus)
    }

    fn new(lasts: Option<Duration>) -> NewKey {
        NewKey { name: "ci".to_owned(), tenant: Some("acme".to_owned()), role: Role::Reader, lasts }
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_holds_until_it_is_revoked_and_is_nowhere_kept() {
        let keys = keys().await;
        let (text, key) = keys.create(new(None)).await.unwrap();
        let (other, _) = keys.create(new(None)).await.unwrap();
        assert_ne!(text, other);
        assert_eq!(text.len(), PREFIX.len() + 2 * (SECRET_BYTES + CHECK_BYTES));
        assert_eq!(keys.find(&text).await.unwrap(), Some(key.clone()));
        let kept = keys.bus.broker().kv_all(subjects::API_KEYS).await.unwrap();
        assert_eq!(kept.len(), 2);
        for (hash, entry) in &kept {
            let value = String::from_utf8(entry.value.to_vec()).unwrap();
            assert!(!value.contains(&text[PREFIX.len()..20]) && !text.contains(hash.as_str()), "{value}");
        }
        let (bucket, later) = (subjects::API_KEYS, Bytes::from_static(b"a later version's"));
        keys.bus.broker().kv_cas(bucket, "unreadable", later, 0).await.unwrap();
        assert_eq!(keys.list().await.unwrap().len(), 2, "those that can be read");
        assert_eq!(keys.revoke(&key.id).await.unwrap(), Some(key.clone()));
        assert_eq!(keys.revoke(&key.id).await.unwrap(), None);
        tokio::time::advance(REMEMBERED).await;
        assert_eq!(keys.find(&text).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_expired_or_made_up_is_no_key() {
        let keys = keys().await;
        let (text, key) = keys.create(new(Some(Duration::ZERO))).await.unwrap();
        assert!(key.is_expired(clock::unix_ms()));
        assert_eq!(keys.find(&text).await.unwrap(), None);
        let (text, _) = keys.create(new(None)).await.unwrap();
        let mistyped = text.replacen(&text[10..11], if &text[10..11] == "a" { "b" } else { "a" }, 1);
        for made_up in
            ["", "pfk_", "pfk_zz", mistyped.as_str(), &text[..text.len() - 2], &format!("{text}00")]
        {
            assert!(!is_whole(made_up), "{made_up}");
            assert_eq!(keys.find(made_up).await.unwrap(), None, "{made_up}");
        }
    }
}
