//! `http_request`: asks a server to change something, by way of the egress gateway.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use planfleet_core::failure::FailureClass;
use planfleet_core::tool::{Effect, ToolSpec};
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::answer;
use crate::egress::{Error, Gateway, Outbound};
use crate::tool::{CallContext, Tool, ToolError, parse_args};

/// APIs need a handful.
const HEADERS_MAX: usize = 32;

/// Longer than any header that servers take (8 KiB for all is common).
const HEADER_CHARS_MAX: usize = 4 << 10;

/// Headers that belong to the connection, to the gateway, or to us.
const RESERVED: [&str; 13] = [
    "connection",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "idempotency-key",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
];

pub(crate) struct HttpRequest {
    spec: ToolSpec,
    gateway: Arc<Gateway>,
}

#[derive(Deserialize)]
struct Args<'a> {
    method: &'a str,
    url: &'a str,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: Value,
    #[serde(default)]
    raw: bool,
}

impl HttpRequest {
    pub(crate) fn new(gateway: Arc<Gateway>) -> Self {
        Self {
            gateway,
            spec: ToolSpec {
                name: "http_request".to_owned(),
                description: "Sends a POST, PUT, PATCH or DELETE to a public http(s) URL. A text \
                              in `body` is sent as it is, anything else as JSON. The answer is \
                              given as `http_fetch` gives it; an error status fails the step. To \
                              read only, use `http_fetch`."
                    .to_owned(),
                arguments: arguments(),
                output: answer::schema(),
                effect: Effect::Write,
                idempotent: false,
            },
        }
    }
}

fn arguments() -> Value {
    json!({
        "type": "object",
        "properties": {
            "method": {"type": "string", "enum": ["POST", "PUT", "PATCH", "DELETE"]},
            "url": {
                "type": "string", "minLength": 1,
                "description": "Absolute, e.g. https://example.org/a?b=c"
            },
            "headers": {
                "type": "object", "maxProperties": HEADERS_MAX,
                "description": "Such as {\"content-type\": \"text/csv\"}.",
                "additionalProperties": {"type": "string", "maxLength": HEADER_CHARS_MAX}
            },
            "body": {"description": "A text, or any JSON value; left out or null for none."},
            "raw": {
                "type": "boolean",
                "description": "Whether an HTML page is given as it is, with its tags."
            }
        },
        "required": ["method", "url"],
        "additionalProperties": false
    })
}

#[async_trait]
impl Tool for HttpRequest {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, args: &Map<String, Value>, ctx: &CallContext) -> Result<Value, ToolError> {
        let args: Args<'_> = parse_args(args)?;
        let method = Method::from_bytes(args.method.as_bytes())
            .map_err(|_| ToolError::failed(format!("`{}` is no method", args.method)))?;
        // As HTTP defines them: doing it twice is doing it once.
        let repeatable = matches!(method, Method::PUT | Method::DELETE);
        let what = outbound(method, args.headers, args.body, &ctx.idempotency_key)?;
        let sent = self.gateway.send(args.url, what, ctx.reach()).await;
        let fetched = sent.map_err(|error| unknown_outcome(error, repeatable))?;
        if !(200..300).contains(&fetched.status) {
            return Err(answer::bad_status(&self.gateway, &fetched, repeatable));
        }
        answer::output(fetched, args.raw).await
    }

    /// A little over the gateway's own time, whose message says more.
    fn timeout(&self) -> Duration {
        self.gateway.timeout() + Duration::from_secs(5)
    }
}

fn outbound(
    method: Method,
    own: BTreeMap<String, String>,
    body: Value,
    idempotency_key: &str,
) -> Result<Outbound, ToolError> {
    let mut headers = HeaderMap::new();
    for (name, value) in own {
        let header = header_name(&name)?;
        let value = HeaderValue::try_from(value).map_err(|_| {
            ToolError::failed(format!("the value of header `{name}` holds characters that none may hold"))
        })?;
        headers.insert(header, value);
    }
    if let Ok(key) = HeaderValue::try_from(idempotency_key) {
        headers.insert("idempotency-key", key);
    }
    let (body, kind) = match body {
        Value::Null => (None, None),
        Value::String(text) => (Some(text.into_bytes()), Some("text/plain; charset=utf-8")),
        value => (Some(value.to_string().into_bytes()), Some("application/json")),
    };
    if let Some(kind) = kind {
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(kind));
    }
    Ok(Outbound { method, headers, body })
}

fn header_name(name: &str) -> Result<HeaderName, ToolError> {
    let header = HeaderName::try_from(name)
        .map_err(|_| ToolError::failed(format!("`{name}` is no header name, such as `accept`")))?;
    if RESERVED.contains(&header.as_str()) || header.as_str().starts_with("proxy-") {
        return Err(ToolError::denied(format!("header `{name}` is not for tools to set; leave it out")));
    }
    Ok(header)
}

