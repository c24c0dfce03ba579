//! The task of a command line: read from its file or standard input, with the
//! command's own inputs, and frozen.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use planfleet_api::{
    submission,
    template::{self, Library, Template, library::LibraryError},
};
use planfleet_bus::{Error as BusError, client::Key};
use planfleet_core::{task::Submission, tool::ToolCatalog};
use planfleet_runtime::config::Settings;
use serde_json::{Map, Value, json};

use crate::{cli::GuardArgs, compose, exit::Failure};

/// A task as written, and where relative paths in it start.
#[derive(Debug)]
pub(crate) struct Source {
    task: Value,
    folder: Option<PathBuf>,
}

/// Reads a task from a file (`-` is standard input), or makes one of a goal.
pub(crate) fn read(
    goal: Option<&str>,
    file: Option<&Path>,
    inputs: &[String],
    bytes_max: u64,
) -> Result<Source, Failure> {
    let mut task = match (goal, file) {
        (Some(goal), _) => Value::Object(Map::from_iter([("goal".to_owned(), goal.into())])),
        (None, Some(path)) => parse(&slurp(path, bytes_max, TASK_LIMIT)?, path)?,
        (None, None) => return Err(Failure::usage("give a goal or a task file")),
    };
    merge_inputs(&mut task, inputs)?;
    let bytes = task.to_string().len() as u64;
    if bytes > bytes_max {
        let inputs = format!("with its inputs, the task has {bytes} bytes, more than the {bytes_max} of");
        return Err(Failure::usage(format!("{inputs} {TASK_LIMIT}")));
    }
    let folder = file.filter(|path| path.as_os_str() != "-").and_then(Path::parent).map(Path::to_owned);
    Ok(Source { task, folder })
}

/// A task that came as a value, from nobody's file.
pub(crate) fn of_value(task: Value, bytes_max: u64) -> Result<Source, Failure> {
    let bytes = task.to_string().len() as u64;
    if bytes > bytes_max {
        return Err(Failure::usage(format!(
            "the task has {bytes} bytes, more than the {bytes_max} of {TASK_LIMIT}"
        )));
    }
    Ok(Source { task, folder: None })
}

impl Source {
    /// A task that stands in no folder of its own.
    pub(crate) const fn of(task: Value) -> Self {
        Self { task, folder: None }
    }

    /// The template that the task names.
    pub(crate) fn template(&self) -> Option<&str> {
        submission::template_of(&self.task)
    }

    /// Where relative paths in the task start.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// The user's key for the task as it is now: with all that the command line says of it.
    pub(crate) fn key(&self, name: &str) -> Key {
        Key::of_task(name, &self.task)
    }

    /// The same with what the command line says of how the run is watched over.
    /// A field that is not what it should be is left for [`freeze`] to name.
    pub(crate) fn guarded(mut self, guards: &GuardArgs) -> Self {
        let Some(task) = self.task.as_object_mut() else { return self };
        if let Some(review) = &guards.review {
            task.insert("review".to_owned(), review.as_str().into());
        }
        if let Some(seconds) = guards.step_timeout {
            task.insert("step_timeout_s".to_owned(), seconds.into());
        }
        if guards.approve_plan || !guards.approve_tools.is_empty() {
            approve(task.entry("approval").or_insert_with(|| json!({})), guards);
        }
        self
    }
}

fn approve(approval: &mut Value, guards: &GuardArgs) {
    if approval.is_null() {
        *approval = json!({});
    }
    let Some(approval) = approval.as_object_mut() else { return };
    if guards.approve_plan {
        approval.insert("plan".to_owned(), true.into());
    }
    let tools = approval.entry("tools").or_insert_with(|| json!([]));
    if let Some(tools) = tools.as_array_mut() {
        tools.extend(guards.approve_tools.iter().map(|tool| json!(tool)));
    }
}

fn parse(text: &str, path: &Path) -> Result<Value, Failure> {
    planfleet_core::json::parse_strict(text)
        .map_err(|error| Failure::usage(format!("{}: not JSON: {error}", path.display())))
}

/// Where a task's limit is set, and what else to do about a task above it.
const TASK_LIMIT: &str =
    "limits.task_bytes; leave large inputs in files that a step reads, or raise the limit";

/// A file's text, if it has no more than `bytes_max`; `limit` says what they are. `-` is
/// standard input.
pub(crate) fn slurp(path: &Path, bytes_max: u64, limit: &str) -> Result<String, Failure> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| Failure::usage(format!("cannot read {shown}: {error}"));
    let mut bytes = Vec::new();
    let one_more = bytes_max + 1;
    let read = if path.as_os_str() == "-" {
        std::io::stdin().lock().take(one_more).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(one_more).read_to_end(&mut bytes))
    };
    // Before the text is looked at, whose last character may have been cut in two.
    if read.map_err(unreadable)? as u64 > bytes_max {
        return Err(Failure::usage(format!("{shown} is larger than the {bytes_max} bytes of {limit}")));
    }
    String::from_utf8(bytes)
        .map_err(|error| Failure::usage(format!("cannot read {shown}: not UTF-8: {}", error.utf8_error())))
}

