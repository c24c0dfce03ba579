//! Chance that can be repeated: what befalls a request follows from the seed, from what it says
//! and from how often that was said before, never from a clock or the order of arrival.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, PoisonError};

/// Bodies that are remembered: a long load test's, at some 16 bytes each. Beyond that counting
/// begins anew, which only costs that a repeated request may meet its fault once more.
const BODIES_MAX: usize = 1 << 20;

#[derive(Debug)]
pub(crate) struct Chances {
    seed: u64,
    seen: Mutex<HashMap<u64, u32>>,
}

impl Chances {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, seen: Mutex::default() }
    }

    /// The chance of this request. Equal requests are counted: a repeated one has its own.
    pub(crate) fn of(&self, body: &[u8]) -> Chance {
        let content = Meter::of(body).hash;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= BODIES_MAX && !seen.contains_key(&content) {
            seen.clear();
        }
        let count = seen.entry(content).or_default();
        *count = count.wrapping_add(1);
        Chance(mix(self.seed ^ mix(content ^ mix(u64::from(*count)))))
    }
}

/// What chance has for one request, as often as it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chance(u64);

impl Chance {
    /// From 0 to just below 1, for whether something goes wrong.
    pub(crate) fn of_fault(self) -> f64 {
        self.fraction(1)
    }

    /// From 0 to just below 1, for how long it takes.
    pub(crate) fn of_jitter(self) -> f64 {
        self.fraction(2)
    }

    /// The upper 53 bits, which an `f64` holds exactly.
    fn fraction(self, purpose: u64) -> f64 {
        (mix(self.0 ^ mix(purpose)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Counts and hashes what is written to it (FNV-1a, 64 bits: short, and the same on every machine).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meter {
    pub(crate) hash: u64,
    pub(crate) bytes: u64,
}

impl Meter {
    pub(crate) const EMPTY: Self = Self { hash: 0xcbf2_9ce4_8422_2325, bytes: 0 };

    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut meter = Self::EMPTY;
        meter.push(bytes);
        meter
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.separate(bytes);
    }

    /// Hashes without counting.
    pub(crate) fn separate(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// A JSON value as compact text, without writing it down.
    pub(crate) fn push_json(&mut self, value: &serde_json::Value) {
        // Neither a value nor a meter can fail.
        let _ = serde_json::to_writer(self, value);
    }
}

impl io::Write for Meter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The finaliser of splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", 2014).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies() -> Vec<String> {
        (0..20_000).map(|number| format!("{{\"number\": {number}}}")).collect()
    }

    #[test]
    fn chance_does_not_depend_on_the_order_of_arrival() {
        let (forth, back) = (Chances::new(7), Chances::new(7));
        let first: Vec<Chance> = bodies().iter().map(|body| forth.of(body.as_bytes())).collect();
        let mut second: Vec<Chance> = bodies().iter().rev().map(|body| back.of(body.as_bytes())).collect();
        second.reverse();
        assert_eq!(first, second);
        assert_ne!(first[0], forth.of(bodies()[0].as_bytes()), "a repetition has a chance of its own");
        assert_ne!(first[0], Chances::new(8).of(bodies()[0].as_bytes()));
    }

    #[test]
    fn chance_is_even() {
        let chances = Chances::new(1);
        let points: Vec<f64> = bodies().iter().map(|body| chances.of(body.as_bytes()).of_fault()).collect();
        for tenth in 0..10 {
            let low = f64::from(tenth) / 10.0;
            let share = points.iter().filter(|point| (low..low + 0.1).contains(*point)).count();
            // 2,000 expected; the standard deviation is 42.
            assert!((1_800..=2_200).contains(&share), "{share} from {low}");
        }
    }
}
