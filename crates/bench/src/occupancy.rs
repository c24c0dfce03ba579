//! How busy slots were between the moment when all were taken and the moment when
//! nothing was left to take them for.

/// Calls by when they began and ended, in milliseconds.
pub(crate) type Calls = Vec<(u64, u64)>;

/// The part of the slots' time in which they were taken: from the beginning of the
/// call that took the last free slot to the beginning of the last call, after which
/// they empty. `None` where there were too few calls to say.
pub(crate) fn busy(slots: usize, mut calls: Calls) -> Option<f64> {
    calls.sort_unstable();
    let (from, to) = (calls.get(slots.checked_sub(1)?)?.0, calls.last()?.0);
    let taken: u64 =
        calls.iter().map(|(began, ended)| (*ended).min(to).saturating_sub((*began).max(from))).sum();
    (to > from).then(|| taken as f64 / (slots as u64 * (to - from)) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_that_are_taken_again_at_once_are_busy() {
        let back_to_back = (0..10).flat_map(|round| [(round * 100, round * 100 + 100); 4]).collect();
        assert_eq!(busy(4, back_to_back), Some(1.0));
    }

    #[test]
    fn time_between_calls_is_lost() {
        let with_pauses = (0..10).flat_map(|round| [(round * 100, round * 100 + 80); 4]).collect();
        assert_eq!(busy(4, with_pauses), Some(0.8));
    }

    #[test]
    fn slots_that_were_never_all_taken_say_nothing() {
        assert_eq!(busy(4, vec![(0, 10), (0, 10)]), None);
        assert_eq!(busy(1, vec![(0, 10)]), None);
        assert_eq!(busy(0, vec![(0, 10)]), None);
    }
}
