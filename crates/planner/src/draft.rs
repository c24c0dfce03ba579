//! One planning job, from delivery to the sealed draft.

use std::sync::Arc;

use futures::future::{OptionFuture, join};
use planfleet_bus::{Job, Settled, trace};
use planfleet_core::{
    command::PlanOrder,
    failure::{Failure, FailureClass},
    plan::{
        PlanStep,
        lint::{Code, Fault},
    },
    record::{CacheNote, Draft, Fact, PlanSealed},
    usage::{Account, Charge, Usage},
};
use planfleet_llm::{Called, ChatRequest, ModelHandle, Purse, Tally};
use planfleet_proto::decode;
use planfleet_telemetry::names::{self, attribute as a};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tracing::{Instrument as _, Span, field::Empty, info_span};

use crate::{
    Shared,
    answer::Answer,
    ask::{self, Ask},
    cached::{Cache, Claim, Found},
    elements::Elements,
    kind::Kind,
    triage::{self, Verdict},
};

/// Carries out one job and says how the queue shall settle it.
pub(crate) async fn write(shared: &Shared, job: Job) -> Settled {
    let order = match decode::plan_order(&job.payload) {
        Ok(order) => order,
        Err(error) => return Settled::Unreadable(error.to_string()),
    };
    let span = span(&order);
    trace::join_run(&span, &order.run, order.submission.traceparent.as_deref());
    planned(shared, &order, &job).instrument(span).await
}

fn span(order: &PlanOrder) -> Span {
    info_span!(
        names::PLAN.name,
        otel.name = names::PLAN.title,
        otel.status_code = Empty,
        { a::OPERATION } = "plan",
        { a::AGENT } = "planner",
        { a::CONVERSATION } = order.run.as_str(),
        { a::REQUEST_MODEL } = Empty,
        { a::RUN_ID } = order.run.as_str(),
        { a::REVISION } = order.draft.revision,
        { a::ATTEMPT } = order.draft.attempt,
        { a::ERROR_TYPE } = Empty,
    )
}

async fn planned(shared: &Shared, order: &PlanOrder, job: &Job) -> Settled {
    let kind = if order.situation.is_some() { "replan" } else { "plan" };
    let (began, now_ms) = (Instant::now(), (shared.config.now_ms)());
    shared.instruments.delivery(job.deliveries, now_ms.saturating_sub(job.queued_ms));
    let mut writer = Writer::new(shared, order, job.deliveries);
    let outcome = tokio::select! {
        biased;
        () = job.cancelled.cancelled() => None,
        outcome = timeout(shared.config.planning_timeout, writer.write(job.deliveries)) => Some(outcome),
    };
    let Some(outcome) = outcome else {
        writer.share(&Err(Failure::new(FailureClass::Cancelled, "the run was cancelled"))).await;
        return Settled::Done;
    };
    let limit = shared.config.planning_timeout.as_secs();
    let outcome = outcome.unwrap_or_else(|_| {
        writer.cut_off();
        Err(Failure::new(FailureClass::Timeout, format!("no plan within {limit} s")))
    });
    let failure = outcome.as_ref().err().map(|failure| failure.class.as_str());
    shared.instruments.plan(kind, failure, began.elapsed());
    writer.share(&outcome).await;
    match writer.record(outcome).await {
        Ok(()) => Settled::Done,
        Err(error) => {
            tracing::warn!(%error, "plan not recorded; handing the work back");
            Settled::GiveBack
        }
    }
}

/// Writes one draft.
struct Writer<'a> {
    shared: &'a Shared,
    order: &'a PlanOrder,
    draft: Draft,
    usage: Vec<Charge>,
    /// What its calls are paid from, if there is a limit.
    purse: Option<Arc<dyn Purse>>,
    /// The model call under way.
    in_flight: Option<(Account, String, Arc<Tally>)>,
    /// The model that plans; empty as long as none does.
    model: String,
    /// What the plan cache has to do with it.
    note: Option<Box<CacheNote>>,
    /// The kind of task that it is, where others wait for the plan.
    kind: Option<Kind>,
    claim: Option<Box<Claim>>,
    started_ms: u64,
    /// Steps of the current take that are in the log already.
    published: u32,
}

