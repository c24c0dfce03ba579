//! Reads a Chat Completions request as strictly as OpenAI does where a client would notice, with
//! the words of its error answers.

mod messages;

use serde_json::Value;

use crate::request::{Asked, Invalid, Prompt, is_name};

/// OpenAI's limits on names of tools and schemas, and on stop sequences.
const NAME_CHARS_MAX: usize = 64;
const STOPS_MAX: usize = 4;

/// `automatic` caches prompts that do not ask for it.
pub(crate) fn read(body: &Value, automatic: bool) -> Result<Asked, Invalid> {
    if !body.is_object() {
        let message = "We could not parse the JSON body of your request. (HINT: the request's body must be \
                       a JSON object.)";
        return Err(Invalid::new(message));
    }
    let model = body["model"].as_str().filter(|model| !model.is_empty());
    let model = model.ok_or_else(|| Invalid::new("you must provide a model parameter"))?;
    let stream = switch(body, "stream")?;
    check_options(body, stream)?;
    let cached = automatic || body.get("prompt_cache_key").is_some_and(Value::is_string);
    let mut prompt = Prompt::new(cached);
    let tools = tools(body, &mut prompt)?;
    let schema = format(body, &mut prompt)?;
    messages::read(&body["messages"], cached, &mut prompt)?;
    let mut asked = Asked {
        model: model.to_owned(),
        schema,
        stream,
        include_usage: body["stream_options"]["include_usage"] == true,
        forced_tool: forced_tool(body, &tools)?,
        output_max: output_max(body)?,
        ..Asked::default()
    };
    prompt.into(&mut asked);
    if body["response_format"]["type"] == "json_object" && !asked.text.to_lowercase().contains("json") {
        let message = "'messages' must contain the word 'json' in some form, to use 'response_format' of \
                       type 'json_object'.";
        return Err(Invalid::new(message).of("messages"));
    }
    Ok(asked)
}

fn switch(body: &Value, name: &str) -> Result<bool, Invalid> {
    match &body[name] {
        Value::Null => Ok(false),
        Value::Bool(on) => Ok(*on),
        other => Err(invalid_type(name, "a boolean", other)),
    }
}

fn check_options(body: &Value, stream: bool) -> Result<(), Invalid> {
    if !body["stream_options"].is_null() && !stream {
        let message = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
        return Err(Invalid::new(message).of("stream_options"));
    }
    if !body["n"].is_null() && body["n"] != 1 {
        return Err(Invalid::new("modelsim gives one choice: 'n' must be 1.").of("n").code("invalid_value"));
    }
    range(body, "temperature", 0.0, 2.0)?;
    range(body, "top_p", 0.0, 1.0)?;
    match &body["stop"] {
        Value::Array(stops) if stops.len() > STOPS_MAX => Err(Invalid::new(format!(
            "Invalid 'stop': array too long. Expected an array with maximum length {STOPS_MAX}, but got an \
             array with length {} instead.",
            stops.len()
        ))
        .of("stop")
        .code("array_above_max_length")),
        _ => Ok(()),
    }
}

fn range(body: &Value, name: &str, low: f64, high: f64) -> Result<(), Invalid> {
    let value = &body[name];
    let Some(number) = value.as_f64() else {
        return if value.is_null() { Ok(()) } else { Err(invalid_type(name, "a decimal", value)) };
    };
    if (low..=high).contains(&number) {
        return Ok(());
    }
    let (bound, which) = if number < low { (low, "minimum") } else { (high, "maximum") };
    let side = if number < low { "below" } else { "above" };
    Err(Invalid::new(format!(
        "Invalid '{name}': decimal {side} {which} value. Expected a value {} {bound}, but got {number} instead.",
        if number < low { ">=" } else { "<=" }
    ))
    .of(name)
    .code(if number < low { "decimal_below_min_value" } else { "decimal_above_max_value" }))
}

fn output_max(body: &Value) -> Result<Option<u64>, Invalid> {
    if !body["max_tokens"].is_null() && !body["max_completion_tokens"].is_null() {
        let message = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.";
        return Err(Invalid::new(message).code("invalid_parameter_combination"));
    }
    for name in ["max_completion_tokens", "max_tokens"] {
        let value = &body[name];
        match value.as_u64() {
            _ if value.is_null() => {}
            Some(0) => {
                let message = format!(
                    "Invalid '{name}': integer below minimum value. Expected a value >= 1, but got 0 instead."
                );
                return Err(Invalid::new(message).of(name).code("integer_below_min_value"));
            }
            Some(tokens) => return Ok(Some(tokens)),
            None => return Err(invalid_type(name, "an integer", value)),
        }
    }
    Ok(None)
}

