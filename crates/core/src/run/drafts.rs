//! What planners write: drafts of the first plan, drafts of revisions, failures.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Phase, Run, Why,
    step::{Step, StepState},
};
use crate::{
    command::Command,
    document::RunState,
    failure::{Failure, FailureClass},
    plan::{
        Plan, PlanStep,
        lint::{self, Existing},
    },
    policy::{self, Action},
    record::{Draft, PlanSealed},
    usage::{Account, Usage},
};

/// A planner whose work was acked away by another's takes as long as planning
/// takes; then it counts as lost.
const OUTLIVED_MS: u64 = 60_000;

/// A revision that is being written.
#[derive(Debug, Clone)]
pub(super) struct Drafting {
    /// The newest draft seen; older ones are ignored. Dispatched again with its
    /// take: work that was lost counts its deliveries anew, and what comes of it
    /// must be newer than what there was.
    pub(super) draft: Draft,
    /// The failed steps that it is about.
    pub(super) frontier: Vec<u32>,
    /// The draft's steps so far.
    pub(super) staged: BTreeMap<u32, Arc<PlanStep>>,
    /// A sealed draft some of whose steps are still to come.
    pub(super) sealed: Option<Box<PlanSealed>>,
    /// Steps that abandoned drafts of the first plan have started. Their results
    /// are taken all the same; only those of the draft just before may be gone on
    /// with, those of older ones are [`StepState::Dropped`].
    abandoned: BTreeMap<u32, Step>,
    /// Steps of the draft just before that this one goes on with.
    taken_over: BTreeSet<u32>,
    /// When planning is tried again after a failure.
    pub(super) retry_at_ms: Option<u64>,
}

impl Drafting {
    pub(super) const fn new(draft: Draft, frontier: Vec<u32>) -> Self {
        Self {
            draft,
            frontier,
            staged: BTreeMap::new(),
            sealed: None,
            abandoned: BTreeMap::new(),
            taken_over: BTreeSet::new(),
            retry_at_ms: None,
        }
    }
}

impl Phase {
    /// A step that an abandoned draft has started.
    pub(super) fn abandoned(&mut self, id: u32) -> Option<&mut Step> {
        match self {
            Self::Planning(drafting) => drafting.abandoned.get_mut(&id),
            Self::Executing | Self::Replanning(_) | Self::Ended => None,
        }
    }
}

impl Run {
    /// A plan that came with the task: revision 1, with no planner.
    pub(super) fn adopt(&mut self, plan: &Plan, at_ms: u64, out: &mut Vec<Command>) {
        let faults = lint::structure(plan, &Existing::default(), self.steps_left());
        if !faults.is_empty() {
            let reason =
                format!("invalid_output: the task's plan is not sound:\n{}", lint::describe(&faults));
            self.end(RunState::Failed, Some(reason), at_ms, out);
            return;
        }
        self.phase = Phase::Executing;
        self.revision = 1;
        self.final_step = plan.final_step;
        let added = plan.steps.iter().map(|step| step.id).collect();
        self.note(1, "the task's own plan", added, Vec::new(), &Usage::NONE);
        for step in &plan.steps {
            self.add_step(Step::new(Arc::new(step.clone()), 1, 0), out);
        }
        self.after_result(at_ms, out);
    }

    pub(super) fn step_planned(
        &mut self,
        draft: Draft,
        step: Arc<PlanStep>,
        at_ms: u64,
        out: &mut Vec<Command>,
    ) -> Result<(), Why> {
        self.enter_draft(draft)?;
        let planning = matches!(self.phase, Phase::Planning(_));
        let Some(drafting) = self.drafting() else {
            return Err(Why::Replaced);
        };
        match drafting.staged.get(&step.id) {
            Some(known) if *known == step => return Err(Why::Repeated),
            Some(_) => {
                let message = format!("the plan is not sound:\n- step {}: its id is used twice", step.id);
                let failure = Failure::new(FailureClass::InvalidOutput, message);
                self.planning_came_to_nothing(&failure, at_ms, out);
                return Ok(());
            }
            None => drafting.staged.insert(step.id, Arc::clone(&step)),
        };
        if planning {
            self.start_early(step, out);
        }
        if let Some(sealed) = self.drafting().and_then(|drafting| drafting.sealed.take()) {
            self.seal(sealed, at_ms, out);
        }
        Ok(())
    }

