//! What is answered, in no wire's words.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::MODEL;
use crate::request::Asked;
use crate::script::{FaultKind, Reply, Rule, UsageFigures};

/// Bytes of text that count as one token: the simulator's simple count, rounded up.
const BYTES_PER_TOKEN: u64 = 4;

/// Bytes of text in one chunk of a stream: small enough that short answers come in several.
const CHUNK_BYTES: usize = 16;

/// An answer to one request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    /// Of the request that is answered.
    pub(crate) number: u64,
    pub(crate) created_s: u64,
    pub(crate) text: String,
    pub(crate) calls: Vec<Call>,
    /// Why the model declines, instead of all else.
    pub(crate) refusal: Option<String>,
    pub(crate) stop: Stop,
    pub(crate) usage: UsageFigures,
}

/// A call of a tool; `arguments` is JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    /// Of a recorded answer; others get one made up.
    pub(crate) id: Option<String>,
    pub(crate) name: String,
    pub(crate) arguments: String,
}

/// Why an answer ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    Natural,
    Length,
    ToolCalls,
    Refusal,
    ContentFilter,
    /// A word that a script gives.
    Other(String),
}

impl Answer {
    /// What a rule answers.
    pub(crate) fn of_rule(number: u64, rule: &Rule, asked: &Asked) -> Self {
        // A rule with nothing but a fault still needs something to cut in half.
        let reply = rule.reply.clone().unwrap_or_else(|| Reply::Text(MODEL.repeat(8)));
        let mut answer = Self::new(number);
        answer.say(reply, asked);
        answer.fit(asked);
        if let Some(word) = &rule.finish_reason {
            answer.stop = Stop::named(word);
        }
        answer.usage = rule.usage.unwrap_or_else(|| answer.counted(asked));
        answer
    }

    pub(crate) fn new(number: u64) -> Self {
        Self {
            number,
            created_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            text: String::new(),
            calls: Vec::new(),
            refusal: None,
            stop: Stop::Natural,
            usage: UsageFigures::default(),
        }
    }

    /// What a fault makes of an answer that comes all the same.
    pub(crate) fn spoil(&mut self, fault: FaultKind, asked: &Asked) {
        let declined = "modelsim: declined by chance, as it was told to";
        match fault {
            FaultKind::Truncation => {
                let half = self.text.floor_char_boundary(self.text.len() / 2);
                self.text.truncate(half);
                self.stop = Stop::Length;
            }
            FaultKind::Refusal => self.say(Reply::Refusal(declined.to_owned()), asked),
            FaultKind::WrongSchema => {
                let other = serde_json::json!({"modelsim": "another shape than was asked for"}).to_string();
                match self.calls.first_mut() {
                    Some(call) => call.arguments = other,
                    None => self.text = other,
                }
            }
            FaultKind::Empty => {
                let stop = Stop::Natural;
                *self = Self { text: String::new(), calls: Vec::new(), stop, ..self.clone() };
            }
            _ => return,
        }
        self.usage.completion_tokens = self.written_tokens();
    }

    /// All tokens that were written.
    pub(crate) fn written_tokens(&self) -> u64 {
        let calls = self.calls.iter().map(|call| call.name.len() + call.arguments.len());
        let refusal = self.refusal.as_ref().map_or(0, String::len);
        tokens_of((self.text.len() + calls.sum::<usize>() + refusal) as u64)
    }

    fn say(&mut self, reply: Reply, asked: &Asked) {
        (self.text, self.calls, self.refusal) = (String::new(), Vec::new(), None);
        self.stop = Stop::Natural;
        let text = match reply {
            Reply::Text(text) => text,
            Reply::Between([before, after]) => between(&asked.text, &before, &after).to_owned(),
            // Whoever forces a tool to get JSON gets it as the tool's arguments.
            Reply::Json(value) if let Some(name) = &asked.forced_tool => {
                self.call(name.clone(), value.to_string());
                return;
            }
            Reply::Json(value) => value.to_string(),
            Reply::ToolCalls(calls) => {
                for call in calls {
                    self.call(call.name, call.arguments.to_string());
                }
                return;
            }
            Reply::Refusal(words) => {
                (self.refusal, self.stop) = (Some(words), Stop::Refusal);
                return;
            }
        };
        self.text = text;
    }

    fn call(&mut self, name: String, arguments: String) {
        self.calls.push(Call { id: None, name, arguments });
        self.stop = Stop::ToolCalls;
    }

