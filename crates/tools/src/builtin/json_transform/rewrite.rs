//! A program with its operators as calls, which ours can answer.
//!
//! The interpreter takes `+` and `*` for itself, where functions can be given by the host. What
//! these two make may be larger than all memory, so each becomes a call of a function whose name
//! is the operator, which no program can spell.

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Def, Pattern, Term};
use jaq_core::ops::Math;
use jaq_core::path::{Part, Path};

pub(super) const ADD: &str = "+";
pub(super) const MULTIPLY: &str = "*";

/// The right side of an update such as `.a *= 2`.
const OPERAND: &str = "$*";

const fn function(operator: Math) -> Option<&'static str> {
    match operator {
        Math::Add => Some(ADD),
        Math::Mul => Some(MULTIPLY),
        Math::Sub | Math::Div | Math::Rem => None,
    }
}

pub(super) fn definition(mut definition: Def<&str>) -> Def<&str> {
    definition.body = term(definition.body);
    definition
}

/// Recurses as deep as the parser did.
pub(super) fn term(own: Term<&str>) -> Term<&str> {
    match own {
        Term::BinOp(left, operator, right) => binary(term(*left), operator, term(*right)),
        Term::Str(format, parts) => interpolated(format, parts),
        Term::Arr(own) => Term::Arr(own.map(boxed)),
        Term::Obj(fields) => {
            Term::Obj(fields.into_iter().map(|(key, value)| (term(key), value.map(term))).collect())
        }
        Term::Neg(own) => Term::Neg(boxed(own)),
        Term::Label(name, own) => Term::Label(name, boxed(own)),
        Term::Fold(name, over, bound, parts) => Term::Fold(name, boxed(over), pattern(bound), terms(parts)),
        Term::TryCatch(own, catch) => Term::TryCatch(boxed(own), catch.map(boxed)),
        Term::IfThenElse(cases, otherwise) => {
            let cases = cases.into_iter().map(|(test, then)| (term(test), term(then)));
            Term::IfThenElse(cases.collect(), otherwise.map(boxed))
        }
        Term::Def(definitions, own) => {
            Term::Def(definitions.into_iter().map(definition).collect(), boxed(own))
        }
        Term::Call(name, arguments) => Term::Call(name, terms(arguments)),
        Term::Path(own, Path(parts)) => {
            let part = |(part, optional)| {
                let part = match part {
                    Part::Index(index) => Part::Index(term(index)),
                    Part::Range(from, to) => Part::Range(from.map(term), to.map(term)),
                };
                (part, optional)
            };
            Term::Path(boxed(own), Path(parts.into_iter().map(part).collect()))
        }
        Term::Id | Term::Recurse | Term::Num(_) | Term::Break(_) | Term::Var(_) => own,
    }
}

fn binary<'s>(left: Term<&'s str>, operator: BinaryOp<&'s str>, right: Term<&'s str>) -> Term<&'s str> {
    match operator {
        BinaryOp::Math(math) if let Some(name) = function(math) => Term::Call(name, vec![left, right]),
        // As the manual defines it: `right as $x | left |= . * $x`.
        BinaryOp::UpdateMath(math) if let Some(name) = function(math) => {
            let call = Term::Call(name, vec![Term::Id, Term::Var(OPERAND)]);
            let update = Term::BinOp(Box::new(left), BinaryOp::Update, Box::new(call));
            let bound = BinaryOp::Pipe(Some(Pattern::Var(OPERAND)));
            Term::BinOp(Box::new(right), bound, Box::new(update))
        }
        BinaryOp::Pipe(bound) => {
            Term::BinOp(Box::new(left), BinaryOp::Pipe(bound.map(pattern)), Box::new(right))
        }
        operator => Term::BinOp(Box::new(left), operator, Box::new(right)),
    }
}

/// The sum of its parts, which the interpreter would add up by itself.
fn interpolated<'s>(format: Option<&'s str>, parts: Vec<StrPart<&'s str, Term<&'s str>>>) -> Term<&'s str> {
    let mut parts = parts.into_iter().rev().map(|part| match part {
        // By itself, it is the part as text, in the format that is asked for.
        StrPart::Term(own) => Term::Str(format, vec![StrPart::Term(term(own))]),
        part => Term::Str(None, vec![part]),
    });
    let last = parts.next().unwrap_or(Term::Str(None, Vec::new()));
    parts.fold(last, |sum, part| Term::Call(ADD, vec![part, sum]))
}

fn boxed(mut own: Box<Term<&str>>) -> Box<Term<&str>> {
    *own = term(std::mem::take(&mut *own));
    own
}

fn terms(own: Vec<Term<&str>>) -> Vec<Term<&str>> {
    own.into_iter().map(term).collect()
}

fn pattern(own: Pattern<&str>) -> Pattern<&str> {
    match own {
        Pattern::Var(name) => Pattern::Var(name),
        Pattern::Arr(items) => Pattern::Arr(items.into_iter().map(pattern).collect()),
        Pattern::Obj(fields) => {
            Pattern::Obj(fields.into_iter().map(|(key, value)| (term(key), pattern(value))).collect())
        }
    }
}
