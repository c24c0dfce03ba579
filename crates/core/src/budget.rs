//! What is set aside for model calls under way, so that a cap is never passed however
//! many of them there are at once.
//!
//! A [`Book`] belongs to whoever has a cap: a run, a batch, a tenant. Before a call the
//! most that it can use is held; after it, what it did use is spent and the rest is free
//! again. A holder that is never heard of again may have used all that it held: when its
//! time is up, that counts as spent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{task::Budget, usage::NanoUsd};

/// Money and tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Amount {
    /// In nano-USD.
    pub nano_usd: NanoUsd,
    /// Input and output tokens.
    pub tokens: u64,
}

impl Amount {
    /// Nothing.
    pub const NONE: Self = Self { nano_usd: 0, tokens: 0 };

    /// Both, as far as they can be counted.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            nano_usd: self.nano_usd.saturating_add(other.nano_usd),
            tokens: self.tokens.saturating_add(other.tokens),
        }
    }

    /// What is left without `other`; never less than nothing.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self {
            nano_usd: self.nano_usd.saturating_sub(other.nano_usd),
            tokens: self.tokens.saturating_sub(other.tokens),
        }
    }

    const fn lesser(self, other: Self) -> Self {
        Self {
            nano_usd: if self.nano_usd < other.nano_usd { self.nano_usd } else { other.nano_usd },
            tokens: if self.tokens < other.tokens { self.tokens } else { other.tokens },
        }
    }
}

impl Budget {
    /// Whether it limits anything.
    #[must_use]
    pub const fn is_limit(&self) -> bool {
        self.nano_usd.is_some() || self.tokens.is_some()
    }

    /// Whether an amount fits.
    #[must_use]
    pub fn covers(&self, amount: Amount) -> bool {
        self.nano_usd.is_none_or(|max| amount.nano_usd <= max)
            && self.tokens.is_none_or(|max| amount.tokens <= max)
    }

    /// What is left of it without `amount`.
    #[must_use]
    pub fn without(&self, amount: Amount) -> Self {
        Self {
            nano_usd: self.nano_usd.map(|max| max.saturating_sub(amount.nano_usd)),
            tokens: self.tokens.map(|max| max.saturating_sub(amount.tokens)),
        }
    }
}

/// What was spent, and what is held for calls under way. Kept as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Book {
    /// The cap, where nobody brings it along: a batch's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap: Option<Budget>,
    /// By calls that are over.
    pub spent: Amount,
    /// What each process holds for all its calls under way, by its name: a bound on the
    /// book's size is the number of processes that have written it lately.
    held: BTreeMap<String, Hold>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Hold {
    amount: Amount,
    /// When its last call is over for sure, in milliseconds since the Unix epoch, by the clock of
    /// its holder; whoever writes the book next compares it with their own. Clocks that differ by
    /// more than a silence is borne (tens of seconds) give up on the living too early: then their
    /// money counts as spent until they settle, which puts it right, and no cap is passed as long
    /// as calls settle what they have used.
    until_ms: u64,
    /// How often its holder has written the book.
    writes: u64,
}

/// More was asked for than is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Short {
    /// What is neither spent nor held; `None` where there is no limit.
    pub free: Budget,
    /// Whether calls are under way that may leave enough over: then waiting may help.
    pub under_way: bool,
}

impl Book {
    /// Sets `amount` aside for one call of `holder` that is over by `until_ms`.
    ///
    /// # Errors
    /// When less than that is free under `cap`; nothing is set aside then.
    pub fn hold(
        &mut self,
        cap: &Budget,
        holder: &str,
        amount: Amount,
        until_ms: u64,
        now_ms: u64,
    ) -> Result<(), Short> {
        self.close(now_ms);
        let held = self.held();
        let free = cap.without(self.spent.plus(held));
        if !free.covers(amount) {
            // Where even the rest of the cap is too little, no call leaves enough over.
            let under_way = held != Amount::NONE && cap.without(self.spent).covers(amount);
            return Err(Short { free, under_way });
        }
        let hold = self.entry(holder, until_ms);
        hold.amount = hold.amount.plus(amount);
        Ok(())
    }

    fn entry(&mut self, holder: &str, until_ms: u64) -> &mut Hold {
        let none = Hold { amount: Amount::NONE, until_ms, writes: 0 };
        let hold = self.held.entry(holder.to_owned()).or_insert(none);
        hold.until_ms = hold.until_ms.max(until_ms);
        hold
    }

    /// `holder` writes the book once more, and says so until `until_ms`: whether a write
    /// without an answer was done is found by it. Returns its number.
    pub fn sign(&mut self, holder: &str, until_ms: u64) -> u64 {
        let hold = self.entry(holder, until_ms);
        // Numbers go on above those of an entry that was given up on.
        hold.writes = if hold.writes == 0 { until_ms } else { hold.writes + 1 };
        hold.writes
    }

    /// The number of the last write of `holder`, as far as it is remembered.
    #[must_use]
    pub fn signed(&self, holder: &str) -> u64 {
        self.held.get(holder).map_or(0, |hold| hold.writes)
    }

    /// A call of `holder` is over that held `held` and has used `used`, which may be more
    /// where a provider counts otherwise than we do.
    pub fn settle(&mut self, holder: &str, held: Amount, used: Amount) {
        let kept = self.held.get_mut(holder).map_or(Amount::NONE, |hold| {
            let kept = hold.amount.lesser(held);
            hold.amount = hold.amount.minus(kept);
            kept
        });
        // What is not held any more was given up on, and counted as spent.
        self.spent = self.spent.plus(used).minus(held.minus(kept));
    }

