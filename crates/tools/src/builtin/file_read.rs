//! `file_read`: a text file from under the roots.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use planfleet_core::tool::{Effect, ToolSpec};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

use super::roots::Roots;
use crate::tool::{CallContext, Tool, ToolError, parse_args};

/// As much as a fetched page may have; a model's context holds less than this.
const BYTES_MAX: u64 = 4 << 20;

pub(crate) struct FileRead {
    spec: ToolSpec,
    roots: Arc<Roots>,
}

#[derive(Deserialize)]
struct Args<'a> {
    path: &'a str,
    #[serde(default = "bytes_max")]
    max_bytes: u64,
}

fn bytes_max() -> u64 {
    BYTES_MAX
}

impl FileRead {
    pub(crate) fn new(roots: Arc<Roots>) -> Self {
        Self {
            roots,
            spec: ToolSpec {
                name: "file_read".to_owned(),
                description: "Reads a UTF-8 text file from the configured directories. `path` is \
                              relative to them, as `file_list` shows it."
                    .to_owned(),
                arguments: json!({
                    "type": "object",
                    "properties": {
                        "path": {"type": "string", "minLength": 1, "maxLength": 4096},
                        "max_bytes": {
                            "type": "integer", "minimum": 1, "maximum": BYTES_MAX,
                            "description": "Read no more than this from the file's start."
                        }
                    },
                    "required": ["path"],
                    "additionalProperties": false
                }),
                output: json!({
                    "type": "object",
                    "properties": {
                        "path": {"type": "string"},
                        "text": {"type": "string"},
                        "bytes": {"type": "integer", "description": "The size of the whole file."},
                        "truncated": {"type": "boolean", "description": "Whether `text` is cut."}
                    },
                    "required": ["path", "text", "bytes", "truncated"],
                    "additionalProperties": false
                }),
                effect: Effect::Read,
                idempotent: true,
            },
        }
    }
}

#[async_trait]
impl Tool for FileRead {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, args: &Map<String, Value>, _: &CallContext) -> Result<Value, ToolError> {
        let Args { path, max_bytes } = parse_args(args)?;
        let file = self.roots.resolve(path)?;
        let (content, bytes) = read(&file, max_bytes).await.map_err(|reason| {
            ToolError::failed(format!("cannot read `{}`: {reason}", self.roots.display(&file)))
        })?;
        let truncated = content.len() as u64 > max_bytes;
        let text = text(content, max_bytes as usize).ok_or_else(|| {
            ToolError::failed(format!("`{path}` is not UTF-8 text; this tool reads text only"))
        })?;
        let path = self.roots.display(&file);
        Ok(json!({"path": path, "text": text, "bytes": bytes, "truncated": truncated}))
    }
}

/// The first `max + 1` bytes at most (the one more tells that there is more),
/// and the file's size.
async fn read(path: &Path, max: u64) -> Result<(Vec<u8>, u64), String> {
    // Opening a pipe waits for its writer, so what it is comes first.
    let metadata = tokio::fs::metadata(path).await.map_err(|error| error.to_string())?;
    if metadata.is_dir() {
        return Err("it is a directory; use `file_list`".to_owned());
    }
    if !metadata.is_file() {
        return Err("it is no regular file".to_owned());
    }
    let file = File::open(path).await.map_err(|error| error.to_string())?;
    let mut content = Vec::new();
    file.take(max + 1).read_to_end(&mut content).await.map_err(|error| error.to_string())?;
    Ok((content, metadata.len()))
}

/// The content as text, cut to `max` bytes at a character boundary.
fn text(mut content: Vec<u8>, max: usize) -> Option<String> {
    let is_cut = content.len() > max;
    content.truncate(max);
    match String::from_utf8(content) {
        Ok(text) => Some(text),
        // No error length: the bytes stop in the middle of a character.
        Err(error) if is_cut && error.utf8_error().error_len().is_none() => {
            let end = error.utf8_error().valid_up_to();
            let mut content = error.into_bytes();
            content.truncate(end);
            String::from_utf8(content).ok()
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::roots::tests::tree;
    use super::*;
    use crate::builtin::call_in_test;
    use planfleet_core::failure::FailureClass;

    #[tokio::test]
    async fn it_reads_text() {
        let (_dir, roots) = tree();
        let output = call_in_test(FileRead::new(roots), json!({"path": "in"})).await.unwrap();
        let expected = json!({"path": "note.txt", "text": "hällo", "bytes": 6, "truncated": false});
        assert_eq!(output, expected);
    }

    #[tokio::test]
    async fn it_cuts_at_a_character() {
        let (_dir, roots) = tree();
        for (max_bytes, text, truncated) in
            [(1, "h", true), (2, "h", true), (3, "hä", true), (6, "hällo", false)]
        {
            let args = json!({"path": "note.txt", "max_bytes": max_bytes});
            let output = call_in_test(FileRead::new(roots.clone()), args).await.unwrap();
            assert_eq!(output["text"], text);
            assert_eq!(output["truncated"], truncated);
            assert_eq!(output["bytes"], 6);
        }
    }

    #[tokio::test]
    async fn what_is_no_text_file_is_refused() {
        let (dir, roots) = tree();
        std::fs::write(dir.path().join("a/binary"), [0xff, 0xfe]).unwrap();
        std::fs::write(dir.path().join("a/half"), [b'x', 0xc3]).unwrap();
        let made = std::process::Command::new("mkfifo").arg(dir.path().join("a/pipe")).status();
        assert!(made.unwrap().success());
        for (path, class, text) in [
            ("binary", FailureClass::ToolError, "UTF-8"),
            ("half", FailureClass::ToolError, "UTF-8"),
            ("pipe", FailureClass::ToolError, "regular"),
            ("sub", FailureClass::ToolError, "file_list"),
            ("missing", FailureClass::ToolError, "cannot find"),
            ("../secret", FailureClass::Denied, "outside"),
            ("out", FailureClass::Denied, "outside"),
        ] {
            let failure =
                call_in_test(FileRead::new(roots.clone()), json!({"path": path})).await.unwrap_err();
            assert_eq!(failure.class, class, "{path}: {failure}");
            assert!(failure.message.contains(text), "{path}: {failure}");
        }
    }
}