impl<'a> Writer<'a> {
    fn new(shared: &'a Shared, order: &'a PlanOrder, deliveries: u64) -> Self {
        let delivery = u32::try_from(deliveries).unwrap_or(u32::MAX);
        let takes = delivery.saturating_sub(1).saturating_mul(ask::TAKES).saturating_add(1);
        let take = order.draft.take.saturating_add(takes);
        Self {
            shared,
            order,
            draft: Draft { take, ..order.draft },
            usage: Vec::new(),
            purse: (shared.purses)(order),
            in_flight: None,
            model: String::new(),
            note: None,
            kind: None,
            claim: None,
            started_ms: (shared.config.now_ms)(),
            published: 0,
        }
    }

    async fn write(&mut self, deliveries: u64) -> Result<Answer, Failure> {
        if deliveries > self.shared.config.deliveries_max {
            let message = format!("delivered {deliveries} times, and lost with its planner each time");
            return Err(Failure::new(FailureClass::Lost, message));
        }
        if let Some(answer) = self.without_planner().await {
            return Ok(answer);
        }
        let Some(role) = &self.shared.models.planner else {
            let message =
                "no planner model is configured: set roles.planner, or give the task a plan or a template";
            return Err(Failure::new(FailureClass::Quota, message));
        };
        let (mut models, first_take) = (role.candidates().into_iter().peekable(), self.draft.take);
        loop {
            let model = models.next().unwrap_or(role);
            let claim = self.claim.as_ref();
            let hold = claim.map(|claim| claim.hold(&self.shared.bus, self.shared.config.now_ms));
            let result = tokio::select! {
                biased;
                result = self.plan(model) => result,
                Some(never) = OptionFuture::from(hold) => match never {},
            };
            let is_paused = result.as_ref().is_err_and(|failure| of_quota(failure, model));
            // Takes are numbered for one model's plan and its repair.
            let begun = self.published > 0 || self.draft.take > first_take;
            if !is_paused || begun || models.peek().is_none() {
                return result;
            }
        }
    }

    /// One model's plan, with its repairs.
    async fn plan(&mut self, model: &ModelHandle) -> Result<Answer, Failure> {
        Span::current().record(a::REQUEST_MODEL, model.name());
        model.name().clone_into(&mut self.model);
        let situation = self.order.situation.as_ref();
        let shown = self.kind.as_ref().map(|kind| kind.with_slots(&self.order.submission));
        let submission = shown.as_ref().unwrap_or(&self.order.submission);
        let small_model = model.dialect().small_model;
        let mut ask = Ask::new(submission, situation, &self.shared.tools, small_model, shown.is_some());
        let mut takes_left = ask::TAKES;
        loop {
            takes_left -= 1;
            let text = self.call(model, &ask).await?;
            match ask.read(&text).and_then(|answer| self.fits(answer)) {
                Ok(answer) => return Ok(answer),
                Err(faults) if takes_left == 0 => return Err(ask::unsound(&faults)),
                Err(faults) => {
                    ask.mend(text, &faults);
                    self.draft.take += 1;
                    self.published = 0;
                }
            }
        }
    }

    /// A plan for a kind of task whose slots are no inputs cannot run over one of them.
    fn fits(&self, answer: Answer) -> Result<Answer, Vec<Fault>> {
        let Some(kind) = self.kind.as_ref() else { return Ok(answer) };
        let unfit = |step: &&Arc<PlanStep>| kind.filled(step).is_none();
        let fault = |step: &Arc<PlanStep>| {
            let message = "\"for_each\" cannot run over an input of this task: make a step for each";
            Fault::new(Code::Malformed, Some(step.id), message)
        };
        let faults: Vec<Fault> = answer.steps.iter().filter(unfit).map(fault).collect();
        if faults.is_empty() { Ok(answer) } else { Err(faults) }
    }

    /// An answer for which no planner is asked: from the cache, or the whole task as one step.
    /// Where there is none, this planner may have to plan for others too.
    async fn without_planner(&mut self) -> Option<Answer> {
        let submission = &self.order.submission;
        if self.order.situation.is_some() {
            return None;
        }
        let planner = self.shared.models.planner.as_ref().filter(|model| !model.dialect().small_model);
        let cached = planner.filter(|_| self.shared.config.cache && submission.task.goal.is_some());
        let of_task = cached.and_then(|model| Kind::of_task(submission, &self.shared.tools, model.name()));
        let has_class = of_task.is_some();
        if let Some(kind) = of_task
            && let Some(answer) = self.look(kind).await
        {
            return Some(answer);
        }
        let may_be_told = cached.is_some() && !has_class;
        let verdict = self.triage(may_be_told).await?;
        if !verdict.needs_plan {
            if let Some(claim) = self.claim.take() {
                claim.keep_direct(&self.shared.bus, &self.usage, self.elapsed_ms()).await;
            }
            return Some(triage::direct(submission, &verdict.reason));
        }
        let (class, slots) = verdict.kind().filter(|_| may_be_told)?;
        let kind = Kind::told(submission, class, slots, &self.shared.tools, cached?.name())?;
        self.look(kind).await
    }

