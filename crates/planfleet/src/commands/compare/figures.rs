//! What came of the tasks in one way, and what the figures say.

use planfleet_core::{document::usd, usage::NanoUsd};
use serde_json::{Value, json};

use super::tasks::CompareTask;
use crate::cli::CompareMode;

/// The roles, which are the tiers that tokens are told apart by.
const ROLES: [&str; 4] = ["planner", "executor", "judge", "triage"];

pub(super) const HEAD: [&str; 9] =
    ["way", "succeeded", "right", "usd", "usd per task", "tokens in", "tokens out", "p50 ms", "p95 ms"];

pub(super) const fn name(mode: CompareMode) -> &'static str {
    match mode {
        CompareMode::Direct => "direct",
        CompareMode::Auto => "auto",
        CompareMode::Plan => "plan",
        CompareMode::PlanCache => "plan+cache",
    }
}

/// What came of one task.
#[derive(Debug)]
pub(super) struct Outcome {
    line: usize,
    succeeded: bool,
    right: Option<bool>,
    nano_usd: Option<NanoUsd>,
    /// Of planning and of deciding whether to plan, which a plan that is used again spares.
    planning_nano_usd: Option<NanoUsd>,
    ms: u64,
    /// Input and output tokens and calls of each role.
    used: [(u64, u64, u64); 4],
    answer: Value,
    reason: Value,
}

impl Outcome {
    pub(super) fn of(task: &CompareTask, document: &Value) -> Self {
        let count = |role: &str, field: &str| document["usage"][role][field].as_u64().unwrap_or_default();
        let planning: Option<NanoUsd> =
            ["planner", "triage"].iter().map(|role| nano(&document["usage"][*role]["usd"])).sum();
        Self {
            line: task.line,
            succeeded: document["state"] == "succeeded" && document["partial"] == false,
            right: task.is_right(&document["answer"]),
            nano_usd: nano(&document["usd"]),
            planning_nano_usd: planning,
            ms: document["timings"]["total_ms"].as_u64().unwrap_or_default(),
            used: ROLES.map(|role| {
                (count(role, "input_tokens"), count(role, "output_tokens"), count(role, "calls"))
            }),
            answer: document["answer"].clone(),
            reason: document["reason"].clone(),
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "line": self.line, "succeeded": self.succeeded, "right": self.right, "usd": usd(self.nano_usd),
            "ms": self.ms, "answer": self.answer, "reason": self.reason,
        })
    }
}

/// The integer that a document's dollars are made from, so that sums are exact.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "made from an integer below 2^53"
)]
fn nano(dollars: &Value) -> Option<NanoUsd> {
    dollars.as_f64().map(|usd| (usd * 1e9).round() as u64)
}

/// All tasks in one way.
#[derive(Debug)]
pub(super) struct Figures {
    mode: CompareMode,
    outcomes: Vec<Outcome>,
    /// In order.
    ms: Vec<u64>,
}

impl Figures {
    pub(super) fn of(mode: CompareMode, outcomes: Vec<Outcome>) -> Self {
        let mut ms: Vec<u64> = outcomes.iter().map(|outcome| outcome.ms).collect();
        ms.sort_unstable();
        Self { mode, outcomes, ms }
    }

    fn count(&self) -> u64 {
        self.outcomes.len() as u64
    }

    fn succeeded(&self) -> usize {
        self.outcomes.iter().filter(|outcome| outcome.succeeded).count()
    }

    /// How many are right, of how many that say what is.
    fn right(&self) -> Option<(usize, usize)> {
        let judged: Vec<bool> = self.outcomes.iter().filter_map(|outcome| outcome.right).collect();
        (!judged.is_empty()).then(|| (judged.iter().filter(|right| **right).count(), judged.len()))
    }

    /// `None` where any of it is not known.
    fn nano_usd(&self) -> Option<NanoUsd> {
        self.outcomes.iter().map(|outcome| outcome.nano_usd).sum()
    }

    fn per_task(&self) -> Option<NanoUsd> {
        self.nano_usd().map(|sum| sum / self.count().max(1))
    }

    /// The smallest value that so many per cent do not pass.
    fn percentile(&self, percent: usize) -> u64 {
        let rank = (self.ms.len() * percent).div_ceil(100).max(1);
        self.ms.get(rank - 1).copied().unwrap_or_default()
    }

    fn used(&self, role: usize) -> (u64, u64, u64) {
        let add = |sum: (u64, u64, u64), of: (u64, u64, u64)| (sum.0 + of.0, sum.1 + of.1, sum.2 + of.2);
        self.outcomes.iter().map(|outcome| outcome.used[role]).fold((0, 0, 0), add)
    }

    pub(super) fn row(&self) -> Vec<String> {
        let dollars = |nano| usd(nano).map_or_else(|| "-".to_owned(), |usd| format!("{usd:.6}"));
        let tokens: Vec<(u64, u64, u64)> = (0..ROLES.len()).map(|role| self.used(role)).collect();
        let right = self.right().map_or_else(|| "-".to_owned(), |(right, of)| format!("{right}/{of}"));
        vec![
            name(self.mode).to_owned(),
            format!("{}/{}", self.succeeded(), self.outcomes.len()),
            right,
            dollars(self.nano_usd()),
            dollars(self.per_task()),
            tokens.iter().map(|used| used.0).sum::<u64>().to_string(),
            tokens.iter().map(|used| used.1).sum::<u64>().to_string(),
            self.percentile(50).to_string(),
            self.percentile(95).to_string(),
        ]
    }

