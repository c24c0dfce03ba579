//! The tasks of a comparison, and whether an answer is the expected one.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read as _},
};

use planfleet_core::json as strict;
use serde_json::{Map, Value, json};

use crate::{cli::CompareMode, exit::Failure};

/// A comparison of more tasks is a batch.
const TASKS_MAX: usize = 100_000;

/// A task as it was written, without its expected answer.
#[derive(Debug, Clone)]
pub(super) struct CompareTask {
    /// From 1.
    pub(super) line: usize,
    task: Map<String, Value>,
    expected: Option<Value>,
}

/// Reads tasks, one in each line that is not empty.
pub(super) fn read(file: &str, bytes_max: u64) -> Result<Vec<CompareTask>, Failure> {
    let reader: Box<dyn BufRead> = if file == "-" {
        Box::new(io::stdin().lock())
    } else {
        let opened = File::open(file).map_err(|error| Failure::usage(format!("{file}: {error}")))?;
        Box::new(BufReader::new(opened))
    };
    let mut reader = reader;
    let mut tasks = Vec::new();
    for line in 1.. {
        let mut text = String::new();
        let bytes = (&mut reader)
            .take(bytes_max.saturating_add(1))
            .read_line(&mut text)
            .map_err(|error| Failure::usage(format!("{file}, line {line}: {error}")))?;
        if bytes == 0 {
            break;
        }
        if bytes as u64 > bytes_max {
            return Err(Failure::usage(format!("{file}, line {line}: longer than {bytes_max} bytes")));
        }
        if !text.trim().is_empty() {
            let task =
                task(line, &text).map_err(|why| Failure::usage(format!("{file}, line {line}: {why}")))?;
            tasks.push(task);
        }
        if tasks.len() > TASKS_MAX {
            return Err(Failure::usage(format!("{file}: more than {TASKS_MAX} tasks; compare fewer")));
        }
    }
    Ok(tasks)
}

fn task(line: usize, text: &str) -> Result<CompareTask, String> {
    let value = strict::parse_strict(text.trim()).map_err(|error| format!("not JSON: {error}"))?;
    let Value::Object(mut task) = value else { return Err("a task is a JSON object".to_owned()) };
    for fixed in ["mode", "plan", "template"] {
        if task.contains_key(fixed) {
            return Err(format!(
                "{fixed:?} says how a task is done, which is what is compared: leave it out"
            ));
        }
    }
    let expected = task.remove("expected").filter(|expected| !expected.is_null());
    Ok(CompareTask { line, task, expected })
}

impl CompareTask {
    /// The task as it is submitted.
    pub(super) fn in_mode(&self, mode: CompareMode, deadline_s: u64) -> Value {
        let mut task = self.task.clone();
        let word = match mode {
            CompareMode::Direct => "direct",
            CompareMode::Auto => "auto",
            CompareMode::Plan | CompareMode::PlanCache => "plan",
        };
        task.insert("mode".to_owned(), json!(word));
        task.entry("deadline_s").or_insert(json!(deadline_s));
        if mode == CompareMode::PlanCache {
            // All that are compared are of one kind, unless they say otherwise.
            task.entry("class").or_insert(json!("compared"));
        }
        Value::Object(task)
    }

    /// Whether an answer is the expected one; `None` where none is.
    pub(super) fn is_right(&self, answer: &Value) -> Option<bool> {
        self.expected.as_ref().map(|expected| agree(expected, answer))
    }
}

/// Texts agree when they are the same but for case, space and a full stop at the end, or
/// when the answer is a sentence that holds the expected words; other values when equal.
fn agree(expected: &Value, answer: &Value) -> bool {
    if expected == answer {
        return true;
    }
    let (expected, answer) = (plain(expected), plain(answer));
    let holds = || {
        let padded = format!(" {answer} ");
        expected.contains(char::is_alphanumeric) && padded.contains(&format!(" {expected} "))
    };
    expected == answer || holds()
}

/// Lower case words with single spaces between.
fn plain(value: &Value) -> String {
    let text = strict::plain_text(value).to_lowercase();
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_agree_by_their_words() {
        for (expected, answer, right) in [
            (json!("Paris"), json!("paris."), true),
            (json!("Paris"), json!("It is Paris, of course."), true),
            (json!("Paris"), json!("Comparison"), false),
            (json!("In Cold Blood"), json!("the answer: In  Cold Blood"), true),
            (json!("10"), json!("110"), false),
            (json!(7), json!("7"), true),
            (json!([1, 2]), json!([1, 2]), true),
            (json!([1, 2]), json!([2, 1]), false),
            (json!("Paris"), Value::Null, false),
            (json!("!"), json!("?"), true),
        ] {
            assert_eq!(agree(&expected, &answer), right, "{expected} and {answer}");
        }
    }

    #[test]
    fn a_line_says_nothing_of_how_it_is_done() {
        let task = task(1, r#"{"goal": "g", "expected": "x", "deadline_s": 5}"#).unwrap();
        assert_eq!(
            task.in_mode(CompareMode::PlanCache, 9),
            json!({
                "goal": "g", "mode": "plan", "deadline_s": 5, "class": "compared"
            })
        );
        assert_eq!((task.is_right(&json!("X")), task.is_right(&json!("y"))), (Some(true), Some(false)));
        assert!(super::task(1, r#"{"goal": "g", "mode": "plan"}"#).unwrap_err().contains("leave it out"));
        assert!(super::task(1, "[]").is_err() && super::task(1, "{").is_err());
    }
}
