//! The search: breadth first, fewer faults first, every state once.
//!
//! A state that was reached with fewer faults is not looked at again with more
//! of them: whatever can follow there could follow before. The first broken
//! promise found is therefore one that takes as few faults as any.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
    rc::Rc,
};

use super::{
    cases::Case,
    fold::Fold,
    model::{Model, Protocol, State},
    words::{Action, Fault},
};

/// What was looked at.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) states: usize,
    /// Actions of actors, not counting faults.
    pub(crate) actions: usize,
    /// States in which nothing is left to do.
    pub(crate) ends: usize,
    /// Different states of the fold.
    pub(crate) folds: usize,
    /// How often each fault led somewhere.
    pub(crate) faults: BTreeMap<Fault, usize>,
}

type StateId = u32;

/// Where a state was come to from.
type Origin = Option<(StateId, Action)>;

struct Search {
    model: Model,
    ids: BTreeMap<Rc<State>, StateId>,
    origins: Vec<Origin>,
    /// Actions that are no faults, from state to state.
    edges: Vec<(StateId, StateId)>,
    /// States to be looked at with as many faults as now.
    queue: VecDeque<(Rc<State>, StateId)>,
    /// States that one more fault leads to.
    faulty: BTreeMap<State, Origin>,
    faults: BTreeMap<Fault, usize>,
    ends: usize,
}

/// Looks at every state that the case can come to.
///
/// # Errors
/// With the actions that lead to a broken promise.
pub(crate) fn explore(case: Case, protocol: Protocol) -> Result<Report, String> {
    let mut search = Search {
        model: Model { fold: Fold::new(case), protocol },
        ids: BTreeMap::new(),
        origins: Vec::new(),
        edges: Vec::new(),
        queue: VecDeque::new(),
        faulty: BTreeMap::new(),
        faults: BTreeMap::new(),
        ends: 0,
    };
    search.all()?;
    Ok(Report {
        states: search.ids.len(),
        actions: search.edges.len(),
        ends: search.ends,
        folds: search.model.fold.classes(),
        faults: search.faults,
    })
}

impl Search {
    fn all(&mut self) -> Result<(), String> {
        let start = self.model.start().map_err(|promise| self.story_of(&[], &promise))?;
        self.find(start, None);
        for left in (0..=self.model.fold.case.faults_max).rev() {
            while let Some((state, id)) = self.queue.pop_front() {
                self.look(&state, id, left > 0)?;
            }
            for (state, origin) in std::mem::take(&mut self.faulty) {
                self.find(state, origin);
            }
        }
        self.no_circles()
    }

    /// The state's number; a new one is to be looked at.
    fn find(&mut self, state: State, origin: Origin) -> StateId {
        if let Some(id) = self.ids.get(&state) {
            return *id;
        }
        let (state, id) = (Rc::new(state), StateId::try_from(self.origins.len()).expect("few"));
        self.ids.insert(Rc::clone(&state), id);
        self.origins.push(origin);
        self.queue.push_back((state, id));
        id
    }

    fn look(&mut self, state: &State, id: StateId, faults_left: bool) -> Result<(), String> {
        let mut nexts =
            self.model.next(state).map_err(|broken| self.story(id, Some(broken.action), &broken.promise))?;
        if !faults_left {
            nexts.retain(|next| next.fault.is_none());
            let first = nexts.iter().map(|next| next.action);
            if let Some(first) = first.into_iter().find(|action| self.model.goes_first(state, *action)) {
                nexts.retain(|next| next.action == first);
            }
        }
        let before = self.edges.len();
        for next in nexts {
            let origin = Some((id, next.action));
            match next.fault {
                None => {
                    let to = self.find(next.state, origin);
                    self.edges.push((id, to));
                }
                Some(fault) if faults_left && !self.ids.contains_key(&next.state) => {
                    *self.faults.entry(fault).or_default() += 1;
                    self.faulty.entry(next.state).or_insert(origin);
                }
                Some(_) => {}
            }
        }
        if self.edges.len() > before {
            return Ok(());
        }
        self.ends += 1;
        match self.model.unfinished(state) {
            None => Ok(()),
            Some(what) => {
                Err(self.story(id, None, &format!("nothing is left to do, and {what}\n{state:#?}")))
            }
        }
    }

    /// Without faults everything comes to an end: no actions lead back to where
    /// they began. States are taken away that nothing leads to, until none is left.
    fn no_circles(&self) -> Result<(), String> {
        let mut leading_here = vec![0u32; self.origins.len()];
        let mut from_here: Vec<Vec<StateId>> = vec![Vec::new(); self.origins.len()];
        for (from, to) in &self.edges {
            leading_here[*to as usize] += 1;
            from_here[*from as usize].push(*to);
        }
        let mut free: Vec<usize> = (0..leading_here.len()).filter(|at| leading_here[*at] == 0).collect();
        let mut left = leading_here.len();
        while let Some(at) = free.pop() {
            left -= 1;
            for to in &from_here[at] {
                leading_here[*to as usize] -= 1;
                if leading_here[*to as usize] == 0 {
                    free.push(*to as usize);
                }
            }
        }
        match leading_here.iter().position(|count| *count > 0) {
            Some(at) if left > 0 => {
                let at = StateId::try_from(at).expect("a state");
                Err(self.story(at, None, "actions without a fault go round in circles from here"))
            }
            _ => Ok(()),
        }
    }

    /// How it came to that, to be read.
    fn story(&self, mut id: StateId, last: Option<Action>, what: &str) -> String {
        let mut actions: Vec<Action> = last.into_iter().collect();
        while let Some((from, action)) = &self.origins[id as usize] {
            actions.push(*action);
            id = *from;
        }
        actions.reverse();
        self.story_of(&actions, what)
    }

    fn story_of(&self, actions: &[Action], what: &str) -> String {
        let mut story = format!("{}: {what}\n", self.model.fold.case.name);
        for (at, action) in (1..).zip(actions) {
            let _infallible = writeln!(story, "{at:>4}. {action}");
        }
        story
    }
}
