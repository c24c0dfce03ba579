//! What watchers are sent: events as the text of a stream, gathered and made once for all.

use std::sync::Arc;

use axum::body::Bytes;
use planfleet_bus::live::RUN_FINISHED;

use crate::view::RunEvent;

/// One event.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) event: RunEvent,
    /// As a server-sent event.
    text: String,
}

impl Said {
    pub(super) fn new(event: RunEvent) -> Self {
        // JSON on one line, as it is written here, needs no more than that.
        let json = serde_json::to_string(&event).unwrap_or_default();
        let text = match event.seq {
            Some(seq) => format!("id: {seq}\ndata: {json}\n\n"),
            None => format!("data: {json}\n\n"),
        };
        Self { event, text }
    }

    pub(super) fn is_last(&self) -> bool {
        self.event.kind == RUN_FINISHED
    }

    fn is_behind(&self, after: u64) -> bool {
        self.event.seq.is_none_or(|seq| seq > after)
    }
}

/// Events that were said at about the same time.
#[derive(Debug)]
pub(crate) struct Chunk {
    events: Vec<Arc<Said>>,
    text: Bytes,
}

impl Chunk {
    pub(super) fn of(events: Vec<Arc<Said>>) -> Self {
        let text = text(&events, 0);
        Self { events, text }
    }

    /// What is new in it to who has seen all up to a position of the log.
    pub(crate) fn text(&self, after: u64) -> Bytes {
        if self.events.iter().all(|said| said.is_behind(after)) {
            return self.text.clone();
        }
        text(&self.events, after)
    }

    /// Whether nothing comes after it.
    pub(crate) fn is_last(&self) -> bool {
        self.events.last().is_some_and(|said| said.is_last())
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }
}

/// Events behind a position of the log, as the text of a stream.
pub(crate) fn text<'a>(events: impl IntoIterator<Item = &'a Arc<Said>>, after: u64) -> Bytes {
    let new = events.into_iter().filter(|said| said.is_behind(after));
    new.flat_map(|said| said.text.bytes()).collect::<Vec<u8>>().into()
}
