//! Answers in another form than the one that was asked for, from servers that name no content
//! type, or the wrong one.

use std::time::Duration;

use futures::future::{self, Either};
use planfleet_llm::{ChatModel, ChatResponse, ErrorClass, HttpChat, Timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::{ask, endpoint, streamed};

const JSON: &str = r#"{"choices": [{"message": {"content": "Paris"}, "finish_reason": "stop"}]}"#;
const EVENTS: &str = "data: {\"choices\": [{\"delta\": {\"content\": \"Pa\"}}]}\n\n\
     data: {\"choices\": [{\"delta\": {\"content\": \"ris\"}, \"finish_reason\": \"stop\"}]}\n\n\
     data: [DONE]\n\n";

/// Answers every request with the pieces, the pause before each of them.
struct Server {
    content_type: &'static str,
    pause: Duration,
    pieces: Vec<String>,
}

impl Server {
    fn new(content_type: &'static str, body: &str) -> Self {
        Self { content_type, pause: Duration::ZERO, pieces: vec![body.to_owned()] }
    }

    async fn with<T>(&self, timeouts: Timeouts, test: impl AsyncFnOnce(HttpChat) -> T) -> T {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut endpoint = endpoint(format!("http://{}/v1", listener.local_addr().unwrap()));
        endpoint.timeouts = timeouts;
        let serving = async {
            loop {
                let (peer, _) = listener.accept().await.unwrap();
                self.answer(peer).await;
            }
        };
        let test = test(HttpChat::new(endpoint).unwrap());
        match future::select(Box::pin(test), Box::pin(serving)).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right((never, _)) => never,
        }
    }

    /// A client that has had enough goes away, which is no trouble here.
    async fn answer(&self, mut peer: TcpStream) {
        let mut request = Vec::new();
        while !is_whole(&request) && peer.read_buf(&mut request).await.unwrap() > 0 {}
        let head = format!("HTTP/1.1 200 OK\r\n{}Connection: close\r\n\r\n", self.content_type).into_bytes();
        let _ = peer.write_all(&head).await;
        for piece in &self.pieces {
            tokio::time::sleep(self.pause).await;
            let _ = peer.write_all(piece.as_bytes()).await;
        }
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    body.len() >= length.parse().unwrap()
}

async fn both(server: &Server) -> (Vec<String>, Vec<ChatResponse>) {
    server
        .with(Timeouts::default(), async |model| {
            let whole = model.chat(&ask("capital of France?")).await.unwrap();
            let (deltas, streamed) = streamed(&model, "capital of France?").await;
            assert_eq!(whole.time_to_first_chunk, None);
            (deltas, vec![whole, streamed.unwrap()])
        })
        .await
}

#[tokio::test]
async fn one_document_answers_a_request_for_a_stream() {
    for server in [
        Server::new("Content-Type: application/json\r\n", JSON),
        Server::new("", JSON),
        Server::new("", &format!("\u{feff}\n \n{JSON}")),
    ] {
        let (deltas, responses) = both(&server).await;
        assert_eq!(deltas, ["Paris"]);
        assert!(responses.iter().all(|response| response.text == "Paris"));
    }
}

#[tokio::test]
async fn a_stream_answers_whoever_did_not_ask_for_it() {
    let mut torn = Server::new("", "");
    torn.pieces = ["\u{feff}\n", "da", "ta", &EVENTS[4..]].map(str::to_owned).into();
    for server in [
        Server::new("Content-Type: text/event-stream\r\n", EVENTS),
        Server::new("Content-Type: text/plain\r\n", EVENTS),
        Server::new("Content-Type: application/json\r\n", &format!(": ping\n\n{EVENTS}")),
        torn,
    ] {
        let (deltas, responses) = both(&server).await;
        assert_eq!(deltas, ["Pa", "ris"]);
        assert!(responses.iter().all(|response| response.text == "Paris"));
    }
}

/// Whoever writes the whole answer before it begins needs more than the time to a first byte.
#[tokio::test]
async fn one_document_is_bounded_by_the_whole_calls_time() {
    let mut server = Server::new("Content-Type: application/json\r\n", JSON);
    server.pause = Duration::from_millis(200);
    let first_byte = Duration::from_millis(100);
    let patient = Timeouts { first_byte, ..Timeouts::default() };
    let (_, answered) = server.with(patient, async |model| streamed(&model, "x").await).await;
    assert_eq!(answered.unwrap().text, "Paris");

    let hurried = Timeouts { total: first_byte, ..Timeouts::default() };
    let (_, late) = server.with(hurried, async |model| streamed(&model, "x").await).await;
    let error = late.unwrap_err();
    assert_eq!(error.class, ErrorClass::Timeout);
    assert!(error.message.contains("took too long"), "{error}");
}
