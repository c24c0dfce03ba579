//! The interpreter's values as JSON.

use jaq_json::{Num, Val};
use serde_json::{Map, Value};

use crate::builtin::number;

/// Deeper values are refused by JSON parsers further on.
const DEPTH_MAX: usize = 100;

/// Turns outputs into JSON. Values inside the interpreter share their parts, so
/// that a small one may be huge when written out; hence the count as it goes.
pub(super) struct Converter {
    bytes_left: usize,
}

impl Converter {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_left: bytes_max }
    }

    pub(super) fn convert(&mut self, value: &Val) -> Result<Value, String> {
        self.at_depth(value, DEPTH_MAX)
    }

    fn at_depth(&mut self, value: &Val, depth_left: usize) -> Result<Value, String> {
        let depth_left = depth_left
            .checked_sub(1)
            .ok_or_else(|| format!("its output is nested more than {DEPTH_MAX} deep"))?;
        // The least that any value takes, with its comma.
        self.spend(2)?;
        Ok(match value {
            Val::Null => Value::Null,
            Val::Bool(bool) => Value::Bool(*bool),
            Val::Num(num) => number(num),
            Val::BStr(bytes) | Val::TStr(bytes) => Value::String(self.text(bytes)?),
            Val::Arr(items) => {
                items.iter().map(|item| self.at_depth(item, depth_left)).collect::<Result<_, _>>()?
            }
            Val::Obj(entries) => {
                let mut object = Map::new();
                for (key, value) in entries.iter() {
                    object.insert(self.key(key)?, self.at_depth(value, depth_left)?);
                }
                Value::Object(object)
            }
        })
    }

    fn key(&mut self, key: &Val) -> Result<String, String> {
        match key {
            Val::BStr(bytes) | Val::TStr(bytes) => self.text(bytes),
            _ => Err("its output has an object key that is not a string".to_owned()),
        }
    }

    fn text(&mut self, bytes: &[u8]) -> Result<String, String> {
        self.spend(bytes.len())?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    fn spend(&mut self, bytes: usize) -> Result<(), String> {
        self.bytes_left = self
            .bytes_left
            .checked_sub(bytes)
            .ok_or("its output is over the size cap (tools.output_bytes_max); select less")?;
        Ok(())
    }
}

/// As jq prints numbers: what JSON cannot hold is null.
fn number(num: &Num) -> Value {
    let float = |text: &str| text.parse().ok().and_then(number::to_json);
    match num {
        Num::Int(int) => Value::from(*int),
        Num::Float(value) => number::to_json(*value).unwrap_or(Value::Null),
        Num::BigInt(big) => {
            let digits = big.to_string();
            digits.parse::<u64>().ok().map(Value::from).or_else(|| float(&digits)).unwrap_or_default()
        }
        Num::Dec(digits) => float(digits).unwrap_or_default(),
    }
}
