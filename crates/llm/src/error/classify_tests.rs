use super::*;

fn class(status: u16, body: &str) -> ErrorClass {
    ServerError::from_body(status, body.as_bytes()).class()
}

#[test]
fn the_code_is_asked_before_the_status() {
    use ErrorClass::*;
    let table = [
        (
            429,
            r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}"#,
            Quota,
        ),
        (
            429,
            r#"{"error":{"message":"Rate limit reached","type":"requests","code":"rate_limit_exceeded"}}"#,
            Transient,
        ),
        (
            429,
            r#"{"error":{"message":"Request too large for gpt on tokens per min (TPM): Limit 30000, Requested 40000","type":"tokens","code":"rate_limit_exceeded"}}"#,
            ContextOverflow,
        ),
        (
            429,
            r#"{"error":{"message":"Rate limit reached. Add a payment method at https://example.org/account/billing","code":"rate_limit_exceeded"}}"#,
            Transient,
        ),
        (
            400,
            r#"{"error":{"type":"invalid_request_error","message":"Your credit balance is too low"}}"#,
            Quota,
        ),
        (429, "{}", Transient),
        (402, "{}", Quota),
        (
            400,
            r#"{"error":{"message":"This model's maximum context length is 8192 tokens","code":"context_length_exceeded"}}"#,
            ContextOverflow,
        ),
        (
            400,
            r#"{"error":{"code":400,"message":"the request exceeds the available context size, try increasing it","type":"exceed_context_size_error","n_prompt_tokens":901,"n_ctx":512}}"#,
            ContextOverflow,
        ),
        (
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 210000 tokens > 200000 maximum"}}"#,
            ContextOverflow,
        ),
        (413, "<html>", ContextOverflow),
        (400, r#"{"error":{"code":"content_filter","message":"policy"}}"#, Refused),
        (400, r#"{"error":{"message":"unknown field `x`","type":"invalid_request_error"}}"#, InvalidRequest),
        (422, r#"{"detail":[{"loc":["body","model"],"msg":"field required"}]}"#, InvalidRequest),
        (401, r#"{"error":{"message":"Incorrect API key provided","code":"invalid_api_key"}}"#, Unauthorized),
        (403, "", Unauthorized),
        (404, r#"{"error":{"message":"The model `x` does not exist","code":"model_not_found"}}"#, NotFound),
        (400, r#"{"error":{"message":"no such model","code":"model_not_found"}}"#, NotFound),
        (408, "", Transient),
        (409, "", Transient),
        (500, "", Transient),
        (503, "<html>busy</html>", Transient),
        (529, r#"{"error":{"type":"overloaded_error","message":"Overloaded"}}"#, Transient),
        (503, r#"{"error":{"code":"server_is_overloaded","message":"later"}}"#, Transient),
        (429, r#"{"error":{"code":"slow_down","message":"ramp up gradually"}}"#, Transient),
        (403, r#"{"error":{"code":"rate_limit_exceeded","message":"later"}}"#, Transient),
        (500, r#"{"type":"error","error":{"type":"api_error","message":"Internal"}}"#, Transient),
        (504, r#"{"type":"error","error":{"type":"timeout_error","message":"late"}}"#, Transient),
        (429, r#"{"error":{"code":"credit_balance_exhausted","message":"x"}}"#, Quota),
        (429, r#"{"error":{"code":"enforced_spend_limit_reached","message":"x"}}"#, Quota),
        (402, r#"{"type":"error","error":{"type":"billing_error","message":"x"}}"#, Quota),
        (
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"You have reached your specified API usage limits. You will regain access on 2026-12-01."}}"#,
            Quota,
        ),
        (
            401,
            r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#,
            Unauthorized,
        ),
        (403, r#"{"type":"error","error":{"type":"permission_error","message":"x"}}"#, Unauthorized),
        (404, r#"{"type":"error","error":{"type":"not_found_error","message":"model: x"}}"#, NotFound),
        (413, r#"{"type":"error","error":{"type":"request_too_large","message":"x"}}"#, ContextOverflow),
        (307, "", InvalidRequest),
    ];
    for (status, body, expected) in table {
        assert_eq!(class(status, body), expected, "{status} {body}");
    }
}

#[test]
fn an_error_inside_an_answer_takes_its_numeric_code_for_the_status() {
    let value = serde_json::json!({"error": {"code": 502, "message": "upstream"}});
    let error = ServerError::from_value(&value).into_error();
    assert_eq!((error.class, error.status), (ErrorClass::Transient, Some(502)));

    let value = serde_json::json!({"error": {"type": "overloaded_error", "message": "later"}});
    assert_eq!(ServerError::from_value(&value).class(), ErrorClass::Transient);
    let value =
        serde_json::json!({"type": "error", "error": {"type": "authentication_error", "message": "no"}});
    assert_eq!(ServerError::from_value(&value).class(), ErrorClass::Unauthorized);
    let value = serde_json::json!({"error": {"type": "invalid_request_error", "message": "no"}});
    assert_eq!(ServerError::from_value(&value).class(), ErrorClass::InvalidRequest);
}

#[test]
fn the_servers_wish_wins_over_its_status_but_not_over_its_code() {
    let error = |status, kind: &str, should_retry| ServerError {
        status: Some(status),
        kind: Some(kind.to_owned()),
        should_retry: Some(should_retry),
        ..ServerError::default()
    };
    assert_eq!(error(400, "", true).class(), ErrorClass::Transient);
    assert_eq!(error(500, "", false).class(), ErrorClass::InvalidRequest);
    assert_eq!(error(429, "insufficient_quota", true).class(), ErrorClass::Quota);
    assert_eq!(error(401, "", false).class(), ErrorClass::Unauthorized);
}

#[test]
fn a_refused_way_to_json_is_told_from_a_refused_schema() {
    let refused = |message: &str| {
        let body = serde_json::json!({"error": {"type": "invalid_request_error", "message": message}});
        let error = ServerError::from_body(400, body.to_string().as_bytes()).into_error();
        let ways = [Structured::JsonSchema, Structured::ToolCall].map(|way| error.refuses_format(way));
        (ways, error.refuses_schema())
    };
    let format = [true, false];
    assert_eq!(refused("This response_format type is unavailable now"), (format, false));
    assert_eq!(refused("'claude-x' does not support output format."), (format, false));
    assert_eq!(
        refused("output_config.format.schema: For 'object' type, 'additionalProperties' must be false"),
        (format, true)
    );
    assert_eq!(refused("Invalid schema for response_format 'plan'"), (format, true));
    assert_eq!(
        refused("Thinking may not be enabled when tool_choice forces tool use."),
        ([false, true], false)
    );
    assert_eq!(refused("this model does not support function calling"), ([false, true], false));
    assert_eq!(refused("unknown field `seed`"), ([false; 2], false));
}

#[test]
fn messages_are_the_servers() {
    let message = |body: &str| ServerError::from_body(400, body.as_bytes()).into_error().message;
    assert_eq!(message(r#"{"error":"plain"}"#), "the server answered 400: plain");
    assert_eq!(message(r#"{"message":"bare"}"#), "the server answered 400: bare");
    assert_eq!(message(""), "the server answered 400");
}
