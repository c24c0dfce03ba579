//! Fields of spans and events as JSON.

use std::fmt;

use serde_json::Value;
use tracing::field::{Field, Visit};

/// A field longer than this is cut: log collectors drop whole lines beyond 16
/// to 256 KiB, and a cut line says more than none.
const TEXT_BYTES_MAX: usize = 8 * 1024;

/// The fields recorded so far on one span, kept in its extensions, or those of
/// one event. A list, as most spans end without a line in them.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        // Instructions to the layer of traces, not facts.
        if !field.name().starts_with("otel.") {
            self.0.push((field.name(), value));
        }
    }

    /// What a line shows of them: of a field that was recorded again, the newest value.
    pub(super) fn shown(&self) -> impl Iterator<Item = (String, Value)> {
        self.0.iter().map(|(name, value)| ((*name).to_owned(), value.clone()))
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::String(cut(format!("{value:?}"))));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::String(cut(value.to_owned())));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::from(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Value::from(value));
    }
}

fn cut(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        let end = (0..=TEXT_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_between_characters() {
        let text = cut("é".repeat(TEXT_BYTES_MAX));
        assert_eq!(text.len(), TEXT_BYTES_MAX + 3);
        assert!(text.ends_with("é..."));
    }
}
