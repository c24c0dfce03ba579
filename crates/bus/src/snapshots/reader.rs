//! A snapshot's entries, one segment in memory at a time.

use std::io::BufRead;

use bytes::{Buf as _, Bytes};
use flate2::bufread::GzDecoder;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use planfleet_proto::{BLOB_BYTES_MAX, Message as _, wire};
use sha2::{Digest as _, Sha256};

use crate::{Bus, Error, broker::LogEntry};

/// No server takes a longer message; what says to be longer is damaged, and must
/// not be made room for.
const ENTRY_BYTES_MAX: usize = BLOB_BYTES_MAX;

/// A length takes so many bytes at most: `ENTRY_BYTES_MAX` needs four.
const LENGTH_BYTES_MAX: usize = 4;

/// The entries of all segments, in order.
pub(super) fn entries(
    bus: Bus,
    segments: Vec<wire::SnapshotSegment>,
) -> impl Stream<Item = Result<LogEntry, Error>> + Send + 'static {
    stream::iter(segments)
        .then(move |segment| {
            let bus = bus.clone();
            async move { open(&bus, segment).await }
        })
        .map_ok(stream::iter)
        .try_flatten()
}

async fn open(
    bus: &Bus,
    segment: wire::SnapshotSegment,
) -> Result<Entries<impl BufRead + Send + use<>>, Error> {
    let bad = |problem: &str| Error::Snapshot { name: segment.name.clone(), problem: problem.to_owned() };
    let body = super::object(bus, &segment.name).await?;
    if Sha256::digest(&body).as_slice() != segment.digest {
        return Err(bad("is damaged"));
    }
    let text = std::io::BufReader::new(GzDecoder::new(body.reader()));
    Ok(Entries { name: segment.name, text, left: segment.entries, failed: false })
}

/// The entries of one segment.
struct Entries<R> {
    name: String,
    text: R,
    left: u64,
    failed: bool,
}

impl<R: BufRead> Iterator for Entries<R> {
    type Item = Result<LogEntry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 || self.failed {
            return None;
        }
        self.left -= 1;
        let entry = self.entry();
        // Behind damage nothing can be found again.
        self.failed = entry.is_err();
        Some(entry)
    }
}

impl<R: BufRead> Entries<R> {
    fn entry(&mut self) -> Result<LogEntry, Error> {
        let read = self.message();
        let message = read.map_err(|problem| Error::Snapshot { name: self.name.clone(), problem })?;
        let wire::SnapshotEntry { seq, at_unix_ms, subject, headers, payload } = message;
        Ok(LogEntry { seq, at_ms: at_unix_ms, subject, headers, payload: Bytes::from(payload) })
    }

    fn message(&mut self) -> Result<wire::SnapshotEntry, String> {
        let unreadable = |error: &dyn std::fmt::Display| format!("cannot be read: {error}");
        let length = self.length().map_err(|error| unreadable(&error))?;
        if length > ENTRY_BYTES_MAX {
            return Err(format!("has an entry of {length} bytes"));
        }
        let mut bytes = vec![0; length];
        self.text.read_exact(&mut bytes).map_err(|error| unreadable(&error))?;
        wire::SnapshotEntry::decode(bytes.as_slice()).map_err(|error| unreadable(&error))
    }

    fn length(&mut self) -> std::io::Result<usize> {
        let mut bytes = [0; LENGTH_BYTES_MAX];
        for at in 0..LENGTH_BYTES_MAX {
            let byte = bytes.get_mut(at..=at).unwrap_or_default();
            self.text.read_exact(byte)?;
            if byte.first().is_some_and(|byte| byte & 0x80 == 0) {
                break;
            }
        }
        let length = prost::decode_length_delimiter(bytes.as_slice());
        length.map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))
    }
}
