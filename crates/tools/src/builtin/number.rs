//! Floats as JSON numbers.

use serde_json::Value;

/// Whole numbers up to here are exact in a float.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// A float as the number that people would write: `6/2` is `3`, not `3.0`, so
/// that texts and `equals` criteria made from it read as expected. `None` for
/// what JSON cannot hold (infinities, NaN).
pub(crate) fn to_json(float: f64) -> Option<Value> {
    if float.fract() == 0.0 && float.abs() <= EXACT_MAX {
        return Some(Value::from(float as i64));
    }
    serde_json::Number::from_f64(float).map(Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn whole_numbers_have_no_fraction() {
        assert_eq!(to_json(3.0).unwrap().to_string(), "3");
        assert_eq!(to_json(-0.0).unwrap().to_string(), "0");
        assert_eq!(to_json(0.5), Some(json!(0.5)));
        assert_eq!(to_json(1e300), Some(json!(1e300)));
        assert_eq!(to_json(f64::NAN), None);
        assert_eq!(to_json(f64::INFINITY), None);
    }
}
