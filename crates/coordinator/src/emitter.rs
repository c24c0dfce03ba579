//! Carries out commands: one match. Every command has a name that the broker
//! takes once, so carrying one out again after an unknown outcome is harmless, as
//! long as the name is taken. Work whose outcome is in the log is not tried again:
//! its name is free, and it would be done twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::{
    FutureExt as _, StreamExt as _,
    future::{AbortHandle, Abortable, BoxFuture},
    stream::FuturesUnordered,
};
use planfleet_bus::{
    Bus, DeadLetter, Error, broker,
    live::{APPROVAL_ASKED, News, RUN_FINISHED},
    work::Origin,
    worker,
};
use planfleet_core::{
    command::Command,
    document::RunDocument,
    failure::{Failure, FailureClass},
    id::{RunId, StepId},
    reason::{End, EndCode},
    record::{AttemptReport, Draft, Fact, Gate, Report, StepFailed, Timer},
};
use planfleet_proto::{BLOB_BYTES_MAX, subjects::WorkKind};
use tokio::time::sleep;

use crate::flow::WorkName;

/// Wait before a command is carried out again. The publish underneath has
/// already tried for its whole time limit.
const RETRY: Duration = Duration::from_millis(500);

/// Commands that may be in flight before the owner stops reading its log:
/// enough to keep the broker's pipeline full, and a bound on memory while it
/// is out of reach.
pub(crate) const IN_FLIGHT_MAX: usize = 4_096;

/// No work of a run comes before this.
const FIRST_WORK: WorkName = (WorkKind::Step(StepId::plain(0)), 0);

/// Commands in flight.
pub(crate) struct Emitter {
    bus: Bus,
    /// Under which commands are given.
    epoch: u64,
    in_flight: FuturesUnordered<BoxFuture<'static, Done>>,
    /// Dispatches in flight, each with what stops it.
    dispatches: BTreeMap<(RunId, WorkName), AbortHandle>,
    /// Messages that are being set aside, by their positions in the log.
    letters: BTreeSet<u64>,
}

/// What a command in flight was.
enum Done {
    /// Nothing that anybody waits for.
    Said,
    /// The run's document is kept, or never will be.
    Kept(RunId),
    Dispatched(RunId, WorkName),
    SetAside(u64),
}

