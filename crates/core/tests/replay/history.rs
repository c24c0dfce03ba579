//! Random histories of one run: planners that are taken over, executors that
//! fail or are too slow, people who pause, approve and reject, records that come
//! late, twice, or in another order. Every command is checked as it comes; see
//! [`History::check`].

use std::collections::{BTreeMap, BTreeSet};

#[path = "rerun.rs"]
mod rerun;
#[path = "tasks.rs"]
mod tasks;

use self::rerun::goes_on;
use super::open::{Open, name};
use planfleet_core::{
    command::{Command, PlanOrder, ResolvedValue, StepOrder},
    document::{RunDocument, RunState},
    failure::{Failure, FailureClass},
    id::{RunId, StepId},
    json::Json,
    plan::PlanStep,
    record::{
        ApprovalDecided, AttemptReport, Decision, Draft, Fact, Gate, PlanSealed, Record, StepFailed,
        StepSucceeded, Timer,
    },
    shard::Shard,
    task::Review,
    usage::{Account, Charge, Usage},
};

/// How a history ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ended {
    Succeeded,
    Failed,
    Cancelled,
    Expired,
}

/// Marsaglia's xorshift64 (Journal of Statistical Software 8(14), 2003).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap_or_default() % sides.max(1)
    }

    fn one_in(&mut self, sides: usize) -> bool {
        self.roll(sides) == 0
    }
}

/// One random history, checked while it is made.
pub(crate) struct History {
    dice: Dice,
    run: RunId,
    shard: Shard,
    pub(crate) records: Vec<Record>,
    pub(crate) straight: Vec<Vec<Command>>,
    /// Records that are on their way.
    coming: Vec<Fact>,
    /// Planning drafts that a planner may still take over.
    planning: Vec<(PlanOrder, u32)>,
    /// What was dispatched under each name, and what came of it.
    orders: BTreeMap<(StepId, u32), StepOrder>,
    outputs: BTreeMap<(StepId, u32), Json>,
    emitted: BTreeSet<String>,
    /// Attempts whose results have not been taken.
    unanswered: BTreeSet<(StepId, u32)>,
    items: u32,
    open: Open,
    /// What people have said so far.
    paused: bool,
    approved: BTreeSet<Gate>,
    /// The revision that a planner was asked for last.
    looking: Option<u32>,
    ended: Option<RunDocument>,
    /// The records that were accepted, by name.
    pub(crate) accepted: Vec<&'static str>,
    /// The states that it went through, with the records that led from one to the next.
    pub(crate) moves: BTreeSet<Move>,
}

