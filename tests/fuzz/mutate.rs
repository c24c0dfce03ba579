//! Inputs made from others: bytes flipped, cut, doubled and spliced; JSON and
//! logs also by their parts, since most changes to their bytes only break them.

use fastrand::Rng;
use serde_json::{Value, json};

/// Longer inputs take time and show nothing that shorter ones do not.
const BYTES_MAX: usize = 1 << 14;

/// What is worth writing somewhere.
const TOKENS: &[&[u8]] = &[
    b"0",
    b"-1",
    b"1e308",
    b"4294967295",
    b"4294967296",
    b"18446744073709551615",
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"null",
    b"~0",
    b"~1",
    b"/",
    b".",
    b"..",
    b"-",
    b"+1",
    b"01",
    b"\n",
    b"\xff",
    b"\xff\xff\xff\xff\x0f",
    b"\x80",
    "ü".as_bytes(),
    "\u{1f680}".as_bytes(),
    b"\\ud800",
    b"(",
    b"*",
    b"{9999}",
];

/// Makes inputs for ever, the same for the same seed.
pub(crate) struct Mutator<'s> {
    rng: Rng,
    seeds: &'s [Vec<u8>],
    /// Parts of the seeds that are JSON, to put in other places.
    values: Vec<Value>,
}

impl<'s> Mutator<'s> {
    pub(crate) fn new(seed: u64, seeds: &'s [Vec<u8>]) -> Self {
        let mut values = vec![
            json!(null),
            json!(0),
            json!(-1),
            json!(1.5),
            json!(u32::MAX),
            json!(u64::MAX),
            json!(""),
            json!("/"),
            json!("/x/0"),
            json!([]),
            json!({}),
            json!(true),
        ];
        for seed in seeds {
            if let Ok(value) = serde_json::from_slice(seed) {
                parts(&value, &mut values);
            }
        }
        Self { rng: Rng::with_seed(seed), seeds, values }
    }

    pub(crate) fn next(&mut self) -> Vec<u8> {
        let mut bytes = self.seed();
        for _ in 0..self.rng.usize(1..5) {
            bytes = match self.rng.u8(..8) {
                0..3 => self.json(bytes),
                3..5 => self.frames(bytes),
                _ => self.bytes(bytes),
            };
            bytes.truncate(BYTES_MAX);
        }
        bytes
    }

    fn seed(&mut self) -> Vec<u8> {
        self.seeds[self.rng.usize(..self.seeds.len())].clone()
    }

    fn place(&mut self, length: usize) -> usize {
        self.rng.usize(..=length)
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let from = self.place(length);
        // Mostly short ones.
        let most = if self.rng.u8(..4) == 0 { length } else { 16 };
        from..length.min(from + self.rng.usize(..=most))
    }

    fn bytes(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        let at = self.place(bytes.len());
        let range = self.range(bytes.len());
        match self.rng.u8(..8) {
            0 => bytes.truncate(at),
            1 => {
                bytes.drain(range);
            }
            2 => {
                let copy = bytes[range].to_vec();
                bytes.splice(at..at, copy);
            }
            3 => {
                let token = TOKENS[self.rng.usize(..TOKENS.len())];
                bytes.splice(range, token.iter().copied());
            }
            4 => {
                let other = self.seed();
                let from = self.place(other.len());
                bytes.splice(at.., other[from..].iter().copied());
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << self.rng.u8(..8);
                }
            }
        }
        bytes
    }

    /// Another value somewhere in a document, or a part of it gone or twice.
    fn json(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        let Ok(mut value) = serde_json::from_slice::<Value>(&bytes) else { return self.bytes(bytes) };
        let mut count = 0;
        visit(&mut value, &mut |_| count += 1);
        let (chosen, mut at) = (self.rng.usize(..count), 0);
        visit(&mut value, &mut |node| {
            if at == chosen {
                self.change(node);
            }
            at += 1;
        });
        value.to_string().into_bytes()
    }

    fn change(&mut self, node: &mut Value) {
        let other = self.values[self.rng.usize(..self.values.len())].clone();
        match node {
            Value::Array(items) if self.rng.u8(..4) > 0 && !items.is_empty() => {
                let at = self.rng.usize(..items.len());
                match self.rng.u8(..4) {
                    0 => drop(items.remove(at)),
                    1 => items.insert(at, items[at].clone()),
                    2 => items.swap(at, 0),
                    _ => items.insert(at, other),
                }
            }
            Value::Object(object) if self.rng.u8(..4) > 0 && !object.is_empty() => {
                let key = object.keys().nth(self.rng.usize(..object.len())).cloned().unwrap_or_default();
                match self.rng.u8(..3) {
                    0 => drop(object.remove(&key)),
                    1 => drop(object.insert(key, other)),
                    _ => drop(object.insert(format!("{key}~/"), other)),
                }
            }
            Value::Number(number) if self.rng.bool() => {
                let near = number.as_u64().unwrap_or_default();
                *node = near.wrapping_add(self.rng.u64(..5)).wrapping_sub(2).into();
            }
            _ => *node = other,
        }
    }

    /// The records of a log in another order, one gone, one twice, one changed.
    fn frames(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        let mut frames = split(&bytes);
        let other = split(&self.seeds[self.rng.usize(..self.seeds.len())]);
        if frames.len() < 2 || other.len() < 2 {
            return self.bytes(bytes);
        }
        let (at, to) = (self.rng.usize(..frames.len()), self.rng.usize(..frames.len()));
        match self.rng.u8(..6) {
            0 => drop(frames.remove(at)),
            1 => frames.swap(at, to),
            2 => frames.insert(to, frames[at].clone()),
            3 => frames.insert(at, other[self.rng.usize(..other.len())].clone()),
            4 => frames.truncate(at + 1),
            _ => {
                let frame = std::mem::take(&mut frames[at]);
                frames[at] = self.bytes(frame);
            }
        }
        frames.iter().flat_map(|frame| joined(frame)).collect()
    }
}

/// The records of a log, each with the byte before it; see `targets::records`.
fn split(bytes: &[u8]) -> Vec<Vec<u8>> {
    let (mut frames, mut rest) = (Vec::new(), bytes);
    while let [low, high, tail @ ..] = rest {
        let length = usize::from(u16::from_le_bytes([*low, *high])) + 1;
        if length > tail.len() {
            return Vec::new();
        }
        let (frame, tail) = tail.split_at(length);
        frames.push(frame.to_vec());
        rest = tail;
    }
    frames
}

fn joined(frame: &[u8]) -> Vec<u8> {
    let length = u16::try_from(frame.len().saturating_sub(1)).unwrap_or(u16::MAX);
    [&length.to_le_bytes(), frame].concat()
}

fn parts(value: &Value, into: &mut Vec<Value>) {
    into.push(value.clone());
    match value {
        Value::Array(items) => items.iter().for_each(|item| parts(item, into)),
        Value::Object(object) => object.values().for_each(|value| parts(value, into)),
        _ => {}
    }
}

fn visit(value: &mut Value, with: &mut impl FnMut(&mut Value)) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| visit(item, with)),
        Value::Object(object) => object.values_mut().for_each(|value| visit(value, with)),
        _ => {}
    }
    with(value);
}
