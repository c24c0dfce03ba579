//! A planner's answer as a text of which is known where each step's object closes.

use serde_json::{Value, json};

/// The answer.
#[derive(Debug, Clone)]
pub(crate) struct PlanText {
    pub(crate) text: String,
    /// Up to and with the closing brace of each step, in bytes.
    pub(crate) closes: Vec<usize>,
}

impl PlanText {
    /// The steps as a model writes them, every field there; the last one is the final one.
    pub(crate) fn new(steps: Vec<Value>) -> Self {
        let last = steps.last().map_or(Value::Null, |step| step["id"].clone());
        let (mut text, mut closes) = ("{\"steps\":[".to_owned(), Vec::new());
        for step in steps {
            if !closes.is_empty() {
                text.push(',');
            }
            text.push_str(&whole(step).to_string());
            closes.push(text.len());
        }
        text.push_str(&format!("],\"final\":{last}}}"));
        Self { text, closes }
    }
}

fn whole(mut step: Value) -> Value {
    let defaults = [
        ("for_each", Value::Null),
        ("depends_on", json!([])),
        ("expected_output", json!("")),
        ("success_criteria", json!([])),
        ("tier", json!("default")),
    ];
    fill(&mut step, &defaults);
    let nothing = ["value", "from_step", "path"].map(|name| (name, Value::Null));
    step["inputs"].as_array_mut().into_iter().flatten().for_each(|input| fill(input, &nothing));
    step
}

fn fill(object: &mut Value, defaults: &[(&str, Value)]) {
    for (name, value) in defaults {
        if object.get(name).is_none() {
            object[*name] = value.clone();
        }
    }
}

/// How a simulated model writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) first_byte_ms: f64,
    pub(crate) tokens_per_s: f64,
}

/// The simulator writes so many bytes at once, and counts a token for so many.
const CHUNK_BYTES: usize = 16;
const BYTES_PER_TOKEN: usize = 4;

impl Pace {
    /// That which writes a text of so many bytes in so many milliseconds altogether.
    pub(crate) fn whole_in(ms: f64, first_byte_ms: f64, bytes: usize) -> Self {
        let tokens = bytes.div_ceil(BYTES_PER_TOKEN) as f64;
        Self { first_byte_ms, tokens_per_s: tokens * 1_000.0 / (ms - first_byte_ms) }
    }

    /// When so much of a text is there, in milliseconds since it was asked for.
    pub(crate) fn written_ms(self, bytes: usize) -> f64 {
        let tokens = bytes.div_ceil(CHUNK_BYTES) * (CHUNK_BYTES / BYTES_PER_TOKEN);
        self.first_byte_ms + tokens as f64 * 1_000.0 / self.tokens_per_s
    }

    /// As a script says it.
    pub(crate) fn json(self) -> Value {
        json!({"first_byte_ms": self.first_byte_ms.round() as u64, "tokens_per_s": self.tokens_per_s})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_ends_where_it_is_said_to_end() {
        let step = |id: u32| json!({"id": id, "description": "a {brace}", "inputs": [{"name": "x"}]});
        let plan = PlanText::new(vec![step(1), step(2)]);
        let read: Value = serde_json::from_str(&plan.text).unwrap();
        assert_eq!((&read["final"], &read["steps"][1]["inputs"][0]["path"]), (&json!(2), &Value::Null));
        let first = &plan.text["{\"steps\":[".len()..plan.closes[0]];
        assert_eq!(serde_json::from_str::<Value>(first).unwrap(), read["steps"][0]);
        assert!(plan.text[plan.closes[1]..].starts_with("],\"final\""));
    }

    #[test]
    fn a_text_is_written_in_the_time_that_is_asked_for() {
        let pace = Pace::whole_in(1_880.0, 380.0, 1_600);
        assert!((pace.written_ms(1_600) - 1_880.0).abs() < 1e-6, "{pace:?}");
        assert!((pace.written_ms(800) - 1_130.0).abs() < 1e-6, "{pace:?}");
    }
}
