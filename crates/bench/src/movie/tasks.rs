//! The tasks: which of four movies is most like four others. `data/movie` says whose they are.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::{Error, failed};

const TASKS: &str = include_str!("../../data/movie/tasks.jsonl");

/// Movies of a task: four that are liked, four to choose from.
pub(crate) const MOVIES: usize = 8;

/// One task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Task {
    /// Stands in every prompt, and in no other task's.
    pub(crate) id: String,
    pub(crate) movies: Vec<String>,
    pub(crate) answer: String,
}

/// A line of the file.
#[derive(Deserialize)]
struct Line {
    question: String,
    answer: String,
}

/// So many tasks, over and over again those that there are.
pub(crate) fn tasks(count: u64) -> Result<Vec<Task>, Error> {
    let lines: Vec<Line> = TASKS
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .map_err(failed("read the movie tasks"))?;
    lines.iter().cycle().zip(0..count).map(|(line, number)| task(line, number)).collect()
}

fn task(line: &Line, number: u64) -> Result<Task, Error> {
    let strange = || Error::Void(format!("movie task {number} is none: {:?}", line.question));
    let question = line.question.strip_prefix("Find a movie similar to ").ok_or_else(strange)?;
    let (liked, options) = question.split_once("\nOptions:\n").ok_or_else(strange)?;
    let movies: Vec<String> =
        liked.split(", ").chain(options.lines().filter(|line| !line.is_empty())).map(str::to_owned).collect();
    if movies.len() != MOVIES {
        return Err(strange());
    }
    Ok(Task { id: format!("movie-{number:05}"), movies, answer: line.answer.clone() })
}

impl Task {
    /// The task's inputs. The goal is the same for all, as that of a class is.
    pub(crate) fn inputs(&self) -> Value {
        let (liked, options) = self.movies.split_at(MOVIES / 2);
        json!({"id": self.id, "liked": liked, "options": options})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_has_eight_movies_and_an_answer_among_the_options() {
        let tasks = tasks(50).unwrap();
        assert!(tasks.iter().all(|task| task.movies[4..].contains(&task.answer)));
        assert_eq!(tasks[0].movies[..2], ["Mission Impossible", "The Silence of the Lambs"]);
        assert_eq!((&tasks[48].movies, tasks[48].id.as_str()), (&tasks[0].movies, "movie-00048"));
    }
}
