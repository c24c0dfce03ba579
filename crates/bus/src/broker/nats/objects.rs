//! Object buckets, by the client's object store.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_nats::jetstream::{
    context::{ObjectStoreError, ObjectStoreErrorKind},
    object_store::{GetErrorKind, InfoErrorKind, ObjectMetadata, ObjectStore},
    stream::{Config, DiscardPolicy, StorageType},
};
use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use tokio::{io::AsyncReadExt, time::timeout};

use super::{
    api::{jetstream_error, refusal, refused},
    connection::Link,
    streams,
};
use crate::broker::{Error, OBJECT_BYTES_MAX};

/// The limit of one transfer: the largest object at 10 Mbit/s.
const TRANSFER_LIMIT: Duration = Duration::from_secs(60);

/// Where an object says what is in it, so that an equal one is not sent again.
const DIGEST: &str = "sha256";

/// The object buckets of one broker.
pub(super) struct Objects {
    link: Arc<Link>,
    /// Opened buckets: opening asks the server for the stream's info, which is too
    /// dear per object. As many as the topology has buckets, which is two.
    opened: Mutex<BTreeMap<String, ObjectStore>>,
}

impl Objects {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self { link, opened: Mutex::default() }
    }

    /// Creates the bucket unless one of its name is there. Without direct reads,
    /// which a lagging follower would answer with "no such object" right after
    /// another process has put it.
    pub(super) async fn ensure(&self, bucket: &str, replicas: usize) -> Result<(), Error> {
        let config = Config {
            name: stream_of(bucket),
            subjects: vec![format!("$O.{bucket}.C.>"), format!("$O.{bucket}.M.>")],
            storage: StorageType::File,
            num_replicas: replicas,
            discard: DiscardPolicy::New,
            allow_rollup: true,
            allow_direct: false,
            ..Config::default()
        };
        streams::create(&self.link, &config).await?;
        Ok(())
    }

    /// Stores an object. An equal one that is already there stays untouched:
    /// replacing it would take its chunks away from under whoever reads it.
    pub(super) async fn put(&self, bucket: &str, name: &str, body: Bytes) -> Result<(), Error> {
        if body.len() > OBJECT_BYTES_MAX {
            return Err(Error::TooLarge { bytes: body.len(), max: OBJECT_BYTES_MAX });
        }
        let store = self.open(bucket).await?;
        let what = format!("put {name} into {bucket}");
        within(&what, async {
            let digest = hex::encode(Sha256::digest(&body));
            if holds(&store, name, &digest).await {
                return Ok(());
            }
            let metadata = ObjectMetadata {
                name: name.to_owned(),
                metadata: HashMap::from([(DIGEST.to_owned(), digest)]),
                ..ObjectMetadata::default()
            };
            let put = store.put(metadata, &mut body.as_ref()).await;
            put.map(|_| ()).map_err(|error| unreachable(&what, bucket, &error))
        })
        .await
    }

    /// An object's body.
    pub(super) async fn get(&self, bucket: &str, name: &str) -> Result<Option<Bytes>, Error> {
        let store = self.open(bucket).await?;
        let what = format!("get {name} from {bucket}");
        within(&what, async {
            let mut object = match store.get(name).await {
                Ok(object) => object,
                Err(error) if error.kind() == GetErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(unreachable(&what, bucket, &error)),
            };
            let bytes = object.info().size;
            if bytes > OBJECT_BYTES_MAX {
                return Err(Error::TooLarge { bytes, max: OBJECT_BYTES_MAX });
            }
            let mut body = BytesMut::with_capacity(bytes);
            while object.read_buf(&mut body).await.map_err(|error| unreachable(&what, bucket, &error))? > 0 {}
            Ok(Some(body.freeze()))
        })
        .await
    }

    async fn open(&self, bucket: &str) -> Result<ObjectStore, Error> {
        if let Some(store) = self.lock().get(bucket) {
            return Ok(store.clone());
        }
        let what = format!("open object bucket {bucket}");
        let opened = within(&what, async { Ok(self.link.jetstream.get_object_store(bucket).await) });
        let store = match opened.await? {
            Ok(store) => store,
            Err(error) if error.kind() == ObjectStoreErrorKind::InvalidBucketName => {
                return Err(refused(&what, &error));
            }
            Err(error) => return Err(self.explain(bucket, &what, &error).await),
        };
        self.lock().insert(bucket.to_owned(), store.clone());
        Ok(store)
    }

    /// The client does not hand on why a bucket cannot be opened.
    async fn explain(&self, bucket: &str, what: &str, error: &ObjectStoreError) -> Error {
        match streams::info(&self.link, &stream_of(bucket)).await {
            Err(Error::Missing(_)) => Error::Missing(format!("object bucket {bucket}")),
            _ => unreachable(what, bucket, error),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, ObjectStore>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stream_of(bucket: &str) -> String {
    format!("OBJ_{bucket}")
}

async fn holds(store: &ObjectStore, name: &str, digest: &str) -> bool {
    match store.info(name).await {
        Ok(info) => !info.deleted && info.metadata.get(DIGEST).is_some_and(|held| held == digest),
        Err(error) => {
            if error.kind() != InfoErrorKind::NotFound {
                tracing::debug!(name, %error, "cannot tell whether the object is there, putting it");
            }
            false
        }
    }
}

async fn within<T>(what: &str, transfer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(TRANSFER_LIMIT, transfer)
        .await
        .unwrap_or_else(|_| Err(Error::Unreachable(format!("{what}: not done in {TRANSFER_LIMIT:?}"))))
}

/// The store's errors are mostly text; whatever is not a refusal by the server can
/// be tried again, since an object's name makes that harmless.
fn unreachable(what: &str, bucket: &str, error: &(dyn std::error::Error + 'static)) -> Error {
    match jetstream_error(error) {
        Some(said) => refusal(what, &format!("object bucket {bucket}"), said),
        None => Error::Unreachable(format!("{what}: {error}")),
    }
}
