//! A request as the simulator sees it, whichever wire it came by.

use serde_json::Value;

use crate::chance::Meter;
use crate::prefix_cache::Boundary;

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Asked {
    pub(crate) model: String,
    /// The name of the schema that the answer is to fit.
    pub(crate) schema: Option<String>,
    /// All contents, joined by line feeds.
    pub(crate) text: String,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    /// The tool that must be called.
    pub(crate) forced_tool: Option<String>,
    /// Tokens that the answer may have.
    pub(crate) output_max: Option<u64>,
    /// What is counted as input.
    pub(crate) prompt_bytes: u64,
    /// Where a cached prefix may end; empty where nothing is cached.
    pub(crate) boundaries: Vec<Boundary>,
}

/// What the provider would refuse, in its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invalid {
    pub(crate) message: String,
    pub(crate) param: Option<String>,
    pub(crate) code: Option<&'static str>,
}

impl Invalid {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), param: None, code: None }
    }

    pub(crate) fn of(self, param: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..self }
    }

    pub(crate) fn code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }
}

/// Reads the prompt piece by piece, in the order in which a provider caches it: tools, then
/// instructions, then messages.
#[derive(Debug)]
pub(crate) struct Prompt {
    meter: Meter,
    text: String,
    /// Whether boundaries are noted at all.
    cached: bool,
    boundaries: Vec<Boundary>,
}

impl Prompt {
    pub(crate) fn new(cached: bool) -> Self {
        Self { meter: Meter::EMPTY, text: String::new(), cached, boundaries: Vec::new() }
    }

    /// A definition, counted as compact JSON.
    pub(crate) fn definition(&mut self, value: &Value, marked: bool) {
        self.meter.push_json(value);
        self.end(marked);
    }

    /// Something that `role` says, counted as it is.
    pub(crate) fn said(&mut self, role: &str, text: &str, marked: bool) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(text);
        self.meter.separate(role.as_bytes());
        self.meter.push(text.as_bytes());
        self.end(marked);
    }

    /// Hands what was read over.
    pub(crate) fn into(self, asked: &mut Asked) {
        asked.prompt_bytes = self.meter.bytes;
        asked.text = self.text;
        asked.boundaries = self.boundaries;
    }

    fn end(&mut self, marked: bool) {
        if self.cached {
            self.boundaries.push(Boundary { hash: self.meter.hash, bytes: self.meter.bytes, marked });
        }
    }
}

/// A name that both providers take for a tool.
pub(crate) fn is_name(text: &str, chars_max: usize) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=chars_max).contains(&text.len()) && text.bytes().all(fits)
}
