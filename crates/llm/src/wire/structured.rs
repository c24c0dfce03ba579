//! The ways to an answer that is JSON, as far as both wires share them.

use crate::chat::{ChatRequest, ChatResponse, JsonSchemaFormat, StopReason, ToolChoice, ToolDefinition};
use crate::dialect::{Dialect, Structured};

/// The providers' limit on the name of a schema or tool.
const NAME_CHARS_MAX: usize = 64;

/// Before the name of a schema whose answer comes as a call of a tool.
const ANSWER_TOOL: &str = "submit_";

/// How the answer is asked to be JSON; `None` where it is free text.
pub(super) fn way(request: &ChatRequest, dialect: &Dialect) -> Option<Structured> {
    request.response_format.as_ref()?;
    Some(request.structured.unwrap_or(dialect.structured))
}

/// What the model reads where no server holds it to the schema.
pub(super) fn order(format: &JsonSchemaFormat) -> String {
    format!(
        "Answer with one JSON value that is valid under this JSON Schema, and with nothing else:\n{}",
        format.schema
    )
}

/// The schema's name as providers take it: `[A-Za-z0-9_-]{1,64}`.
pub(super) fn schema_name(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let name: String = name.chars().take(NAME_CHARS_MAX).map(|c| if allowed(c) { c } else { '_' }).collect();
    if name.is_empty() { "answer".to_owned() } else { name }
}

/// 0.7 as an `f32` is 0.699999988 as an `f64`; four decimals are what people write.
pub(super) fn shortest(temperature: f32) -> f64 {
    (f64::from(temperature) * 1e4).round() / 1e4
}

/// The tool whose arguments are the answer, and how it is chosen: the model may call its own
/// tools first, if it has some.
pub(super) fn answer_tool(request: &ChatRequest, dialect: &Dialect) -> Option<(ToolDefinition, ToolChoice)> {
    let format = request.response_format.as_ref()?;
    let name = Expected::of(request, dialect).answer_tool?;
    let choice = if request.tools.is_empty() || request.tool_choice == ToolChoice::None {
        ToolChoice::Named(name.clone())
    } else {
        ToolChoice::Required
    };
    let description = "Submits the answer. Call it once, with the whole answer as its arguments.".to_owned();
    Some((ToolDefinition { name, description, parameters: format.schema.clone() }, choice))
}

/// In what form the answer to one request comes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// The tool whose arguments are the answer's text.
    pub answer_tool: Option<String>,
}

impl Expected {
    /// What this request makes of the answer.
    #[must_use]
    pub fn of(request: &ChatRequest, dialect: &Dialect) -> Self {
        let format = request.response_format.as_ref();
        let format = format.filter(|_| way(request, dialect) == Some(Structured::ToolCall));
        let name = |format: &JsonSchemaFormat| schema_name(&format!("{ANSWER_TOOL}{}", format.name));
        Self { answer_tool: format.map(name) }
    }

    /// Whether calls of this tool are the answer.
    pub(super) fn is_answer(&self, tool: &str) -> bool {
        self.answer_tool.as_deref() == Some(tool)
    }

    /// Whether plain text is the answer.
    pub(super) fn is_text(&self) -> bool {
        self.answer_tool.is_none()
    }

    /// The response whose text is the answer. A model that has answered in text although it was
    /// to call the tool has answered all the same.
    pub(super) fn take(&self, mut response: ChatResponse) -> ChatResponse {
        let Some(at) = response.tool_calls.iter().position(|call| self.is_answer(&call.name)) else {
            return response;
        };
        response.text = response.tool_calls.swap_remove(at).arguments;
        response.tool_calls.clear();
        if response.stop_reason == StopReason::ToolCalls {
            response.stop_reason = StopReason::Stop;
        }
        response
    }
}
