//! `http_fetch`: a page or an API's answer, by way of the egress gateway.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use planfleet_core::failure::{FailureClass, trim_chars};
use planfleet_core::json::{DEPTH_MAX, depth};
use planfleet_core::tool::{Effect, ToolSpec};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::egress::{Fetched, Gateway};
use crate::tool::{CallContext, Tool, ToolError, parse_args};

/// Enough of an error page to see what it complains about.
const EXCERPT_CHARS_MAX: usize = 500;

pub(crate) struct HttpFetch {
    spec: ToolSpec,
    gateway: Arc<Gateway>,
}

#[derive(Deserialize)]
struct Args<'a> {
    url: &'a str,
}

impl HttpFetch {
    pub(crate) fn new(gateway: Arc<Gateway>) -> Self {
        Self {
            gateway,
            spec: ToolSpec {
                name: "http_fetch".to_owned(),
                description: "Fetches a public http(s) URL with GET and gives the body as text \
                              and, where it is JSON, as a value in `json`. An error status fails \
                              the step."
                    .to_owned(),
                arguments: json!({
                    "type": "object",
                    "properties": {
                        "url": {
                            "type": "string", "minLength": 1,
                            "description": "Absolute, e.g. https://example.org/a?b=c"
                        }
                    },
                    "required": ["url"],
                    "additionalProperties": false
                }),
                output: output(),
                effect: Effect::Read,
                idempotent: true,
            },
        }
    }
}

fn output() -> Value {
    json!({
        "type": "object",
        "properties": {
            "status": {"type": "integer"},
            "url": {"type": "string", "description": "Where redirects ended."},
            "content_type": {"type": ["string", "null"]},
            "text": {"type": "string"},
            "json": {"description": "The body parsed, or null where it is no JSON."},
            "truncated": {"type": "boolean", "description": "Whether the body is cut."}
        },
        "required": ["status", "url", "content_type", "text", "json", "truncated"],
        "additionalProperties": false
    })
}

#[async_trait]
impl Tool for HttpFetch {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, args: &Map<String, Value>, ctx: &CallContext) -> Result<Value, ToolError> {
        let Args { url } = parse_args(args)?;
        let hosts = ctx.allowed_hosts.as_ref().map(|hosts| hosts.as_slice());
        let fetched = self.gateway.get(url, hosts).await?;
        if !(200..300).contains(&fetched.status) {
            return Err(bad_status(&fetched));
        }
        let text = text(&fetched)?;
        let json = if fetched.truncated { Value::Null } else { json_of(&text) };
        Ok(json!({
            "status": fetched.status,
            "url": fetched.url.as_str(),
            "content_type": fetched.content_type,
            "text": text,
            "json": json,
            "truncated": fetched.truncated,
        }))
    }

    /// A little over the gateway's own time, whose message says more.
    fn timeout(&self) -> Duration {
        self.gateway.timeout() + Duration::from_secs(5)
    }
}

fn bad_status(fetched: &Fetched) -> ToolError {
    let class = match fetched.status {
        408 | 409 | 425 | 429 | 500..=599 => FailureClass::Transient,
        _ => FailureClass::ToolError,
    };
    let body = String::from_utf8_lossy(&fetched.body);
    let excerpt = trim_chars(body.trim(), EXCERPT_CHARS_MAX);
    ToolError {
        retry_after_ms: fetched.retry_after.map(|after| after.as_millis() as u64),
        ..ToolError::new(class, format!("{} answered {}: {excerpt}", fetched.url, fetched.status))
    }
}

/// The body as UTF-8, with U+FFFD for what is not. A body with NUL bytes is an
/// image or an archive, of which text would be noise.
fn text(fetched: &Fetched) -> Result<String, ToolError> {
    let body = fetched.body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&fetched.body);
    if body.contains(&0) {
        let kind = fetched.content_type.as_deref().unwrap_or("unknown type");
        return Err(ToolError::failed(format!(
            "{} is binary ({kind}); this tool fetches text only",
            fetched.url
        )));
    }
    let mut text = String::from_utf8_lossy(body).into_owned();
    if fetched.truncated && text.ends_with(char::REPLACEMENT_CHARACTER) {
        text.pop();
    }
    Ok(text)
}

/// Many servers send JSON as plain text, so the text decides and not its label.
/// What is nested deeper than an output may be stays text.
fn json_of(text: &str) -> Value {
    let value = serde_json::from_str(text).ok();
    value.filter(|value| depth(value) < DEPTH_MAX).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;
    use crate::builtin::call_in_test;
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
        assert_eq!((&output["text"], &output["json"]), (&json!("<p>hi"), &json!(null)));
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
