//! `text_split`: a text into a list, e.g. for a step's `for_each`.

use async_trait::async_trait;
use planfleet_core::tool::{Effect, ToolSpec};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::tool::{CallContext, Tool, ToolError, parse_args};

/// As many as the largest plan has steps: more could not be fanned out over.
const ITEMS_MAX: usize = 100_000;

pub(crate) struct TextSplit {
    spec: ToolSpec,
    output_bytes_max: usize,
}

#[derive(Deserialize)]
struct Args<'a> {
    text: &'a str,
    by: By,
    separator: Option<&'a str>,
    size: Option<usize>,
    #[serde(default)]
    overlap: usize,
    #[serde(default = "yes")]
    skip_empty: bool,
    #[serde(default = "yes")]
    trim: bool,
    #[serde(default = "items_max")]
    max_items: usize,
}

fn yes() -> bool {
    true
}

fn items_max() -> usize {
    ITEMS_MAX
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum By {
    Lines,
    Paragraphs,
    Chars,
    Separator,
}

impl TextSplit {
    pub(crate) fn new(output_bytes_max: usize) -> Self {
        Self {
            output_bytes_max,
            spec: ToolSpec {
                name: "text_split".to_owned(),
                description: "Splits a text into a list of texts: by lines, by paragraphs (blank \
                              lines), by a literal separator, or into chunks of `size` characters \
                              that may overlap."
                    .to_owned(),
                arguments: arguments(),
                output: json!({
                    "type": "object",
                    "properties": {
                        "items": {"type": "array", "items": {"type": "string"}},
                        "count": {"type": "integer", "description": "How many items there are."},
                        "truncated": {
                            "type": "boolean", "description": "Whether `max_items` cut the list."
                        }
                    },
                    "required": ["items", "count", "truncated"],
                    "additionalProperties": false
                }),
                effect: Effect::Pure,
                idempotent: true,
            },
        }
    }
}

fn arguments() -> Value {
    json!({
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "by": {"enum": ["lines", "paragraphs", "chars", "separator"]},
            "separator": {
                "type": "string", "minLength": 1,
                "description": "The literal text between items; with `by: separator` only."
            },
            "size": {
                "type": "integer", "minimum": 1,
                "description": "Characters per chunk; with `by: chars` only."
            },
            "overlap": {
                "type": "integer", "minimum": 0,
                "description": "Characters that a chunk repeats of the one before it; default 0."
            },
            "skip_empty": {"type": "boolean", "description": "Leave empty items out; default true."},
            "trim": {
                "type": "boolean",
                "description": "Remove white space around each item; default true."
            },
            "max_items": {
                "type": "integer", "minimum": 1, "maximum": ITEMS_MAX,
                "description": "Stop after this many items."
            }
        },
        "required": ["text", "by"],
        "additionalProperties": false
    })
}

#[async_trait]
impl Tool for TextSplit {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, args: &Map<String, Value>, _: &CallContext) -> Result<Value, ToolError> {
        let args: Args<'_> = parse_args(args)?;
        // Without overlap pieces are never longer than the text; what overlaps repeats it, and
        // is not even walked through beyond what an output may hold.
        let bytes_max = self.output_bytes_max.max(args.text.len());
        let mut bytes = 0;
        let mut found = Vec::new();
        for piece in pieces(&args)? {
            let item = if args.trim { piece.trim() } else { piece };
            let is_kept = !(args.skip_empty && item.is_empty());
            if is_kept && found.len() == args.max_items {
                return Ok(json!({"count": found.len(), "items": found, "truncated": true}));
            }
            bytes += piece.len();
            if bytes > bytes_max {
                return Err(ToolError::failed(format!(
                    "the chunks repeat so much that they are more than {bytes_max} bytes together \
                     (tools.output_bytes_max); use a smaller `overlap`"
                )));
            }
            found.extend(is_kept.then_some(item));
        }
        Ok(json!({"count": found.len(), "items": found, "truncated": false}))
    }
}

type Pieces<'a> = Box<dyn Iterator<Item = &'a str> + Send + 'a>;

fn pieces<'a>(args: &Args<'a>) -> Result<Pieces<'a>, ToolError> {
    Ok(match (args.by, args.separator, args.size) {
        (By::Lines, None, None) => Box::new(args.text.lines()),
        (By::Paragraphs, None, None) => Box::new(Paragraphs { rest: args.text }),
        (By::Separator, Some(separator), None) => Box::new(args.text.split(separator)),
        (By::Chars, None, Some(size)) if args.overlap < size => {
            Box::new(Chunks { rest: args.text, size, overlap: args.overlap })
        }
        (By::Chars, None, Some(_)) => {
            return Err(ToolError::failed("`overlap` must be smaller than `size`"));
        }
        _ => {
            return Err(ToolError::failed(
                "`separator` goes with `by: separator` and `size` with `by: chars`; both are \
                 needed there and refused elsewhere",
            ));
        }
    })
}

