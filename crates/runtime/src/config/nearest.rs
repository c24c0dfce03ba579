//! The "did you mean" of unknown names.

/// The candidate that the writer most likely meant, if any is near enough.
pub(super) fn nearest<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the word: a swap in `ulr` counts as two edits and must pass,
    // while unrelated short words must not.
    let budget = (wanted.len() / 3).max(2);
    candidates
        .into_iter()
        .map(|candidate| (distance(wanted, candidate), letters(wanted) != letters(candidate), candidate))
        .filter(|(edits, _, candidate)| {
            *edits < wanted.len() && *edits <= budget || candidate.starts_with(wanted)
        })
        .min()
        .map(|(.., candidate)| candidate)
}

/// A word's letters in order: of two that are equally near, the one with letters swapped is meant.
fn letters(word: &str) -> Vec<u8> {
    let mut letters = word.as_bytes().to_vec();
    letters.sort_unstable();
    letters
}

/// Levenshtein distance in bytes, one row at a time.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_the_near_and_only_the_near() {
        assert_eq!(nearest("ulr", ["tls", "url", "creds"]), Some("url"));
        assert_eq!(nearest("api_key", ["api_key_env", "model"]), Some("api_key_env"));
        assert_eq!(nearest("colour", ["url", "creds", "name"]), None);
    }
}
