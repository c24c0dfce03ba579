//! Tools that a server of the operator's answers for, by a protocol of one request.
//!
//! `POST url` with `{"tool", "arguments", "idempotency_key", "tenant", "run", "step", "attempt"}`
//! is answered with `{"output": ...}`, or with `{"error": {"class", "message", "retry_after_ms"}}`
//! of which only the message is needed. The operator says what the tool takes, gives and does.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use planfleet_core::failure::FailureClass;
use planfleet_core::tool::{Effect, ToolSpec};
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::egress::{Error, Fetched, Gateway, Outbound, Reach};
use crate::settings::Settings;
use crate::tool::{CallContext, Tool, ToolError};

/// Enough of a strange answer to see what it is.
const EXCERPT_CHARS_MAX: usize = 300;

/// `[tools.http.<name>]`: a tool that a server answers for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpToolSettings {
    /// Where calls are posted to.
    pub url: String,
    /// What it does, in a sentence or two for planners.
    pub description: String,
    /// The JSON Schema of its arguments, an object's.
    pub arguments: Value,
    /// The JSON Schema of its output.
    pub output: Value,
    /// What a call does to the world.
    pub effect: Effect,
    /// Whether calling twice with the same arguments is calling once.
    pub idempotent: bool,
}

impl Default for HttpToolSettings {
    fn default() -> Self {
        Self {
            url: String::new(),
            description: String::new(),
            arguments: json!({"type": "object"}),
            output: json!({}),
            effect: Effect::Write,
            idempotent: false,
        }
    }
}

impl HttpToolSettings {
    /// What is wrong with it, if anything is; schemas are looked at when it is registered.
    pub(crate) fn fault(&self, name: &str) -> Option<String> {
        let fault = |leaf: &str, what: &str| Some(format!("tools.http.{name}.{leaf}: {what}"));
        if !self.url.starts_with("http://") && !self.url.starts_with("https://") {
            return fault("url", "expected such as \"https://tools.example.org/search\"");
        }
        if self.description.trim().is_empty() {
            return fault("description", "missing; planners choose tools by it");
        }
        if self.arguments["type"] != "object" {
            return fault("arguments", "expected the schema of an object: { type = \"object\", ... }");
        }
        None
    }
}

struct Remote {
    spec: ToolSpec,
    url: String,
    gateway: Arc<Gateway>,
}

/// What a server answers with.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Output { output: Value },
    Error { error: Fault },
}

#[derive(Deserialize)]
struct Fault {
    class: Option<FailureClass>,
    message: String,
    retry_after_ms: Option<u64>,
}

/// All tools of that kind.
pub(crate) fn all(settings: &Settings, gateway: &Arc<Gateway>) -> Vec<Arc<dyn Tool>> {
    let tool = |(name, own): (&String, &HttpToolSettings)| {
        let spec = ToolSpec {
            name: name.clone(),
            description: own.description.clone(),
            arguments: own.arguments.clone(),
            output: own.output.clone(),
            effect: own.effect,
            idempotent: own.idempotent || own.effect.is_side_effect_free(),
        };
        Arc::new(Remote { spec, url: own.url.clone(), gateway: gateway.clone() }) as Arc<dyn Tool>
    };
    settings.http.iter().map(tool).collect()
}

#[async_trait]
impl Tool for Remote {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, args: &Map<String, Value>, ctx: &CallContext) -> Result<Value, ToolError> {
        let body = json!({
            "tool": self.spec.name,
            "arguments": args,
            "idempotency_key": ctx.idempotency_key,
            "tenant": ctx.tenant,
            "run": ctx.run,
            "step": ctx.step,
            "attempt": ctx.attempt,
        });
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Ok(key) = HeaderValue::try_from(&ctx.idempotency_key) {
            headers.insert("idempotency-key", key);
        }
        let what = Outbound { method: Method::POST, headers, body: Some(body.to_string().into_bytes()) };
        let sent = self.gateway.send(&self.url, what, Reach::Operator).await;
        let fetched = sent.map_err(|error| self.not_answered(error))?;
        self.read(&fetched)
    }

    /// A little over the gateway's own time, whose message says more.
    fn timeout(&self) -> Duration {
        self.gateway.timeout() + Duration::from_secs(5)
    }

    fn origin(&self) -> Option<Value> {
        Some(json!({"kind": "http", "url": self.url}))
    }
}

impl Remote {
    fn read(&self, fetched: &Fetched) -> Result<Value, ToolError> {
        if fetched.truncated {
            let message = "its answer is longer than tools.http_body_bytes_max; ask for less";
            return Err(ToolError::failed(message));
        }
        // An error may come with a status of its own; without our form, the status is all there is.
        match serde_json::from_slice(&fetched.body) {
            Ok(Answer::Output { output }) if (200..300).contains(&fetched.status) => Ok(output),
            Ok(Answer::Error { error }) => Err(ToolError {
                class: error.class.map_or(FailureClass::ToolError, of_a_tool),
                message: error.message,
                retry_after_ms: error.retry_after_ms,
            }),
            Ok(Answer::Output { .. }) | Err(_) => Err(self.strange(fetched)),
        }
    }

