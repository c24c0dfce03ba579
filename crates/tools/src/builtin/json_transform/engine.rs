//! jq itself: the jaq interpreter with a library that touches nothing outside.

use std::panic::{AssertUnwindSafe, catch_unwind};

use jaq_core::load::parse::Def;
use jaq_core::load::{Arena, File, Loader};
use jaq_core::native::{Fun, bome, run as native, v};
use jaq_core::{Compiler, Ctx, Error, Exn, Filter, Vars, compile, load, unwrap_valr};
use jaq_json::{Num, Rc, Val};
use planfleet_core::failure::trim_chars;
use serde::Deserialize as _;
use serde_json::Value;

use super::budget::{Budget, Meter, Metered, Stop};
use super::convert::Converter;
use super::rewrite;

/// A step's output is one value with all of these in it; a longer list belongs
/// into one array.
const OUTPUTS_MAX: usize = 10_000;

/// An error may quote the value that it is about.
const ERROR_CHARS_MAX: usize = 500;

/// Functions that read the environment or the clock, write to the log or end
/// the program, and two that are bounded by replacements of ours.
const LEFT_OUT_FUNCTIONS: [&str; 9] = [
    "env",
    "now",
    "localtime",
    "strflocaltime",
    "halt",
    "debug_empty",
    "stderr_empty",
    // see [`bounded_range`] and [`bounded_fromjson`]
    "range",
    "fromjson",
];

/// What the program is called in what is run, which is no more than a call of it.
const PROGRAM: &str = "program";

/// Definitions on top of those.
const LEFT_OUT_DEFINITIONS: [&str; 4] = ["debug", "stderr", "halt", "halt_error"];

/// Runs the filter to its end or to a bound.
pub(super) fn run(
    filter: &str,
    input: Value,
    budget: &Budget,
    bytes_max: usize,
) -> Result<Vec<Value>, String> {
    catch_unwind(AssertUnwindSafe(|| run_unguarded(filter, input, budget, bytes_max))).unwrap_or_else(
        |payload| match payload.downcast_ref::<Stop>() {
            Some(stop) => Err(stop.to_string()),
            None => Err("the interpreter panicked (a bug in it)".to_owned()),
        },
    )
}

fn run_unguarded(
    filter: &str,
    input: Value,
    budget: &Budget,
    bytes_max: usize,
) -> Result<Vec<Value>, String> {
    let program = compile(filter)?;
    let input = Val::deserialize(input).map_err(|error| error.to_string())?;
    let meter = Meter { code: &program.lut, budget };
    let context = Ctx::<Metered>::new(meter, Vars::new([]));
    let mut converter = Converter::new(bytes_max);
    let mut values = Vec::new();
    for output in program.id.run((context, input)).map(unwrap_valr) {
        budget.step();
        let output = output.map_err(|error| trim_chars(&error.to_string(), ERROR_CHARS_MAX))?;
        if values.len() == OUTPUTS_MAX {
            return Err(format!("it has more than {OUTPUTS_MAX} outputs; collect them: [ ... ]"));
        }
        values.push(converter.convert(&output)?);
    }
    Ok(values)
}

fn compile(filter: &str) -> Result<Filter<Metered>, String> {
    let arena = Arena::default();
    let given = Loader::new([])
        .load(&arena, File { code: filter, path: () })
        .map_err(|errors| load_errors(&errors))?;
    load::import(&given, |_| Err("loading data is not supported".to_owned()))
        .map_err(|errors| load_errors(&errors))?;
    let body = load::parse(filter, |parser| parser.term())
        .ok_or("it is no plain filter; leave out `module`, `import` and `include`")?;
    let definitions = jaq_core::defs()
        .chain(jaq_std::defs())
        .chain(jaq_json::defs())
        .filter(|definition| !LEFT_OUT_DEFINITIONS.contains(&definition.name))
        .map(|definition| rewrite::definition(definition))
        .chain([rewrite::definition(Def { name: PROGRAM, args: Vec::new(), body })]);
    let modules = Loader::new(definitions)
        .load(&arena, File { code: PROGRAM, path: () })
        .map_err(|errors| load_errors(&errors))?;
    Compiler::default().with_funs(functions()).compile(modules).map_err(|errors| {
        errors.iter().flat_map(|(_, errors)| errors).map(undefined).collect::<Vec<_>>().join("; ")
    })
}

