//! Success criteria as a plan has them, and outputs that are checked.

use planfleet_core::{
    criteria::Check,
    json,
    plan::{Criterion, CriterionKind},
};
use serde_json::{Value, json};

/// The first line is a criterion's kind, the second its argument, the rest an output.
pub fn criterion(bytes: &[u8]) {
    let text = super::text(bytes);
    let mut lines = text.splitn(3, '\n');
    let (kind, arg) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let output = lines.next().unwrap_or_default();
    let output = json::parse_strict(output).unwrap_or_else(|_| output.into());
    let Ok(criterion) = serde_json::from_value::<Criterion>(json!({"kind": kind, "arg": arg})) else {
        assert!(CriterionKind::ALL.iter().all(|known| known.as_str() != kind), "{kind} is not read");
        return;
    };
    checked(&criterion, &output);
}

/// Whatever can be compiled gives a verdict on anything.
pub fn checked(criterion: &Criterion, output: &Value) {
    let check = match Check::compile(criterion) {
        Ok(check) => check,
        Err(error) => {
            assert!(error.to_string().starts_with("criterion "), "{error}");
            return;
        }
    };
    let verdict = check.check(output);
    assert_eq!(verdict, check.check(output), "a second look sees something else");
    if let Err(unmet) = &verdict {
        assert!(!unmet.criterion.is_empty() && !unmet.expected.is_empty());
    }
    assert_eq!(check.question().is_some(), criterion.kind == CriterionKind::Judge);
    sound(criterion, &check, output, verdict.is_ok());
}

/// The verdict is the one that the criterion's words ask for.
fn sound(criterion: &Criterion, check: &Check<'_>, output: &Value, met: bool) {
    let (arg, text) = (&criterion.arg, json::plain_text(output));
    let passes = |value: Value| check.check(&value).is_ok();
    match criterion.kind {
        CriterionKind::Contains => assert_eq!(met, text.contains(arg)),
        CriterionKind::NotContains => assert_eq!(met, !text.contains(arg)),
        CriterionKind::Equals => {
            assert!(passes(arg.clone().into()), "a text is not equal to itself");
            let value = json::parse_strict(arg);
            assert!(value.is_err() || passes(value.unwrap()), "a value is not equal to itself");
        }
        CriterionKind::Range => {
            let (low, high) = arg.split_once("..").expect("a range has two ends");
            assert!(passes(low.into()) && passes(high.into()), "both ends belong to a range");
        }
        CriterionKind::MinLength => {
            let least = length(arg);
            assert!(least > LENGTH_MAX || passes("ü".repeat(least).into()), "{least} characters are too few");
        }
        CriterionKind::MaxLength => assert!(passes("".into()), "nothing is too long"),
        CriterionKind::Judge => assert!(met, "only a judge can refuse"),
        CriterionKind::JsonSchema | CriterionKind::Matches => {}
    }
}

/// Longer texts are not worth making.
const LENGTH_MAX: usize = 1 << 12;

fn length(arg: &str) -> usize {
    arg.trim().parse().expect("a length is a whole number")
}