fn merge_inputs(task: &mut Value, inputs: &[String]) -> Result<(), Failure> {
    for input in inputs {
        let (name, text) = input
            .split_once('=')
            .ok_or_else(|| Failure::usage(format!("--input {input}: use NAME=VALUE, as path=notes.txt")))?;
        let value = planfleet_core::json::parse_strict(text).unwrap_or_else(|_| text.into());
        if let Some(object) = task.as_object_mut() {
            let inputs = object.entry("inputs").or_insert_with(|| Value::Object(Map::new()));
            if let Some(inputs) = inputs.as_object_mut() {
                inputs.insert(name.to_owned(), value);
            }
        }
    }
    Ok(())
}

/// A template that was looked for, or why there is none.
pub(crate) type FoundTemplate = Result<Arc<Template>, Vec<String>>;

/// Freezes a task: its plan, where it brings one, and its envelope. `template` is what was
/// found for the name that it gives.
pub(crate) fn freeze(
    source: Source,
    settings: &Settings,
    catalog: &ToolCatalog,
    template: &FoundTemplate,
) -> Result<Submission, Failure> {
    let scope = compose::scope(settings, catalog.clone());
    submission::freeze(source.task, &scope, &|_| template.clone())
        .map_err(|faults| all("the task", faults.iter().map(ToString::to_string)))
}

/// Finds the template that a task names: a file by its path, or one that is known by name.
pub(crate) async fn find_template(
    reference: &str,
    beside: Option<&Path>,
    library: &Library,
) -> Result<FoundTemplate, BusError> {
    if template::is_path(reference) {
        return Ok(template_file(reference, beside));
    }
    match library.find(reference).await {
        Ok(template) => Ok(Ok(template)),
        Err(LibraryError::Refused(reason)) => Ok(Err(vec![reason])),
        Err(LibraryError::Bus(error)) => Err(error),
    }
}

/// A template's file, beside the task's or from the working directory.
pub(crate) fn template_file(name: &str, beside: Option<&Path>) -> FoundTemplate {
    let candidates = [beside.map(|folder| folder.join(name)), Some(PathBuf::from(name))];
    let path = candidates.into_iter().flatten().find(|path| path.is_file()).ok_or_else(|| {
        vec![format!(
            "there is no file {name:?}; give its path, from the task's file or the working directory"
        )]
    })?;
    let bytes_max = template::BYTES_MAX as u64;
    let text = slurp(&path, bytes_max, "a template").map_err(|failure| vec![failure.to_string()])?;
    let parsed = Template::parse(&text);
    parsed.map(Arc::new).map_err(|faults| faults.iter().map(|fault| format!("{name}: {fault}")).collect())
}

/// All mistakes of something, as one failure.
pub(crate) fn all(what: &str, faults: impl IntoIterator<Item = String>) -> Failure {
    let lines: Vec<String> = faults.into_iter().map(|fault| format!("  - {fault}")).collect();
    let count = if lines.len() == 1 { "1 mistake".to_owned() } else { format!("{} mistakes", lines.len()) };
    Failure::usage(format!("{what} has {count}:\n{}", lines.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_of_the_command_line_are_added_to_those_of_the_task() {
        let task = |approval: Value| json!({"goal": "g", "review": "never", "approval": approval});
        let guards = GuardArgs {
            review: Some("on_failure".to_owned()),
            approve_plan: true,
            approve_tools: vec!["b".to_owned()],
            step_timeout: Some(3),
        };
        for (written, approval) in [
            (json!({"tools": ["a"]}), json!({"plan": true, "tools": ["a", "b"]})),
            (Value::Null, json!({"plan": true, "tools": ["b"]})),
        ] {
            let guarded = Source { task: task(written), folder: None }.guarded(&guards);
            let expected =
                json!({"goal": "g", "review": "on_failure", "step_timeout_s": 3, "approval": approval});
            assert_eq!(guarded.task, expected);
        }
    }

    #[test]
    fn without_guards_a_task_stays_as_it_is() {
        let task = json!({"goal": "g", "approval": 3});
        let guarded = Source { task: task.clone(), folder: None }.guarded(&GuardArgs::default());
        assert_eq!(guarded.task, task);
    }

    #[test]
    fn a_file_that_is_too_large_is_told_from_one_that_is_no_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("task.json");
        for (content, bytes_max, expected) in [
            // Cut in the middle of a character.
            ("ää".as_bytes(), 2, "is larger than the 2 bytes of limits.task_bytes; leave large inputs"),
            ("ää".as_bytes(), 4, "ää"),
            (b"\xff".as_slice(), 4, "not UTF-8"),
        ] {
            std::fs::write(&path, content).unwrap();
            let said = slurp(&path, bytes_max, TASK_LIMIT).unwrap_or_else(|failure| failure.to_string());
            assert!(said.contains(expected), "{said}");
        }
    }

    #[test]
    fn inputs_of_the_command_line_count_towards_the_limit() {
        let inputs = ["x=12345".to_owned()];
        let bytes = r#"{"goal":"g","inputs":{"x":12345}}"#.len() as u64;
        assert!(read(Some("g"), None, &inputs, bytes).is_ok());
        let said = read(Some("g"), None, &inputs, bytes - 1).unwrap_err().to_string();
        assert!(said.contains("the task has ") && said.contains("limits.task_bytes"), "{said}");
    }

    #[test]
    fn a_missing_template_is_named() {
        assert!(template_file("nowhere.json", None).unwrap_err()[0].contains("nowhere.json"));
    }
}