/// What was sent may have been done, so only what bears it is tried again.
fn unknown_outcome(error: Error, repeatable: bool) -> ToolError {
    let may_be_done = !repeatable && !error.is_before_sending();
    let error = ToolError::from(error);
    if !may_be_done || error.class != FailureClass::Transient {
        return error;
    }
    ToolError::failed(format!("{}{}", error.message, answer::UNKNOWN_OUTCOME))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;
    use crate::builtin::call_in_test;
    use planfleet_core::failure::Failure;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    fn tool(settings: &Settings) -> HttpRequest {
        HttpRequest::new(Arc::new(Gateway::new(settings).unwrap()))
    }

    /// What the server was sent, and what the tool makes of `answer`.
    async fn request(mut args: Value, answer: &[u8]) -> (String, Result<Value, Failure>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        args["url"] = format!("http://{}/page", listener.local_addr().unwrap()).into();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 8192];
            let read = stream.read(&mut request).await.unwrap();
            stream.write_all(answer).await.unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        };
        let settings = Settings { allow_loopback: true, ..Settings::default() };
        let (result, seen) = tokio::join!(call_in_test(tool(&settings), args), serve);
        (seen, result)
    }

    const OK: &[u8] = b"HTTP/1.1 201 Created\r\nconnection: close\r\n\r\n{\"id\": 7}";

    #[tokio::test]
    async fn bodies_are_text_or_json() {
        for (body, kind, sent) in [
            (json!({"a": 1}), "application/json", "{\"a\":1}"),
            (json!("a=1"), "text/plain; charset=utf-8", "a=1"),
            (json!([1]), "application/json", "[1]"),
        ] {
            let (seen, output) = request(json!({"method": "POST", "body": body}), OK).await;
            assert!(seen.starts_with("POST /page HTTP/1.1\r\n"), "{seen}");
            assert!(seen.contains(&format!("content-type: {kind}\r\n")), "{seen}");
            assert!(seen.contains("idempotency-key: test-key\r\n"), "{seen}");
            assert!(seen.ends_with(&format!("\r\n\r\n{sent}")), "{seen}");
            let output = output.unwrap();
            assert_eq!((&output["status"], &output["json"]), (&json!(201), &json!({"id": 7})));
        }
        let headers = json!({"Content-Type": "text/csv", "x-a": "1"});
        let args = json!({"method": "PUT", "body": "a,b", "headers": headers});
        let (seen, _) = request(args, OK).await;
        assert!(seen.starts_with("PUT") && seen.contains("content-type: text/csv\r\nx-a: 1\r\n"), "{seen}");
    }

    #[tokio::test]
    async fn what_may_have_been_done_is_not_tried_again() {
        let answer = |status: &str| format!("HTTP/1.1 {status}\r\nconnection: close\r\n\r\n").into_bytes();
        for (method, answer, class) in [
            ("POST", answer("500 Oops"), FailureClass::ToolError),
            ("PATCH", answer("502 Oops"), FailureClass::ToolError),
            ("PUT", answer("500 Oops"), FailureClass::Transient),
            ("POST", answer("503 Busy"), FailureClass::Transient),
            ("POST", answer("400 Bad"), FailureClass::ToolError),
            ("POST", b"".to_vec(), FailureClass::ToolError),
            ("DELETE", b"".to_vec(), FailureClass::Transient),
        ] {
            let failure = request(json!({"method": method}), &answer).await.1.unwrap_err();
            assert_eq!(failure.class, class, "{method}: {failure}");
        }
    }

    #[tokio::test]
    async fn a_refused_connection_is_tried_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let settings = Settings { allow_loopback: true, ..Settings::default() };
        let args = json!({"method": "POST", "url": url});
        let failure = call_in_test(tool(&settings), args).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::Transient, "{failure}");
    }

    #[tokio::test]
    async fn what_was_answered_with_a_redirect_is_not_sent_again() {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let refused = format!("http://{}/", gone.local_addr().unwrap());
        drop(gone);
        let busy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let busy_url = format!("http://{}/", busy.local_addr().unwrap());
        let _busy = tokio::task::JoinSet::from_iter([async move {
            while let Ok((mut stream, _)) = busy.accept().await {
                assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
                stream.write_all(b"HTTP/1.1 503 Busy\r\nconnection: close\r\n\r\n").await.unwrap();
            }
        }]);
        for (method, status, location, class) in [
            ("POST", 303, &refused, FailureClass::ToolError),
            ("POST", 302, &busy_url, FailureClass::ToolError),
            ("PATCH", 307, &busy_url, FailureClass::ToolError),
            ("PUT", 303, &refused, FailureClass::Transient),
            ("DELETE", 302, &busy_url, FailureClass::Transient),
        ] {
            let answer = format!("HTTP/1.1 {status} x\r\nlocation: {location}\r\nconnection: close\r\n\r\n");
            let failure = request(json!({"method": method}), answer.as_bytes()).await.1.unwrap_err();
            assert_eq!(failure.class, class, "{method} {status} {location}: {failure}");
        }
    }

    #[tokio::test]
    async fn headers_that_are_not_the_caller_s_are_refused() {
        for (name, class) in [
            ("Host", FailureClass::Denied),
            ("Idempotency-Key", FailureClass::Denied),
            ("Proxy-Authorization", FailureClass::Denied),
            ("Transfer-Encoding", FailureClass::Denied),
            ("a b", FailureClass::ToolError),
            ("x\r\ny", FailureClass::ToolError),
        ] {
            let args = json!({"method": "POST", "url": "http://a.example/", "headers": {name: "x"}});
            let failure = call_in_test(tool(&Settings::default()), args).await.unwrap_err();
            assert_eq!(failure.class, class, "{name}: {failure}");
        }
        let args = json!({"method": "POST", "url": "http://127.0.0.1/"});
        let denied = call_in_test(tool(&Settings::default()), args).await.unwrap_err();
        assert_eq!(denied.class, FailureClass::Denied);
    }
}
