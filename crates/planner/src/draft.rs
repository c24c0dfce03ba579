//! One planning job, from delivery to the sealed draft.

use std::sync::Arc;

use futures::future::join;
use planfleet_bus::{Job, Settled, trace};
use planfleet_core::{
    command::PlanOrder,
    failure::{Failure, FailureClass},
    plan::PlanStep,
    record::{Draft, Fact, PlanSealed},
    usage::{Account, Charge, Usage},
};
use planfleet_llm::{Called, ChatRequest, ModelHandle, Purse, Tally};
use planfleet_proto::decode;
use tokio::{sync::mpsc, time::timeout};
use tracing::{Instrument as _, Span, field::Empty, info_span};

use crate::{
    Shared,
    answer::Answer,
    ask::{self, Ask},
    elements::Elements,
    triage,
};

/// Carries out one job and says how the queue shall settle it.
pub(crate) async fn write(shared: &Shared, job: Job) -> Settled {
    let order = match decode::plan_order(&job.payload) {
        Ok(order) => order,
        Err(error) => return Settled::Unreadable(error.to_string()),
    };
    let span = span(&order);
    trace::set_parent(&span, order.submission.traceparent.as_deref());
    planned(shared, &order, &job).instrument(span).await
}

fn span(order: &PlanOrder) -> Span {
    info_span!(
        "plan",
        otel.name = "plan planner",
        gen_ai.operation.name = "plan",
        gen_ai.agent.name = "planner",
        gen_ai.conversation.id = %order.run,
        gen_ai.request.model = Empty,
        run_id = %order.run,
        revision = order.draft.revision,
        attempt = order.draft.attempt,
        error.type = Empty,
    )
}

async fn planned(shared: &Shared, order: &PlanOrder, job: &Job) -> Settled {
    let kind = if order.situation.is_some() { "replan" } else { "plan" };
    let mut writer = Writer::new(shared, order, job.deliveries);
    let outcome = tokio::select! {
        biased;
        () = job.cancelled.cancelled() => return Settled::Done,
        outcome = timeout(shared.config.planning_timeout, writer.write(job.deliveries)) => outcome,
    };
    let limit = shared.config.planning_timeout.as_secs();
    let outcome = outcome.unwrap_or_else(|_| {
        writer.cut_off();
        Err(Failure::new(FailureClass::Timeout, format!("no plan within {limit} s")))
    });
    let name = outcome.as_ref().map_or_else(|failure| failure.class.as_str(), |_| "sealed");
    shared.instruments.plan(kind, name);
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
            started_ms: (shared.config.now_ms)(),
            published: 0,
        }
    }

    async fn write(&mut self, deliveries: u64) -> Result<Answer, Failure> {
        if deliveries > self.shared.config.deliveries_max {
            let message = format!("delivered {deliveries} times, and lost with its planner each time");
            return Err(Failure::new(FailureClass::Lost, message));
        }
        if let Some(answer) = self.triage().await {
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
            let result = self.plan(model).await;
            let of_quota = result.as_ref().is_err_and(|failure| failure.class == FailureClass::Quota);
            let is_paused = of_quota && model.pause_left().is_some();
            // Takes are numbered for one model's plan and its repair.
            let begun = self.published > 0 || self.draft.take > first_take;
            if !is_paused || begun || models.peek().is_none() {
                return result;
            }
        }
    }

    /// One model's plan, with one repair.
    async fn plan(&mut self, model: &ModelHandle) -> Result<Answer, Failure> {
        Span::current().record("gen_ai.request.model", model.name());
        model.name().clone_into(&mut self.model);
        let (submission, situation) = (&self.order.submission, self.order.situation.as_ref());
        let mut ask = Ask::new(submission, situation, &self.shared.tools, model.dialect().small_model);
        let mut takes_left = ask::TAKES;
        loop {
            takes_left -= 1;
            let text = self.call(model, &ask).await?;
            match ask.read(&text) {
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

    /// The whole task as one step, where a cheap model says that it needs no plan. Its
    /// troubles are no reason to fail: what it does not decide is planned.
    async fn triage(&mut self) -> Option<Answer> {
        let submission = &self.order.submission;
        let model = self
            .shared
            .models
            .triage
            .as_ref()
            .map(ModelHandle::best)
            .filter(|model| !model.dialect().small_model)?;
        if self.order.situation.is_some() || !triage::is_wanted(submission) {
            return None;
        }
        let tally = self.begin_call(Account::Triage, model);
        let called = model.call_tallied(triage::request(submission), &tally).await;
        self.end_call(Account::Triage, model, &called.usage);
        match called.result.map(|response| triage::read(&response.text)) {
            Ok(Some(verdict)) => (!verdict.needs_plan).then(|| triage::direct(submission, &verdict)),
            Ok(None) => {
                tracing::info!("no verdict on whether a plan is needed; planning");
                None
            }
            Err(failure) => {
                tracing::info!(class = %failure.class, "it is not decided whether a plan is needed; planning");
                None
            }
        }
    }

    /// A call that can be cut off.
    fn begin_call(&mut self, account: Account, model: &ModelHandle) -> Arc<Tally> {
        let tally = Arc::new(model.tally().paid_from(self.purse.clone()));
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
        let published = self.append_step(&step).await.is_ok();
        if published {
            sound.push(step);
        }
        published
    }

    async fn append_step(&self, step: &PlanStep) -> Result<(), planfleet_bus::Error> {
        self.shared.bus.append(&self.order.run, &self.planned(step)).await
    }

    fn planned(&self, step: &PlanStep) -> Fact {
        Fact::StepPlanned { draft: self.draft, step: Box::new(step.clone()) }
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
                Span::current().record("error.type", failure.class.as_str());
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
        }
    }
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
