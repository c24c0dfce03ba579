//! What tools keep beyond their run: small values and objects, each tenant's its own.

mod bounds;

use bytes::Bytes;
use planfleet_proto::subjects;

pub use self::bounds::{Bounded, Bounds};
use crate::{Bus, Error, broker::CasOutcome};

/// Whoever loses so many races for a key has others to thank that it is written all the time;
/// the last of them has won.
const TRIES_MAX: usize = 8;

impl Bus {
    /// The value of a tenant's key.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn kept_value(&self, tenant: &str, key: &str) -> Result<Option<Bytes>, Error> {
        let found = self.broker().kv_get(subjects::TOOL_VALUES, &subjects::kept(tenant, key)).await?;
        Ok(found.map(|entry| entry.value))
    }

    /// Writes it, whatever it was before.
    ///
    /// # Errors
    /// When the broker does not take it, or others write it again and again.
    pub async fn keep_value(&self, tenant: &str, key: &str, value: Bytes) -> Result<(), Error> {
        let (bucket, key) = (subjects::TOOL_VALUES, subjects::kept(tenant, key));
        for _ in 0..TRIES_MAX {
            let before = self.broker().kv_get(bucket, &key).await?.map_or(0, |entry| entry.revision);
            if let CasOutcome::Written(_) = self.broker().kv_cas(bucket, &key, value.clone(), before).await? {
                return Ok(());
            }
        }
        Err(crate::broker::Error::Unreachable(format!("{key} is being written by others all the time"))
            .into())
    }

    /// A tenant's object of that name.
    ///
    /// # Errors
    /// When the broker cannot be reached, or the object is damaged.
    pub async fn kept_object(&self, tenant: &str, name: &str) -> Result<Option<Bytes>, Error> {
        Ok(self.broker().object_get(subjects::TOOL_OBJECTS, &subjects::kept(tenant, name)).await?)
    }

    /// Writes it, whatever it was before.
    ///
    /// # Errors
    /// When the broker does not take it.
    pub async fn keep_object(&self, tenant: &str, name: &str, body: Bytes) -> Result<(), Error> {
        Ok(self.broker().object_put(subjects::TOOL_OBJECTS, &subjects::kept(tenant, name), body).await?)
    }
}
