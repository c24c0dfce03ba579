//! From the events of a streamed answer to [`ChatResponse`].
//!
//! Holds no bound of its own: what is pushed comes from a body that the transport has capped.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::body::{self, Content, WireUsage};
use super::decode::read;
use crate::chat::ChatResponse;
use crate::error::{Error, ErrorClass};
use crate::wire::Expected;

/// Assembles one streamed answer: [`push`](Self::push) each `data` payload, then
/// [`finish`](Self::finish).
#[derive(Debug, Default)]
pub struct StreamDecoder {
    expected: Expected,
    id: Option<String>,
    model: String,
    blocks: BTreeMap<u64, Block>,
    stop_reason: Option<String>,
    stop_details: Value,
    usage: Option<WireUsage>,
    done: bool,
}

/// A block as it began, and its arguments as far as they have come.
#[derive(Debug, Default)]
struct Block {
    value: Value,
    arguments: String,
}

impl StreamDecoder {
    /// For an answer that comes in this form.
    #[must_use]
    pub fn new(expected: Expected) -> Self {
        Self { expected, ..Self::default() }
    }

    /// Takes the payload of one event and returns the text that it adds, if any. Fails on an
    /// error that the server sent in place of an event, which it may do after a status of 200.
    pub fn push(&mut self, data: &str) -> Result<Option<String>, Error> {
        if self.done || data.trim().is_empty() {
            return Ok(None);
        }
        let mut event = read(data.as_bytes())?;
        let index = event["index"].as_u64().unwrap_or(0);
        match event["type"].as_str() {
            Some("message_start") => self.begin(&event["message"]),
            Some("content_block_start") => return Ok(self.open(index, event["content_block"].take())),
            Some("content_block_delta") => return Ok(self.grow(index, &event["delta"])),
            Some("message_delta") => self.end(&mut event),
            Some("message_stop") => self.done = true,
            // `ping`, `content_block_stop`, and what may come one day.
            _ => {}
        }
        Ok(None)
    }

    /// Whether the server said that nothing more comes.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// The assembled answer. A stream that ended without a reason was cut: what came of it is
    /// not an answer.
    pub fn finish(self) -> Result<ChatResponse, Error> {
        if self.stop_reason.is_none() && !self.done {
            return Err(Error::new(ErrorClass::Transient, "the stream ended before the answer was complete"));
        }
        let mut content = Content::default();
        for block in self.blocks.into_values() {
            content.add(block.value, block.arguments);
        }
        let stop_reason = body::stop_reason(self.stop_reason.as_deref());
        let response = ChatResponse {
            id: self.id,
            model: self.model,
            refusal: body::refusal(&stop_reason, &self.stop_details, &content.text),
            text: content.text,
            tool_calls: content.tool_calls,
            thinking: content.thinking,
            stop_reason,
            usage: self.usage.map(Into::into),
            time_to_first_chunk: None,
            rates: Default::default(),
        };
        Ok(self.expected.take(response))
    }

    fn begin(&mut self, message: &Value) {
        self.id = message["id"].as_str().map(str::to_owned);
        self.model = message["model"].as_str().unwrap_or_default().to_owned();
        self.note_usage(&message["usage"]);
    }

    /// A block may begin with some of its text.
    fn open(&mut self, index: u64, value: Value) -> Option<String> {
        let value = if value.is_object() { value } else { Value::Object(Map::new()) };
        let text = (value["type"] == "text").then(|| value["text"].as_str().unwrap_or_default().to_owned());
        self.blocks.insert(index, Block { value, arguments: String::new() });
        text.filter(|text| !text.is_empty() && self.expected.is_text())
    }

    fn grow(&mut self, index: u64, delta: &Value) -> Option<String> {
        let block = self.blocks.entry(index).or_default();
        let (field, piece) = match delta["type"].as_str()? {
            "text_delta" => ("text", delta["text"].as_str()?),
            "thinking_delta" => ("thinking", delta["thinking"].as_str()?),
            "signature_delta" => ("signature", delta["signature"].as_str()?),
            "input_json_delta" => {
                let piece = delta["partial_json"].as_str()?;
                block.arguments.push_str(piece);
                let answers = self.expected.is_answer(block.value["name"].as_str().unwrap_or_default());
                return (answers && !piece.is_empty()).then(|| piece.to_owned());
            }
            _ => return None,
        };
        match &mut block.value[field] {
            Value::String(text) => text.push_str(piece),
            other => *other = Value::from(piece),
        }
        let is_text = field == "text" && !piece.is_empty() && self.expected.is_text();
        is_text.then(|| piece.to_owned())
    }

    fn end(&mut self, event: &mut Value) {
        self.note_usage(&event["usage"]);
        let delta = &mut event["delta"];
        if let Some(reason) = delta["stop_reason"].as_str() {
            self.stop_reason = Some(reason.to_owned());
        }
        if !delta["stop_details"].is_null() {
            self.stop_details = delta["stop_details"].take();
        }
    }

    fn note_usage(&mut self, value: &Value) {
        // What cannot be read says nothing, and the earlier figures stand.
        if let Ok(usage) = Option::<WireUsage>::deserialize(value) {
            self.usage = usage.map(|usage| usage.or(self.usage.unwrap_or_default())).or(self.usage);
        }
    }
}