fn functions() -> impl Iterator<Item = Fun<Metered>> {
    jaq_core::funs()
        .chain(jaq_std::funs())
        .chain(jaq_json::funs())
        .filter(|(name, ..)| !LEFT_OUT_FUNCTIONS.contains(name))
        .chain([bounded_range(), bounded_fromjson(), bounded_multiply(), bounded_add()])
}

/// The library's own `range` yields without evaluating anything, so that
/// `[range(1e12)]` could not be stopped. This one counts each element.
fn bounded_range() -> Fun<Metered> {
    native(("range", v(3), |mut cv| {
        let (by, to, from) = (cv.0.pop_var(), cv.0.pop_var(), cv.0.pop_var());
        let meter = cv.0.data().clone();
        let zero = Val::from(0_isize);
        let mut next = Some(from);
        Box::new(std::iter::from_fn(move || {
            let current = next.take()?;
            let is_inside = if by > zero {
                current < to
            } else if by < zero {
                current > to
            } else {
                current != to
            };
            if !is_inside {
                return None;
            }
            meter.budget.step();
            match current.clone() + by.clone() {
                Ok(following) => next = Some(following),
                Err(error) => return Some(Err(Exn::from(error))),
            }
            Some(Ok(current))
        }))
    }))
}

/// The library's own `fromjson` recurses as deep as its text is nested, which
/// would overflow any stack; serde_json's stops.
fn bounded_fromjson() -> Fun<Metered> {
    native(("fromjson", v(0), |cv| {
        let parsed = cv.1.try_as_utf8_bytes_owned().and_then(|text| {
            serde_json::from_slice::<Val>(&text)
                .map_err(|error| Error::str(format_args!("cannot parse as JSON: {error}")))
        });
        bome(parsed)
    }))
}

/// The operator's own `"x" * 10000000000` would take all memory at once.
fn bounded_multiply() -> Fun<Metered> {
    native((rewrite::MULTIPLY, v(2), |mut cv| {
        let (right, left) = (cv.0.pop_var(), cv.0.pop_var());
        cv.0.data().budget.make(match (&left, &right) {
            (Val::BStr(text) | Val::TStr(text), Val::Num(number))
            | (Val::Num(number), Val::BStr(text) | Val::TStr(text)) => {
                text.len().saturating_mul(times(number))
            }
            _ => 0,
        });
        bome(left * right)
    }))
}

fn times(number: &Num) -> usize {
    match number {
        Num::Int(times) => usize::try_from(*times).unwrap_or(0),
        Num::BigInt(_) => usize::MAX,
        // An error, which is the operator's to give.
        Num::Float(_) | Num::Dec(_) => 0,
    }
}

/// Doubling comes to as much within forty steps. What is on the left is copied where others
/// have it too.
fn bounded_add() -> Fun<Metered> {
    native((rewrite::ADD, v(2), |mut cv| {
        let (right, left) = (cv.0.pop_var(), cv.0.pop_var());
        cv.0.data().budget.make(match &right {
            Val::BStr(text) | Val::TStr(text) => text.len(),
            Val::Arr(items) => size_of::<Val>() * items.len(),
            _ => 0,
        });
        cv.0.data().budget.copy(match &left {
            Val::BStr(text) | Val::TStr(text) if !text.is_unique() => text.len(),
            Val::Arr(items) if Rc::strong_count(items) > 1 => size_of::<Val>() * items.len(),
            _ => 0,
        });
        bome(left + right)
    }))
}

fn load_errors(errors: &load::Errors<&str, ()>) -> String {
    let texts: Vec<_> = errors.iter().flat_map(|(_, error)| load_error(error)).collect();
    texts.join("; ")
}

fn load_error(error: &load::Error<&str>) -> Vec<String> {
    match error {
        load::Error::Io(errors) => errors.iter().map(|(_, error)| error.clone()).collect(),
        load::Error::Lex(errors) => {
            errors.iter().map(|(expected, found)| unexpected(expected.as_str(), found)).collect()
        }
        load::Error::Parse(errors) => {
            errors.iter().map(|(expected, found)| unexpected(expected.as_str(), found)).collect()
        }
    }
}

fn unexpected(expected: &str, found: &str) -> String {
    match found {
        "" => format!("expected {expected} at its end"),
        found => format!("expected {expected} before `{}`", trim_chars(found, 40)),
    }
}

fn undefined((name, what): &compile::Error<&str>) -> String {
    format!("there is no {} `{name}` here", what.as_str())
}
