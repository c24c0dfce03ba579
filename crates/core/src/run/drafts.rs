//! What planners write: drafts of the first plan, drafts of revisions, failures.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Phase, Run, Turn, Why, charge, earlier,
    step::{Step, StepState},
};
use crate::{
    document::RunState,
    failure::{Failure, FailureClass},
    plan::PlanStep,
    policy::{self, Action, Tries},
    reason::{Cause, End, EndCode},
    record::{Decision, Draft, PlanSealed},
    usage::Charge,
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
    /// Why it is wanted.
    pub(super) cause: Cause,
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
    /// When planning is tried again, unless this draft comes to its end before.
    pub(super) retry_at_ms: Option<u64>,
    /// How many of its attempts found a model without credit.
    without_credit: u32,
}

impl Drafting {
    pub(super) const fn new(draft: Draft, cause: Cause) -> Self {
        Self {
            draft,
            cause,
            staged: BTreeMap::new(),
            sealed: None,
            abandoned: BTreeMap::new(),
            taken_over: BTreeSet::new(),
            retry_at_ms: None,
            without_credit: 0,
        }
    }

    /// A step that an abandoned draft has started.
    pub(super) fn abandoned(&self, id: u32) -> Option<&Step> {
        self.abandoned.get(&id)
    }
}

impl Phase {
    /// A step that an abandoned draft has started.
    pub(super) fn abandoned(&mut self, id: u32) -> Option<&mut Step> {
        match self {
            Self::Planning(drafting) => drafting.abandoned.get_mut(&id),
            Self::Approving | Self::Executing | Self::Replanning(_) | Self::Ended => None,
        }
    }
}

