//! Regular expressions that models write, with the work that a search may be.
//!
//! A search never goes back over a text, and may still do as much for each of its bytes as the
//! pattern has places: `(?:[a-c]{1,60}){60}` takes half a minute for 256 KiB. So what a search may
//! cost is found from the pattern and the length of the text, before it begins: the same wherever
//! and whenever it is asked, as the fold has to decide the same everywhere.

use regex::{Regex, RegexBuilder};
use regex_syntax::hir::{Hir, HirKind};

/// A pattern must not take all memory: 1 MiB compiled is far beyond what anybody needs, and
/// `\w{1000}` would take more.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// A compiled pattern.
#[derive(Debug, Clone)]
pub struct Pattern {
    regex: Regex,
    /// The places that a search may be in at once: characters and branches, repetitions unrolled.
    places: u64,
}

impl Pattern {
    /// Compiles a pattern in Rust's syntax.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn compile(pattern: &str, ignore_case: bool) -> Result<Self, String> {
        let regex = RegexBuilder::new(pattern)
            .case_insensitive(ignore_case)
            .size_limit(COMPILED_BYTES_MAX)
            .build()
            .map_err(|error| error.to_string())?;
        let parsed = regex_syntax::ParserBuilder::new().case_insensitive(ignore_case).build().parse(pattern);
        Ok(Self { regex, places: places(&parsed.map_err(|error| error.to_string())?) })
    }

    /// The longest text, in bytes, that one search of is at most `work` steps.
    #[must_use]
    pub fn bytes_max(&self, work: u64) -> usize {
        usize::try_from(work / self.places).unwrap_or(usize::MAX)
    }

    /// The expression itself, to search with.
    #[must_use]
    pub const fn regex(&self) -> &Regex {
        &self.regex
    }
}

/// At least 1. The parser bounds the depth of what it gives.
fn places(hir: &Hir) -> u64 {
    let sum = |parts: &[Hir]| parts.iter().map(places).fold(0_u64, u64::saturating_add);
    let places = match hir.kind() {
        HirKind::Empty | HirKind::Look(_) | HirKind::Class(_) => 1,
        HirKind::Literal(literal) => literal.0.len() as u64,
        HirKind::Capture(capture) => places(&capture.sub),
        HirKind::Concat(parts) => sum(parts),
        HirKind::Alternation(parts) => sum(parts).saturating_add(parts.len() as u64),
        HirKind::Repetition(repetition) => {
            let copies = u64::from(repetition.max.unwrap_or(repetition.min).max(1));
            let branches = copies - u64::from(repetition.min).min(copies) + 1;
            places(&repetition.sub).saturating_mul(copies).saturating_add(branches)
        }
    };
    places.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_are_unrolled() {
        for (pattern, expected) in [
            ("", 1),
            ("^[A-Z]", 2),
            (r"\w+@\w+\.\w+", 8),
            (".{500,}", 501),
            ("a|[bc]", 4),
            ("(?:ab|[cd]x)*", 8),
            ("(?:[a-c]{1,60}){60}", 120 * 60 + 1),
        ] {
            let places = Pattern::compile(pattern, false).unwrap().places;
            assert_eq!(places, expected, "{pattern}");
        }
        assert!(Pattern::compile(r"\w{1000}", false).is_err());
        assert!(Pattern::compile("(", false).is_err());
    }
}
