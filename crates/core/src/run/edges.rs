//! Who waits for whom: the lists of dependents of all steps of a run in one
//! allocation. A list of its own for each step would take several times the room.

/// The end of a list.
const NONE: u32 = u32::MAX;

/// Every edge of a run's plan.
#[derive(Debug, Clone, Default)]
pub(super) struct Edges {
    links: Vec<Link>,
}

#[derive(Debug, Clone, Copy)]
struct Link {
    dependent: u32,
    next: u32,
}

/// One step's list: its first and last link.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dependents {
    first: u32,
    last: u32,
}

impl Dependents {
    pub(super) const EMPTY: Self = Self { first: NONE, last: NONE };
}

impl Edges {
    /// Adds a dependent at the end of a list.
    pub(super) fn add(&mut self, list: &mut Dependents, dependent: u32) {
        let Ok(at) = u32::try_from(self.links.len()) else {
            unreachable!("a plan of at most 100,000 steps has fewer than 2^32 edges in memory")
        };
        self.links.push(Link { dependent, next: NONE });
        match self.links.get_mut(list.last as usize) {
            Some(last) => last.next = at,
            None => list.first = at,
        }
        list.last = at;
    }

    /// A list's dependents, in the order in which they were added.
    pub(super) fn of(&self, list: Dependents) -> impl Iterator<Item = u32> {
        let first = self.links.get(list.first as usize);
        std::iter::successors(first, |link| self.links.get(link.next as usize)).map(|link| link.dependent)
    }

    /// Forgets all edges, when the steps that they lead to are gone.
    pub(super) fn clear(&mut self) {
        self.links.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_share_an_allocation_and_keep_their_order() {
        let mut edges = Edges::default();
        let (mut a, mut b) = (Dependents::EMPTY, Dependents::EMPTY);
        for dependent in [3, 4, 5] {
            edges.add(&mut a, dependent);
            edges.add(&mut b, dependent * 10);
        }
        assert!(edges.of(a).eq([3, 4, 5]));
        assert!(edges.of(b).eq([30, 40, 50]));
        assert!(edges.of(Dependents::EMPTY).next().is_none());
    }
}
