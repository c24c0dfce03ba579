//! Which rule answers a request. Counts per rule how often it matched and how often it answered.

use std::sync::{Mutex, PoisonError};

use crate::request::Asked;
use crate::script::{Rule, When};

#[derive(Debug)]
pub(crate) struct Counters(Mutex<Vec<Count>>);

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    matched: u64,
    answered: u64,
}

impl Counters {
    pub(crate) fn new(rules: usize) -> Self {
        Self(Mutex::new(vec![Count::default(); rules]))
    }

    /// The first rule that applies. A rule that matches but may not answer (its `nth` is another
    /// one, its `times` are used up) has still matched once more.
    pub(crate) fn choose(&self, rules: &[Rule], asked: &Asked) -> Option<usize> {
        for (index, rule) in rules.iter().enumerate().filter(|(_, rule)| holds(&rule.when, asked)) {
            // The texts are compared without the lock.
            let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.get_mut(index)?;
            count.matched += 1;
            let its_turn = rule.when.nth.is_none_or(|nth| nth == count.matched);
            if its_turn && rule.times.is_none_or(|times| count.answered < times) {
                count.answered += 1;
                return Some(index);
            }
        }
        None
    }
}

pub(crate) fn holds(when: &When, asked: &Asked) -> bool {
    let occurs = |text: &String| asked.text.contains(text.as_str());
    when.model.as_ref().is_none_or(|model| *model == asked.model)
        && when.schema.as_ref().is_none_or(|name| Some(name) == asked.schema.as_ref())
        && when.contains.iter().all(occurs)
        && !when.not_contains.iter().any(occurs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choices(rules: &[Rule], texts: &[&str]) -> Vec<Option<usize>> {
        let counters = Counters::new(rules.len());
        let ask = |text: &&str| {
            let asked = Asked { text: (*text).to_owned(), ..Asked::default() };
            counters.choose(rules, &asked)
        };
        texts.iter().map(ask).collect()
    }

    #[test]
    fn the_first_rule_that_applies_answers() {
        let rules = [Rule::text("x").when("a").when_not("b"), Rule::text("x").when("a")];
        assert_eq!(choices(&rules, &["a", "ab", "b"]), [Some(0), Some(1), None]);
    }

    #[test]
    fn nth_counts_matches_and_times_counts_answers() {
        let rules = [Rule::text("x").when("a").nth(2), Rule::text("x").times(2), Rule::text("x").when("a")];
        assert_eq!(
            choices(&rules, &["a", "b", "a", "a", "b", "a"]),
            [Some(1), Some(1), Some(0), Some(2), None, Some(2)]
        );
    }
}
