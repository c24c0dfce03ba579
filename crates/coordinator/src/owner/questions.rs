//! What is asked of an owner, in the order in which it comes and for as long as somebody
//! waits for the answer.

use std::collections::VecDeque;

use futures::{FutureExt as _, StreamExt as _, stream::BoxStream, stream::Fuse};
use planfleet_bus::{broker::LiveMessage, client::READ_TIMEOUT};
use tokio::time::Instant;

/// Questions that wait with the time at which they came. What comes behind them waits with
/// the subscription, whose own bound is the broker's.
const WAITING_MAX: usize = 1_024;

pub(super) struct Questions {
    asked: Fuse<BoxStream<'static, LiveMessage>>,
    waiting: VecDeque<(Instant, LiveMessage)>,
    answered: bool,
}

impl Questions {
    pub(super) fn new(asked: BoxStream<'static, LiveMessage>) -> Self {
        Self { asked: asked.fuse(), waiting: VecDeque::new(), answered: false }
    }

    /// Hears what has come; says whether the log has had its turn since the last answer. With
    /// one answer at most between two looks at the log, no flood of questions stops a shard.
    pub(super) fn hear(&mut self) -> bool {
        while self.waiting.len() < WAITING_MAX
            && let Some(Some(question)) = self.asked.next().now_or_never()
        {
            self.waiting.push_back((Instant::now(), question));
        }
        !std::mem::take(&mut self.answered)
    }

    /// The next question whose asker has not given up; `None` when nothing more is asked. It
    /// takes the turn, so nothing is lost when this is dropped before.
    pub(super) async fn next(&mut self) -> Option<LiveMessage> {
        loop {
            while let Some((since, question)) = self.waiting.pop_front() {
                if since.elapsed() < READ_TIMEOUT {
                    self.answered = true;
                    return Some(question);
                }
            }
            let question = self.asked.next().await?;
            self.waiting.push_back((Instant::now(), question));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use futures::stream;
    use planfleet_bus::broker::Headers;

    use super::*;

    fn question(n: usize) -> LiveMessage {
        LiveMessage { subject: n.to_string(), reply: None, headers: Headers::new(), payload: Bytes::new() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_that_nobody_waits_for_is_dropped() {
        let (ask, asked) = futures::channel::mpsc::unbounded();
        let mut questions = Questions::new(asked.boxed());
        ask.unbounded_send(question(1)).unwrap();
        assert!(questions.hear());
        tokio::time::advance(READ_TIMEOUT - Duration::from_millis(1)).await;
        ask.unbounded_send(question(2)).unwrap();
        assert!(questions.hear());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(questions.next().await.unwrap().subject, "2");
        assert!(!questions.hear(), "it is the log's turn");
        assert!(questions.hear());
        drop(ask);
        assert!(questions.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_taken_than_there_is_room_for_and_none_is_lost() {
        let mut questions = Questions::new(stream::iter((0..3_000).map(question)).boxed());
        for n in 0..3_000 {
            questions.hear();
            assert!(questions.waiting.len() <= WAITING_MAX);
            assert_eq!(questions.next().await.unwrap().subject, n.to_string());
        }
        assert!(questions.next().await.is_none());
    }
}