    pub(super) fn to_json(&self) -> Value {
        let tiers: serde_json::Map<String, Value> = ROLES
            .iter()
            .enumerate()
            .map(|(at, role)| {
                let (input, output, calls) = self.used(at);
                let used = json!({"calls": calls, "input_tokens": input, "output_tokens": output});
                ((*role).to_owned(), used)
            })
            .collect();
        json!({
            "way": name(self.mode),
            "tasks": self.outcomes.len(),
            "succeeded": self.succeeded(),
            "right": self.right().map(|(right, _)| right),
            "expected": self.right().map(|(_, of)| of),
            "usd": usd(self.nano_usd()),
            "usd_per_task": usd(self.per_task()),
            "tokens": tiers,
            "p50_ms": self.percentile(50),
            "p95_ms": self.percentile(95),
            "runs": self.outcomes.iter().map(Outcome::to_json).collect::<Vec<_>>(),
        })
    }
}

/// What the figures say, a sentence each: against doing without a plan, and when planning
/// has paid for itself.
pub(super) fn in_words(figures: &[Figures]) -> Vec<String> {
    let find = |mode| figures.iter().find(|figures| figures.mode == mode);
    let mut words = Vec::new();
    if let Some(direct) = find(CompareMode::Direct) {
        let others = figures.iter().filter(|figures| figures.mode != CompareMode::Direct);
        words.extend(others.map(|other| against(direct, other)));
        if let Some(sentence) = find(CompareMode::PlanCache).and_then(|cached| break_even(direct, cached)) {
            words.push(sentence);
        }
    }
    words
}

fn against(direct: &Figures, other: &Figures) -> String {
    let name = name(other.mode);
    let cost = match (direct.per_task(), other.per_task()) {
        (Some(direct), Some(other)) if other > 0 => {
            format!("costs {} a task", times(direct, other, "less", "more"))
        }
        (Some(_), Some(_)) => "costs nothing".to_owned(),
        _ => "has a cost that is not known, as a price is not".to_owned(),
    };
    let time = times(direct.percentile(50), other.percentile(50), "shorter", "longer");
    let right = match (direct.right(), other.right()) {
        (Some((direct, _)), Some((right, of))) => format!("; {right} of {of} are right instead of {direct}"),
        _ => String::new(),
    };
    format!("{name} {cost} than direct and takes {time}{right}.")
}

/// How much smaller or larger `other` is than `base`.
#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn times(base: u64, other: u64, less: &str, more: &str) -> String {
    let (base, other) = (base.max(1) as f64, other.max(1) as f64);
    if other <= base {
        format!("{:.1} times {less}", base / other)
    } else {
        format!("{:.1} times {more}", other / base)
    }
}

/// After how many tasks of a class the one plan for all of them is paid for.
fn break_even(direct: &Figures, cached: &Figures) -> Option<String> {
    let planning: Option<NanoUsd> = cached.outcomes.iter().map(|outcome| outcome.planning_nano_usd).sum();
    let planning = planning?;
    let execution = cached.nano_usd()?.saturating_sub(planning) / cached.count().max(1);
    let direct = direct.per_task()?;
    if execution >= direct {
        return Some(
            "With these tasks a plan never pays for itself: carrying it out costs as much as doing without."
                .to_owned(),
        );
    }
    let tasks = planning.div_ceil(direct - execution).max(1);
    Some(format!(
        "All planning together has cost {:.6} USD; what each task saves pays for that after {tasks} {}.",
        usd(Some(planning)).unwrap_or_default(),
        if tasks == 1 { "task" } else { "tasks" }
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(mode: CompareMode, runs: &[(u64, u64, u64)]) -> Figures {
        let outcome = |(line, (nano, planning, ms)): (usize, &(u64, u64, u64))| Outcome {
            line,
            succeeded: true,
            right: Some(line % 2 == 0),
            nano_usd: Some(*nano),
            planning_nano_usd: Some(*planning),
            ms: *ms,
            used: [(10, 1, 1); 4],
            answer: Value::Null,
            reason: Value::Null,
        };
        Figures::of(mode, runs.iter().enumerate().map(outcome).collect())
    }

    #[test]
    fn the_break_even_is_said_in_words() {
        let direct = figures(CompareMode::Direct, &[(1_000, 0, 20), (1_000, 0, 40)]);
        let cached = figures(CompareMode::PlanCache, &[(2_100, 2_000, 30), (100, 0, 10)]);
        let words = in_words(&[direct, cached]);
        assert_eq!(
            words[0],
            "plan+cache costs 1.1 times more a task than direct and takes 2.0 times shorter; \
             1 of 2 are right instead of 1."
        );
        assert!(words[1].ends_with("after 3 tasks."), "{}", words[1]);
        let dear = figures(CompareMode::PlanCache, &[(3_000, 1_000, 1)]);
        let direct = figures(CompareMode::Direct, &[(1_000, 0, 20)]);
        assert!(in_words(&[direct, dear])[1].contains("never pays"));
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let ten: Vec<(u64, u64, u64)> = (1..=10).map(|ms| (0, 0, ms)).collect();
        let figures = figures(CompareMode::Plan, &ten);
        assert_eq!((figures.percentile(50), figures.percentile(95), figures.percentile(100)), (5, 10, 10));
    }
}
