use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use planfleet_core::tool::Effect;
use serde_json::json;

use super::*;

/// A tool that misbehaves on demand.
struct Odd(ToolSpec);

impl Odd {
    fn new(name: &str) -> Arc<Self> {
        Arc::new(Self(ToolSpec {
            name: name.to_owned(),
            description: "does what `mode` says".to_owned(),
            arguments: json!({
                "type": "object",
                "properties": {"mode": {"type": "string"}, "n": {"type": "integer"}},
                "required": ["mode"],
                "additionalProperties": false
            }),
            output: json!({"type": "string"}),
            effect: Effect::Pure,
            idempotent: true,
        }))
    }
}

#[async_trait]
impl Tool for Odd {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    async fn call(&self, args: &Map<String, Value>, _: &CallContext) -> Result<Value, ToolError> {
        match args["mode"].as_str().unwrap() {
            "hang" => std::future::pending().await,
            "panic" => panic!("as asked"),
            "number" => Ok(json!(1)),
            "large" => Ok(json!("x".repeat(100))),
            "chatty" => Err(ToolError::failed("x".repeat(1 << 20))),
            "busy" => {
                Err(ToolError { retry_after_ms: Some(7), ..ToolError::new(FailureClass::Transient, "busy") })
            }
            mode => Ok(json!(mode)),
        }
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(20)
    }
}

fn registry() -> Registry {
    let mut registry = Registry::builtin(Settings { output_bytes_max: 64, ..Settings::default() }).unwrap();
    registry.register(Odd::new("odd")).unwrap();
    registry
}

async fn call(args: Value) -> Result<Value, Failure> {
    registry().call("odd", args, &CallContext::default()).await
}

#[test]
fn built_ins_are_complete() {
    let catalog = Registry::builtin(Settings::default()).unwrap().catalog();
    let names: Vec<_> = catalog.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "echo",
            "file_list",
            "file_read",
            "file_write",
            "http_fetch",
            "http_request",
            "json_transform",
            "kv_get",
            "kv_put",
            "math_eval",
            "object_get",
            "object_put",
            "regex_extract",
            "sub_task",
            "text_split",
            "text_template",
            "wait"
        ]
    );
    for spec in catalog.values() {
        assert_eq!(spec.arguments["type"], "object", "{}", spec.name);
        // What else a run is given are its inputs, and its answer is whatever it has found.
        let is_run = spec.name == "sub_task";
        assert_eq!(spec.arguments["additionalProperties"], is_run, "{}", spec.name);
        assert!(is_run || spec.output["additionalProperties"] == false, "{}", spec.name);
        let writing = ["file_write", "http_request", "kv_put", "object_put", "sub_task"];
        let writes = writing.contains(&spec.name.as_str());
        assert_eq!(spec.effect == Effect::Write, writes, "{}", spec.name);
        assert_eq!(spec.idempotent, spec.name != "http_request", "{}", spec.name);
        assert!(spec.required().all(|name| spec.argument(name).is_some()), "{}", spec.name);
    }
}

#[tokio::test]
async fn a_good_call_returns_the_output() {
    assert_eq!(call(json!({"mode": "fine"})).await.unwrap(), json!("fine"));
}

#[tokio::test]
async fn wrong_arguments_are_all_named() {
    let failure = call(json!({"n": "x", "more": 1})).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::ToolError);
    for part in ["/n", "mode", "more"] {
        assert!(failure.message.contains(part), "{part} is missing in {failure}");
    }
    assert_eq!(call(json!([])).await.unwrap_err().class, FailureClass::ToolError);
}

#[tokio::test]
async fn misbehaving_tools_become_failures() {
    for (mode, class, text) in [
        ("hang", FailureClass::Timeout, "20 ms"),
        ("panic", FailureClass::ToolError, "panicked"),
        ("number", FailureClass::ToolError, "own output schema"),
        ("large", FailureClass::ToolError, "are taken of any tool"),
        ("busy", FailureClass::Transient, "busy"),
    ] {
        let failure = call(json!({"mode": mode})).await.unwrap_err();
        assert_eq!(failure.class, class, "{mode}: {failure}");
        assert!(failure.message.contains(text), "{mode}: {failure}");
        assert_eq!(failure.retry_after_ms, (mode == "busy").then_some(7));
    }
}

#[tokio::test]
async fn the_envelope_bounds_calls() {
    let allowed = BTreeMap::from([("wait".to_owned(), Effect::Pure)]);
    let ctx = CallContext { allowed: Some(Arc::new(allowed)), ..CallContext::default() };
    let denied = registry().call("odd", json!({"mode": "fine"}), &ctx).await.unwrap_err();
    assert_eq!(denied.class, FailureClass::Denied);
    assert!(denied.message.ends_with("it may call: wait"), "{denied}");
    let unknown = registry().call("no_such", json!({}), &ctx).await.unwrap_err();
    assert_eq!(unknown.class, FailureClass::ToolError);
    assert!(unknown.message.ends_with("the tools are: wait"), "{unknown}");
}

#[test]
fn bad_tools_are_not_registered() {
    let mut registry = registry();
    assert!(matches!(registry.register(Odd::new("odd")), Err(RegisterError::Duplicate(_))));
    for name in ["", "a.b", "a/b", "a b", "ä", &"x".repeat(65)] {
        assert!(matches!(registry.register(Odd::new(name)), Err(RegisterError::Name(_))));
    }
    let mut broken = Odd::new("broken");
    Arc::get_mut(&mut broken).unwrap().0.output = json!({"type": "nonsense"});
    assert!(matches!(registry.register(broken), Err(RegisterError::Schema { .. })));
}

#[tokio::test]
async fn an_effect_that_nobody_agreed_to_is_denied() {
    for (most, denied) in [(Effect::Pure, true), (Effect::Read, true), (Effect::Write, false)] {
        let allowed = BTreeMap::from([("kv_put".to_owned(), most)]);
        let ctx = CallContext { allowed: Some(Arc::new(allowed)), ..CallContext::default() };
        let failure = registry().call("kv_put", json!({"key": "k", "value": 1}), &ctx).await.unwrap_err();
        assert_eq!(failure.class == FailureClass::Denied, denied, "{failure}");
    }
}

#[tokio::test]
async fn arguments_and_errors_are_bounded() {
    let failure = call(json!({"mode": "x".repeat(ARGUMENTS_BYTES_MAX)})).await.unwrap_err();
    assert!(failure.message.contains("a tool takes at most"), "{failure}");
    let failure = call(json!({"mode": "chatty"})).await.unwrap_err();
    assert!(failure.message.chars().count() < MESSAGE_CHARS_MAX + 100);
}

/// Whatever a thousand calls do at once, all end, and the registry serves the next one.
#[tokio::test(start_paused = true)]
async fn a_thousand_calls_are_in_flight_at_once() {
    let registry = registry();
    let ctx = CallContext::default();
    let modes = ["fine", "hang", "panic", "large", "number", "busy"];
    let calls = (0..1_002).map(|n| registry.call("odd", json!({"mode": modes[n % modes.len()]}), &ctx));
    let began = tokio::time::Instant::now();
    let ended = futures::future::join_all(calls).await;
    assert_eq!(began.elapsed(), Duration::from_millis(20), "they waited for one another");
    let fine = ended.iter().filter(|result| result.is_ok()).count();
    let timeouts = ended.iter().filter_map(|result| result.as_ref().err());
    let timeouts = timeouts.filter(|failure| failure.class == FailureClass::Timeout).count();
    assert_eq!((fine, timeouts), (167, 167));
    assert!(registry.call("odd", json!({"mode": "fine"}), &ctx).await.is_ok());
}
