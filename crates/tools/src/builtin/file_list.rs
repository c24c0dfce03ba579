//! `file_list`: what is under the roots.

use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use planfleet_core::tool::{Effect, ToolSpec};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::roots::Roots;
use crate::tool::{CallContext, Tool, ToolError, parse_args};

/// A longer list is of no use to a model; a narrower question is.
const ENTRIES_MAX: usize = 10_000;

/// Entries looked at, matching or not: bounds the time spent in a large tree.
const VISITED_MAX: usize = 200_000;

pub(crate) struct FileList {
    spec: ToolSpec,
    roots: Arc<Roots>,
}

#[derive(Deserialize)]
struct Args<'a> {
    #[serde(default = "here")]
    path: &'a str,
    extension: Option<String>,
    #[serde(default)]
    recursive: bool,
}

fn here() -> &'static str {
    "."
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Entry {
    path: String,
    kind: &'static str,
    bytes: u64,
}

impl FileList {
    pub(crate) fn new(roots: Arc<Roots>) -> Self {
        Self {
            roots,
            spec: ToolSpec {
                name: "file_list".to_owned(),
                description: "Lists a directory among the configured directories, with kind and \
                              size of each entry; `recursive` descends into subdirectories, \
                              `extension` (e.g. `md`) keeps only files that end in it."
                    .to_owned(),
                arguments: json!({
                    "type": "object",
                    "properties": {
                        "path": {
                            "type": "string", "minLength": 1, "maxLength": 4096,
                            "description": "The directory; default: the first readable one."
                        },
                        "extension": {
                            "type": "string", "minLength": 1, "maxLength": 64,
                            "description": "Without the dot."
                        },
                        "recursive": {"type": "boolean", "description": "Default false."}
                    },
                    "additionalProperties": false
                }),
                output: output(),
                effect: Effect::Read,
                idempotent: true,
            },
        }
    }
}

fn output() -> Value {
    json!({
        "type": "object",
        "properties": {
            "entries": {
                "type": "array",
                "description": "Sorted by path.",
                "items": {
                    "type": "object",
                    "properties": {
                        "path": {"type": "string", "description": "As `file_read` takes it."},
                        "kind": {"enum": ["file", "directory", "symlink", "other"]},
                        "bytes": {"type": "integer"}
                    },
                    "required": ["path", "kind", "bytes"],
                    "additionalProperties": false
                }
            }
        },
        "required": ["entries"],
        "additionalProperties": false
    })
}

#[async_trait]
impl Tool for FileList {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, args: &Map<String, Value>, _: &CallContext) -> Result<Value, ToolError> {
        let Args { path, extension, recursive } = parse_args(args)?;
        let directory = self.roots.resolve(path)?;
        let walk = Walk { roots: self.roots.clone(), extension, recursive };
        // Blocking calls by the thousand; dropped early, it still ends at its bounds.
        let entries = tokio::task::spawn_blocking(move || walk.run(directory))
            .await
            .map_err(|error| ToolError::failed(format!("listing was interrupted: {error}")))?
            .map_err(|error| ToolError::failed(format!("cannot list `{path}`: {error}")))?;
        Ok(json!({"entries": entries}))
    }
}

struct Walk {
    roots: Arc<Roots>,
    extension: Option<String>,
    recursive: bool,
}

impl Walk {
    fn run(&self, start: PathBuf) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut visited = 0;
        let mut pending = vec![start];
        while let Some(directory) = pending.pop() {
            for entry in fs::read_dir(directory)? {
                let entry = entry?;
                visited += 1;
                // Symlinks are shown, never followed: they may lead in circles.
                if self.recursive && entry.file_type()?.is_dir() {
                    pending.push(entry.path());
                }
                if self.is_wanted(&entry.path()) {
                    entries.push(self.entry(&entry)?);
                }
                if entries.len() > ENTRIES_MAX || visited > VISITED_MAX {
                    return Err(too_many());
                }
            }
        }
        entries.sort();
        Ok(entries)
    }

    fn is_wanted(&self, path: &Path) -> bool {
        self.extension.as_ref().is_none_or(|extension| {
            path.extension().is_some_and(|found| found == extension.trim_start_matches('.'))
        })
    }

    fn entry(&self, entry: &DirEntry) -> io::Result<Entry> {
        let metadata = entry.metadata()?;
        let kind = if metadata.is_file() {
            "file"
        } else if metadata.is_dir() {
            "directory"
        } else if metadata.is_symlink() {
            "symlink"
        } else {
            "other"
        };
        let bytes = if metadata.is_file() { metadata.len() } else { 0 };
        Ok(Entry { path: self.roots.display(&entry.path()), kind, bytes })
    }
}

/// An error rather than a cut list: which entries come first is the file
/// system's whim, and a plan should not depend on it.
fn too_many() -> io::Error {
    io::Error::other(format!(
        "more than {ENTRIES_MAX} entries match or more than {VISITED_MAX} would have to be looked \
         at; name a deeper directory or an extension"
    ))
}

#[cfg(test)]
mod tests {
    use super::super::roots::tests::tree;
    use super::*;
    use crate::builtin::call_in_test;
    use planfleet_core::failure::FailureClass;

    async fn paths(roots: &Arc<Roots>, args: Value) -> Vec<String> {
        let output = call_in_test(FileList::new(roots.clone()), args).await.unwrap();
        let entries = output["entries"].as_array().unwrap().iter();
        entries.map(|entry| entry["path"].as_str().unwrap().to_owned()).collect()
    }

    #[tokio::test]
    async fn it_lists_sorted_with_kind_and_size() {
        let (_dir, roots) = tree();
        let output = call_in_test(FileList::new(roots), json!({})).await.unwrap();
        assert_eq!(
            output["entries"],
            json!([
                {"path": "in", "kind": "symlink", "bytes": 0},
                {"path": "note.txt", "kind": "file", "bytes": 6},
                {"path": "out", "kind": "symlink", "bytes": 0},
                {"path": "sub", "kind": "directory", "bytes": 0},
            ])
        );
    }

    #[tokio::test]
    async fn it_descends_and_filters_on_demand() {
        let (_dir, roots) = tree();
        let all = paths(&roots, json!({"recursive": true})).await;
        assert_eq!(all, ["in", "note.txt", "out", "sub", "sub/deep.md"]);
        for extension in ["md", ".md"] {
            let args = json!({"recursive": true, "extension": extension});
            assert_eq!(paths(&roots, args).await, ["sub/deep.md"]);
        }
        assert_eq!(paths(&roots, json!({"path": "sub"})).await, ["sub/deep.md"]);
    }

    #[tokio::test]
    async fn what_cannot_be_listed_is_explained() {
        let (_dir, roots) = tree();
        for (path, class) in [
            ("note.txt", FailureClass::ToolError),
            ("missing", FailureClass::ToolError),
            ("..", FailureClass::Denied),
            ("/etc", FailureClass::Denied),
        ] {
            let args = json!({"path": path});
            let failure = call_in_test(FileList::new(roots.clone()), args).await.unwrap_err();
            assert_eq!(failure.class, class, "{path}: {failure}");
        }
    }

    #[tokio::test]
    async fn too_many_entries_are_an_error() {
        let (dir, roots) = tree();
        for i in 0..=ENTRIES_MAX {
            fs::write(dir.path().join(format!("b/{i}")), "").unwrap();
        }
        let args = json!({"path": dir.path().canonicalize().unwrap().join("b")});
        let failure = call_in_test(FileList::new(roots), args).await.unwrap_err();
        assert!(failure.message.contains("deeper directory"), "{failure}");
    }
}
