//! Core publish-subscribe and requests.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use planfleet_bus::broker::{Error, Headers};

use crate::{AnyBroker, PATIENCE, soon};

crate::conformance! {
    whoever_listens_hears,
    a_request_is_answered,
    a_request_that_nobody_hears_fails_at_once,
    a_request_that_nobody_answers_fails_in_time,
    a_question_to_all_gathers_every_answer,
    a_question_to_nobody_has_no_answers,
}

async fn whoever_listens_hears(broker: AnyBroker) {
    let mut one = broker.subscribe("live.a.*").await.expect("a subscription");
    let mut other = broker.subscribe("live.>").await.expect("a subscription");
    let headers = Headers::from([("traceparent".to_owned(), "00-1-2-01".to_owned())]);
    for subject in ["live.b", "live.a.x"] {
        broker.publish_live(subject.to_owned(), headers.clone(), "hello".into()).await.expect("sent");
    }
    let heard = soon("a message", one.next()).await.expect("no end");
    assert_eq!((heard.subject.as_str(), heard.payload.as_ref()), ("live.a.x", b"hello".as_ref()));
    assert_eq!((&heard.headers, &heard.reply), (&headers, &None));
    for subject in ["live.b", "live.a.x"] {
        assert_eq!(soon("a message", other.next()).await.expect("no end").subject, subject);
    }
}

async fn a_request_is_answered(broker: AnyBroker) {
    let mut questions = broker.subscribe("ask").await.expect("a subscription");
    let asking = broker.request("ask".to_owned(), "question".into(), PATIENCE);
    let answering = async {
        let question = soon("a question", questions.next()).await.expect("no end");
        assert_eq!(question.payload, "question");
        let reply = question.reply.expect("an inbox");
        broker.publish_live(reply, Headers::new(), "answer".into()).await.expect("sent");
    };
    let (answer, ()) = tokio::join!(asking, answering);
    assert_eq!(answer.expect("an answer"), "answer");
}

async fn a_request_that_nobody_hears_fails_at_once(broker: AnyBroker) {
    let asking = broker.request("ask".to_owned(), Bytes::new(), Duration::from_secs(3600));
    let failed = soon("a failure", asking).await;
    assert!(matches!(failed, Err(Error::NoResponder(subject)) if subject == "ask"));
}

async fn a_request_that_nobody_answers_fails_in_time(broker: AnyBroker) {
    let _deaf = broker.subscribe("ask").await.expect("a subscription");
    let asking = broker.request("ask".to_owned(), Bytes::new(), Duration::from_millis(100));
    let failed = soon("a failure", asking).await;
    assert!(matches!(failed, Err(Error::Unreachable(_))), "{failed:?}");
}

async fn a_question_to_all_gathers_every_answer(broker: AnyBroker) {
    let mut listening = Vec::new();
    for _ in 0..2 {
        listening.push(broker.subscribe("all").await.expect("a subscription"));
    }
    let asking = broker.request_all("all".to_owned(), "?".into(), Duration::from_secs(1));
    let answering =
        futures::future::join_all(listening.iter_mut().enumerate().map(async |(n, questions)| {
            let question = soon("a question", questions.next()).await.expect("no end");
            let reply = question.reply.expect("an inbox");
            broker.publish_live(reply, Headers::new(), n.to_string().into()).await.expect("sent");
        }));
    let (answers, _) = tokio::join!(asking, answering);
    let mut answers = answers.expect("answers");
    answers.sort();
    assert_eq!(answers, ["0", "1"]);
}

async fn a_question_to_nobody_has_no_answers(broker: AnyBroker) {
    let asking = broker.request_all("all".to_owned(), "?".into(), Duration::from_secs(3600));
    assert!(soon("no answers", asking).await.expect("no error").is_empty());
}
