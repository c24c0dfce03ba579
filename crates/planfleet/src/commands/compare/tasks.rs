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

/// Numbers agree when they are equal, also where they are written as texts. An expected
/// text that is no number agrees with an answer that holds its words. Other values agree
/// when they are equal.
fn agree(expected: &Value, answer: &Value) -> bool {
    if expected == answer {
        return true;
    }
    match (number(expected), expected) {
        (Some(expected), _) => number(answer).is_some_and(|answer| are_equal(expected, answer)),
        (None, Value::String(expected)) => holds(&strict::plain_text(answer), expected),
        (None, _) => false,
    }
}

/// A number, or a text that is one and nothing else: as an integer where it is one.
fn number(value: &Value) -> Option<(Option<i128>, f64)> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.trim().to_owned(),
        _ => return None,
    };
    let float = text.parse::<f64>().ok().filter(|float| float.is_finite())?;
    Some((text.parse::<i128>().ok(), float))
}

/// Integers are told apart where floats are not any more.
fn are_equal(one: (Option<i128>, f64), other: (Option<i128>, f64)) -> bool {
    match (one.0, other.0) {
        (Some(one), Some(other)) => one == other,
        _ => one.1 == other.1,
    }
}

/// Whether a text has these words in it, one after the other.
fn holds(text: &str, words: &str) -> bool {
    let (inside, wanted) = (plain(text), plain(words));
    if wanted.is_empty() {
        return text.trim() == words.trim();
    }
    format!(" {inside} ").contains(&format!(" {wanted} "))
}

/// Lower case words with single spaces between. A number's sign and point are part of it.
fn plain(text: &str) -> String {
    let chars: Vec<char> = text.to_lowercase().chars().collect();
    let is = |at: Option<usize>, kind: fn(char) -> bool| {
        at.and_then(|at| chars.get(at)).is_some_and(|one| kind(*one))
    };
    let kept = |at: usize, one: char| {
        let (before, behind) = (at.checked_sub(1), at.checked_add(1));
        match one {
            '.' => is(before, char::is_numeric) && is(behind, char::is_numeric),
            '-' => is(behind, char::is_numeric) && !is(before, char::is_alphanumeric),
            _ => one.is_alphanumeric(),
        }
    };
    let marked: String =
        chars.iter().enumerate().map(|(at, one)| if kept(at, *one) { *one } else { ' ' }).collect();
    marked.split_whitespace().collect::<Vec<_>>().join(" ")
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
            (json!("!"), json!("?"), false),
            (json!("!"), json!(" !"), true),
            (json!("COVID-19"), json!("It was covid 19."), true),
            (json!("5 km"), json!("10.5 km"), false),
            (json!("5 km"), json!("-5 km"), false),
            (json!("5 km"), json!("It is 5 km."), true),
        ] {
            assert_eq!(agree(&expected, &answer), right, "{expected} and {answer}");
        }
    }

    #[test]
    fn numbers_agree_as_numbers_and_other_values_when_equal() {
        for (expected, answer, right) in [
            (json!(10), json!(10.5), false),
            (json!("10"), json!("10.5"), false),
            (json!(10), json!(10.0), true),
            (json!(10), json!("10.0"), true),
            (json!("10"), json!(10), true),
            (json!(5), json!(-5), false),
            (json!("5"), json!("-5"), false),
            (json!(5), json!("It is 5."), false),
            (json!(9_007_199_254_740_993_u64), json!(9_007_199_254_740_992_u64), false),
            (json!([1, 2]), json!([0, 1, 2, 3]), false),
            (json!(true), json!("true"), false),
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
