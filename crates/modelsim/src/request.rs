//! The parts of a chat request that a simulator looks at.

use serde_json::Value;

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Asked {
    pub(crate) model: String,
    pub(crate) schema: Option<String>,
    /// All contents, joined by line feeds.
    pub(crate) text: String,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
}

impl Asked {
    /// Reads a request, or says what is wrong with it.
    pub(crate) fn read(body: &Value) -> Result<Self, &'static str> {
        let messages = body["messages"].as_array().filter(|list| !list.is_empty());
        let messages = messages.ok_or("messages must be a list that is not empty")?;
        let model = body["model"].as_str().ok_or("model must be a string")?;
        let contents: Vec<String> = messages.iter().map(|m| text(&m["content"])).collect();
        Ok(Self {
            model: model.to_owned(),
            schema: body["response_format"]["json_schema"]["name"].as_str().map(str::to_owned),
            text: contents.join("\n"),
            stream: body["stream"] == true,
            include_usage: body["stream_options"]["include_usage"] == true,
        })
    }
}

/// Content is a string or a list of parts.
fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|p| p["text"].as_str()).collect(),
        _ => String::new(),
    }
}
