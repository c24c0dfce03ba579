//! Storing a message, whatever the cluster is going through.
//!
//! An attempt has three ends: stored, refused, or unknown. Unknown ones (no ack in
//! time, no responders as in an election, no connection) are repeated with the same
//! subject until the broker has answered or the caller's patience is over. A second
//! copy is the stream's business: queues refuse it by name, logs keep it.

use std::time::Duration;

use async_nats::{
    Subject,
    jetstream::{
        self, ErrorCode,
        context::{PublishError, PublishErrorKind},
        message::PublishMessage,
    },
};
use planfleet_core::seeded::{self, Bug};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::{
    api::{jetstream_error, passes, refused, to_wire},
    connection::Link,
    lanes::Lanes,
    replies::Unanswered,
};
use crate::broker::{Error, Outgoing, Published};

/// Pauses between attempts: short enough that a lame-duck restart (0.2 s) is barely
/// felt, long enough that an election (6 s) is not met with a storm of retries.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// The pauses between attempts, until patience is over.
pub(super) struct Pauses {
    next: Duration,
    deadline: Instant,
}

impl Pauses {
    pub(super) fn within(patience: Duration) -> Self {
        Self { next: PAUSE_MIN, deadline: Instant::now() + patience }
    }
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.next;
        self.next = (pause * 2).min(PAUSE_MAX);
        (Instant::now() + pause < self.deadline).then_some(pause)
    }
}

/// What one try to store a message has come to.
#[derive(Debug, Clone)]
pub(super) enum Attempt {
    Answered(Result<Published, Error>),
    /// It may be stored or not, and why nobody knows.
    Unknown(String),
}

/// What the server answers to a message that is to be stored.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    /// Where it is; the last one's place for a batch.
    #[serde(default)]
    pub(super) seq: u64,
    /// The batch that is stored with it, and how many messages that had.
    pub(super) batch: Option<String>,
    #[serde(default)]
    pub(super) count: u64,
    pub(super) error: Option<jetstream::Error>,
}

/// Reads such an answer.
pub(super) fn read_answer(answer: &[u8]) -> Result<Answer, serde_json::Error> {
    serde_json::from_slice(answer)
}

/// Publishes until the broker has answered, for at most `give_up`.
pub(super) async fn publish(
    lanes: &Lanes,
    message: &Outgoing,
    give_up: Duration,
) -> Result<Published, Error> {
    let mut pauses = Pauses::within(give_up);
    loop {
        let reason = match lanes.store(message).await {
            Attempt::Answered(outcome) => return outcome,
            Attempt::Unknown(_) if seeded::is_on(Bug::UnknownIsStored) => return Ok(Published::Stored(0)),
            Attempt::Unknown(reason) => reason,
        };
        let Some(pause) = pauses.next() else {
            return Err(no_answer(lanes.link(), &message.subject, give_up, &reason));
        };
        tracing::debug!(subject = message.subject, reason, "publish is tried again");
        sleep(pause).await;
    }
}

/// Silence has many causes, and a full disk is one that nobody else tells of. Nor does
/// it say that nothing was stored.
fn no_answer(link: &Link, subject: &str, within: Duration, reason: &str) -> Error {
    let hint = if link.is_up() {
        " (the servers may have no leader or a full disk: their logs and /healthz tell)"
    } else {
        ""
    };
    Error::Unreachable(format!(
        "no answer on {subject} within {within:?}, the last try: {reason}{hint}; it may have been stored, \
         so repeat it under the same key"
    ))
}

/// Tries once to store a message by itself.
///
/// Says when it was answered, too, as far as it was.
pub(super) async fn single(link: &Link, message: &Outgoing) -> (Attempt, Option<Instant>) {
    // Without a connection the client would queue the message: every attempt would leave
    // one more copy to be sent on reconnect, when it may not be wanted any more.
    if let Err(error) = link.check_up("ack") {
        return (Attempt::Unknown(error.to_string()), None);
    }
    let headers = match to_wire(&message.headers) {
        Ok(headers) => headers,
        Err(error) => return (Attempt::Answered(Err(error)), None),
    };
    let began = Instant::now();
    let mut answered = None;
    let subject = Subject::from(message.subject.as_str());
    let attempt = match link.replies.ask(subject, headers, message.payload.clone()).await {
        Ok(answer) => {
            answered = Some(answer.at);
            judge(message, &answer.payload)
        }
        Err(Unanswered::NotSent(error)) => not_sent(link, message, &error),
        Err(unanswered) => Attempt::Unknown(unanswered.to_string()),
    };
    let unanswered = match &attempt {
        Attempt::Answered(_) => None,
        Attempt::Unknown(reason) => Some(reason.as_str()),
    };
    link.watch.wrote(&message.subject, began, unanswered);
    (attempt, answered)
}

