//! The bytes of an answer on their way out: when each piece is sent, and how the body ends.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::stream;
use tokio::time::Instant;

use crate::journal::Entry;
use crate::pace::Pauses;

/// A piece and the wait before it.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) wait: Duration,
    pub(crate) bytes: Bytes,
    /// Bytes of the answer's text in it; 0 where the answer comes whole.
    pub(crate) text_bytes: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    Whole,
    /// After half of the pieces, nothing more.
    Hang,
    /// After half of the pieces, the connection breaks.
    Cut,
    /// After half of the pieces, these last words.
    Say(Bytes),
}

struct Sending {
    pieces: VecDeque<Piece>,
    ending: Ending,
    pauses: Pauses,
    entry: Option<Entry>,
    /// When the next piece is due but for its own wait: waits that are each a little too long
    /// would add up to another speed than was asked for.
    due: Instant,
    text_bytes: usize,
}

/// The body that sends the pieces. The journal's entry ends just before the last one is sent, so
/// that a client that has the answer also finds it noted.
pub(crate) fn body(pieces: Vec<Piece>, ending: Ending, pauses: Pauses, entry: Entry) -> Body {
    let mut pieces = VecDeque::from(pieces);
    // At least one piece is held back.
    if ending != Ending::Whole {
        pieces.truncate(pieces.len() / 2);
    }
    let (entry, due) = (Some(entry), Instant::now());
    Body::from_stream(stream::unfold(Sending { pieces, ending, pauses, entry, due, text_bytes: 0 }, next))
}

async fn next(mut sending: Sending) -> Option<(io::Result<Bytes>, Sending)> {
    if let Some(piece) = sending.pieces.pop_front() {
        sending.due += piece.wait;
        sending.pauses.pause_until(sending.due).await;
        sending.text_bytes += piece.text_bytes;
        if let Some(entry) = sending.entry.as_ref().filter(|_| piece.text_bytes > 0) {
            entry.sent(sending.text_bytes);
        }
        if sending.pieces.is_empty() && sending.ending == Ending::Whole {
            sending.entry = None;
        }
        return Some((Ok(piece.bytes), sending));
    }
    match std::mem::replace(&mut sending.ending, Ending::Whole) {
        Ending::Whole => return None,
        Ending::Say(bytes) => {
            sending.entry = None;
            return Some((Ok(bytes), sending));
        }
        Ending::Hang => sending.pauses.hang().await,
        // One turn for the server to flush the half: it discards what it still holds on an error.
        Ending::Cut => tokio::task::yield_now().await,
    }
    let broken = io::Error::new(io::ErrorKind::ConnectionAborted, "cut by the script");
    Some((Err(broken), sending))
}