    /// The sum of what is held.
    #[must_use]
    pub fn held(&self) -> Amount {
        self.held.values().fold(Amount::NONE, |sum, hold| sum.plus(hold.amount))
    }

    /// Gives up on those whose time is up.
    fn close(&mut self, now_ms: u64) {
        let Self { held, spent, .. } = self;
        held.retain(|_, hold| {
            let over = hold.until_ms <= now_ms;
            if over {
                *spent = spent.plus(hold.amount);
            }
            !over
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAP: Budget = Budget { nano_usd: Some(100), tokens: None };

    const fn usd(nano_usd: u64) -> Amount {
        Amount { nano_usd, tokens: 7 }
    }

    #[test]
    fn what_is_held_cannot_be_held_again_until_it_is_settled() {
        let mut book = Book::default();
        assert_eq!(book.hold(&CAP, "a", usd(60), 1_000, 0), Ok(()));
        let short = Short { free: Budget { nano_usd: Some(40), tokens: None }, under_way: true };
        assert_eq!(book.hold(&CAP, "b", usd(60), 1_000, 0), Err(short));
        book.settle("a", usd(60), usd(10));
        assert_eq!(book.hold(&CAP, "b", usd(90), 1_000, 0), Ok(()));
        book.settle("b", usd(90), usd(90));
        let spent = Short { free: Budget { nano_usd: Some(0), tokens: None }, under_way: false };
        assert_eq!(book.hold(&CAP, "b", usd(1), 1_000, 0), Err(spent));
        assert_eq!((book.spent, book.held()), (Amount { nano_usd: 100, tokens: 14 }, Amount::NONE));
    }

    #[test]
    fn tokens_are_a_limit_of_their_own() {
        let mut book = Book::default();
        let cap = Budget { nano_usd: None, tokens: Some(10) };
        assert_eq!(book.hold(&cap, "a", usd(1_000_000), 1, 0), Ok(()));
        assert!(book.hold(&cap, "a", usd(0), 1, 0).is_err());
        assert!(!Budget::default().is_limit() && cap.is_limit());
    }

    #[test]
    fn whoever_is_not_heard_of_again_has_spent_it_all() {
        let mut book = Book::default();
        assert_eq!(book.hold(&CAP, "dead", usd(60), 1_000, 0), Ok(()));
        assert!(book.hold(&CAP, "b", usd(50), 9_000, 999).is_err());
        assert!(book.hold(&CAP, "b", usd(50), 9_000, 1_000).is_err(), "its money is gone");
        assert_eq!((book.spent.nano_usd, book.held()), (60, Amount::NONE));
        // It was only slow: what it has not used is free again.
        book.settle("dead", usd(60), usd(5));
        assert_eq!(book.spent.nano_usd, 5);
        assert_eq!(book.hold(&CAP, "b", usd(95), 9_000, 1_000), Ok(()));
    }

    #[test]
    fn processes_that_are_long_gone_are_forgotten() {
        let mut book = Book::default();
        for process in 0..100 {
            let (name, now_ms) = (process.to_string(), process * 1_000);
            assert_eq!(book.hold(&CAP, &name, usd(1), now_ms + 999, now_ms), Ok(()));
            book.settle(&name, usd(1), usd(1));
        }
        let kept = serde_json::to_string(&book).unwrap();
        let last = r#""99":{"amount":{"nano_usd":0,"tokens":0},"until_ms":99999,"writes":0}"#;
        assert_eq!(kept, format!(r#"{{"spent":{{"nano_usd":100,"tokens":700}},"held":{{{last}}}}}"#));
        assert_eq!(serde_json::from_str::<Book>(&kept).unwrap(), book);
    }

    #[test]
    fn a_write_is_found_by_its_number() {
        let mut book = Book::default();
        assert_eq!((book.signed("a"), book.sign("a", 100), book.sign("a", 50)), (0, 100, 101));
        book.settle("a", Amount::NONE, Amount::NONE);
        assert_eq!((book.signed("a"), book.signed("b")), (101, 0));
        book.close(100);
        assert_eq!((book.signed("a"), book.sign("a", 200)), (0, 200), "above those before");
    }

    /// Any mix of calls, deaths and late settlements: the cap is never passed by what is
    /// really used, as long as no call uses more than it held.
    #[test]
    fn no_order_of_events_passes_the_cap() {
        for seed in 0..2_000 {
            let mut dice = fastrand::Rng::with_seed(seed);
            let (mut book, mut used, mut under_way, mut now_ms) = (Book::default(), 0, Vec::new(), 0);
            for _ in 0..200 {
                now_ms += dice.u64(0..20);
                if dice.bool() {
                    let (name, amount) = (dice.usize(0..5).to_string(), usd(dice.u64(1..30)));
                    let until_ms = now_ms + dice.u64(1..60);
                    if book.hold(&CAP, &name, amount, until_ms, now_ms).is_ok() {
                        under_way.push((name, amount));
                    }
                } else if !under_way.is_empty() {
                    let (name, amount) = under_way.swap_remove(dice.usize(0..under_way.len()));
                    let real = dice.u64(0..=amount.nano_usd);
                    used += real;
                    // One in four dies before it can say so.
                    if dice.u8(0..4) > 0 {
                        book.settle(&name, amount, usd(real));
                    }
                }
                let possible: u64 = under_way.iter().map(|(_, amount)| amount.nano_usd).sum();
                assert!(used + possible <= 100, "seed {seed}: {used} used and {possible} under way");
            }
        }
    }
}