/// From a state, by a record, to a state.
pub(crate) type Move = (&'static str, &'static str, &'static str);

impl History {
    /// The history of that seed, to its end.
    pub(crate) fn run(seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let items = [0, 1, 3][dice.roll(3)];
        let mut history = Self {
            dice,
            run: "00-random".parse().expect("a run id"),
            shard: Shard::default(),
            records: Vec::new(),
            straight: Vec::new(),
            coming: Vec::new(),
            planning: Vec::new(),
            orders: BTreeMap::new(),
            outputs: BTreeMap::new(),
            emitted: BTreeSet::new(),
            unanswered: BTreeSet::new(),
            items,
            open: Open::default(),
            paused: false,
            approved: BTreeSet::new(),
            looking: None,
            ended: None,
            accepted: Vec::new(),
            moves: BTreeSet::new(),
        };
        let submission = history.submission();
        history.append(Fact::TaskSubmitted(Box::new(submission)));
        while history.ended.is_none() {
            // A deadline that nothing else comes before would only hide a run that is stuck.
            let work = |fact: &Fact| !matches!(fact, Fact::TimerFired(Timer::Deadline));
            assert!(history.coming.iter().any(work), "all work is answered and the run has not ended");
            assert!(history.records.len() < 5_000, "the run goes on for ever");
            history.next();
        }
        history.afterwards();
        history
    }

    pub(crate) fn ended(&self) -> Ended {
        match self.ended.as_ref().expect("it has ended").state {
            RunState::Succeeded => Ended::Succeeded,
            RunState::Failed => Ended::Failed,
            RunState::Cancelled => Ended::Cancelled,
            _ => Ended::Expired,
        }
    }

    /// Something happens: a record comes, at random; sometimes an old one again.
    fn next(&mut self) {
        if self.dice.one_in(200) {
            self.append(Fact::RunCancelRequested { reason: "enough".to_owned() });
        } else if self.dice.one_in(60) {
            self.append(Fact::RunPauseRequested { reason: "wait".to_owned() });
        } else if self.dice.one_in(150) {
            let fact = self.decision(Gate::Step { step: 1 });
            self.append(fact);
        } else if self.dice.one_in(12) {
            let again = self.records[self.dice.roll(self.records.len())].fact.clone();
            self.append(again);
        } else if self.dice.one_in(20) && !self.planning.is_empty() {
            let (order, take) = self.planning[self.dice.roll(self.planning.len())].clone();
            self.planner(&order, take + 1);
        } else {
            let at = self.dice.roll(self.coming.len());
            let far_away =
                matches!(self.coming[at], Fact::TimerFired(Timer::Deadline)) && !self.dice.one_in(8);
            if !far_away {
                let fact = self.coming.swap_remove(at);
                self.append(fact);
            }
        }
    }

    fn append(&mut self, fact: Fact) {
        let seq = self.records.len() as u64 + 1;
        let record = Record { run: self.run.clone(), at_ms: seq * 1_000, fact };
        let mut commands = Vec::new();
        let before = self.state();
        let outcome = self.shard.apply(seq, record.clone(), &mut commands);
        assert!(outcome.is_ok() || commands.is_empty(), "an ignored record changes nothing");
        if let (Ok(()), Fact::StepSucceeded(success)) = (&outcome, &record.fact) {
            let name = (success.attempt.step, success.attempt.attempt);
            assert!(self.outputs.insert(name, success.output.clone()).is_none(), "{name:?} is taken twice");
        }
        if outcome.is_ok() {
            self.listen(&record.fact);
        }
        for command in &commands {
            self.check(command);
            self.answer(command);
        }
        if outcome.is_ok() {
            self.accepted.push(record.fact.name());
            self.moves.insert((before, record.fact.name(), self.state()));
        }
        self.open.fold(&record, outcome.is_ok(), &commands);
        self.check_state(record.at_ms);
        self.records.push(record);
        self.straight.push(commands);
    }

    /// Where the run stands, as its document says it.
    fn state(&self) -> &'static str {
        let active = self.shard.document(&self.run, 0).map(|document| document.state);
        let state = active.or(self.ended.as_ref().map(|document| document.state));
        state.map_or("[*]", RunState::as_str)
    }

    /// What people have said, and the run has heard.
    fn listen(&mut self, fact: &Fact) {
        match fact {
            Fact::RunPauseRequested { .. } => {
                self.paused = true;
                self.coming.push(Fact::RunResumeRequested);
            }
            Fact::RunResumeRequested => self.paused = false,
            Fact::StepSucceeded(success) => {
                self.unanswered.remove(&(success.attempt.step, success.attempt.attempt));
            }
            Fact::StepFailed(failed) => {
                self.unanswered.remove(&(failed.attempt.step, failed.attempt.attempt));
            }
            Fact::ApprovalDecided(decided) if decided.approved => {
                self.approved.extend(decided.gates.iter().copied());
            }
            _ => {}
        }
    }

    /// What was decided on the way is what the state alone says: nothing that could start
    /// waits, and whoever takes over owes what is open.
    fn check_state(&self, at_ms: u64) {
        let Some(document) = self.shard.document(&self.run, at_ms) else {
            return;
        };
        for entry in document.steps.iter().filter(|entry| entry.state == "waiting") {
            assert!(entry.waits_for.is_some(), "{:?} waits for nothing", entry.id);
        }
        let commands = self.shard.owed();
        let owed: BTreeSet<String> = commands.iter().map(name).collect();
        assert_eq!(owed, self.open.names(&self.shard, at_ms), "owed otherwise than open");
        commands.iter().for_each(|command| self.check_put_off(command));
    }

    /// What is owed is found by its name, as whoever has put it off finds it; its next
    /// attempt is not owed yet.
    fn check_put_off(&self, owed: &Command) {
        let (one, next) = match owed {
            Command::DispatchStep(order) => {
                let found = |attempt| self.shard.step_owed(&order.run, order.step, attempt);
                (found(order.attempt), found(order.attempt + 1))
            }
            Command::DispatchPlan(order) => {
                let found = |attempt| self.shard.planning_owed(&order.run, order.draft.revision, attempt);
                (found(order.draft.attempt), found(order.draft.attempt + 1))
            }
            _ => return,
        };
        assert_eq!((one.as_ref(), next), (Some(owed), None), "{} is owed otherwise by name", name(owed));
    }

    /// The promises: names are new, nothing follows the end, nothing starts before its time.
    fn check(&mut self, command: &Command) {
        assert!(self.ended.is_none(), "{} after the end", name(command));
        match command {
            Command::DispatchPlan(_) => {
                assert!(self.emitted.insert(name(command)), "{} is emitted twice", name(command));
            }
            Command::DispatchStep(order) => {
                // A newer draft that goes on with a step orders it again, while nobody has answered it.
                let again = !self.emitted.insert(name(command));
                let unanswered = self.unanswered.contains(&(order.step, order.attempt));
                assert!(!again || unanswered, "{} is emitted twice", name(command));
                if !again {
                    self.check_permission(order);
                }
            }
            Command::TellRun { .. } => unreachable!("no task here has children"),
            Command::ArmTimer { .. }
            | Command::AskApproval { .. }
            | Command::BroadcastCancel { .. }
            | Command::FinishRun(_) => {}
        }
        match command {
            Command::DispatchStep(order) => self.check_dependencies(order),
            Command::DispatchPlan(order) => {
                assert!(!self.paused, "a planner is asked in a pause");
                self.looking = order.situation.as_ref().map(|_| order.draft.revision);
            }
            Command::FinishRun(document) => self.check_document(document),
            _ => {}
        }
    }

    /// Nobody holds it: no pause, no review, no person who has not said yes.
    fn check_permission(&self, order: &StepOrder) {
        assert!(!self.paused, "step {} is dispatched in a pause", order.step);
        let approval = &order.envelope.approval;
        // Who approves a later revision approves what it has kept of this one.
        let plans = Gate::Plan { revision: order.revision }..=Gate::Plan { revision: u32::MAX };
        let approved = self.approved.range(plans).next().is_some();
        assert!(!approval.plan || approved, "the plan of step {} is not approved", order.step);
        let gated = order.spec.tools.iter().any(|tool| approval.tools.contains(tool));
        let gate = Gate::Step { step: order.step.step };
        assert!(!gated || self.approved.contains(&gate), "{gate:?} is not approved");
        let first = order.attempt == 1 && order.envelope.review == Review::AfterEachStep;
        let looking = self.shard.document(&self.run, 0).is_some_and(|document| {
            self.looking.is_some_and(|revision| document.revisions.len() < revision as usize)
        });
        assert!(!first || !looking, "step {} starts while the planner looks", order.step);
    }

    /// Every dependency has succeeded, in its newest form, and its output is what the step sees.
    fn check_dependencies(&self, order: &StepOrder) {
        for on in order.spec.dependencies() {
            let of_step = |id: &&(StepId, u32)| id.0.step == on;
            let Some(newest) = self.orders.keys().filter(of_step).map(|(_, attempt)| *attempt).max() else {
                assert_eq!(self.items, 0, "step {} is dispatched before step {on}", order.step);
                continue;
            };
            let each =
                self.orders.iter().find(|((id, _), _)| id.step == on).map(|(_, order)| order.step.item);
            let ids: Vec<StepId> = match each.flatten() {
                None => vec![StepId::plain(on)],
                Some(_) => (0..self.items).map(|item| StepId::item(on, item)).collect(),
            };
            for id in ids {
                let done = (1..=newest).rev().any(|attempt| self.outputs.contains_key(&(id, attempt)));
                assert!(done, "step {} is dispatched before {id}", order.step);
            }
        }
        let plain = order.spec.inputs.iter().zip(&order.inputs);
        for (input, resolved) in plain {
            if let (Some((from, "")), ResolvedValue::Json(seen)) = (input.reference(), &resolved.value) {
                let newest = self.newest_output(from);
                assert!(
                    newest.is_none_or(|output| output == seen),
                    "step {} sees {} of step {from}, there is {newest:?}",
                    order.step,
                    seen.as_str()
                );
            }
        }
    }

    /// The newest output of a step that is not expanded.
    fn newest_output(&self, step: u32) -> Option<&Json> {
        let id = StepId::plain(step);
        self.outputs.range((id, 0)..=(id, u32::MAX)).next_back().map(|(_, output)| output)
    }

    /// A run that succeeded by its plan shows for every step what its dispatch brought, made from
    /// what the document shows of the others.
    fn check_document(&self, document: &RunDocument) {
        assert!(document.state.is_end());
        let entry = |id: StepId| document.steps.iter().find(|entry| entry.id.0 == id);
        for done in document.steps.iter().filter(|entry| entry.state == "succeeded") {
            let Some(order) = self.orders.get(&(done.id.0, done.attempts)) else {
                let expanded = entry(StepId::item(done.id.0.step, 0)).is_some();
                assert!(expanded || self.items == 0, "{:?} succeeded without a dispatch", done.id);
                continue;
            };
            assert_eq!(order.spec, done.spec, "{:?} is of another draft", done.id);
            for (input, resolved) in order.spec.inputs.iter().zip(&order.inputs) {
                if let (Some((from, "")), ResolvedValue::Json(seen)) = (input.reference(), &resolved.value) {
                    let shown = entry(StepId::plain(from)).and_then(|entry| entry.output.as_ref());
                    assert_eq!(shown, Some(seen), "{:?} was made from something else", done.id);
                }
            }
        }
        let reached = document.state == RunState::Succeeded && document.reason().is_none();
        if reached {
            let open = ["waiting", "running", "failed", "cancelled"];
            let left = document.steps.iter().filter(|entry| entry.id.0.item.is_none());
            assert!(left.into_iter().all(|entry| !open.contains(&entry.state)), "work is left");
        }
    }

    /// Whoever gets the command does what it says, and a record will come of it.
    fn answer(&mut self, command: &Command) {
        match command {
            Command::DispatchPlan(order) => self.planner(order, 0),
            Command::DispatchStep(order) => self.executor(order),
            Command::ArmTimer { timer, .. } => self.coming.push(Fact::TimerFired(*timer)),
            Command::AskApproval { gate, .. } => {
                let fact = self.decision(*gate);
                self.coming.push(fact);
            }
            Command::BroadcastCancel { .. } | Command::TellRun { .. } => {}
            Command::FinishRun(document) => self.ended = Some((**document).clone()),
        }
    }

    fn decision(&mut self, gate: Gate) -> Fact {
        let approved = !self.dice.one_in(5);
        Fact::ApprovalDecided(ApprovalDecided { gates: vec![gate], approved, reason: "random".to_owned() })
    }

    fn executor(&mut self, order: &StepOrder) {
        self.unanswered.insert((order.step, order.attempt));
        self.orders.insert((order.step, order.attempt), order.clone());
        let attempt = AttemptReport {
            step: order.step,
            attempt: order.attempt,
            model: None,
            usage: vec![used(Account::Executor)],
            started_ms: 0,
            ended_ms: 0,
            calls: Vec::new(),
        };
        let fact = if self.dice.one_in(7) {
            let failure = self.failure();
            Fact::StepFailed(Box::new(StepFailed { attempt, failure }))
        } else {
            let output = format!("\"{} by {}.{}\"", order.spec.description, order.step, order.attempt);
            let output = Json::from_text(&output).expect("JSON");
            Fact::StepSucceeded(Box::new(StepSucceeded { attempt, output }))
        };
        self.coming.push(fact);
    }

    fn failure(&mut self) -> Failure {
        use FailureClass as C;
        const USUAL: [C; 7] =
            [C::Transient, C::Transient, C::Transient, C::InvalidOutput, C::ToolError, C::Denied, C::Lost];
        let class = if self.dice.one_in(12) { C::ALL[self.dice.roll(12)] } else { USUAL[self.dice.roll(7)] };
        Failure::new(class, "random")
    }

    /// A planner writes a draft; its records come in any order, and some never, when it dies
    /// and another takes over.
    fn planner(&mut self, order: &PlanOrder, take: u32) {
        let draft = Draft { take, ..order.draft };
        self.planning
            .retain(|(known, _)| known.draft.revision == draft.revision && known.draft != order.draft);
        self.planning.push((order.clone(), take));
        if self.dice.one_in(8) {
            let failure = self.failure();
            self.coming.push(Fact::PlanFailed { draft, failure, usage: Vec::new() });
            return;
        }
        let (steps, decision) = self.draft(order);
        let sealed = PlanSealed {
            draft,
            steps: u32::try_from(steps.len()).expect("few"),
            decision,
            reason: "random".to_owned(),
            usage: vec![used(Account::Planner)],
            model: String::new(),
            started_ms: 0,
            cache: None,
        };
        let mut facts: Vec<Fact> =
            steps.into_iter().map(|step| Fact::StepPlanned { draft, step: Box::new(step) }).collect();
        facts.push(Fact::PlanSealed(Box::new(sealed)));
        if self.dice.one_in(6) {
            // It dies in the middle of its work, and another planner does all of it again.
            facts.truncate(self.dice.roll(facts.len()));
            self.coming.extend(facts);
            self.planner(order, take + 1);
        } else {
            self.coming.extend(facts);
        }
    }

    fn draft(&mut self, order: &PlanOrder) -> (Vec<PlanStep>, Decision) {
        let Some(situation) = &order.situation else {
            let steps = self.steps(1, &[]);
            let final_step = steps[steps.len() - 1].id;
            return (steps, Decision::Plan { final_step });
        };
        match self.dice.roll(10) {
            0 => (Vec::new(), Decision::GiveUp),
            1 => (Vec::new(), Decision::Finish { answer: Json::from_text("\"enough\"").expect("JSON") }),
            _ => {
                let kept: Vec<u32> = situation
                    .steps
                    .iter()
                    .filter(|standing| standing.state == "succeeded")
                    .map(|standing| standing.step.id)
                    .collect();
                let steps = self.steps(situation.highest_id + 1, &kept);
                let final_step = Some(steps[steps.len() - 1].id);
                let drop = situation.steps.iter().map(|standing| standing.step.id);
                let drop = drop.filter(|_| self.dice.one_in(4)).collect();
                (steps, Decision::Revise { drop, final_step })
            }
        }
    }

    /// Whatever is still on its way changes nothing.
    fn afterwards(&mut self) {
        assert!(self.shard.is_empty() && self.shard.owed().is_empty());
        for fact in std::mem::take(&mut self.coming) {
            self.append(fact);
        }
        let ended = self.ended.clone().expect("it has ended");
        assert_eq!(ended.rerun.is_some(), ended.state != RunState::Succeeded);
        if let Some(rerun) = &ended.rerun {
            goes_on(&ended, rerun);
        }
    }
}

fn used(account: Account) -> Charge {
    Charge::new(account, "m", Usage { calls: 1, output_tokens: 1, ..Usage::NONE })
}
