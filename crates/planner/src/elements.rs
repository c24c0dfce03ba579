//! The elements of `"steps": [...]` in a JSON text that is still arriving, each
//! the moment its object closes.
//!
//! Only strings, escapes and nesting are tracked; whether an element is a sound
//! step is for the parser and the linter.

/// Watches a stream of JSON text.
#[derive(Debug, Default)]
pub struct Elements {
    text: String,
    /// How far the text has been looked at, in bytes.
    at: usize,
    state: State,
    /// Open brackets, innermost last.
    open: Vec<Open>,
    in_string: bool,
    escaped: bool,
    string_from: usize,
    /// The last string that closed at depth 1, which may be a key.
    key: Option<(usize, usize)>,
    element_from: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Object,
    Array,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Before the list.
    #[default]
    Seeking,
    /// In the list, which was opened at nesting depth 2.
    Inside,
    /// After it.
    Past,
}

impl Elements {
    /// Takes the next piece of text and returns the elements that it completes.
    pub fn push(&mut self, piece: &str) -> Vec<String> {
        self.text.push_str(piece);
        let mut complete = Vec::new();
        // Every byte that matters is ASCII, and no part of a longer character is.
        while let Some(&byte) = self.text.as_bytes().get(self.at) {
            if let Some(element) = self.step(byte) {
                complete.push(element);
            }
            self.at += 1;
        }
        complete
    }

    fn step(&mut self, byte: u8) -> Option<String> {
        if self.in_string {
            self.in_string(byte);
            return None;
        }
        match byte {
            // Text before the object, such as a code fence, is not JSON.
            b'"' if !self.open.is_empty() => {
                self.in_string = true;
                self.string_from = self.at + 1;
                None
            }
            b'{' => {
                if self.state == State::Inside && self.open.len() == 2 {
                    self.element_from = self.at;
                }
                self.open.push(Open::Object);
                None
            }
            b'[' if !self.open.is_empty() => {
                self.open.push(Open::Array);
                if self.state == State::Seeking && self.opens_steps() {
                    self.state = State::Inside;
                }
                None
            }
            b'}' | b']' => self.close(),
            _ => None,
        }
    }

    fn in_string(&mut self, byte: u8) {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' => self.escaped = true,
            b'"' => {
                self.in_string = false;
                if self.open.len() == 1 {
                    self.key = Some((self.string_from, self.at));
                }
            }
            _ => {}
        }
    }

    /// The list that has just opened is the value of the key `steps` of the outermost object.
    fn opens_steps(&self) -> bool {
        let key = self.key.and_then(|(from, to)| self.text.get(from..to));
        self.open == [Open::Object, Open::Array] && key == Some("steps")
    }

    fn close(&mut self) -> Option<String> {
        self.open.pop();
        if self.state != State::Inside {
            return None;
        }
        match self.open.len() {
            2 => self.text.get(self.element_from..=self.at).map(str::to_owned),
            1 => {
                self.state = State::Past;
                None
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"note": ["steps", [{"a": 1}]], "steps": [{"id": 1, "description": "say \"}]\" ü"},
        {"id": 2, "inputs": [{"name": "x"}], "o": {"p": {}}}, {"id": 3}], "final": 3, "more": [{"id": 9}]}"#;

    const ELEMENTS: [&str; 3] = [
        r#"{"id": 1, "description": "say \"}]\" ü"}"#,
        r#"{"id": 2, "inputs": [{"name": "x"}], "o": {"p": {}}}"#,
        r#"{"id": 3}"#,
    ];

    #[test]
    fn elements_come_whatever_the_pieces() {
        for size in [1, 2, 7, 1_000] {
            let mut elements = Elements::default();
            let pieces: Vec<char> = TEXT.chars().collect();
            let found: Vec<String> =
                pieces.chunks(size).flat_map(|piece| elements.push(&String::from_iter(piece))).collect();
            assert_eq!(found, ELEMENTS, "pieces of {size}");
        }
    }

    #[test]
    fn an_element_comes_with_its_closing_brace() {
        let mut elements = Elements::default();
        assert!(elements.push(r#"{"steps": [{"id": 1"#).is_empty());
        assert_eq!(elements.push("}"), [r#"{"id": 1}"#]);
    }

    #[test]
    fn text_around_the_object_does_no_harm() {
        let mut elements = Elements::default();
        assert_eq!(elements.push("Here it is:\n```json\n{\"steps\": [{\"id\": 1}]}\n```"), [r#"{"id": 1}"#]);
    }
}