impl Run {
    pub(super) fn step_planned(
        &mut self,
        draft: Draft,
        step: Arc<PlanStep>,
        turn: &mut Turn<'_>,
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
                self.planning_came_to_nothing(&failure, turn);
                return Ok(());
            }
            None => drafting.staged.insert(step.id, Arc::clone(&step)),
        };
        if planning {
            self.start_early(step, turn);
        }
        if let Some(sealed) = self.drafting().and_then(|drafting| drafting.sealed.take()) {
            self.seal(sealed, turn);
        }
        Ok(())
    }

    pub(super) fn plan_sealed(&mut self, sealed: Box<PlanSealed>, turn: &mut Turn<'_>) -> Result<(), Why> {
        if !self.draft_is_over(sealed.draft, &sealed.usage, turn)? {
            return Ok(());
        }
        self.times.without_credit = 0;
        let known = self.times.planner_started;
        self.times.planner_started = if known == 0 { sealed.started_ms } else { known };
        self.times.planning_ms += turn.at_ms.saturating_sub(sealed.started_ms);
        // An answer that passes the budget is paid for, and it is the answer.
        let answers = matches!(sealed.decision, Decision::Finish { .. });
        if answers || !self.end_over_budget(turn) {
            self.seal(sealed, turn);
        }
        Ok(())
    }

    pub(super) fn plan_failed(
        &mut self,
        draft: Draft,
        failure: &Failure,
        usage: &[Charge],
        turn: &mut Turn<'_>,
    ) -> Result<(), Why> {
        if !self.draft_is_over(draft, usage, turn)? || self.end_over_budget(turn) {
            return Ok(());
        }
        let without_credit = failure.class == FailureClass::Quota;
        let tries = Tries {
            attempt: draft.attempt,
            without_credit: self.drafting().map_or(0, |drafting| drafting.without_credit),
            attempts_max: self.submission.envelope.attempts_max,
            quota_wait_left_ms: self.quota_wait_left_ms(turn.at_ms),
        };
        match policy::on_plan_failure(failure, tries) {
            Action::Retry { delay_ms } => {
                let at_ms = turn.at_ms.saturating_add(delay_ms);
                if let Some(drafting) = self.drafting() {
                    drafting.retry_at_ms = Some(at_ms);
                    drafting.without_credit += u32::from(without_credit);
                }
                if without_credit {
                    self.times.without_credit = earlier(self.times.without_credit, turn.at_ms);
                }
                turn.order(self.replan_timer(draft, at_ms));
            }
            Action::AskPlanner | Action::End => self.planning_came_to_nothing(failure, turn),
        }
        Ok(())
    }

    /// A planner has reported the end of a draft: what it has used counts, once,
    /// whatever has become of the draft. True if it is the current one; false if
    /// it is not, and something followed from it all the same.
    fn draft_is_over(&mut self, draft: Draft, usage: &[Charge], turn: &mut Turn<'_>) -> Result<bool, Why> {
        let entered = self.enter_draft(draft);
        if entered == Err(Why::Illegal) {
            return Err(Why::Illegal);
        }
        if !self.strays.get_or_insert_default().drafts.insert(draft) {
            return Err(Why::Repeated);
        }
        charge(&mut self.ledger, usage);
        match entered {
            Ok(()) => Ok(true),
            Err(_) if self.end_over_budget(turn) || self.note_outlived(draft, turn) => Ok(false),
            Err(why) => Err(why),
        }
    }

    /// A draft is over that a later take of the same dispatch has replaced. Its
    /// planner acks their common work, so that nobody gets it if the later one's
    /// is lost as well: planning is tried again, unless that one ends in time.
    fn note_outlived(&mut self, over: Draft, turn: &mut Turn<'_>) -> bool {
        let Some(drafting) = self.drafting() else {
            return false;
        };
        let draft = drafting.draft;
        let common = (over.revision, over.attempt) == (draft.revision, draft.attempt);
        if !common || over.take >= draft.take || drafting.retry_at_ms.is_some() {
            return false;
        }
        let at_ms = turn.at_ms.saturating_add(OUTLIVED_MS);
        drafting.retry_at_ms = Some(at_ms);
        turn.order(self.replan_timer(draft, at_ms));
        true
    }

    /// The planner is out: the run ends for what it wanted mended, or for want of a plan.
    pub(super) fn planning_came_to_nothing(&mut self, failure: &Failure, turn: &mut Turn<'_>) {
        let first = self.first_failure();
        let rejected = self.drafting().and_then(|drafting| match &drafting.cause {
            Cause::Rejected { reason } => Some(reason.clone()),
            _ => None,
        });
        let message = match (&rejected, &first) {
            (Some(reason), _) => format!("the plan was rejected: {reason}\nreplanning failed: {failure}"),
            (None, Some((_, _, of_step))) => format!("{of_step}\nreplanning failed: {failure}"),
            (None, None) => format!("planning failed: {failure}"),
        };
        let step = first.map(|(step, ..)| step);
        let code =
            if failure.class == FailureClass::Budget { EndCode::Budget } else { EndCode::PlanningFailed };
        let end = End { step, class: Some(failure.class), ..End::new(code, message) };
        self.end(RunState::Failed, end, turn);
    }

    pub(super) fn retry_planning(
        &mut self,
        revision: u32,
        attempt: u32,
        turn: &mut Turn<'_>,
    ) -> Result<(), Why> {
        let paused = self.paused.is_some();
        let drafting = self.drafting().ok_or(Why::Replaced)?;
        let due = drafting.retry_at_ms.is_some()
            && drafting.draft.revision == revision
            && drafting.draft.attempt + 1 == attempt;
        if !due {
            return Err(Why::Replaced);
        }
        if paused {
            return Err(Why::Paused);
        }
        drafting.retry_at_ms = None;
        let without_credit = drafting.without_credit;
        if attempt.saturating_sub(without_credit) > self.submission.envelope.attempts_max {
            let message = format!("dispatched {} times, and lost with its planner each time", attempt - 1);
            self.planning_came_to_nothing(&Failure::new(FailureClass::Lost, message), turn);
            return Ok(());
        }
        let draft = Draft { revision, attempt, take: 0 };
        self.begin_draft(draft);
        // What has failed meanwhile goes along; after another question it is shown next.
        let failed = self.failure_cause();
        let cause = self.drafting().map(|drafting| {
            if matches!(drafting.cause, Cause::Failed { .. }) {
                drafting.cause = failed;
            }
            drafting.cause.clone()
        });
        turn.order(self.plan_order(draft, cause.as_ref()));
        Ok(())
    }

    /// The planning that is to be tried again, and when.
    pub(super) fn next_planning(&self) -> Option<(u32, u32, u64)> {
        let (Phase::Planning(drafting) | Phase::Replanning(drafting)) = &self.phase else {
            return None;
        };
        let at_ms = drafting.retry_at_ms?;
        Some((drafting.draft.revision, drafting.draft.attempt + 1, at_ms))
    }

    /// The planner is to see something, or the run ends for it.
    pub(super) fn ask_planner(&mut self, cause: Cause, turn: &mut Turn<'_>) {
        if let Some((code, why_not)) = self.no_replan() {
            let end = match (cause, self.first_failure()) {
                (Cause::Rejected { reason }, _) => {
                    End::new(EndCode::Rejected, format!("the plan was rejected: {reason}{why_not}"))
                }
                (_, Some((step, class, failure))) => End {
                    step: Some(step),
                    class: Some(class),
                    ..End::new(code, format!("{failure}{why_not}"))
                },
                (_, None) => End::new(code, why_not),
            };
            self.end(RunState::Failed, end, turn);
            return;
        }
        if !matches!(cause, Cause::Reviewed { .. }) {
            self.replans += 1;
        }
        self.unreviewed.clear();
        let draft = Draft { revision: self.revision + 1, attempt: 1, take: 0 };
        if self.denied().next().is_some() {
            self.told_in.get_or_insert(draft.revision);
        }
        turn.order(self.plan_order(draft, Some(&cause)));
        self.phase = Phase::Replanning(Box::new(Drafting::new(draft, cause)));
    }

    pub(super) fn drafting(&mut self) -> Option<&mut Drafting> {
        match &mut self.phase {
            Phase::Planning(drafting) | Phase::Replanning(drafting) => Some(drafting),
            Phase::Approving | Phase::Executing | Phase::Ended => None,
        }
    }

    /// Accepts records of the current draft, gives way to a newer take of the same
    /// dispatch, refuses an older. A dispatch that was never made has no records.
    fn enter_draft(&mut self, draft: Draft) -> Result<(), Why> {
        let known = self.drafting().ok_or(Why::Replaced)?.draft;
        if (draft.revision, draft.attempt) > (known.revision, known.attempt) {
            return Err(Why::Illegal);
        }
        if draft < known {
            return Err(Why::Replaced);
        }
        if draft > known {
            self.begin_draft(draft);
        }
        Ok(())
    }

    fn begin_draft(&mut self, draft: Draft) {
        let Some(drafting) = self.drafting() else {
            return;
        };
        if draft.attempt > drafting.draft.attempt {
            // Another take's timer goes on: this one may be lost as well.
            drafting.retry_at_ms = None;
        }
        drafting.draft = draft;
        drafting.staged.clear();
        drafting.sealed = None;
        drafting.taken_over.clear();
        if matches!(self.phase, Phase::Planning(_)) {
            self.abandon_steps();
        }
    }

    /// A newer draft of the first plan begins: what the older one started is kept
    /// aside, in case the newer wants the same.
    fn abandon_steps(&mut self) {
        let steps = std::mem::take(&mut self.steps);
        self.edges.clear();
        self.unfinished = 0;
        self.failed.clear();
        self.unreviewed.clear();
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
    fn start_early(&mut self, spec: Arc<PlanStep>, turn: &mut Turn<'_>) {
        let sound = spec.dependencies().iter().all(|on| self.steps.contains_key(on));
        if !sound || self.steps.len() >= self.submission.envelope.steps_max as usize {
            // The linter will say so when the draft is sealed; nothing half-runs.
            return;
        }
        let id = spec.id;
        self.take_up(spec, turn);
        self.start_ready(vec![id], turn);
    }

    /// Adds a step of the first plan, or goes on with an equal one of the draft
    /// just before whose own dependencies were taken over as well.
    pub(super) fn take_up(&mut self, spec: Arc<PlanStep>, turn: &mut Turn<'_>) {
        let old = self.drafting().and_then(|drafting| drafting.abandoned.remove(&spec.id));
        let attempts_before = old.as_ref().map_or(0, Step::attempts);
        match old {
            Some(old) if old.spec == spec && old.can_be_resumed() && self.inherits(&spec) => {
                self.take_over(old, turn);
            }
            old => {
                self.let_go(old.iter());
                let step = self.new_step(spec, 1).after(attempts_before);
                self.add_step(step);
            }
        }
    }

    /// The first plan is whole: what earlier drafts have started besides is not wanted.
    pub(super) fn let_drafts_go(&mut self) {
        if let Phase::Planning(drafting) = &mut self.phase {
            let abandoned = std::mem::take(&mut drafting.abandoned);
            self.let_go(abandoned.values());
        }
    }

    /// Nobody wants these steps any more; what their attempts use is used all the same.
    fn let_go<'a>(&mut self, steps: impl Iterator<Item = &'a Step>) {
        let awaited: Vec<_> = steps.flat_map(Step::awaited).collect();
        if !awaited.is_empty() {
            self.strays.get_or_insert_default().attempts.extend(awaited);
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

    /// Goes on with a step. Its dispatch is ordered again: what an abandoned draft
    /// has dispatched is nobody's debt, so that a coordinator that died on the way
    /// may have left it undone.
    fn take_over(&mut self, mut old: Step, turn: &mut Turn<'_>) {
        let (id, state) = (old.spec.id, old.state);
        old.dependents = super::edges::Dependents::EMPTY;
        old.missing = 0;
        self.add_step(old);
        match state {
            StepState::Failed => self.note_failure(id),
            StepState::Active => self.dispatch_again(id, turn.out),
            StepState::Succeeded => self.note_finished(id),
            StepState::Waiting | StepState::Dropped => {}
        }
        if let Some(drafting) = self.drafting() {
            drafting.taken_over.insert(id);
        }
    }
}