impl Emitter {
    pub(crate) fn new(bus: Bus, epoch: u64) -> Self {
        let (in_flight, dispatches, letters) = Default::default();
        Self { bus, epoch, in_flight, dispatches, letters }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.in_flight.len() >= IN_FLIGHT_MAX
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Starts carrying a command out that followed from the log up to `log_seq`.
    /// Timers are the owner's own business.
    pub(crate) fn emit(&mut self, command: Command, log_seq: u64) {
        let (bus, origin) = (self.bus.clone(), Origin { epoch: self.epoch, log_seq });
        let Some((run, work)) = dispatched(&command) else {
            let carried =
                async move { carry_out(&bus, &command, origin).await.map_or(Done::Said, Done::Kept) };
            return self.in_flight.push(carried.boxed());
        };
        let (stop, stopped) = AbortHandle::new_pair();
        self.dispatches.insert((run.clone(), work), stop);
        let dispatch = async move {
            let carried = async { carry_out(&bus, &command, origin).await };
            let _ = Abortable::new(carried, stopped).await;
            Done::Dispatched(run, work)
        };
        self.in_flight.push(dispatch.boxed());
    }

    /// The outcome of work is in the log: it is not to be queued any more.
    pub(crate) fn answered(&self, run: &RunId, work: WorkName) {
        if let Some(stop) = self.dispatches.get(&(run.clone(), work)) {
            stop.abort();
        }
    }

    /// A run has ended: nothing for it is to be queued any more.
    pub(crate) fn ended(&self, run: &RunId) {
        let of_run = self.dispatches.range((run.clone(), FIRST_WORK)..);
        of_run.take_while(|((of, _), _)| of == run).for_each(|(_, stop)| stop.abort());
    }

    /// Sets a message aside.
    pub(crate) fn set_aside(&mut self, letter: DeadLetter) {
        let bus = self.bus.clone();
        self.letters.insert(letter.seq);
        let kept = async move {
            while let Err(error) = bus.set_aside(letter.clone()).await {
                tracing::warn!(%error, "cannot set a message aside; trying again");
                sleep(RETRY).await;
            }
            Done::SetAside(letter.seq)
        };
        self.in_flight.push(kept.boxed());
    }

    /// Everything unreadable before this position of the log has been set aside, as far as
    /// this owner has been told of it; `None` when all of it has.
    pub(crate) fn first_letter(&self) -> Option<u64> {
        self.letters.first().copied()
    }

    /// Asks for the end of a run that waits for what nobody can read.
    pub(crate) fn give_up(&self, run: RunId, reason: String) {
        let bus = self.bus.clone();
        let asked = async move {
            let fact = Fact::RunCancelRequested { reason };
            while let Err(error) = bus.append(&run, &fact).await {
                tracing::warn!(%run, %error, "cannot ask for a run's end; trying again");
                sleep(RETRY).await;
            }
            Done::Said
        };
        self.in_flight.push(asked.boxed());
    }

    /// Appends the record of a timer that has fired.
    pub(crate) fn fire(&self, run: RunId, timer: Timer) {
        let bus = self.bus.clone();
        let fired = async move {
            while let Err(error) = bus.append(&run, &Fact::TimerFired(timer)).await {
                tracing::warn!(%run, %error, "cannot record a timer; trying again");
                sleep(RETRY).await;
            }
            Done::Said
        };
        self.in_flight.push(fired.boxed());
    }

    /// Waits for one command; names the run whose document is kept now, if it was that.
    pub(crate) async fn next(&mut self) -> Option<RunId> {
        match self.in_flight.next().await? {
            Done::Said => None,
            Done::Kept(run) => Some(run),
            Done::Dispatched(run, work) => {
                self.dispatches.remove(&(run, work));
                None
            }
            Done::SetAside(seq) => {
                self.letters.remove(&seq);
                None
            }
        }
    }
}

/// The work that a command has queued, by its name.
fn dispatched(command: &Command) -> Option<(RunId, WorkName)> {
    match command {
        Command::DispatchStep(order) => {
            Some((order.run.clone(), (WorkKind::Step(order.step), order.attempt)))
        }
        Command::DispatchPlan(order) => {
            let draft = order.draft;
            Some((order.run.clone(), (WorkKind::Planning(draft.revision), draft.attempt)))
        }
        _ => None,
    }
}

/// The work whose outcome a fact is, by its name.
pub(crate) fn answered(fact: &Fact) -> Option<WorkName> {
    match fact {
        Fact::StepSucceeded(success) => Some(of_step(&success.attempt)),
        Fact::StepFailed(failed) => Some(of_step(&failed.attempt)),
        Fact::PlanSealed(sealed) => Some(of_draft(sealed.draft)),
        Fact::PlanFailed { draft, .. } => Some(of_draft(*draft)),
        _ => None,
    }
}

const fn of_step(report: &AttemptReport) -> WorkName {
    (WorkKind::Step(report.step), report.attempt)
}

const fn of_draft(draft: Draft) -> WorkName {
    (WorkKind::Planning(draft.revision), draft.attempt)
}

async fn carry_out(bus: &Bus, command: &Command, origin: Origin) -> Option<RunId> {
    match persist(bus, command, origin).await {
        Ok(finished) => finished,
        Err(error) => instead(bus, command, origin, &error).await,
    }
}

/// Carries a command out, however long that takes.
///
/// # Errors
/// When trying again cannot help.
async fn persist(bus: &Bus, command: &Command, origin: Origin) -> Result<Option<RunId>, Error> {
    loop {
        match try_once(bus, command, origin).await {
            Err(error) if !error.is_permanent() => {
                tracing::warn!(command = name(command), %error, "command not carried out; trying again");
                sleep(RETRY).await;
            }
            outcome => return outcome,
        }
    }
}

/// What is done for a command that can never be carried out, so that its run
/// does not wait for it.
async fn instead(bus: &Bus, command: &Command, origin: Origin, error: &Error) -> Option<RunId> {
    tracing::error!(command = name(command), %error, "command cannot be carried out");
    let message = match error {
        Error::Broker(broker::Error::TooLarge { bytes, max }) => format!(
            "it cannot be dispatched: with its inputs it has {bytes} bytes, and a message at most {max}; \
             refer to parts of outputs, or split the work"
        ),
        other => format!("it cannot be dispatched: {other}"),
    };
    let failure = Failure::new(FailureClass::ToolError, message);
    let (run, fact) = match command {
        Command::DispatchStep(order) => {
            (&order.run, worker::failed(WorkKind::Step(order.step), order.attempt, failure))
        }
        Command::DispatchPlan(order) => {
            let what = WorkKind::Planning(order.draft.revision);
            (&order.run, worker::failed(what, order.draft.attempt, failure))
        }
        Command::TellRun { fact, .. } => {
            let Fact::TaskSubmitted(child) = fact.as_ref() else { return None };
            let parent = child.parent.as_deref()?;
            (&parent.run, worker::failed(WorkKind::Step(parent.step), parent.attempt, failure))
        }
        Command::FinishRun(document) => return keep_less(bus, document, origin).await,
        Command::BroadcastCancel { .. } | Command::AskApproval { .. } | Command::ArmTimer { .. } => {
            return None;
        }
    };
    while let Err(error) = bus.append(run, &fact).await {
        tracing::warn!(%run, %error, "cannot record a failure; trying again");
        sleep(RETRY).await;
    }
    None
}

/// A document that is larger than a message can be is kept with less: without what a
/// rerun needs, without outputs as well, or at the worst without steps.
async fn keep_less(bus: &Bus, document: &RunDocument, origin: Origin) -> Option<RunId> {
    let has_rerun = document.rerun.is_some();
    let lesser =
        [has_rerun.then_some(without_rerun as fn(_) -> _), Some(without_outputs), Some(without_steps)];
    for less in lesser.into_iter().flatten() {
        match persist(bus, &Command::FinishRun(Arc::new(less(document))), origin).await {
            Ok(finished) => return finished,
            Err(error) => tracing::error!(run = %document.run_id, %error, "document still not kept"),
        }
    }
    // Nothing else can be done for it, and its log must not be kept for ever.
    Some(document.run_id.clone())
}

fn without_rerun(document: &RunDocument) -> RunDocument {
    let less = RunDocument { rerun: None, ..document.clone() };
    noted(less, &format!("a rerun cannot go on from here: what it needs is {}", too_large()))
}

fn without_outputs(document: &RunDocument) -> RunDocument {
    let mut less = RunDocument { rerun: None, partial: true, answer: None, ..document.clone() };
    less.steps.iter_mut().for_each(|step| step.output = None);
    noted(less, &format!("its outputs are {}, and are not kept", too_large()))
}

fn without_steps(document: &RunDocument) -> RunDocument {
    let less = RunDocument {
        rerun: None,
        partial: true,
        answer: None,
        steps: Vec::new(),
        revisions: Vec::new(),
        ..document.clone()
    };
    noted(less, &format!("its steps are {}, and are not kept", too_large()))
}

/// Why something is not kept, as people are told.
fn too_large() -> String {
    format!("larger than the {} MiB that a document may have", BLOB_BYTES_MAX >> 20)
}

/// Says in a document what it lacks.
fn noted(mut document: RunDocument, note: &str) -> RunDocument {
    let end = document.end.get_or_insert_with(|| End::new(EndCode::Completed, ""));
    end.message = if end.message.is_empty() { note.to_owned() } else { format!("{}\n{note}", end.message) };
    document
}

async fn try_once(bus: &Bus, command: &Command, origin: Origin) -> Result<Option<RunId>, Error> {
    match command {
        Command::DispatchPlan(order) => bus.dispatch_plan(order, origin).await.map(|_| None),
        Command::DispatchStep(order) => bus.dispatch_step(order, origin).await.map(|_| None),
        Command::BroadcastCancel { run } => bus.broadcast_cancel(run).await.map(|()| None),
        Command::TellRun { run, fact } => bus.append(run, fact).await.map(|()| None),
        Command::FinishRun(document) => {
            if let Some(report) = &document.report {
                tell_parent(bus, report).await?;
            }
            bus.finish(document).await?;
            let news = || News { event: RUN_FINISHED.to_owned(), step: None, model: None };
            bus.tell(&document.run_id, news).await?;
            Ok(Some(document.run_id.clone()))
        }
        Command::AskApproval { run, gate } => {
            let news = || News { event: APPROVAL_ASKED.to_owned(), step: step_of(*gate), model: None };
            bus.tell(run, news).await?;
            Ok(None)
        }
        Command::ArmTimer { .. } => Ok(None),
    }
}

/// The end of a child in its parent's log. Nothing is owed for the child any more once its
/// document is kept, so that this comes first.
async fn tell_parent(bus: &Bus, Report { run, fact }: &Report) -> Result<(), Error> {
    let (error, attempt) = match (bus.append(run, fact).await, fact) {
        (Err(error), Fact::StepSucceeded(success)) if error.is_permanent() => (error, &success.attempt),
        (outcome, _) => return outcome,
    };
    let failure = Failure::new(FailureClass::ToolError, format!("its answer cannot be recorded: {error}"));
    let failed = StepFailed { attempt: attempt.clone(), failure };
    bus.append(run, &Fact::StepFailed(Box::new(failed))).await
}

/// The step that waits at a gate, if it is one step.
pub(crate) const fn step_of(gate: Gate) -> Option<StepId> {
    match gate {
        Gate::Plan { .. } => None,
        Gate::Step { step } => Some(StepId::plain(step)),
    }
}

/// A command's name in logs and metrics.
pub(crate) const fn name(command: &Command) -> &'static str {
    match command {
        Command::DispatchPlan(_) => "DispatchPlan",
        Command::DispatchStep(_) => "DispatchStep",
        Command::ArmTimer { .. } => "ArmTimer",
        Command::BroadcastCancel { .. } => "BroadcastCancel",
        Command::AskApproval { .. } => "AskApproval",
        Command::TellRun { .. } => "TellRun",
        Command::FinishRun(_) => "FinishRun",
    }
}