/// The names of the tools.
fn tools<'a>(body: &'a Value, prompt: &mut Prompt) -> Result<Vec<&'a str>, Invalid> {
    let tools = match &body["tools"] {
        Value::Null => return Ok(Vec::new()),
        Value::Array(tools) if tools.is_empty() => {
            let message = "Invalid 'tools': empty array. Expected an array with minimum length 1, but got an \
                           empty array instead.";
            return Err(Invalid::new(message).of("tools").code("empty_array"));
        }
        Value::Array(tools) => tools,
        other => return Err(invalid_type("tools", "an array of objects", other)),
    };
    let name = |(index, tool): (usize, &'a Value)| {
        if tool["type"] != "function" {
            return Err(missing_or_unknown(&tool["type"], &format!("tools[{index}].type"), "'function'"));
        }
        let param = format!("tools[{index}].function.name");
        let name = tool["function"]["name"].as_str().ok_or_else(|| missing(&param))?;
        if !is_name(name, NAME_CHARS_MAX) {
            return Err(invalid_name(&param));
        }
        prompt.definition(tool, false);
        Ok(name)
    };
    tools.iter().enumerate().map(name).collect()
}

fn forced_tool(body: &Value, tools: &[&str]) -> Result<Option<String>, Invalid> {
    for name in ["tool_choice", "parallel_tool_calls"] {
        if !body[name].is_null() && tools.is_empty() {
            let message =
                format!("Invalid value for '{name}': '{name}' is only allowed when 'tools' are specified.");
            return Err(Invalid::new(message).of(name));
        }
    }
    match &body["tool_choice"] {
        Value::Null => Ok(None),
        Value::String(word) if matches!(word.as_str(), "none" | "auto") => Ok(None),
        // Which one is the model's choice, unless there is but one.
        Value::String(word) if word == "required" => Ok(only(tools)),
        choice @ Value::Object(_) => {
            let name = choice["function"]["name"].as_str();
            let name = name.ok_or_else(|| missing("tool_choice.function.name"))?;
            if !tools.contains(&name) {
                let message = format!("Tool choice '{name}' not found in 'tools' parameter.");
                return Err(Invalid::new(message).of("tool_choice"));
            }
            Ok(Some(name.to_owned()))
        }
        other => Err(missing_or_unknown(other, "tool_choice", "'none', 'auto', and 'required'")),
    }
}

fn only(tools: &[&str]) -> Option<String> {
    match tools {
        [name] => Some((*name).to_owned()),
        _ => None,
    }
}

/// The name of the schema.
fn format(body: &Value, prompt: &mut Prompt) -> Result<Option<String>, Invalid> {
    let format = &body["response_format"];
    if format.is_null() {
        return Ok(None);
    }
    match format["type"].as_str() {
        Some("text" | "json_object") => Ok(None),
        Some("json_schema") => {
            // llama.cpp's short form carries the schema beside the type.
            if format["json_schema"].is_null() && format["schema"].is_object() {
                prompt.definition(&format["schema"], false);
                return Ok(None);
            }
            let param = "response_format.json_schema.name";
            let name = format["json_schema"]["name"].as_str().ok_or_else(|| missing(param))?;
            if !is_name(name, NAME_CHARS_MAX) {
                return Err(invalid_name(param));
            }
            prompt.definition(&format["json_schema"]["schema"], false);
            Ok(Some(name.to_owned()))
        }
        _ => {
            let words = "'json_object', 'json_schema', and 'text'";
            Err(missing_or_unknown(&format["type"], "response_format.type", words))
        }
    }
}

fn missing(param: &str) -> Invalid {
    Invalid::new(format!("Missing required parameter: '{param}'."))
        .of(param)
        .code("missing_required_parameter")
}

fn missing_or_unknown(value: &Value, param: &str, supported: &str) -> Invalid {
    match value {
        Value::Null => missing(param),
        Value::String(word) => {
            Invalid::new(format!("Invalid value: '{word}'. Supported values are: {supported}."))
                .of(param)
                .code("invalid_value")
        }
        other => invalid_type(param, "a string", other),
    }
}

fn invalid_name(param: &str) -> Invalid {
    let message = format!(
        "Invalid '{param}': string does not match pattern. Expected a string of at most {NAME_CHARS_MAX} \
         characters that matches the pattern '^[a-zA-Z0-9_-]+$'."
    );
    Invalid::new(message).of(param).code("invalid_value")
}