/// Sends one message and waits for its ack, which is its sequence.
pub(super) async fn store(
    link: &Link,
    subject: &str,
    what: &str,
    message: PublishMessage,
) -> Result<Result<u64, PublishError>, Error> {
    // Without a connection the client would queue the message: every attempt would leave
    // one more copy to be sent on reconnect, when it may not be wanted any more.
    link.check_up(what)?;
    let began = Instant::now();
    let outcome = link.limited(what, acked(link, subject, message)).await;
    let unanswered = match &outcome {
        Ok(Ok(_)) => None,
        // What the server refuses, it has answered.
        Ok(Err(error)) => (!is_answer(error)).then(|| error.to_string()),
        Err(error) => Some(error.to_string()),
    };
    link.watch.wrote(subject, began, unanswered.as_deref());
    outcome
}

/// The ack is awaited at once: the context counts acks in flight and blocks for
/// ever once too many futures are held without being polled.
async fn acked(link: &Link, subject: &str, message: PublishMessage) -> Result<u64, PublishError> {
    let ack = link.jetstream.send_publish(subject.to_owned(), message).await?;
    Ok(ack.await?.sequence)
}

/// Whether the server, or the client for it, has decided about a message.
fn is_answer(error: &PublishError) -> bool {
    match jetstream_error(error) {
        Some(refusal) => !passes(refusal),
        None => !matches!(
            error.kind(),
            PublishErrorKind::StreamNotFound
                | PublishErrorKind::TimedOut
                | PublishErrorKind::BrokenPipe
                | PublishErrorKind::MaxAckPending
        ),
    }
}

fn judge(message: &Outgoing, answer: &[u8]) -> Attempt {
    match read_answer(answer) {
        // Sequences begin with 1: what has none is no answer of a stream.
        Ok(Answer { seq: 0, error: None, .. }) => Attempt::Unknown("an answer without a place".to_owned()),
        Ok(Answer { seq, error: None, .. }) => Attempt::Answered(Ok(Published::Stored(seq))),
        Ok(Answer { error: Some(refusal), .. }) => judge_refusal(&message.subject, &refusal),
        Err(error) => Attempt::Unknown(format!("unreadable answer: {error}")),
    }
}

fn not_sent(link: &Link, message: &Outgoing, error: &async_nats::PublishError) -> Attempt {
    use async_nats::PublishErrorKind::{InvalidSubject, MaxPayloadExceeded, Send};
    match error.kind() {
        MaxPayloadExceeded => Attempt::Answered(Err(too_large(link, message.payload.len()))),
        InvalidSubject => Attempt::Answered(Err(refused(&message.subject, error))),
        Send => Attempt::Unknown(error.to_string()),
    }
}

fn judge_refusal(subject: &str, refusal: &jetstream::Error) -> Attempt {
    if is_name_taken(refusal) {
        Attempt::Answered(Ok(Published::Present))
    } else if passes(refusal) {
        Attempt::Unknown(refusal.to_string())
    } else {
        Attempt::Answered(Err(refused(subject, refusal)))
    }
}

/// 10077 is every failure to store, a full disk included; only the text tells that
/// the subject already holds its one message.
fn is_name_taken(refusal: &jetstream::Error) -> bool {
    refusal.error_code() == ErrorCode::STREAM_STORE_FAILED
        && refusal.to_string().contains("maximum messages per subject exceeded")
}

/// Whether somebody else wrote to the subject first. The server has two codes for it: one names the sequence found, the other, used
/// while a write to the subject is under way, does not.
pub(super) fn is_conflict(error: &PublishError) -> bool {
    error.kind() == PublishErrorKind::WrongLastSequence
        || jetstream_error(error)
            .is_some_and(|said| said.error_code() == ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT)
}

pub(super) fn too_large(link: &Link, bytes: usize) -> Error {
    Error::TooLarge { bytes, max: link.client.max_payload() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(err_code: u64, description: &str) -> jetstream::Error {
        let body = serde_json::json!({"code": 503, "err_code": err_code, "description": description});
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn only_the_per_subject_limit_means_that_the_name_is_taken() {
        assert!(is_name_taken(&refusal(10077, "maximum messages per subject exceeded")));
        assert!(!is_name_taken(&refusal(10077, "no space left on device")));
    }

    #[test]
    fn an_unavailable_cluster_is_asked_again() {
        let outcome = judge_refusal("a.b", &refusal(10008, "JetStream system temporarily unavailable"));
        assert!(matches!(outcome, Attempt::Unknown(_)));
    }
}
