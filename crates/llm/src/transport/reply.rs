//! An answer that is being received.

use std::time::SystemTime;

use bytes::Bytes;
use eventsource_stream::{EventStreamError, Eventsource};
use futures::{Stream, StreamExt, stream};
use reqwest::header::{CONTENT_TYPE, HeaderMap};

use super::{Deadlines, chain};
use crate::error::{Error, ErrorClass, ServerError, retry_after};

/// No model writes this much in one answer (8 MiB is some two million tokens): more is a broken
/// or hostile server, and dozens of calls share one worker's memory.
const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// An error page is read no further than a person would.
const ERROR_BODY_BYTES_MAX: usize = 64 * 1024;

/// An answer whose head has come.
pub(crate) struct Reply {
    response: reqwest::Response,
    deadlines: Deadlines,
    received_bytes: usize,
}

impl Reply {
    pub(super) fn new(response: reqwest::Response, deadlines: Deadlines) -> Self {
        Self { response, deadlines, received_bytes: 0 }
    }

    /// Whether the body is a stream of events. Servers without streaming answer a request for it
    /// with one whole JSON answer.
    pub(crate) fn is_event_stream(&self) -> bool {
        header(self.response.headers(), CONTENT_TYPE.as_str())
            .is_some_and(|kind| kind.contains("event-stream"))
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
            retry_after: retry_after(
                header(&headers, "retry-after-ms"),
                header(&headers, "retry-after"),
                SystemTime::now(),
            ),
            request_id: ["x-request-id", "request-id"]
                .into_iter()
                .find_map(|name| header(&headers, name))
                .map(str::to_owned),
            ..server.into_error()
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
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

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