    fn strange(&self, fetched: &Fetched) -> ToolError {
        let class = match fetched.status {
            408 | 409 | 425 | 429 | 503 | 529 => FailureClass::Transient,
            500..=599 if self.spec.idempotent => FailureClass::Transient,
            _ => FailureClass::ToolError,
        };
        let message = format!(
            "its server answered {} with {:?}, which is neither {{\"output\"}} nor {{\"error\"}}",
            fetched.status,
            self.gateway.excerpt(fetched, EXCERPT_CHARS_MAX)
        );
        let retry_after_ms = fetched.retry_after.map(|after| after.as_millis() as u64);
        ToolError { class, message, retry_after_ms }
    }

    /// What was sent may have been done, so only what bears it is tried again.
    fn not_answered(&self, error: Error) -> ToolError {
        let may_be_done = !self.spec.idempotent && !error.is_before_sending();
        let error = ToolError::from(error);
        if !may_be_done || error.class != FailureClass::Transient {
            return error;
        }
        ToolError::failed(format!("{}; nobody knows whether it was done", error.message))
    }
}

/// Classes that end the run or count its models are not for a tool to say.
fn of_a_tool(class: FailureClass) -> FailureClass {
    match class {
        FailureClass::Transient
        | FailureClass::Refused
        | FailureClass::Denied
        | FailureClass::Timeout
        | FailureClass::ToolError => class,
        _ => FailureClass::ToolError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Registry;
    use planfleet_core::failure::Failure;
    use std::collections::BTreeMap;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    fn settings(url: String) -> Settings {
        let tool = HttpToolSettings {
            url,
            description: "Looks a word up.".to_owned(),
            arguments: json!({"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}),
            output: json!({"type": "integer"}),
            ..HttpToolSettings::default()
        };
        let http = BTreeMap::from([("lookup".to_owned(), tool)]);
        // The operator's own URL needs no entry in the hosts that runs may reach.
        Settings { allow_loopback: true, hosts: Vec::new(), http, ..Settings::default() }
    }

    async fn call(answer: String) -> (String, Result<Value, Failure>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/lookup", listener.local_addr().unwrap());
        let registry = Registry::builtin(settings(url)).unwrap();
        let ctx = CallContext {
            tenant: "acme".to_owned(),
            run: "00-r".to_owned(),
            step: "3".to_owned(),
            attempt: 2,
            idempotency_key: "00-r.3".to_owned(),
            allowed_hosts: Some(Arc::default()),
            ..CallContext::default()
        };
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 8192];
            let read = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        };
        let (result, seen) = tokio::join!(registry.call("lookup", json!({"word": "ship"}), &ctx), serve);
        (seen, result)
    }

    fn answer(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\nconnection: close\r\n\r\n{body}")
    }

    #[tokio::test]
    async fn a_call_is_one_post() {
        let (seen, output) = call(answer("200 OK", "{\"output\": 17}")).await;
        assert_eq!(output.unwrap(), json!(17));
        assert!(seen.starts_with("POST /lookup ") && seen.contains("idempotency-key: 00-r.3\r\n"), "{seen}");
        let body: Value = serde_json::from_str(seen.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        let expected = json!({
            "tool": "lookup", "arguments": {"word": "ship"}, "idempotency_key": "00-r.3",
            "tenant": "acme", "run": "00-r", "step": "3", "attempt": 2
        });
        assert_eq!(body, expected);
    }

    #[tokio::test]
    async fn every_trouble_has_its_class() {
        use FailureClass::{Denied, ToolError, Transient};
        for (status, body, class, said) in [
            ("200 OK", r#"{"error": {"message": "no such word"}}"#, ToolError, "no such word"),
            ("429 Busy", r#"{"error": {"class": "transient", "message": "later"}}"#, Transient, "later"),
            ("200 OK", r#"{"error": {"class": "denied", "message": "no"}}"#, Denied, "no"),
            ("200 OK", r#"{"error": {"class": "cancelled", "message": "ha"}}"#, ToolError, "ha"),
            ("200 OK", r#"{"output": "text"}"#, ToolError, "own output schema"),
            ("200 OK", "<p>hello", ToolError, "neither"),
            ("500 Oops", "", ToolError, "answered 500"),
            ("503 Busy", "", Transient, "answered 503"),
            ("302 Moved\r\nlocation: /x", "", ToolError, "redirects"),
        ] {
            let failure = call(answer(status, body)).await.1.unwrap_err();
            assert_eq!(failure.class, class, "{status} {body}: {failure}");
            assert!(failure.message.contains(said), "{failure}");
        }
        let failure = call(String::new()).await.1.unwrap_err();
        assert!(failure.class == ToolError && failure.message.contains("nobody knows"), "{failure}");
    }
}
