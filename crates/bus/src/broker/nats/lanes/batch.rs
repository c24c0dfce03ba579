//! Atomic batches: ADR-50 of NATS, from server 2.12 on. The client library has no
//! call for them.

use async_nats::{HeaderMap, Subject, jetstream::ErrorCode};
use tokio::time::{Instant, timeout};

use super::Letter;
use crate::broker::{
    Error, Outgoing, Published,
    nats::{
        api::to_wire,
        connection::{CALL_LIMIT, Link},
        publish::{Answer, Attempt, read_answer},
        replies::Unanswered,
    },
};

/// Messages of one batch: the server takes 1,000. Half of it is as good: a hundred
/// already make the syncs small beside the rest.
pub(super) const BATCH_MAX: usize = 500;

/// Bytes of one batch, which the server holds until it is whole.
pub(super) const BATCH_BYTES_MAX: usize = 4 << 20;

/// Fewer messages go one by one: a batch costs four syncs, and each of them one.
pub(super) const BATCH_MIN: usize = 6;

/// What came of a batch.
pub(super) enum Outcome {
    /// Each message has its answer, in order.
    Answered(Vec<Attempt>),
    /// Nothing is stored, for the sake of one message or for now.
    Refused(String),
    /// Nothing is stored, and the stream takes no batches at all.
    NeverTaken(String),
    /// The server does not know batches: of all but the last nobody knows what came of them.
    NotKnown(String),
}

/// Stores messages as one batch.
pub(super) async fn store(link: &Link, letters: &[Letter]) -> Outcome {
    let unknown = |reason: String| Outcome::Answered(vec![Attempt::Unknown(reason); letters.len()]);
    let Some((last, others)) = letters.split_last() else { return Outcome::Answered(Vec::new()) };
    if let Err(error) = link.check_up("ack") {
        return unknown(error.to_string());
    }
    let began = Instant::now();
    let id = uuid::Uuid::now_v7().simple().to_string();
    let sending = async {
        for (number, letter) in (1_usize..).zip(others) {
            let message = &letter.message;
            let headers = numbered(message, &id, number).map_err(|error| error.to_string())?;
            let subject = Subject::from(message.subject.as_str());
            let sent = link.client.publish_with_headers(subject, headers, message.payload.clone()).await;
            sent.map_err(|error| error.to_string())?;
        }
        Ok::<_, String>(())
    };
    match timeout(CALL_LIMIT, sending).await {
        Ok(Ok(())) => {}
        // One that is too large for the server tells so when it goes alone.
        Ok(Err(error)) => return Outcome::Refused(error),
        Err(_) => return unknown(Unanswered::Late.to_string()),
    }
    let wrote = |unanswered: Option<&str>| link.watch.wrote(&last.message.subject, began, unanswered);
    let mut headers = match numbered(&last.message, &id, letters.len()) {
        Ok(headers) => headers,
        Err(error) => return Outcome::Refused(error.to_string()),
    };
    headers.insert(async_nats::header::NATS_BATCH_COMMIT, async_nats::header::NATS_BATCH_COMMIT_FINAL);
    let subject = Subject::from(last.message.subject.as_str());
    match link.replies.ask(subject, headers, last.message.payload.clone()).await {
        Ok(answer) => {
            wrote(None);
            read(&answer.payload, &id, letters.len())
        }
        Err(Unanswered::NotSent(error)) => Outcome::Refused(error.to_string()),
        Err(unanswered) => {
            wrote(Some(&unanswered.to_string()));
            unknown(unanswered.to_string())
        }
    }
}

fn numbered(message: &Outgoing, id: &str, number: usize) -> Result<HeaderMap, Error> {
    let mut headers = to_wire(&message.headers)?;
    headers.insert(async_nats::header::NATS_BATCH_ID, id);
    headers.insert(async_nats::header::NATS_BATCH_SEQUENCE, number.to_string());
    Ok(headers)
}

fn read(answer: &[u8], id: &str, count: usize) -> Outcome {
    match read_answer(answer) {
        Ok(Answer { error: None, batch, count: stored, .. })
            if batch.as_deref() != Some(id) || stored != count as u64 =>
        {
            Outcome::NotKnown(format!("{count} messages were sent as a batch, and {stored} stored as one"))
        }
        Ok(Answer { seq, error: None, .. }) => {
            let first = seq.saturating_sub(count as u64 - 1);
            Outcome::Answered(
                (first..).take(count).map(|seq| Attempt::Answered(Ok(Published::Stored(seq)))).collect(),
            )
        }
        Ok(Answer { error: Some(refusal), .. }) => match refusal.error_code() {
            ErrorCode::ATOMIC_PUBLISH_DISABLED => Outcome::NeverTaken(refusal.to_string()),
            _ => Outcome::Refused(refusal.to_string()),
        },
        Err(error) => Outcome::Answered(vec![Attempt::Unknown(error.to_string()); count]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_of_a_batch_has_its_own_place() {
        let answer = br#"{"stream":"S","seq":12,"batch":"b","count":3}"#;
        let Outcome::Answered(attempts) = read(answer, "b", 3) else { panic!("it is answered") };
        let stored = |attempt: &Attempt| match attempt {
            Attempt::Answered(Ok(Published::Stored(seq))) => *seq,
            _ => 0,
        };
        assert_eq!(attempts.iter().map(stored).collect::<Vec<_>>(), [10, 11, 12]);
    }

    #[test]
    fn an_answer_to_one_message_is_none_to_a_batch() {
        for answer in [r#"{"stream":"S","seq":12}"#, r#"{"stream":"S","seq":12,"batch":"b","count":1}"#] {
            assert!(matches!(read(answer.as_bytes(), "b", 3), Outcome::NotKnown(_)), "{answer}");
        }
    }

    #[test]
    fn a_refusal_says_whether_it_is_for_good() {
        let refused = |code: u64| {
            let body = format!(r#"{{"error":{{"code":400,"err_code":{code},"description":"no"}}}}"#);
            read(body.as_bytes(), "b", 3)
        };
        assert!(matches!(refused(10174), Outcome::NeverTaken(_)));
        assert!(matches!(refused(10201), Outcome::Refused(_)));
    }
}
