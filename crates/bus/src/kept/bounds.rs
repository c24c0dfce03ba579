//! What tools keep as objects has an end: by age, and for each tenant by number and size.
//! Values have one by their bucket, which forgets them after a while.

use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

use futures::TryStreamExt as _;
use planfleet_proto::subjects;

use crate::{Bus, Error, broker::ObjectInfo};

/// How much of what tools keep stays. What is over it goes, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// Objects that were put longer ago go.
    pub age: Duration,
    /// Objects of one tenant.
    pub count: u64,
    /// Bytes of one tenant's objects.
    pub bytes: u64,
}

impl Default for Bounds {
    /// As long as values are kept; names as many as people can still look through; and a
    /// GiB, as a hundred tenants with so much still fit a small disk.
    fn default() -> Self {
        Self { age: Duration::from_secs(90 * 24 * 3600), count: 10_000, bytes: 1 << 30 }
    }
}

/// What was there and what has gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounded {
    /// Objects that were there.
    pub objects: u64,
    /// Those that were removed.
    pub removed: u64,
    /// Their bytes.
    pub removed_bytes: u64,
}

impl Bus {
    /// Removes what is over the bounds. An object that is put anew meanwhile stays.
    ///
    /// # Errors
    /// When the broker cannot be reached; what is left is for the next time.
    pub async fn bound_objects(&self, bounds: &Bounds, now_ms: u64) -> Result<Bounded, Error> {
        let mut by_tenant = BTreeMap::<String, Vec<ObjectInfo>>::new();
        let mut objects = self.broker().object_list(subjects::TOOL_OBJECTS).await?;
        while let Some(object) = objects.try_next().await? {
            let tenant = object.name.split('/').next().unwrap_or_default().to_owned();
            by_tenant.entry(tenant).or_default().push(object);
        }
        let mut bounded = Bounded::default();
        for (tenant, objects) in by_tenant {
            bounded.objects += u64::try_from(objects.len()).unwrap_or(u64::MAX);
            for object in over(bounds, objects, now_ms) {
                let ObjectInfo { name, bytes, revision, .. } = object;
                if self.broker().object_delete(subjects::TOOL_OBJECTS, &name, Some(revision)).await? {
                    tracing::debug!(tenant, name, bytes, "an object of a tool is over the bounds, and gone");
                    bounded.removed += 1;
                    bounded.removed_bytes += bytes;
                }
            }
        }
        Ok(bounded)
    }
}

/// The objects of one tenant that are over the bounds.
fn over(bounds: &Bounds, mut objects: Vec<ObjectInfo>, now_ms: u64) -> Vec<ObjectInfo> {
    objects.sort_by_key(|object| Reverse((object.modified_ms, object.revision)));
    let age_ms = u64::try_from(bounds.age.as_millis()).unwrap_or(u64::MAX);
    let (mut count, mut bytes) = (0_u64, 0_u64);
    objects.retain(|object| {
        (count, bytes) = (count + 1, bytes.saturating_add(object.bytes));
        let too_old = object.modified_ms.saturating_add(age_ms) <= now_ms;
        too_old || count > bounds.count || bytes > bounds.bytes
    });
    objects
}
