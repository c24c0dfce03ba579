//! Tokens and money: the provider's own token figures, and integers of nano-USD.

use serde::{Deserialize, Serialize};

/// Billionths of a US dollar. Integers, so that sums are exact.
pub type NanoUsd = u64;

/// What model calls used. Token counts are the provider's own figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// How many model calls were made, failed ones included.
    pub calls: u64,
    /// All input tokens, cached ones included.
    pub input_tokens: u64,
    /// Output tokens, reasoning included.
    pub output_tokens: u64,
    /// The part of the input that the provider read from its cache.
    pub cached_tokens: u64,
    /// What it cost; `None` when any call's price was unknown, never 0 in its place.
    pub nano_usd: Option<NanoUsd>,
}

impl Usage {
    /// Nothing used, at a known cost of nothing.
    pub const NONE: Self =
        Self { calls: 0, input_tokens: 0, output_tokens: 0, cached_tokens: 0, nano_usd: Some(0) };

    /// Adds `other`. An unknown cost makes the sum unknown.
    pub fn add(&mut self, other: &Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cached_tokens = self.cached_tokens.saturating_add(other.cached_tokens);
        self.nano_usd = match (self.nano_usd, other.nano_usd) {
            (Some(a), Some(b)) => Some(a.saturating_add(b)),
            _ => None,
        };
    }

    /// What is left without `part`, which is a part of it. Its cost is unknown where the
    /// whole is and the part is not.
    const fn without(&self, part: &Self) -> Self {
        Self {
            calls: self.calls.saturating_sub(part.calls),
            input_tokens: self.input_tokens.saturating_sub(part.input_tokens),
            output_tokens: self.output_tokens.saturating_sub(part.output_tokens),
            cached_tokens: self.cached_tokens.saturating_sub(part.cached_tokens),
            nano_usd: match (self.nano_usd, part.nano_usd) {
                (Some(whole), Some(part)) => Some(whole.saturating_sub(part)),
                (None, Some(_)) => None,
                (_, None) => Some(0),
            },
        }
    }

    /// All tokens, input and output.
    #[must_use]
    pub const fn tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }
}

/// The account that a model call is charged to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Account {
    /// Planning and replanning.
    Planner,
    /// Carrying steps out.
    Executor,
    /// Judging outputs.
    Judge,
    /// Deciding whether a task needs a plan.
    Triage,
}

impl Account {
    /// The account's name in JSON and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Planner => "planner",
            Self::Executor => "executor",
            Self::Judge => "judge",
            Self::Triage => "triage",
        }
    }
}

/// What was used of one model on one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// The account.
    pub account: Account,
    /// The model's name in the configuration; empty when no model was reached.
    pub model: String,
    /// What was used.
    pub usage: Usage,
}

impl Charge {
    /// One charge.
    #[must_use]
    pub fn new(account: Account, model: &str, usage: Usage) -> Self {
        Self { account, model: model.to_owned(), usage }
    }

    /// Adds a charge to others: what was used of one model on one account is one of them.
    pub fn add_to(charges: &mut Vec<Self>, account: Account, model: &str, usage: &Usage) {
        match charges.iter_mut().find(|known| known.account == account && known.model == model) {
            Some(known) => known.usage.add(usage),
            None => charges.push(Self::new(account, model, *usage)),
        }
    }

    /// The sum of all charges.
    #[must_use]
    pub fn sum(charges: &[Self]) -> Usage {
        let mut sum = Usage::NONE;
        charges.iter().for_each(|charge| sum.add(&charge.usage));
        sum
    }
}

/// Usage by account: one ledger a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    /// Planning and replanning.
    pub planner: Usage,
    /// Carrying steps out.
    pub executor: Usage,
    /// Judging outputs.
    pub judge: Usage,
    /// Deciding whether a task needs a plan.
    pub triage: Usage,
    /// The same by model and account, in the order of their first use.
    pub models: Vec<Charge>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            planner: Usage::NONE,
            executor: Usage::NONE,
            judge: Usage::NONE,
            triage: Usage::NONE,
            models: Vec::new(),
        }
    }
}

impl Ledger {
    /// Takes up a charge.
    pub fn charge(&mut self, charge: &Charge) {
        let Charge { account, model, usage } = charge;
        match account {
            Account::Planner => self.planner.add(usage),
            Account::Executor => self.executor.add(usage),
            Account::Judge => self.judge.add(usage),
            Account::Triage => self.triage.add(usage),
        }
        if !model.is_empty() {
            Charge::add_to(&mut self.models, *account, model, usage);
        }
    }

    /// Everything that was charged, each once: by model and account, and by account alone
    /// where no model was reached.
    #[must_use]
    pub fn charges(&self) -> Vec<Charge> {
        let mut charges = self.models.clone();
        for (account, total) in [
            (Account::Planner, &self.planner),
            (Account::Executor, &self.executor),
            (Account::Judge, &self.judge),
            (Account::Triage, &self.triage),
        ] {
            let of_models = self.models.iter().filter(|charge| charge.account == account);
            let rest = total.without(&Charge::sum(&of_models.cloned().collect::<Vec<_>>()));
            if rest != Usage::NONE {
                charges.push(Charge::new(account, "", rest));
            }
        }
        charges
    }

    /// The sum over all accounts.
    #[must_use]
    pub fn total(&self) -> Usage {
        let mut total = Usage::NONE;
        for usage in [&self.planner, &self.executor, &self.judge, &self.triage] {
            total.add(usage);
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_price_stays_unknown() {
        let mut ledger = Ledger::default();
        let charge = |account, nano_usd| {
            let usage = Usage { calls: 1, nano_usd, ..Usage::NONE };
            Charge::new(account, "m", usage)
        };
        ledger.charge(&charge(Account::Executor, None));
        ledger.charge(&charge(Account::Planner, Some(5)));
        assert_eq!(ledger.planner.nano_usd, Some(5));
        assert_eq!(ledger.total().nano_usd, None);
        assert_eq!(ledger.total().calls, 2);
    }

    #[test]
    fn one_model_on_one_account_is_one_charge() {
        let mut ledger = Ledger::default();
        let usage = Usage { calls: 1, nano_usd: Some(2), ..Usage::NONE };
        for (account, model) in [
            (Account::Executor, "small"),
            (Account::Executor, "big"),
            (Account::Executor, "small"),
            (Account::Judge, "small"),
        ] {
            ledger.charge(&Charge::new(account, model, usage));
        }
        let shown: Vec<_> =
            ledger.models.iter().map(|c| (c.account, c.model.as_str(), c.usage.calls)).collect();
        assert_eq!(
            shown,
            [(Account::Executor, "small", 2), (Account::Executor, "big", 1), (Account::Judge, "small", 1)]
        );
        assert_eq!(Charge::sum(&ledger.models), ledger.total());
    }
}
