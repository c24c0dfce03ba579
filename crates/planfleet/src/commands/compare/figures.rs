//! What came of the tasks in one way, and what the figures say.

use std::time::Duration;

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
    /// Of planning and of deciding whether to plan.
    planning_nano_usd: Option<NanoUsd>,
    /// Whether a plan was used again.
    hit: bool,
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
        let succeeded = document["state"] == "succeeded" && document["partial"] == false;
        Self {
            line: task.line,
            succeeded,
            right: task.is_right(&document["answer"]).map(|agrees| succeeded && agrees),
            nano_usd: nano(&document["usd"]),
            planning_nano_usd: planning,
            hit: document["cache"]["hit"] == true,
            ms: document["timings"]["total_ms"].as_u64().unwrap_or_default(),
            used: ROLES.map(|role| {
                (count(role, "input_tokens"), count(role, "output_tokens"), count(role, "calls"))
            }),
            answer: document["answer"].clone(),
            reason: document["reason"].clone(),
        }
    }

    /// Of a run that has no document, as it has not ended: what it has cost is not known.
    pub(super) fn without_end(task: &CompareTask, waited: Duration, reason: &str) -> Self {
        let ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
        Self::of(task, &json!({"reason": reason, "timings": {"total_ms": ms}}))
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

    /// How many have succeeded, of how many.
    fn success(&self) -> String {
        format!("{}/{}", self.succeeded(), self.outcomes.len())
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

    /// What all have cost, failed ones too, for each that has succeeded.
    fn per_success(&self) -> Option<NanoUsd> {
        self.nano_usd().map(|sum| sum / (self.succeeded() as u64).max(1))
    }

    fn percentile(&self, percent: usize) -> u64 {
        percentile(&self.ms, percent)
    }

    fn p50_of_succeeded(&self) -> u64 {
        let succeeded = self.outcomes.iter().filter(|outcome| outcome.succeeded);
        let mut ms: Vec<u64> = succeeded.map(|outcome| outcome.ms).collect();
        ms.sort_unstable();
        percentile(&ms, 50)
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
            self.success(),
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

/// The smallest of the values, which are in order, that so many per cent do not pass.
fn percentile(ordered: &[u64], percent: usize) -> u64 {
    let rank = (ordered.len() * percent).div_ceil(100).max(1);
    ordered.get(rank - 1).copied().unwrap_or_default()
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
    match (direct.succeeded(), other.succeeded()) {
        (0, 0) => return format!("No run of {name} has succeeded, and none of direct."),
        (_, 0) => return format!("No run of {name} has succeeded, but {} of direct have.", direct.success()),
        (0, _) => return format!("No run of direct has succeeded, but {} of {name} have.", other.success()),
        _ => {}
    }
    let mut said = vec![cost_against(direct, other), time_against(direct, other)];
    if direct.succeeded() != other.succeeded() {
        said.push(format!("{} runs have succeeded instead of {}", other.success(), direct.success()));
    }
    if let (Some((direct, _)), Some((right, of))) = (direct.right(), other.right()) {
        said.push(format!("{right} of {of} are right instead of {direct}"));
    }
    format!("{}.", said.join("; "))
}

/// By what all runs have cost for each that has succeeded.
fn cost_against(direct: &Figures, other: &Figures) -> String {
    let name = name(other.mode);
    let dollars =
        |nano| format!("{:.6} USD for each run that succeeded", usd(Some(nano)).unwrap_or_default());
    match (direct.per_success(), other.per_success()) {
        (None, None) => format!("{name} has a cost that is not known, and so has direct"),
        (Some(_), None) => format!("{name} has a cost that is not known"),
        (None, Some(_)) => format!("direct has a cost that is not known, so that of {name} is not compared"),
        (Some(0), Some(0)) => format!("{name} costs nothing, and neither does direct"),
        (Some(base), Some(0)) => format!("{name} costs nothing, while direct costs {}", dollars(base)),
        (Some(0), Some(cost)) => format!("{name} costs {}, while direct costs nothing", dollars(cost)),
        (Some(base), Some(cost)) => match times(base, cost) {
            None => format!("{name} costs about as much as direct for each run that succeeded"),
            Some(times) => {
                let less = if cost < base { "less" } else { "more" };
                format!("{name} costs {times} times {less} than direct for each run that succeeded")
            }
        },
    }
}

/// By the medians of the runs that have succeeded.
fn time_against(direct: &Figures, other: &Figures) -> String {
    let (base, ms) = (direct.p50_of_succeeded(), other.p50_of_succeeded());
    match times(base, ms) {
        None => "it takes about as long as direct".to_owned(),
        Some(times) => {
            format!("it is {times} times {} than direct", if ms < base { "faster" } else { "slower" })
        }
    }
}

/// How many times the larger is the smaller, with one decimal; `None` where they are about equal.
#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn times(one: u64, other: u64) -> Option<String> {
    let (small, large) = (one.min(other).max(1) as f64, one.max(other).max(1) as f64);
    Some(format!("{:.1}", large / small)).filter(|times| times != "1.0")
}

/// After how many tasks the plans that are used again are paid for; `None` where none was,
/// or where runs that cannot be held against each other say nothing of it.
fn break_even(direct: &Figures, cached: &Figures) -> Option<String> {
    let reused = cached.outcomes.iter().any(|outcome| outcome.hit);
    if !reused || direct.succeeded() == 0 || cached.succeeded() == 0 {
        return None;
    }
    // What is planned although a plan is used again comes with each task.
    let made = cached.outcomes.iter().filter(|outcome| !outcome.hit);
    let planning: Option<NanoUsd> = made.map(|outcome| outcome.planning_nano_usd).sum();
    let planning = planning?;
    let each = cached.nano_usd()?.saturating_sub(planning) / cached.count().max(1);
    let direct = direct.per_task()?;
    if each >= direct {
        return Some(
            "With these tasks a plan never pays for itself: carrying it out costs no less than doing without."
                .to_owned(),
        );
    }
    let tasks = planning.div_ceil(direct - each).max(1);
    Some(format!(
        "Making the plans has cost {:.6} USD; what each task saves pays for that after {tasks} {}.",
        usd(Some(planning)).unwrap_or_default(),
        if tasks == 1 { "task" } else { "tasks" }
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All succeed, and all but the first use a plan again.
    fn figures(mode: CompareMode, runs: &[(u64, u64, u64)]) -> Figures {
        let outcome = |(line, (nano, planning, ms)): (usize, &(u64, u64, u64))| Outcome {
            line,
            succeeded: true,
            right: Some(line % 2 == 0),
            nano_usd: Some(*nano),
            planning_nano_usd: Some(*planning),
            hit: line > 0,
            ms: *ms,
            used: [(10, 1, 1); 4],
            answer: Value::Null,
            reason: Value::Null,
        };
        Figures::of(mode, runs.iter().enumerate().map(outcome).collect())
    }

    fn direct(nano: u64) -> Figures {
        figures(CompareMode::Direct, &[(nano, 0, 20), (nano, 0, 40)])
    }

    fn cached(first: (u64, u64, u64), second: (u64, u64, u64)) -> Figures {
        figures(CompareMode::PlanCache, &[first, second])
    }

    #[test]
    fn the_break_even_is_said_in_words() {
        let words = in_words(&[direct(1_000), cached((2_100, 2_000, 30), (100, 0, 10))]);
        assert_eq!(
            words[0],
            "plan+cache costs 1.1 times more than direct for each run that succeeded; \
             it is 2.0 times faster than direct; 1 of 2 are right instead of 1."
        );
        assert!(words[1].ends_with("after 3 tasks."), "{}", words[1]);
        let dear = cached((3_000, 1_000, 1), (2_000, 0, 1));
        assert!(in_words(&[direct(1_000), dear])[1].contains("never pays"));
    }

    #[test]
    fn only_plans_that_are_used_again_are_paid_for_once() {
        // What the second has planned although it used a plan again counts with each task.
        let words = break_even(&direct(1_000), &cached((2_100, 2_000, 30), (500, 400, 10))).unwrap();
        assert!(words.contains("0.000002 USD") && words.ends_with("after 3 tasks."), "{words}");
        let words = break_even(&direct(1_000), &cached((2_100, 2_000, 30), (1_900, 1_800, 10)));
        assert!(words.unwrap().contains("never pays"));
        // Two were made, and both are paid for.
        let three = [(2_100, 2_000, 30), (100, 0, 10), (2_100, 2_000, 10)];
        let mut twice = figures(CompareMode::PlanCache, &three);
        twice.outcomes[2].hit = false;
        assert!(break_even(&direct(1_000), &twice).unwrap().ends_with("after 5 tasks."));
        twice.outcomes[1].hit = false;
        assert_eq!(break_even(&direct(1_000), &twice), None);
    }

    #[test]
    fn what_is_free_not_known_or_failed_is_said_so() {
        let of = |nano: u64| cached((nano, 0, 20), (nano, 0, 40));
        for (base, other, words) in [
            (0, 0, "plan+cache costs nothing, and neither does direct; it takes about as long as direct; "),
            (
                1_000,
                0,
                "plan+cache costs nothing, while direct costs 0.000001 USD for each run that succeeded; ",
            ),
            (
                0,
                1_000,
                "plan+cache costs 0.000001 USD for each run that succeeded, while direct costs nothing; ",
            ),
            (1_000, 1_010, "plan+cache costs about as much as direct for each run that succeeded; "),
        ] {
            let said = against(&direct(base), &of(other));
            assert!(said.starts_with(words), "{said}");
        }
        let mut unknown = of(1_000);
        unknown.outcomes[0].nano_usd = None;
        let words = against(&direct(1_000), &unknown);
        assert!(words.starts_with("plan+cache has a cost that is not known; it takes"), "{words}");
        let mut failing = of(1_000);
        failing.outcomes[0].succeeded = false;
        assert_eq!(
            against(&direct(1_000), &failing),
            "plan+cache costs 2.0 times more than direct for each run that succeeded; it is 2.0 times slower \
             than direct; 1/2 runs have succeeded instead of 2/2; 1 of 2 are right instead of 1."
        );
        failing.outcomes[1].succeeded = false;
        assert_eq!(
            against(&direct(1_000), &failing),
            "No run of plan+cache has succeeded, but 2/2 of direct have."
        );
        assert_eq!(break_even(&direct(1_000), &failing), None);
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let ten: Vec<(u64, u64, u64)> = (1..=10).map(|ms| (0, 0, ms)).collect();
        let figures = figures(CompareMode::Plan, &ten);
        assert_eq!((figures.percentile(50), figures.percentile(95), figures.percentile(100)), (5, 10, 10));
    }
}
