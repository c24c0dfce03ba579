//! Which steps lie on a cycle: Tarjan's strongly connected components
//! (SIAM J. Comput. 1(2), 1972), with a stack of its own so that a chain of
//! 100,000 steps does not exhaust the thread's.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::Plan;

/// Positions of the steps that lie on a cycle.
pub(super) fn members(plan: &Plan, positions: &BTreeMap<u32, usize>) -> BTreeSet<usize> {
    let edges: Vec<Vec<usize>> = plan
        .steps
        .iter()
        .map(|step| step.dependencies().iter().filter_map(|on| positions.get(on).copied()).collect())
        .collect();
    let mut search = Search::new(&edges);
    for root in 0..edges.len() {
        search.visit(root);
    }
    search.cyclic
}

const UNSEEN: usize = usize::MAX;

struct Search<'a> {
    edges: &'a [Vec<usize>],
    index: Vec<usize>,
    low: Vec<usize>,
    on_stack: Vec<bool>,
    stack: Vec<usize>,
    next: usize,
    cyclic: BTreeSet<usize>,
}

impl<'a> Search<'a> {
    fn new(edges: &'a [Vec<usize>]) -> Self {
        let n = edges.len();
        Self {
            edges,
            index: vec![UNSEEN; n],
            low: vec![0; n],
            on_stack: vec![false; n],
            stack: Vec::new(),
            next: 0,
            cyclic: BTreeSet::new(),
        }
    }

    fn visit(&mut self, root: usize) {
        if self.index[root] != UNSEEN {
            return;
        }
        let mut path = vec![(root, 0)];
        self.enter(root);
        while let Some((node, edge)) = path.last_mut() {
            let node = *node;
            if let Some(&to) = self.edges[node].get(*edge) {
                *edge += 1;
                if self.index[to] == UNSEEN {
                    self.enter(to);
                    path.push((to, 0));
                } else if self.on_stack[to] {
                    self.low[node] = self.low[node].min(self.index[to]);
                }
            } else {
                path.pop();
                self.leave(node);
                if let Some((parent, _)) = path.last() {
                    self.low[*parent] = self.low[*parent].min(self.low[node]);
                }
            }
        }
    }

    fn enter(&mut self, node: usize) {
        self.index[node] = self.next;
        self.low[node] = self.next;
        self.next += 1;
        self.stack.push(node);
        self.on_stack[node] = true;
    }

    fn leave(&mut self, node: usize) {
        if self.low[node] != self.index[node] {
            return;
        }
        let mut component = Vec::new();
        while let Some(member) = self.stack.pop() {
            self.on_stack[member] = false;
            component.push(member);
            if member == node {
                break;
            }
        }
        if component.len() > 1 || self.edges[node].contains(&node) {
            self.cyclic.extend(component);
        }
    }
}
