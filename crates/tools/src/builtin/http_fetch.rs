//! `http_fetch`: a page or an API's answer, by way of the egress gateway.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use planfleet_core::tool::{Effect, ToolSpec};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::answer;
use crate::egress::{Gateway, Outbound};
use crate::tool::{CallContext, Tool, ToolError, parse_args};

pub(crate) struct HttpFetch {
    spec: ToolSpec,
    gateway: Arc<Gateway>,
}

#[derive(Deserialize)]
struct Args<'a> {
    url: &'a str,
    #[serde(default)]
    raw: bool,
}

impl HttpFetch {
    pub(crate) fn new(gateway: Arc<Gateway>) -> Self {
        Self {
            gateway,
            spec: ToolSpec {
                name: "http_fetch".to_owned(),
                description: "Fetches a public http(s) URL with GET and gives the body as text \
                              (of an HTML page the readable text) and, where it is JSON, as a \
                              value in `json`. An error status fails the step."
                    .to_owned(),
                arguments: json!({
                    "type": "object",
                    "properties": {
                        "url": {
                            "type": "string", "minLength": 1,
                            "description": "Absolute, e.g. https://example.org/a?b=c"
                        },
                        "raw": {
                            "type": "boolean",
                            "description": "Whether an HTML page is given as it is, with its tags."
                        }
                    },
                    "required": ["url"],
                    "additionalProperties": false
                }),
                output: answer::schema(),
                effect: Effect::Read,
                idempotent: true,
            },
        }
    }
}

#[async_trait]
impl Tool for HttpFetch {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, args: &Map<String, Value>, ctx: &CallContext) -> Result<Value, ToolError> {
        let Args { url, raw } = parse_args(args)?;
        let fetched = self.gateway.send(url, Outbound::get(), ctx.reach()).await?;
        if !(200..300).contains(&fetched.status) {
            return Err(answer::bad_status(&self.gateway, &fetched, true));
        }
        answer::output(fetched, raw).await
    }

    /// A little over the gateway's own time, whose message says more.
    fn timeout(&self) -> Duration {
        self.gateway.timeout() + Duration::from_secs(5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;
    use crate::builtin::call_in_test;
    use planfleet_core::failure::FailureClass;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// Answers one request with `answer` and gives what the tool makes of it.
    async fn fetch(answer: &[u8]) -> Result<Value, planfleet_core::failure::Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/page", listener.local_addr().unwrap());
        let settings = Settings { allow_loopback: true, ..Settings::default() };
        let tool = HttpFetch::new(Arc::new(Gateway::new(&settings).unwrap()));
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(b"GET /page HTTP/1.1\r\n"));
            stream.write_all(answer).await.unwrap();
        };
        tokio::join!(call_in_test(tool, json!({"url": url})), serve).0
    }

    fn answer(head: &str, body: &str) -> Vec<u8> {
        format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n{body}").into_bytes()
    }

    #[tokio::test]
    async fn text_and_json_come_back() {
        let output = fetch(&answer("200 OK\r\ncontent-type: text/html", "<p>hi")).await.unwrap();
        assert_eq!(output["status"], 200);
        assert_eq!(output["content_type"], "text/html");
        assert_eq!((&output["text"], &output["json"]), (&json!("hi"), &json!(null)));
        assert_eq!(output["truncated"], false);
        let output = fetch(&answer("200 OK", " {\"a\": [1]} ")).await.unwrap();
        assert_eq!(output["json"], json!({"a": [1]}));
    }

    #[tokio::test]
    async fn statuses_are_classified() {
        for (head, class, after) in [
            ("404 Not Found", FailureClass::ToolError, None),
            ("401 Unauthorized", FailureClass::ToolError, None),
            ("304 Not Modified", FailureClass::ToolError, None),
            ("429 Too Many\r\nretry-after: 3", FailureClass::Transient, Some(3000)),
            ("503 Busy\r\nretry-after: soon", FailureClass::Transient, None),
            ("529 Overloaded", FailureClass::Transient, None),
        ] {
            let failure = fetch(&answer(head, &"why ".repeat(500))).await.unwrap_err();
            assert_eq!((failure.class, failure.retry_after_ms), (class, after), "{head}");
            assert!(failure.message.contains(&head[..3]), "{failure}");
            assert!(failure.message.chars().count() < 700, "{failure}");
        }
    }

    #[tokio::test]
    async fn binary_is_refused() {
        let failure = fetch(&answer("200 OK\r\ncontent-type: image/png", "\0PNG")).await.unwrap_err();
        assert!(failure.message.contains("image/png"), "{failure}");
    }

    #[tokio::test]
    async fn arguments_are_checked() {
        let tool = || HttpFetch::new(Arc::new(Gateway::new(&Settings::default()).unwrap()));
        for args in [json!({}), json!({"url": 1}), json!({"url": "http://x", "headers": {}})] {
            assert!(call_in_test(tool(), args).await.is_err());
        }
        let denied = call_in_test(tool(), json!({"url": "http://127.0.0.1/"})).await.unwrap_err();
        assert_eq!(denied.class, FailureClass::Denied);
        assert!(denied.message.contains("tools.allow_loopback"), "{denied}");
    }
}
