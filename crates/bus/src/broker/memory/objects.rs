//! One object bucket.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::broker::ObjectInfo;

#[derive(Default)]
pub(super) struct Objects {
    objects: BTreeMap<String, Object>,
    /// Grows with every write of the bucket.
    revision: u64,
}

struct Object {
    body: Bytes,
    modified_ms: u64,
    revision: u64,
}

impl Objects {
    pub(super) fn put(&mut self, name: &str, body: Bytes, now_ms: u64) {
        self.revision += 1;
        let object = Object { body, modified_ms: now_ms, revision: self.revision };
        self.objects.insert(name.to_owned(), object);
    }

    pub(super) fn get(&self, name: &str) -> Option<Bytes> {
        Some(self.objects.get(name)?.body.clone())
    }

    pub(super) fn touch(&mut self, name: &str, now_ms: u64) -> bool {
        let Some(object) = self.objects.get_mut(name) else {
            return false;
        };
        self.revision += 1;
        (object.modified_ms, object.revision) = (now_ms, self.revision);
        true
    }

    pub(super) fn list(&self) -> Vec<ObjectInfo> {
        let info = |(name, object): (&String, &Object)| ObjectInfo {
            name: name.clone(),
            bytes: object.body.len() as u64,
            modified_ms: object.modified_ms,
            revision: object.revision,
        };
        self.objects.iter().map(info).collect()
    }

    pub(super) fn delete(&mut self, name: &str, revision: Option<u64>) -> bool {
        let at = |object: &Object| revision.is_none_or(|revision| revision == object.revision);
        self.objects.get(name).is_some_and(at) && self.objects.remove(name).is_some()
    }
}