    /// Cuts the text where the request's own limit is reached, as a provider does.
    fn fit(&mut self, asked: &Asked) {
        let bytes_max = asked.output_max.and_then(|tokens| tokens.checked_mul(BYTES_PER_TOKEN));
        let Some(bytes_max) = bytes_max.and_then(|bytes| usize::try_from(bytes).ok()) else { return };
        if self.text.len() > bytes_max {
            self.text.truncate(self.text.floor_char_boundary(bytes_max));
            self.stop = Stop::Length;
        }
    }

    fn counted(&self, asked: &Asked) -> UsageFigures {
        UsageFigures {
            prompt_tokens: tokens_of(asked.prompt_bytes),
            completion_tokens: self.written_tokens(),
            ..UsageFigures::default()
        }
    }
}

impl Stop {
    /// The stop that a script's word means; the words are those of OpenAI's wire.
    fn named(word: &str) -> Self {
        match word {
            "stop" => Self::Natural,
            "length" => Self::Length,
            "tool_calls" => Self::ToolCalls,
            "content_filter" => Self::ContentFilter,
            other => Self::Other(other.to_owned()),
        }
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let Some(from) = text.rfind(before) else { return "" };
    let rest = &text[from + before.len()..];
    rest.find(after).map_or("", |to| &rest[..to])
}

pub(crate) fn tokens_of(bytes: u64) -> u64 {
    bytes.div_ceil(BYTES_PER_TOKEN)
}

/// The text in pieces of at most [`CHUNK_BYTES`], characters whole.
pub(crate) fn pieces(mut text: &str) -> Vec<&str> {
    let mut pieces = Vec::with_capacity(text.len().div_ceil(CHUNK_BYTES));
    while !text.is_empty() {
        let (piece, rest) = text.split_at(text.floor_char_boundary(CHUNK_BYTES));
        pieces.push(piece);
        text = rest;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Asked {
        Asked { text: "12345678 <<nine>>".to_owned(), prompt_bytes: 8, ..Asked::default() }
    }

    #[test]
    fn tokens_are_a_quarter_of_the_bytes_rounded_up() {
        assert_eq!([tokens_of(0), tokens_of(1), tokens_of(5)], [0, 1, 2]);
        let usage = Answer::of_rule(1, &Rule::text("Paris"), &asked()).usage;
        assert_eq!((usage.prompt_tokens, usage.completion_tokens), (2, 2));
    }

    #[test]
    fn pieces_keep_characters_whole() {
        let text = "ä".repeat(20) + "€€€";
        assert!(pieces(&text).iter().all(|piece| piece.len() <= CHUNK_BYTES));
        assert_eq!(pieces(&text).concat(), text);
    }

    #[test]
    fn an_answer_ends_at_the_limit_of_the_request() {
        let short = Asked { output_max: Some(2), ..asked() };
        let answer = Answer::of_rule(1, &Rule::text("123456789"), &short);
        assert_eq!((answer.text.as_str(), answer.stop), ("12345678", Stop::Length));
    }

    #[test]
    fn a_reply_may_be_taken_from_the_request() {
        let rule = Rule::reply(Reply::Between(["<<".to_owned(), ">>".to_owned()]));
        assert_eq!(Answer::of_rule(1, &rule, &asked()).text, "nine");
        assert_eq!(Answer::of_rule(1, &rule, &Asked::default()).text, "");
    }

    #[test]
    fn json_for_a_forced_tool_is_its_arguments() {
        let forced = Asked { forced_tool: Some("plan".to_owned()), ..asked() };
        let answer = Answer::of_rule(1, &Rule::json(serde_json::json!({"a": 1})), &forced);
        assert_eq!(
            answer.calls[0],
            Call { id: None, name: "plan".to_owned(), arguments: "{\"a\":1}".to_owned() }
        );
        assert_eq!(answer.stop, Stop::ToolCalls);
    }

    #[test]
    fn faults_spoil_answers() {
        let spoilt = |fault| {
            let mut answer = Answer::of_rule(1, &Rule::text("12345678"), &asked());
            answer.spoil(fault, &asked());
            answer
        };
        assert_eq!(spoilt(FaultKind::Truncation).text, "1234");
        assert_eq!(spoilt(FaultKind::Truncation).usage.completion_tokens, 1);
        assert_eq!(spoilt(FaultKind::Empty).text, "");
        assert!(spoilt(FaultKind::WrongSchema).text.contains("another shape"));
        assert_eq!(spoilt(FaultKind::Refusal).stop, Stop::Refusal);
    }
}
