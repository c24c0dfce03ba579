//! Object buckets, in the layout that NATS's own tools use (ADR-20): an object is a
//! meta message on the subject of its name and chunks on a subject of their own.
//!
//! Read by the client's object store. Written here, because the client's replaces a meta
//! message whatever it holds by then: here every write of one is a compare-and-set, so
//! that of a putting, a touching and a removal at once, one comes first.

mod delete;
mod leftovers;
mod meta;
mod put;

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_nats::jetstream::{
    consumer::DeliverPolicy,
    context::{ObjectStoreError, ObjectStoreErrorKind},
    object_store::{GetErrorKind, ObjectStore},
    stream::{Config, DiscardPolicy, StorageType},
};
use bytes::{Bytes, BytesMut};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::{io::AsyncReadExt, time::timeout};

use self::meta::Meta;
pub(super) use self::meta::stream_of;
use super::{
    api::{jetstream_error, refusal, refused},
    connection::Link,
    fetch::View,
    scan::Scan,
    streams,
};
use crate::broker::{Error, OBJECT_BYTES_MAX, ObjectInfo};

/// The limit of one transfer: the largest object at 10 Mbit/s.
const TRANSFER_LIMIT: Duration = Duration::from_secs(60);

/// The object buckets of one broker.
pub(super) struct Objects {
    link: Arc<Link>,
    /// Opened buckets: opening asks the server for the stream's info, which is too
    /// dear per object. As many as the topology has buckets, which are a few.
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
            name: meta::stream_of(bucket),
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

    /// Stores an object. An equal one that is already there is touched instead:
    /// replacing it would take its chunks away from under whoever reads it.
    pub(super) async fn put(&self, bucket: &str, name: &str, body: Bytes) -> Result<(), Error> {
        if body.len() > OBJECT_BYTES_MAX {
            return Err(Error::TooLarge { bytes: body.len(), max: OBJECT_BYTES_MAX });
        }
        let what = format!("put {name} into {bucket}");
        within(&what, put::put(&self.link, bucket, name, &body)).await
    }

    /// Makes an object as young as if it had been put now.
    pub(super) async fn touch(&self, bucket: &str, name: &str) -> Result<bool, Error> {
        let what = format!("touch {name} in {bucket}");
        within(&what, put::touch(&self.link, bucket, name)).await
    }

    /// Every object there is now; one whose removal was cut short, as an empty one.
    pub(super) async fn list(
        &self,
        bucket: &str,
    ) -> Result<BoxStream<'static, Result<ObjectInfo, Error>>, Error> {
        let view = View { filter: meta::all(bucket), ..View::all(DeliverPolicy::LastPerSubject) };
        let opened = Scan::open(&self.link, &meta::stream_of(bucket), view).await;
        let scan = opened.map_err(|error| meta::name_bucket(error, bucket))?;
        Ok(stream::try_unfold(scan, |mut scan| async move {
            let Some(message) = scan.next().await? else { return Ok(None) };
            let listed = Meta::read(message)?.listed();
            Ok(Some((listed, scan)))
        })
        .boxed())
    }

    /// Removes an object unless it was put or touched after `revision`.
    pub(super) async fn delete(
        &self,
        bucket: &str,
        name: &str,
        revision: Option<u64>,
    ) -> Result<bool, Error> {
        let what = format!("remove {name} from {bucket}");
        within(&what, delete::delete(&self.link, bucket, name, revision)).await
    }

    /// Clears what interrupted puts have left, or counts it.
    pub(super) async fn leftovers(&self, bucket: &str, before_ms: u64, remove: bool) -> Result<u64, Error> {
        leftovers::clear(&self.link, bucket, before_ms, remove).await
    }

    /// An object's body. Chunks that are gone are not waited for, as the client would.
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
            let damaged = || Error::Damaged(format!("{name} of object bucket {bucket}"));
            if !leftovers::is_whole(&self.link, object.info()).await? {
                return Err(damaged());
            }
            let mut body = BytesMut::with_capacity(bytes);
            loop {
                match object.read_buf(&mut body).await {
                    Ok(0) => return Ok(Some(body.freeze())),
                    Ok(_) => {}
                    // The client's word for a digest that is another one.
                    Err(error) if error.kind() == ErrorKind::InvalidData => return Err(damaged()),
                    Err(error) => return Err(unreachable(&what, bucket, &error)),
                }
            }
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
        match streams::info(&self.link, &meta::stream_of(bucket)).await {
            Err(Error::Missing(_)) => Error::Missing(format!("object bucket {bucket}")),
            _ => unreachable(what, bucket, error),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, ObjectStore>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
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
