//! The reasons that people give: the API and the command line read them here.

/// Characters of a reason: it travels in a record and is shown in one line.
pub const CHARS_MAX: usize = 1_000;

/// What a reason without words means.
#[derive(Debug, Clone, Copy)]
pub enum Empty<'a> {
    /// This text.
    Means(&'a str),
    /// That somebody is left without what they have to know.
    Refused,
}

/// What is wrong with a reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadReason {
    /// It has no words and needs some.
    #[error("reason: missing; the planner, or whoever asked, has to know why")]
    Missing,
    /// It is too long.
    #[error("reason: {0} characters; at most {CHARS_MAX} are taken")]
    TooLong(usize),
}

/// A reason without the blanks around it.
///
/// # Errors
/// When it is empty and may not be, or too long.
pub fn read(written: &str, empty: Empty<'_>) -> Result<String, BadReason> {
    let reason = match (written.trim(), empty) {
        ("", Empty::Refused) => return Err(BadReason::Missing),
        ("", Empty::Means(text)) => text,
        (text, _) => text,
    };
    match reason.chars().count() {
        count if count > CHARS_MAX => Err(BadReason::TooLong(count)),
        _ => Ok(reason.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_trimmed_and_not_too_long() {
        assert_eq!(read(" lunch\n", Empty::Refused).unwrap(), "lunch");
        assert_eq!(read(" \t", Empty::Means("asked for")).unwrap(), "asked for");
        assert_eq!(read(" ", Empty::Refused), Err(BadReason::Missing));
        let longest = "ü".repeat(CHARS_MAX);
        assert_eq!(read(&format!(" {longest} "), Empty::Refused).as_deref(), Ok(longest.as_str()));
        let error = read(&format!("{longest}x"), Empty::Refused).unwrap_err();
        assert_eq!(error.to_string(), "reason: 1001 characters; at most 1000 are taken");
    }
}
