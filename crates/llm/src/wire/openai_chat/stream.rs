//! From the chunks of a streamed answer to [`ChatResponse`].
//!
//! Holds no bound of its own: what is pushed comes from a body that the transport has capped.

use std::collections::BTreeMap;

use super::body::{self, Call, Part};
use super::decode::read;
use crate::chat::{ChatResponse, ToolCall, Usage};
use crate::error::{Error, ErrorClass};
use crate::wire::Expected;

/// Assembles one streamed answer: [`push`](Self::push) each `data` payload, then
/// [`finish`](Self::finish).
#[derive(Debug, Default)]
pub struct StreamDecoder {
    expected: Expected,
    id: Option<String>,
    model: String,
    text: String,
    refusal: String,
    calls: BTreeMap<u64, PartialCall>,
    finish_reason: Option<String>,
    usage: Option<Usage>,
    done: bool,
}

#[derive(Debug, Default)]
struct PartialCall {
    id: Option<String>,
    name: String,
    arguments: String,
}

impl StreamDecoder {
    /// For an answer that comes in this form.
    #[must_use]
    pub fn new(expected: Expected) -> Self {
        Self { expected, ..Self::default() }
    }

    /// Takes the payload of one event and returns the text that it adds, if any. Fails on an
    /// error that the server sent in place of a chunk.
    pub fn push(&mut self, data: &str) -> Result<Option<String>, Error> {
        let data = data.trim();
        if data == "[DONE]" {
            self.done = true;
        }
        if self.done || data.is_empty() {
            return Ok(None);
        }
        let chunk = read(data.as_bytes())?;
        self.id = self.id.take().or(chunk.id);
        if let Some(model) = chunk.model.filter(|_| self.model.is_empty()) {
            self.model = model;
        }
        // The last one counts: some servers send running totals with every chunk.
        self.usage = chunk.usage.map(Into::into).or(self.usage);
        let Some(choice) = chunk.choices.into_iter().next() else {
            return Ok(None);
        };
        if let Some(reason) = &choice.finish_reason {
            self.finish_reason = Some(reason.clone());
        }
        Ok(self.add(choice.part()))
    }

    /// Whether the server said that nothing more comes.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// The assembled answer. A stream that ended without a reason and without `[DONE]` was cut:
    /// what came of it is not an answer.
    pub fn finish(self) -> Result<ChatResponse, Error> {
        if self.finish_reason.is_none() && !self.done {
            return Err(Error::new(ErrorClass::Transient, "the stream ended before the answer was complete"));
        }
        let refusal = Some(self.refusal).filter(|text| !text.is_empty());
        let stop_reason =
            body::stop_reason(self.finish_reason.as_deref(), !self.calls.is_empty(), refusal.is_some());
        let response = ChatResponse {
            id: self.id,
            model: self.model,
            text: self.text,
            tool_calls: self.calls.into_values().enumerate().map(whole).collect(),
            thinking: Vec::new(),
            stop_reason,
            refusal,
            usage: self.usage,
            time_to_first_chunk: None,
            rates: Default::default(),
        };
        Ok(self.expected.take(response))
    }

    fn add(&mut self, part: Part) -> Option<String> {
        self.refusal.push_str(part.refusal.as_deref().unwrap_or(""));
        let mut answer = String::new();
        for call in part.tool_calls {
            answer.push_str(&self.add_call(call));
        }
        self.text.push_str(&part.content);
        if self.expected.is_text() {
            answer = part.content;
        }
        Some(answer).filter(|text| !text.is_empty())
    }

    /// Takes a fragment of a call and returns what it adds to an answer that comes as one.
    fn add_call(&mut self, call: Call) -> String {
        let index = call.index.unwrap_or_else(|| self.index_of(&call));
        let partial = self.calls.entry(index).or_default();
        partial.id = partial.id.take().or(call.id);
        partial.name.push_str(call.function.name.as_deref().unwrap_or(""));
        partial.arguments.push_str(&call.function.arguments);
        let answers = self.expected.is_answer(&partial.name);
        if answers { call.function.arguments } else { String::new() }
    }

    /// Without an index, a fragment that names a function begins a call and any other continues
    /// the last one.
    fn index_of(&self, call: &Call) -> u64 {
        let last = self.calls.keys().next_back().copied();
        let begins = call.function.name.as_ref().is_some_and(|name| !name.is_empty());
        match last {
            Some(index) if begins => index + 1,
            Some(index) => index,
            None => 0,
        }
    }
}

fn whole((position, partial): (usize, PartialCall)) -> ToolCall {
    ToolCall { id: body::call_id(partial.id, position), name: partial.name, arguments: partial.arguments }
}
