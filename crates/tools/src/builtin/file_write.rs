//! `file_write`: a text into a file under the roots, whole or not at all.

use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use planfleet_core::tool::{Effect, ToolSpec};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::roots::Roots;
use crate::tool::{CallContext, Tool, ToolError, parse_args};

/// What `file_read` reads of a file at most.
const BYTES_MAX: usize = 4 << 20;

pub(crate) struct FileWrite {
    spec: ToolSpec,
    roots: Arc<Roots>,
}

#[derive(Deserialize)]
struct Args<'a> {
    path: &'a str,
    text: &'a str,
    #[serde(default = "yes")]
    overwrite: bool,
}

fn yes() -> bool {
    true
}

impl FileWrite {
    pub(crate) fn new(roots: Arc<Roots>) -> Self {
        Self {
            roots,
            spec: ToolSpec {
                name: "file_write".to_owned(),
                description: "Writes a text file under the configured directories, and makes the \
                              directories on the way. A file that is there is replaced, unless \
                              `overwrite` is false: then it has to hold the same text already."
                    .to_owned(),
                arguments: json!({
                    "type": "object",
                    "properties": {
                        "path": {"type": "string", "minLength": 1, "maxLength": 4096},
                        "text": {"type": "string"},
                        "overwrite": {"type": "boolean"}
                    },
                    "required": ["path", "text"],
                    "additionalProperties": false
                }),
                output: json!({
                    "type": "object",
                    "properties": {"path": {"type": "string"}, "bytes": {"type": "integer"}},
                    "required": ["path", "bytes"],
                    "additionalProperties": false
                }),
                effect: Effect::Write,
                idempotent: true,
            },
        }
    }
}

#[async_trait]
impl Tool for FileWrite {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, args: &Map<String, Value>, _: &CallContext) -> Result<Value, ToolError> {
        let Args { path, text, overwrite } = parse_args(args)?;
        if text.len() > BYTES_MAX {
            let message = format!("the text has {} bytes; a file may have {BYTES_MAX}", text.len());
            return Err(ToolError::failed(message));
        }
        let target = self.roots.resolve_new(path)?;
        let (file, content) = (target.clone(), text.to_owned());
        // Not dropped half-way with the call: the file is whole either way.
        let written = tokio::task::spawn_blocking(move || write(&file, content.as_bytes(), overwrite)).await;
        let shown = self.roots.display(&target);
        match written {
            Ok(Ok(())) => Ok(json!({"path": shown, "bytes": text.len()})),
            Ok(Err(error)) => Err(ToolError::failed(format!("cannot write `{shown}`: {error}"))),
            Err(error) => Err(ToolError::failed(format!("cannot write `{shown}`: {error}"))),
        }
    }
}

/// Beside the file first, then in its place, so that nobody reads half of it.
fn write(path: &Path, content: &[u8], overwrite: bool) -> io::Result<()> {
    let folder = path.parent().map(PathBuf::from).unwrap_or_default();
    std::fs::create_dir_all(&folder)?;
    if path.is_dir() {
        return Err(io::Error::other("it is a directory"));
    }
    // The process's own mask decides, as for any file that it makes.
    let mut draft = tempfile::Builder::new()
        .prefix(".planfleet-")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(&folder)?;
    draft.write_all(content)?;
    if overwrite {
        draft.persist(path).map_err(|error| error.error)?;
        return Ok(());
    }
    match draft.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
            let same =
                std::fs::metadata(path)?.len() == content.len() as u64 && std::fs::read(path)? == content;
            let message = "it is there already with another content; set `overwrite`, or take another name";
            if same { Ok(()) } else { Err(io::Error::other(message)) }
        }
        Err(error) => Err(error.error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::roots::tests::tree;
    use super::*;
    use crate::builtin::call_in_test;
    use planfleet_core::failure::FailureClass;
    use std::fs;

    #[tokio::test]
    async fn it_writes_new_files_and_replaces_old_ones() {
        let (dir, roots) = tree();
        for (path, place) in
            [("new.txt", "a/new.txt"), ("x/y/deep.txt", "a/x/y/deep.txt"), ("in", "a/note.txt")]
        {
            let args = json!({"path": path, "text": "wörd"});
            let output = call_in_test(FileWrite::new(roots.clone()), args).await.unwrap();
            assert_eq!(output["bytes"], 5);
            assert_eq!(fs::read_to_string(dir.path().join(place)).unwrap(), "wörd", "{path}");
        }
        assert!(dir.path().join("a/in").is_symlink(), "what a link leads to is written");
        let left = fs::read_dir(dir.path().join("a")).unwrap().flatten();
        assert!(left.map(|entry| entry.file_name()).all(|name| !name.to_string_lossy().starts_with(".plan")));
    }

    #[tokio::test]
    async fn an_old_file_is_kept_where_asked() {
        let (dir, roots) = tree();
        let write = |text: &str| {
            let args = json!({"path": "note.txt", "text": text, "overwrite": false});
            call_in_test(FileWrite::new(roots.clone()), args)
        };
        assert!(write("hällo").await.is_ok(), "the same text again");
        assert!(write("other").await.unwrap_err().message.contains("overwrite"));
        assert_eq!(fs::read_to_string(dir.path().join("a/note.txt")).unwrap(), "hällo");
    }

    #[tokio::test]
    async fn nothing_outside_the_roots_is_written() {
        let (dir, roots) = tree();
        std::os::unix::fs::symlink("../outside", dir.path().join("a/away")).unwrap();
        std::os::unix::fs::symlink("../gone.txt", dir.path().join("a/dangling")).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        for path in [
            "../new.txt",
            "sub/../../new.txt",
            "away/new.txt",
            "dangling",
            "out",
            "away",
            "/etc/planfleet-test",
            "/tmp/../etc/planfleet-test",
            "x/../../new.txt",
            "..",
        ] {
            let args = json!({"path": path, "text": "x"});
            let failure = call_in_test(FileWrite::new(roots.clone()), args).await.unwrap_err();
            assert_eq!(failure.class, FailureClass::Denied, "{path}: {failure}");
        }
        for (path, said) in [("sub", "directory"), (".", "directory"), ("a\0b", ""), ("note.txt/x", "")] {
            let args = json!({"path": path, "text": "x"});
            let failure = call_in_test(FileWrite::new(roots.clone()), args).await.unwrap_err();
            assert_eq!(failure.class, FailureClass::ToolError, "{path}: {failure}");
            assert!(failure.message.contains(said), "{path}: {failure}");
        }
        assert_eq!(fs::read_to_string(dir.path().join("secret")).unwrap(), "secret");
        assert!(fs::read_dir(dir.path().join("outside")).unwrap().next().is_none());
        assert!(!dir.path().join("gone.txt").exists() && !dir.path().join("new.txt").exists());
    }
}