/// Runs of lines between blank lines.
struct Paragraphs<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Paragraphs<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let is_blank = |line: &str| line.trim().is_empty();
        let blank: usize = self.rest.split_inclusive('\n').take_while(|l| is_blank(l)).map(str::len).sum();
        let rest = &self.rest[blank..];
        let length: usize = rest.split_inclusive('\n').take_while(|l| !is_blank(l)).map(str::len).sum();
        let (paragraph, rest) = rest.split_at(length);
        self.rest = rest;
        (!paragraph.is_empty()).then(|| paragraph.trim_end_matches(['\n', '\r']))
    }
}

/// Chunks of `size` characters, each starting `size - overlap` after the last.
struct Chunks<'a> {
    rest: &'a str,
    size: usize,
    overlap: usize,
}

impl<'a> Iterator for Chunks<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        let end = byte_of_char(self.rest, self.size);
        let chunk = &self.rest[..end];
        // After the chunk that reaches the end there is nothing but overlap.
        let step =
            if end == self.rest.len() { end } else { byte_of_char(self.rest, self.size - self.overlap) };
        self.rest = &self.rest[step..];
        Some(chunk)
    }
}

fn byte_of_char(text: &str, index: usize) -> usize {
    text.char_indices().nth(index).map_or(text.len(), |(byte, _)| byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::call_in_test;

    async fn split(args: Value) -> Result<Vec<String>, String> {
        let output = call_in_test(TextSplit::new(1 << 20), args).await.map_err(|f| f.message)?;
        let items: Vec<String> = serde_json::from_value(output["items"].clone()).unwrap();
        assert_eq!(output["count"], items.len());
        Ok(items)
    }

    #[tokio::test]
    async fn it_splits_in_four_ways() {
        for (args, expected) in [
            (json!({"text": " a \n\nb\r\n", "by": "lines"}), vec!["a", "b"]),
            (json!({"text": "\n\na\nb\n \n\nc\n", "by": "paragraphs"}), vec!["a\nb", "c"]),
            (json!({"text": "a, b,,c", "by": "separator", "separator": ","}), vec!["a", "b", "c"]),
            (json!({"text": "äbcde", "by": "chars", "size": 2}), vec!["äb", "cd", "e"]),
            (json!({"text": "abcde", "by": "chars", "size": 3, "overlap": 1}), vec!["abc", "cde"]),
            (json!({"text": "", "by": "chars", "size": 3}), vec![]),
            (json!({"text": "", "by": "paragraphs"}), vec![]),
        ] {
            assert_eq!(split(args.clone()).await.unwrap(), expected, "{args}");
        }
    }

    #[tokio::test]
    async fn items_are_kept_as_they_are_on_demand() {
        let args = json!({
            "text": "a ,,b", "by": "separator", "separator": ",", "trim": false, "skip_empty": false
        });
        assert_eq!(split(args).await.unwrap(), ["a ", "", "b"]);
    }

    #[tokio::test]
    async fn max_items_says_that_it_cut() {
        for (max_items, truncated) in [(2, true), (3, false)] {
            let args = json!({"text": "a\nb\nc\n", "by": "lines", "max_items": max_items});
            let output = call_in_test(TextSplit::new(1 << 20), args).await.unwrap();
            assert_eq!((&output["count"], &output["truncated"]), (&json!(max_items), &json!(truncated)));
        }
    }

    #[tokio::test]
    async fn chunks_that_repeat_without_end_are_refused() {
        let large = 4 << 20;
        // Nothing of white space is kept, which is no reason to walk through all of it.
        for text in ["x".repeat(large), " ".repeat(large)] {
            let args = json!({"text": text, "by": "chars", "size": 400_000, "overlap": 399_999});
            let message = split(args).await.unwrap_err();
            assert!(message.contains("smaller `overlap`"), "{message}");
        }
        let args = json!({"text": "x".repeat(large), "by": "chars", "size": 4096});
        assert_eq!(split(args).await.unwrap().len(), 1024);
        let args = json!({"text": "x".repeat(1000), "by": "chars", "size": 100, "overlap": 99});
        assert_eq!(split(args).await.unwrap().len(), 901);
    }

    #[tokio::test]
    async fn wrong_combinations_are_explained() {
        for args in [
            json!({"text": "a", "by": "separator"}),
            json!({"text": "a", "by": "separator", "separator": ""}),
            json!({"text": "a", "by": "chars"}),
            json!({"text": "a", "by": "chars", "size": 0}),
            json!({"text": "a", "by": "chars", "size": 2, "overlap": 2}),
            json!({"text": "a", "by": "lines", "size": 2}),
            json!({"text": "a", "by": "words"}),
        ] {
            split(args.clone()).await.expect_err(&args.to_string());
        }
    }
}
