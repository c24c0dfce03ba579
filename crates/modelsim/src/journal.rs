//! What was received, for tests to look at. Bounded: the oldest requests make room.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

use crate::error::Error;
use crate::script::FaultKind;
use crate::wire::Wire;

/// One chat request. Times are microseconds since the simulator was bound, so that two requests
/// can be compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReceivedRequest {
    /// Counts all requests from 1, kept or not.
    pub number: u64,
    pub wire: Wire,
    pub at_us: u64,
    /// When its answer was complete or its connection gone; `None` while it lasts.
    pub ended_us: Option<u64>,
    /// The rule that answered, counted from 1; `None` if none did.
    pub rule: Option<usize>,
    /// What went wrong by name, by its rule or by chance.
    pub fault: Option<FaultKind>,
    pub authorization_present: bool,
    /// Tokens of the prompt and of the answer by the simple count, whatever the answer reports.
    pub counted: Option<(u64, u64)>,
    /// How far a streamed answer's text had come, and when.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sent: Vec<Sent>,
    /// The request's JSON; a string if it was none.
    pub body: Value,
}

/// A moment of a streamed answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Sent {
    /// Microseconds since the simulator was bound.
    pub at_us: u64,
    /// So many bytes of the answer's text, or of its calls' arguments, had been sent by then.
    pub text_bytes: usize,
}

/// Moments that are kept of one answer: those of 16 KiB of text, longer than any plan of a test.
const SENT_MAX: usize = 1024;

impl ReceivedRequest {
    /// Whether both were under way at one moment.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.did_not_wait_for(other) && other.did_not_wait_for(self)
    }

    /// Whether this one came before the other was answered.
    pub fn did_not_wait_for(&self, other: &Self) -> bool {
        other.ended_us.is_none_or(|ended_us| self.at_us < ended_us)
    }
}

/// The largest number of requests that were under way at one moment.
pub fn peak_overlap(requests: &[ReceivedRequest]) -> usize {
    let under_way_at = |moment: u64| {
        let lasts = |request: &&ReceivedRequest| {
            request.at_us <= moment && request.ended_us.is_none_or(|ended_us| moment < ended_us)
        };
        requests.iter().filter(lasts).count()
    };
    // The peak is reached when some request begins.
    requests.iter().map(|request| under_way_at(request.at_us)).max().unwrap_or(0)
}

#[derive(Debug)]
pub(crate) struct Journal {
    bound: Instant,
    requests_max: usize,
    kept: Mutex<VecDeque<ReceivedRequest>>,
    received: watch::Sender<u64>,
}

impl Journal {
    pub(crate) fn new(requests_max: usize) -> Self {
        Self { bound: Instant::now(), requests_max, kept: Mutex::default(), received: watch::Sender::new(0) }
    }

    /// Notes a request; it lasts until the returned entry is dropped.
    pub(crate) fn begin(self: &Arc<Self>, wire: Wire, body: Value, authorization_present: bool) -> Entry {
        let mut kept = self.lock();
        let number = *self.received.borrow() + 1;
        kept.push_back(ReceivedRequest {
            number,
            wire,
            at_us: self.now_us(),
            ended_us: None,
            rule: None,
            fault: None,
            authorization_present,
            counted: None,
            sent: Vec::new(),
            body,
        });
        if kept.len() > self.requests_max {
            kept.pop_front();
        }
        // Still under the lock, so that numbers are handed out once and in order.
        self.received.send_replace(number);
        Entry { journal: Arc::clone(self), number }
    }

    pub(crate) fn requests(&self) -> Vec<ReceivedRequest> {
        self.lock().iter().cloned().collect()
    }

    pub(crate) fn received(&self) -> u64 {
        *self.received.borrow()
    }

    pub(crate) async fn wait_for(&self, expected: u64, timeout: Duration) -> Result<(), Error> {
        let mut received = self.received.subscribe();
        let enough = received.wait_for(|count| *count >= expected);
        match tokio::time::timeout(timeout, enough).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Error::Waited { received: self.received(), expected }),
        }
    }

    fn update(&self, number: u64, change: impl FnOnce(&mut ReceivedRequest)) {
        let mut kept = self.lock();
        // Numbers follow one another without a gap.
        let first = kept.front().map_or(number, |request| request.number);
        let place = number.checked_sub(first).and_then(|place| usize::try_from(place).ok());
        if let Some(request) = place.and_then(|place| kept.get_mut(place)) {
            change(request);
        }
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.bound.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<ReceivedRequest>> {
        // Nothing panics under this lock, and a half-made note would harm no one.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request under way. Dropping it notes the end, however the request ends.
#[derive(Debug)]
pub(crate) struct Entry {
    journal: Arc<Journal>,
    number: u64,
}

impl Entry {
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Notes the rule that answers.
    pub(crate) fn answered_by(&self, rule: usize) {
        self.journal.update(self.number, |request| request.rule = Some(rule + 1));
    }

    /// Notes the tokens of the prompt and of the answer.
    pub(crate) fn counted(&self, prompt: u64, answer: u64) {
        self.journal.update(self.number, |request| request.counted = Some((prompt, answer)));
    }

    /// Notes that so much of the text is sent now.
    pub(crate) fn sent(&self, text_bytes: usize) {
        let at_us = self.journal.now_us();
        self.journal.update(self.number, |request| {
            if request.sent.len() < SENT_MAX {
                request.sent.push(Sent { at_us, text_bytes });
            }
        });
    }

    /// Notes what goes wrong.
    pub(crate) fn met(&self, fault: FaultKind) {
        self.journal.update(self.number, |request| request.fault = Some(fault));
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let now_us = self.journal.now_us();
        self.journal.update(self.number, |request| request.ended_us = Some(now_us));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(at_us: u64, ended_us: Option<u64>) -> ReceivedRequest {
        ReceivedRequest {
            number: 1,
            wire: Wire::OpenAi,
            at_us,
            ended_us,
            rule: None,
            fault: None,
            authorization_present: false,
            counted: None,
            sent: Vec::new(),
            body: Value::Null,
        }
    }

    #[test]
    fn overlap_is_about_moments() {
        let (first, second) = (request(0, Some(10)), request(10, Some(20)));
        let third = request(5, None);
        assert!(!first.overlaps(&second));
        assert!(first.overlaps(&third) && third.overlaps(&second));
        assert_eq!(peak_overlap(&[first, second, third]), 2);
        assert_eq!(peak_overlap(&[]), 0);
    }

    #[test]
    fn it_is_noted_how_far_an_answer_has_come() {
        let journal = Arc::new(Journal::new(2));
        let entry = journal.begin(Wire::OpenAi, Value::Null, true);
        (1..=SENT_MAX + 5).for_each(|piece| entry.sent(piece * 16));
        let sent = &journal.requests()[0].sent;
        assert_eq!((sent.len(), sent[1].text_bytes), (SENT_MAX, 32));
        assert!(sent.is_sorted_by_key(|sent| sent.at_us));
    }

    #[test]
    fn only_the_newest_are_kept() {
        let journal = Arc::new(Journal::new(2));
        let entries: Vec<Entry> = (0..3).map(|_| journal.begin(Wire::OpenAi, Value::Null, true)).collect();
        drop(entries);
        let numbers: Vec<u64> = journal.requests().iter().map(|r| r.number).collect();
        assert_eq!((numbers, journal.received()), (vec![2, 3], 3));
        assert!(journal.requests().iter().all(|r| r.ended_us.is_some()));
    }
}
