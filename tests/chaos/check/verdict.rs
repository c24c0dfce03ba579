//! What the checker says: per rule how much it looked at and the first thing that
//! is wrong, then the figures.

use std::fmt;

use serde_json::{Value, json};

use super::figures::Figures;

/// One rule at work.
#[derive(Default)]
pub(crate) struct Pass {
    pub(super) checked: u64,
    /// The earliest thing that is wrong, and how many there are.
    pub(super) first: Option<(First, u64)>,
}

pub(super) struct First {
    pub(super) run: Option<usize>,
    pub(super) at_ms: u64,
    pub(super) text: String,
}

impl Pass {
    /// Counts one thing that was looked at; where it is not `ok`, `text` says what
    /// is wrong at `at_ms` with `run`, a position in the index.
    pub(super) fn check(
        &mut self,
        ok: bool,
        run: impl Into<Option<usize>>,
        at_ms: u64,
        text: impl FnOnce() -> String,
    ) {
        self.checked += 1;
        if ok {
            return;
        }
        let bad = self.first.as_ref().map_or(0, |(_, bad)| *bad) + 1;
        let kept = self.first.take().map(|(first, _)| first).filter(|first| first.at_ms <= at_ms);
        let first = kept.unwrap_or_else(|| First { run: run.into(), at_ms, text: text() });
        self.first = Some((first, bad));
    }
}

/// The first thing that breaks a rule.
#[derive(Debug)]
pub(crate) struct Finding {
    /// What is wrong.
    pub(crate) text: String,
    /// How many other things are wrong by the same rule.
    pub(crate) more: u64,
    /// What happened around it, a line each.
    pub(crate) story: Vec<String>,
}

/// One rule's result.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) rule: &'static str,
    /// How many things it looked at.
    pub(crate) checked: u64,
    pub(crate) finding: Option<Finding>,
}

/// The whole judgement.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) rules: Vec<Judged>,
    pub(crate) figures: Figures,
}

impl Verdict {
    pub(super) fn new(passes: Vec<(&'static str, u64, Option<Finding>)>, figures: Figures) -> Self {
        let rules = passes.into_iter().map(|(rule, checked, finding)| Judged { rule, checked, finding });
        Self { rules: rules.collect(), figures }
    }

    /// Whether every rule holds.
    pub(crate) fn is_good(&self) -> bool {
        self.rules.iter().all(|judged| judged.finding.is_none())
    }

    /// The rules that are broken.
    pub(crate) fn broken(&self) -> Vec<&'static str> {
        self.rules.iter().filter(|judged| judged.finding.is_some()).map(|judged| judged.rule).collect()
    }

    /// The rules that had nothing to look at, and so say nothing.
    pub(crate) fn idle(&self) -> Vec<&'static str> {
        self.rules.iter().filter(|judged| judged.checked == 0).map(|judged| judged.rule).collect()
    }

    /// The same for programs.
    pub(crate) fn json(&self) -> Value {
        let rule = |judged: &Judged| {
            let finding = judged
                .finding
                .as_ref()
                .map(|finding| json!({"text": finding.text, "more": finding.more, "story": finding.story}));
            json!({"rule": judged.rule, "checked": judged.checked, "finding": finding})
        };
        json!({
            "good": self.is_good(),
            "rules": self.rules.iter().map(rule).collect::<Vec<_>>(),
            "figures": self.figures.json(),
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Judged { rule, checked, finding } in &self.rules {
            let counted =
                if *checked == 0 { "nothing to check".to_owned() } else { format!("checked {checked}") };
            let Some(finding) = finding else {
                let ok = if *checked == 0 { "" } else { ", ok" };
                writeln!(f, "  {rule:<28} {counted}{ok}")?;
                continue;
            };
            writeln!(f, "  {rule:<28} {counted}, BROKEN: {}", finding.text)?;
            for line in &finding.story {
                writeln!(f, "      {line}")?;
            }
            if finding.more > 0 {
                writeln!(f, "      and {} more like it", finding.more)?;
            }
        }
        write!(f, "{}", self.figures)
    }
}
