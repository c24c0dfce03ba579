//! Equal parts of submissions, kept once: a batch submits the same plan and the
//! same envelope thousands of times, each read from the log anew.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
};

/// The kinds of task that are submitted side by side; a comparison with each
/// costs next to nothing, because different plans differ in their first step.
const KNOWN_MAX: usize = 64;

/// Values that were seen lately and are in use.
#[derive(Debug)]
pub(super) struct Recent<T> {
    known: VecDeque<Weak<T>>,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self { known: VecDeque::new() }
    }
}

impl<T: PartialEq> Recent<T> {
    /// Replaces `value` by an equal one that is in use already.
    pub(super) fn share(&mut self, value: &mut Arc<T>) {
        let equal = |known: &Weak<T>| known.upgrade().filter(|known| *known == *value);
        let found = self.known.iter().enumerate().find_map(|(at, known)| Some((at, equal(known)?)));
        if let Some((at, known)) = found {
            *value = known;
            if let Some(known) = self.known.remove(at) {
                self.known.push_front(known);
            }
            return;
        }
        self.known.truncate(KNOWN_MAX - 1);
        self.known.push_front(Arc::downgrade(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_and_others_are_not() {
        let mut recent = Recent::default();
        let (mut a, mut b, mut c) = (Arc::new(1), Arc::new(2), Arc::new(1));
        for value in [&mut a, &mut b, &mut c] {
            recent.share(value);
        }
        assert!(Arc::ptr_eq(&a, &c) && !Arc::ptr_eq(&a, &b));
    }

    #[test]
    fn what_is_known_is_bounded_and_keeps_nothing_alive() {
        let mut recent = Recent::default();
        let mut values: Vec<Arc<usize>> = (0..1_000).map(Arc::new).collect();
        values.iter_mut().for_each(|value| recent.share(value));
        assert_eq!(recent.known.len(), KNOWN_MAX);
        assert!(values.iter().all(|value| Arc::strong_count(value) == 1));
    }
}