    pub(super) fn plan_sealed(
        &mut self,
        sealed: Box<PlanSealed>,
        at_ms: u64,
        out: &mut Vec<Command>,
    ) -> Result<(), Why> {
        if self.outlives(sealed.draft, &sealed.usage, at_ms, out) {
            return Ok(());
        }
        self.enter_draft(sealed.draft)?;
        if self.drafting().is_some_and(|drafting| drafting.sealed.is_some()) {
            return Err(Why::Repeated);
        }
        self.ledger.charge(Account::Planner, &sealed.usage);
        self.times.planner_started.get_or_insert(sealed.started_ms);
        self.times.planning_ms += at_ms.saturating_sub(sealed.started_ms);
        if self.end_over_budget(at_ms, out) {
            return Ok(());
        }
        self.seal(sealed, at_ms, out);
        Ok(())
    }

    pub(super) fn plan_failed(
        &mut self,
        draft: Draft,
        failure: Failure,
        usage: &Usage,
        at_ms: u64,
        out: &mut Vec<Command>,
    ) -> Result<(), Why> {
        if self.outlives(draft, usage, at_ms, out) {
            return Ok(());
        }
        self.enter_draft(draft)?;
        if self.drafting().is_some_and(|drafting| drafting.retry_at_ms.is_some()) {
            return Err(Why::Repeated);
        }
        self.ledger.charge(Account::Planner, usage);
        if self.end_over_budget(at_ms, out) {
            return Ok(());
        }
        let attempts_max = self.submission.envelope.attempts_max;
        match policy::on_plan_failure(&failure, draft.attempt, attempts_max) {
            Action::Retry { delay_ms } => {
                let at = at_ms.saturating_add(delay_ms);
                if let Some(drafting) = self.drafting() {
                    drafting.retry_at_ms = Some(at);
                }
                out.push(self.replan_timer(draft, at));
            }
            Action::AskPlanner | Action::End => self.planning_came_to_nothing(&failure, at_ms, out),
        }
        Ok(())
    }

    /// A draft is over that a later take of the same dispatch has replaced. Its
    /// planner acks their common work, so that nobody gets it if the later one's
    /// is lost as well: planning is tried again, unless that one ends in time.
    fn outlives(&mut self, over: Draft, usage: &Usage, at_ms: u64, out: &mut Vec<Command>) -> bool {
        let Some(drafting) = self.drafting() else {
            return false;
        };
        let draft = drafting.draft;
        let common = (over.revision, over.attempt) == (draft.revision, draft.attempt);
        if !common || over.take >= draft.take || drafting.retry_at_ms.is_some() {
            return false;
        }
        let until_ms = at_ms.saturating_add(OUTLIVED_MS);
        drafting.retry_at_ms = Some(until_ms);
        self.ledger.charge(Account::Planner, usage);
        out.push(self.replan_timer(draft, until_ms));
        true
    }

    /// The planner is out: the run ends for what it wanted mended, or for want of a plan.
    pub(super) fn planning_came_to_nothing(&mut self, failure: &Failure, at_ms: u64, out: &mut Vec<Command>) {
        let reason = match self.first_failure() {
            Some(step_failure) => format!("{step_failure}\nreplanning failed: {failure}"),
            None => format!("planning failed: {failure}"),
        };
        self.end(RunState::Failed, Some(reason), at_ms, out);
    }

    pub(super) fn retry_planning(
        &mut self,
        revision: u32,
        attempt: u32,
        out: &mut Vec<Command>,
    ) -> Result<(), Why> {
        let drafting = self.drafting().ok_or(Why::Replaced)?;
        let due = drafting.retry_at_ms.is_some()
            && drafting.draft.revision == revision
            && drafting.draft.attempt + 1 == attempt;
        if !due {
            return Err(Why::Replaced);
        }
        drafting.retry_at_ms = None;
        // What has failed meanwhile goes along.
        let frontier: Vec<u32> = self.failed.iter().copied().collect();
        let draft = Draft { revision, attempt, take: 0 };
        self.enter_draft(draft)?;
        if let Some(drafting) = self.drafting() {
            drafting.frontier.clone_from(&frontier);
        }
        out.push(self.plan_order(draft, Some(&frontier)));
        Ok(())
    }

    /// The failed steps go to the planner, or the run fails for them.
    pub(super) fn ask_planner(&mut self, at_ms: u64, out: &mut Vec<Command>) {
        if let Some(why_not) = self.no_replan() {
            let failure = self.first_failure().unwrap_or_default();
            self.end(RunState::Failed, Some(format!("{failure}{why_not}")), at_ms, out);
            return;
        }
        self.replans += 1;
        let frontier: Vec<u32> = self.failed.iter().copied().collect();
        let draft = Draft { revision: self.revision + 1, attempt: 1, take: 0 };
        out.push(self.plan_order(draft, Some(&frontier)));
        self.phase = Phase::Replanning(Drafting::new(draft, frontier));
    }

