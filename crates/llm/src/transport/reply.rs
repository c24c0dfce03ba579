//! An answer that is being received.

use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use eventsource_stream::{EventStreamError, Eventsource};
use futures::{Stream, StreamExt, stream};
use reqwest::header::{CONTENT_TYPE, HeaderMap};

use super::{Deadlines, chain};
use crate::error::{Error, ErrorClass, ServerError, retry_after};
use crate::rates::RateLimits;

/// No model writes this much in one answer (8 MiB is some two million tokens): more is a broken
/// or hostile server, and dozens of calls share one worker's memory.
const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// An error page is read no further than a person would.
const ERROR_BODY_BYTES_MAX: usize = 64 * 1024;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How a stream of events begins: with a comment or a field. No JSON begins like that.
const EVENT_STARTS: [&[u8]; 5] = [b":", b"data:", b"event:", b"id:", b"retry:"];

/// An answer whose head has come.
pub(crate) struct Reply {
    response: reqwest::Response,
    deadlines: Deadlines,
    received_bytes: usize,
    /// The beginning of the body, read to tell what the body is, and not handed on yet.
    held: BytesMut,
}

impl Reply {
    pub(super) fn new(response: reqwest::Response, deadlines: Deadlines) -> Self {
        Self { response, deadlines, received_bytes: 0, held: BytesMut::new() }
    }

    /// Whether the body is a stream of events. Servers without streaming answer a request for it
    /// with one whole JSON answer, others stream to whoever did not ask, and some name no content
    /// type or a wrong one: then the body's beginning is waited for and tells.
    pub(crate) async fn is_event_stream(&mut self) -> Result<bool, Error> {
        let kind = header(self.response.headers(), CONTENT_TYPE.as_str()).unwrap_or_default();
        if kind.contains("event-stream") {
            return Ok(true);
        }
        if kind.contains("json") {
            self.deadlines = self.deadlines.of_whole();
        }
        loop {
            if let Some(events) = begins_events(&self.held) {
                return Ok(events);
            }
            let Some(piece) = self.receive().await? else { return Ok(false) };
            self.held.extend_from_slice(&piece);
            // Neither form means anything by these, and not all readers take them.
            let blank = self.held.len() - unpadded(&self.held).len();
            let _ = self.held.split_to(blank);
        }
    }

    /// What the answer's head says of the provider's limits.
    pub(crate) fn rates(&self) -> RateLimits {
        RateLimits::read(self.response.headers(), SystemTime::now())
    }

    /// The whole body.
    pub(crate) async fn whole(mut self) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        while let Some(piece) = self.next().await? {
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    /// The `data` payloads of the events as they arrive.
    pub(crate) fn events(self) -> impl Stream<Item = Result<String, Error>> + Send {
        let pieces = stream::try_unfold(self, |mut reply| async move {
            Ok::<_, Error>(reply.next().await?.map(|piece| (piece, reply)))
        });
        pieces.eventsource().map(|event| match event {
            Ok(event) => Ok(event.data),
            Err(EventStreamError::Transport(error)) => Err(error),
            Err(other) => Err(Error::invalid_response(format!("the event stream is malformed: {other}"))),
        })
    }

    /// The error that an answer without a success status stands for.
    pub(super) async fn into_error(mut self) -> Error {
        let status = self.response.status().as_u16();
        let headers = self.response.headers().clone();
        let mut body = Vec::new();
        // The status is worth reporting even if the body does not come.
        while let Ok(Some(piece)) = self.next().await {
            body.extend_from_slice(&piece);
            if body.len() >= ERROR_BODY_BYTES_MAX {
                break;
            }
        }
        let mut server = ServerError::from_body(status, &body);
        server.should_retry = header(&headers, "x-should-retry").and_then(|word| word.parse().ok());
        Error {
            retry_after: retry_after(status, &headers, SystemTime::now()),
            request_id: ["x-request-id", "request-id"]
                .into_iter()
                .find_map(|name| header(&headers, name))
                .map(str::to_owned),
            may_be_billed: false,
            ..server.into_error()
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        if !self.held.is_empty() {
            return Ok(Some(self.held.split().freeze()));
        }
        self.receive().await
    }

    async fn receive(&mut self) -> Result<Option<Bytes>, Error> {
        let deadlines = self.deadlines;
        let piece = self.response.chunk();
        let piece = if self.received_bytes == 0 {
            deadlines.first(piece).await?
        } else {
            deadlines.next(piece).await?
        };
        let piece = piece.map_err(|error| {
            let cause = chain(&error);
            Error::new(ErrorClass::Transient, format!("the connection broke while the answer came: {cause}"))
        })?;
        self.received_bytes += piece.as_ref().map_or(0, Bytes::len);
        if self.received_bytes > BODY_BYTES_MAX {
            return Err(Error::invalid_response(format!("the answer is longer than {BODY_BYTES_MAX} bytes")));
        }
        Ok(piece)
    }
}

/// Whether a body that begins like this is a stream of events; `None` if more is needed to tell.
fn begins_events(start: &[u8]) -> Option<bool> {
    if EVENT_STARTS.iter().any(|begin| start.starts_with(begin)) {
        return Some(true);
    }
    let undecided = EVENT_STARTS.iter().chain([&BYTE_ORDER_MARK]).any(|begin| begin.starts_with(start));
    (!undecided).then_some(false)
}

/// The bytes without the white space and the byte order mark before them.
fn unpadded(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.trim_ascii_start();
    bytes.strip_prefix(BYTE_ORDER_MARK).map_or(bytes, <[u8]>::trim_ascii_start)
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_told_by_its_beginning() {
        for (start, events) in [
            (&b""[..], None),
            (b"dat", None),
            (b"\xef\xbb", None),
            (b"data:{}", Some(true)),
            (b": ping\n\n", Some(true)),
            (b"event: x", Some(true)),
            (b"{\"id\": 1}", Some(false)),
            (b"<html>", Some(false)),
            (b"dates", Some(false)),
        ] {
            assert_eq!(begins_events(start), events, "{}", start.escape_ascii());
        }
        assert_eq!(unpadded(b" \n\xef\xbb\xbf\r\ndata:"), b"data:");
        assert_eq!(unpadded(b"\n \n"), b"");
    }
}