    /// Looks a kind of task up in the cache.
    async fn look(&mut self, kind: Kind) -> Option<Answer> {
        let shared = self.shared;
        let cache = Cache {
            bus: &shared.bus,
            submission: &self.order.submission,
            tools: &shared.tools,
            model: shared.models.planner.as_ref().map(ModelHandle::name).unwrap_or_default(),
            holder: self.order.run.as_str(),
            now_ms: shared.config.now_ms,
        };
        match cache.look(kind).await {
            Found::Known(answer, note) => {
                shared.instruments.cache("hit");
                shared.instruments.saved(&note);
                self.note = Some(note);
                Some(answer)
            }
            Found::Ours(claim) => {
                shared.instruments.cache("miss");
                self.note = Some(claim.note());
                self.kind = Some(claim.kind.clone());
                self.claim = Some(claim);
                None
            }
            Found::Nothing => {
                shared.instruments.cache("unfit");
                None
            }
        }
    }

    fn elapsed_ms(&self) -> u64 {
        (self.shared.config.now_ms)().saturating_sub(self.started_ms)
    }

    /// Whether a cheap model says that the task needs a plan, and perhaps of what kind it
    /// is. Its troubles are no reason to fail: what it does not decide is planned.
    async fn triage(&mut self, classifies: bool) -> Option<Verdict> {
        let submission = &self.order.submission;
        let role = self.shared.models.triage.as_ref()?;
        if !triage::is_wanted(submission) {
            return None;
        }
        // A small model's verdict is worth nothing.
        let mut models = role.candidates();
        models.retain(|model| !model.dialect().small_model);
        let mut models = models.into_iter().peekable();
        models.peek()?;
        let known =
            if classifies { Some(self.shared.known_classes(submission.task.tenant()).await) } else { None };
        let request = triage::request(submission, known.as_deref());
        while let Some(model) = models.next() {
            let tally = self.begin_call(Account::Triage, model);
            let called = model.call_tallied(request.clone(), &tally).await;
            self.end_call(Account::Triage, model, &called.usage);
            match called.result.map(|response| triage::read(&response.text)) {
                Ok(Some(verdict)) => return Some(verdict),
                Ok(None) => {
                    tracing::info!("no verdict on whether a plan is needed; planning");
                    return None;
                }
                // The next model, as for every other role.
                Err(failure) if of_quota(&failure, model) && models.peek().is_some() => {}
                Err(failure) => {
                    tracing::info!(class = %failure.class, "it is not decided whether a plan is needed; planning");
                    return None;
                }
            }
        }
        None
    }

    /// A call that can be cut off.
    fn begin_call(&mut self, account: Account, model: &ModelHandle) -> Arc<Tally> {
        let tally = Arc::new(model.tally().on_account(account).paid_from(self.purse.clone()));
        self.in_flight = Some((account, model.name().to_owned(), Arc::clone(&tally)));
        tally
    }

    fn end_call(&mut self, account: Account, model: &ModelHandle, usage: &Usage) {
        self.in_flight = None;
        // A call that was not made, as its model is paused, is on no bill.
        if usage.calls > 0 {
            Charge::add_to(&mut self.usage, account, model.name(), usage);
        }
    }

    /// One call of the model, whose sound steps are published while it still writes.
    async fn call(&mut self, model: &ModelHandle, ask: &Ask<'_>) -> Result<String, Failure> {
        let (sink, steps) = mpsc::unbounded_channel();
        let tally = self.begin_call(Account::Planner, model);
        let (called, published) =
            join(stream(model, ask.request(), sink, &tally), self.publish_early(steps, ask)).await;
        self.end_call(Account::Planner, model, &called.usage);
        self.published = published;
        Ok(called.result?.text)
    }