fn invalid_type(param: &str, expected: &str, got: &Value) -> Invalid {
    let got = match got {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a decimal",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    Invalid::new(format!("Invalid type for '{param}': expected {expected}, but got {got} instead."))
        .of(param)
        .code("invalid_type")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(body: &Value) -> String {
        let invalid = read(body, false).expect_err(&body.to_string());
        format!("{} {}", invalid.param.unwrap_or_default(), invalid.message)
    }

    fn call(id: &str) -> Value {
        json!({"role": "assistant", "tool_calls": [
            {"id": id, "type": "function", "function": {"name": "add", "arguments": "{}"}}
        ]})
    }

    #[test]
    fn what_openai_refuses_is_refused() {
        let said = json!([{"role": "user", "content": "hello"}]);
        let answered = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "3"});
        let tools = json!([{"type": "function", "function": {"name": "add"}}]);
        for (body, part) in [
            (json!([]), "parse the JSON body"),
            (json!({"messages": said}), "must provide a model"),
            (json!({"model": "m"}), "messages Missing required parameter: 'messages'"),
            (json!({"model": "m", "messages": []}), "empty array"),
            (
                json!({"model": "m", "messages": [{"role": "robot", "content": "x"}]}),
                "messages[0].role Invalid value: 'robot'",
            ),
            (json!({"model": "m", "messages": [{"role": "user", "content": null}]}), "messages.[0].content"),
            (
                json!({"model": "m", "messages": [answered("a")]}),
                "must be a response to a preceeding message",
            ),
            (
                json!({"model": "m", "messages": [call("a"), answered("b")]}),
                "'tool_call_id' of 'b' not found",
            ),
            (
                json!({"model": "m", "messages": [call("a"), {"role": "user", "content": "x"}]}),
                "did not have response messages: a",
            ),
            (json!({"model": "m", "messages": said, "tools": []}), "tools Invalid 'tools': empty array"),
            (
                json!({"model": "m", "messages": said, "tool_choice": "auto"}),
                "only allowed when 'tools' are specified",
            ),
            (
                json!({"model": "m", "messages": said, "tools": tools, "tool_choice": {"type": "function", "function": {"name": "sub"}}}),
                "'sub' not found",
            ),
            (
                json!({"model": "m", "messages": said, "stream_options": {}}),
                "only allowed when 'stream' is enabled",
            ),
            (json!({"model": "m", "messages": said, "max_tokens": 0}), "integer below minimum value"),
            (
                json!({"model": "m", "messages": said, "max_tokens": 1, "max_completion_tokens": 1}),
                "at the same time",
            ),
            (json!({"model": "m", "messages": said, "temperature": 3}), "above maximum value"),
            (
                json!({"model": "m", "messages": said, "response_format": {"type": "json_schema", "json_schema": {}}}),
                "response_format.json_schema.name Missing",
            ),
            (
                json!({"model": "m", "messages": said, "response_format": {"type": "json_object"}}),
                "must contain the word 'json'",
            ),
        ] {
            let refusal = refusal(&body);
            assert!(refusal.contains(part), "{refusal}\n does not say {part}");
        }
    }

    #[test]
    fn a_round_of_tools_is_read() {
        let body = json!({
            "model": "m", "stream": true, "stream_options": {"include_usage": true}, "max_completion_tokens": 9,
            "messages": [
                {"role": "developer", "content": "Add."},
                {"role": "user", "content": [{"type": "text", "text": "1 and 2"}]},
                call("a"),
                {"role": "tool", "tool_call_id": "a", "content": "3"},
            ],
            "tools": [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}],
            "tool_choice": "required",
            "response_format": {"type": "json_schema", "json_schema": {"name": "sum", "schema": {}}},
        });
        let asked = read(&body, false).unwrap();
        assert_eq!(asked.text, "Add.\n1 and 2\nadd{}\n3");
        assert_eq!((asked.schema.as_deref(), asked.forced_tool.as_deref()), (Some("sum"), Some("add")));
        assert_eq!((asked.stream, asked.include_usage, asked.output_max), (true, true, Some(9)));
        let definitions = body["tools"][0].to_string().len() + "{}".len();
        assert_eq!(asked.prompt_bytes, ("Add.1 and 2add{}3".len() + definitions) as u64);
        assert_eq!(asked.boundaries, [], "nothing is to be cached");
        assert_eq!(read(&body, true).unwrap().boundaries.len(), 6);
    }
}