    pub(super) fn drafting(&mut self) -> Option<&mut Drafting> {
        match &mut self.phase {
            Phase::Planning(drafting) | Phase::Replanning(drafting) => Some(drafting),
            Phase::Executing | Phase::Ended => None,
        }
    }

    /// Accepts records of the current draft, gives way to a newer one, refuses an older.
    fn enter_draft(&mut self, draft: Draft) -> Result<(), Why> {
        let drafting = self.drafting().ok_or(Why::Replaced)?;
        if draft.revision != drafting.draft.revision || draft < drafting.draft {
            return Err(Why::Replaced);
        }
        if draft > drafting.draft {
            let before = std::mem::replace(&mut drafting.draft, draft);
            drafting.staged.clear();
            drafting.sealed = None;
            drafting.taken_over.clear();
            if draft.attempt > before.attempt {
                drafting.retry_at_ms = None;
            }
            if matches!(self.phase, Phase::Planning(_)) {
                self.abandon_steps();
            }
        }
        Ok(())
    }

    /// A newer draft of the first plan begins: what the older one started is kept
    /// aside, in case the newer wants the same.
    fn abandon_steps(&mut self) {
        let steps = std::mem::take(&mut self.steps);
        self.unfinished = 0;
        self.failed.clear();
        if steps.is_empty() {
            // It started nothing and so replaced nothing: the one before it still counts as the last.
            return;
        }
        if let Some(drafting) = self.drafting() {
            // What an older draft has started may rest on outputs that were
            // replaced since; only its attempts count on.
            drafting.abandoned.values_mut().for_each(|old| old.state = StepState::Dropped);
            drafting.abandoned.extend(steps);
        }
    }

    /// Starts a streamed step of the first plan, if those that it depends on are here.
    fn start_early(&mut self, spec: Arc<PlanStep>, out: &mut Vec<Command>) {
        let sound = spec.dependencies().iter().all(|on| self.steps.contains_key(on));
        if !sound || self.steps.len() >= self.submission.envelope.steps_max as usize {
            // The linter will say so when the draft is sealed; nothing half-runs.
            return;
        }
        self.take_up(spec, out);
    }

    /// Starts a step of the first plan, or goes on with an equal one of the draft
    /// just before whose own dependencies were taken over as well.
    pub(super) fn take_up(&mut self, spec: Arc<PlanStep>, out: &mut Vec<Command>) {
        let old = self.drafting().and_then(|drafting| drafting.abandoned.remove(&spec.id));
        let attempts_before = old.as_ref().map_or(0, Step::attempts);
        match old {
            Some(old) if old.spec == spec && old.can_be_resumed() && self.inherits(&spec) => self.resume(old),
            old => {
                self.let_go.extend(old.iter().flat_map(Step::in_flight));
                self.add_step(Step::new(spec, 1, attempts_before), out);
            }
        }
    }

    /// The first plan is whole: what earlier drafts have started besides is not wanted.
    pub(super) fn let_drafts_go(&mut self) {
        let Self { phase, let_go, .. } = self;
        if let Phase::Planning(drafting) = phase {
            let_go.extend(drafting.abandoned.values().flat_map(Step::in_flight));
        }
    }

    /// Whether a step sees the same outputs as in the draft just before.
    fn inherits(&self, spec: &PlanStep) -> bool {
        let Phase::Planning(drafting) = &self.phase else {
            return false;
        };
        let done = |on| self.steps.get(on).is_some_and(|step| step.state == StepState::Succeeded);
        spec.dependencies().iter().all(|on| drafting.taken_over.contains(on) && done(on))
    }

    fn resume(&mut self, mut old: Step) {
        let id = old.spec.id;
        old.dependents.clear();
        old.missing = 0;
        for on in old.spec.dependencies() {
            if let Some(dependency) = self.steps.get_mut(&on) {
                dependency.dependents.push(id);
            }
        }
        let state = old.state;
        self.highest_id = self.highest_id.max(id);
        self.steps.insert(id, old);
        match state {
            StepState::Failed => self.note_failure(id),
            StepState::Waiting | StepState::Active => self.unfinished += 1,
            StepState::Succeeded | StepState::Dropped => {}
        }
        if let Some(drafting) = self.drafting() {
            drafting.taken_over.insert(id);
        }
    }
}