    /// Charges the call that the time limit has cut off, which the provider may bill
    /// all the same.
    fn cut_off(&mut self) {
        if let Some((account, model, tally)) = self.in_flight.take() {
            Charge::add_to(&mut self.usage, account, &model, &tally.cut_off());
        }
    }

    /// Publishes steps of a first plan as they come, as long as they are sound.
    /// Revisions are committed as a whole and wait for their end.
    async fn publish_early(&self, mut steps: mpsc::UnboundedReceiver<String>, ask: &Ask<'_>) -> u32 {
        let mut sound: Vec<PlanStep> = Vec::new();
        let mut going = self.order.situation.is_none();
        while let Some(text) = steps.recv().await {
            going = going && self.publish_one(&text, ask, &mut sound).await;
        }
        u32::try_from(sound.len()).unwrap_or(u32::MAX)
    }

    async fn publish_one(&self, text: &str, ask: &Ask<'_>, sound: &mut Vec<PlanStep>) -> bool {
        let Some(step) = ask.read_step(text, sound) else { return false };
        if self.kind.as_ref().is_some_and(|kind| kind.filled(&step).is_none()) {
            return false;
        }
        let published = self.append_step(&step).await.is_ok();
        if published {
            sound.push(step);
        }
        published
    }

    async fn append_step(&self, step: &PlanStep) -> Result<(), planfleet_bus::Error> {
        self.shared.bus.append(&self.order.run, &self.planned(step)).await
    }

    /// As this task's: of a plan for its kind, without references to slots.
    fn planned(&self, step: &PlanStep) -> Fact {
        let filled = self.kind.as_ref().and_then(|kind| kind.filled(step));
        Fact::StepPlanned { draft: self.draft, step: Box::new(filled.unwrap_or_else(|| step.clone())) }
    }

    /// Publishes what is not in the log yet, then the decision.
    async fn record(&self, outcome: Result<Answer, Failure>) -> Result<(), planfleet_bus::Error> {
        let fact = match outcome {
            Ok(answer) => {
                for step in answer.steps.iter().skip(self.published as usize) {
                    self.shared.bus.append_outcome(&self.order.run, &self.planned(step)).await?;
                }
                Fact::PlanSealed(Box::new(self.sealed(answer)))
            }
            Err(failure) => {
                let span = Span::current();
                span.record(a::ERROR_TYPE, failure.class.as_str()).record("otel.status_code", "ERROR");
                // The message may quote the model's words, which are in the record and not in logs.
                tracing::warn!(class = %failure.class, "planning failed");
                Fact::PlanFailed { draft: self.draft, failure, usage: self.usage.clone() }
            }
        };
        self.shared.bus.append_outcome(&self.order.run, &fact).await
    }

    fn sealed(&self, answer: Answer) -> PlanSealed {
        PlanSealed {
            draft: self.draft,
            steps: u32::try_from(answer.steps.len()).unwrap_or(u32::MAX),
            decision: answer.decision,
            reason: answer.reason,
            usage: self.usage.clone(),
            model: self.model.clone(),
            started_ms: self.started_ms,
            cache: self.note.clone(),
        }
    }

    /// Says what came of planning for others.
    async fn share(&mut self, outcome: &Result<Answer, Failure>) {
        let Some(claim) = self.claim.take() else { return };
        let bus = &self.shared.bus;
        match outcome {
            Ok(answer) => claim.keep(bus, answer, &self.usage, self.elapsed_ms()).await,
            Err(_) => claim.release(bus).await,
        }
    }
}

/// Whether a model is paused for want of credit or the like: another one may do.
fn of_quota(failure: &Failure, model: &ModelHandle) -> bool {
    failure.class == FailureClass::Quota && model.pause_left().is_some()
}

/// Calls the model and hands each step on when its object closes. Dropping the
/// sender at the end tells the other side that there are no more.
async fn stream(
    model: &ModelHandle,
    request: ChatRequest,
    steps: mpsc::UnboundedSender<String>,
    tally: &Tally,
) -> Called {
    let mut elements = Elements::default();
    let mut sink = |piece: &str| {
        for element in elements.push(piece) {
            // Bounded by the answer, whose size the transport caps; the receiver outlives the call.
            let _ = steps.send(element);
        }
    };
    model.stream_tallied(request, &mut sink, tally).await
}
