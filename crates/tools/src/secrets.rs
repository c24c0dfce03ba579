//! Secrets that tools work with and nobody is to see: they are taken out of whatever comes back,
//! should a server repeat them.

use serde_json::Value;

/// What stands in a secret's place.
const MARK: &str = "[secret]";

/// A shorter text occurs by chance, and taking it out would garble outputs.
pub(crate) const BYTES_MIN: usize = 8;

/// What is said of a credential that is.
pub(crate) const TOO_SHORT: &str =
    "is shorter than 8 bytes, so that it cannot be kept out of outputs; take a longer one";

/// The secrets of one process.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Vec<String>);

impl Secrets {
    pub(crate) fn new(all: impl IntoIterator<Item = String>) -> Self {
        let mut all: Vec<String> = all.into_iter().filter(|secret| secret.len() >= BYTES_MIN).collect();
        // Longer ones first: one may be part of another.
        all.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self(all)
    }

    pub(crate) fn removed_from(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret, MARK))
    }

    /// Takes secrets out of all texts of a value, keys included.
    pub(crate) fn remove_from(&self, value: &mut Value) {
        if self.0.is_empty() {
            return;
        }
        match value {
            Value::String(text) => self.clean(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.remove_from(item)),
            Value::Object(fields) => {
                let own = std::mem::take(fields);
                fields.extend(own.into_iter().map(|(mut key, mut value)| {
                    self.clean(&mut key);
                    self.remove_from(&mut value);
                    (key, value)
                }));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn clean(&self, text: &mut String) {
        if self.0.iter().any(|secret| text.contains(secret)) {
            *text = self.removed_from(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_are_taken_out_wherever_they_are() {
        let secrets =
            Secrets::new(["s3cret-key".to_owned(), "s3cret-key-longer".to_owned(), "short".to_owned()]);
        let mut value = json!({"a": ["x s3cret-key y", {"s3cret-key-longer": 1}], "b": "short", "c": 3});
        secrets.remove_from(&mut value);
        assert_eq!(value, json!({"a": ["x [secret] y", {"[secret]": 1}], "b": "short", "c": 3}));
    }
}
