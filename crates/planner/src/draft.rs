//! One planning job, from delivery to the sealed draft.

use futures::future::join;
use planfleet_bus::{Job, Settled, trace};
use planfleet_core::{
    command::PlanOrder,
    failure::{Failure, FailureClass},
    plan::{
        PlanStep,
        lint::{self, Fault, Scope},
        parse,
    },
    record::{Draft, Fact, PlanSealed},
    tool::ToolCatalog,
    usage::Usage,
};
use planfleet_llm::{Called, ChatRequest, JsonSchemaFormat, Message, ModelHandle};
use planfleet_proto::decode;
use planfleet_runtime::clock;
use tokio::{sync::mpsc, time::timeout};
use tracing::{Instrument as _, Span, field::Empty, info_span};

use crate::{
    Shared,
    answer::{self, Answer},
    elements::Elements,
    prompt, schema,
};

/// Takes of one delivery: the answer and its one repair.
const TAKES_PER_DELIVERY: u32 = 2;

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
        () = job.cancelled.cancelled() => return Settled::Done,
        outcome = timeout(shared.config.planning_timeout, writer.write(job.deliveries)) => outcome,
    };
    let limit = shared.config.planning_timeout.as_secs();
    let outcome = outcome
        .unwrap_or_else(|_| Err(Failure::new(FailureClass::Timeout, format!("no plan within {limit} s"))));
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
    tools: ToolCatalog,
    draft: Draft,
    usage: Usage,
    started_ms: u64,
    /// Steps of the current take that are in the log already.
    published: u32,
}

impl<'a> Writer<'a> {
    fn new(shared: &'a Shared, order: &'a PlanOrder, deliveries: u64) -> Self {
        let delivery = u32::try_from(deliveries).unwrap_or(u32::MAX);
        let take = delivery.saturating_sub(1).saturating_mul(TAKES_PER_DELIVERY).saturating_add(1);
        Self {
            shared,
            order,
            tools: order.submission.envelope.narrow(&shared.tools),
            draft: Draft { take, ..order.draft },
            usage: Usage::NONE,
            started_ms: clock::unix_ms(),
            published: 0,
        }
    }

    async fn write(&mut self, deliveries: u64) -> Result<Answer, Failure> {
        if deliveries > self.shared.config.deliveries_max {
            let message = format!("delivered {deliveries} times, and lost with its planner each time");
            return Err(Failure::new(FailureClass::Lost, message));
        }
        let Some(model) = &self.shared.model else {
            let message =
                "no planner model is configured: set roles.planner, or give the task a plan or a template";
            return Err(Failure::new(FailureClass::Quota, message));
        };
        Span::current().record("gen_ai.request.model", model.name());
        let mut messages = self.messages(model);
        for last in [false, true] {
            let (text, read) = self.take(model, &messages).await?;
            match read {
                Ok(answer) => return Ok(answer),
                Err(faults) if last => return Err(unsound(&faults)),
                Err(faults) => {
                    tracing::info!(faults = faults.len(), "the plan is not sound; asking once more");
                    messages.push(Message::assistant(text, Vec::new()));
                    messages.push(prompt::mend(&lint::describe(&faults)));
                    self.draft.take += 1;
                    self.published = 0;
                }
            }
        }
        Err(Failure::new(FailureClass::InvalidOutput, "no sound plan"))
    }

    fn messages(&self, model: &ModelHandle) -> Vec<Message> {
        let submission = &self.order.submission;
        match &self.order.situation {
            Some(situation) => prompt::replan(submission, &self.tools, situation),
            None if model.dialect().small_model => prompt::positional(submission),
            None => prompt::plan(submission, &self.tools),
        }
    }

    /// One call of the model, and what its answer says.
    async fn take(
        &mut self,
        model: &ModelHandle,
        messages: &[Message],
    ) -> Result<(String, Result<Answer, Vec<Fault>>), Failure> {
        let request = ChatRequest {
            messages: messages.to_vec(),
            response_format: Some(self.format(model)),
            temperature: Some(0.0),
            ..ChatRequest::default()
        };
        let (sink, steps) = mpsc::unbounded_channel();
        let call = stream(model, request, sink);
        let (called, published) = join(call, self.publish_early(steps, model.dialect().small_model)).await;
        self.usage.add(&called.usage);
        self.published = published;
        let text = called.result?.text;
        let read = self.read(&text, model.dialect().small_model);
        Ok((text, read))
    }

    fn format(&self, model: &ModelHandle) -> JsonSchemaFormat {
        let positional = model.dialect().small_model;
        let (name, schema) = match &self.order.situation {
            Some(_) => ("replan", schema::replan()),
            None if positional => ("plan", schema::positional()),
            None => ("plan", schema::plan()),
        };
        JsonSchemaFormat { name: name.to_owned(), schema, strict: true }
    }

    fn read(&self, text: &str, positional: bool) -> Result<Answer, Vec<Fault>> {
        let scope = self.scope();
        match &self.order.situation {
            Some(situation) => answer::replan(text, situation, &scope),
            None if positional => answer::positional(text, &self.order.submission, &scope),
            None => answer::plan(text, &scope),
        }
    }

    fn scope(&self) -> Scope<'_> {
        let envelope = &self.order.submission.envelope;
        Scope {
            tools: &self.tools,
            inputs: Some(&self.order.submission.task.inputs),
            pools: &envelope.pools,
            steps_max: envelope.steps_max as usize,
        }
    }

    /// Publishes steps of a first plan as they come, as long as they are sound.
    /// Revisions are committed as a whole and wait for their end.
    async fn publish_early(&self, mut steps: mpsc::UnboundedReceiver<String>, positional: bool) -> u32 {
        let mut sound: Vec<PlanStep> = Vec::new();
        let mut going = self.order.situation.is_none();
        while let Some(text) = steps.recv().await {
            going = going && self.publish_one(&text, positional, &mut sound).await;
        }
        u32::try_from(sound.len()).unwrap_or(u32::MAX)
    }

    async fn publish_one(&self, text: &str, positional: bool, sound: &mut Vec<PlanStep>) -> bool {
        let step = planfleet_core::json::parse_strict(text).ok().and_then(|value| parse::step(value).ok());
        let Some(mut step) = step else { return false };
        if positional {
            answer::complete(&mut step, &self.order.submission);
        }
        if !self.is_sound(&step, sound) {
            return false;
        }
        let published = self.append_step(&step).await.is_ok();
        if published {
            sound.push(step);
        }
        published
    }

    /// Sound beside the steps before it, as far as one can tell without those after it.
    fn is_sound(&self, step: &PlanStep, before: &[PlanStep]) -> bool {
        let existing = lint::Existing {
            kept: before.iter().map(|step| step.id).collect(),
            highest_id: before.iter().map(|step| step.id).max().unwrap_or(0),
        };
        let plan = planfleet_core::plan::Plan { steps: vec![step.clone()], final_step: step.id };
        before.len() < self.order.submission.envelope.steps_max as usize
            && lint::full(&plan, &existing, &self.scope()).is_empty()
    }

    async fn append_step(&self, step: &PlanStep) -> Result<(), planfleet_bus::Error> {
        let fact = Fact::StepPlanned { draft: self.draft, step: Box::new(step.clone()) };
        self.shared.bus.append(&self.order.run, &fact).await
    }

    /// Publishes what is not in the log yet, then the decision.
    async fn record(&self, outcome: Result<Answer, Failure>) -> Result<(), planfleet_bus::Error> {
        let fact = match outcome {
            Ok(answer) => {
                for step in answer.steps.iter().skip(self.published as usize) {
                    self.append_step(step).await?;
                }
                Fact::PlanSealed(Box::new(self.sealed(answer)))
            }
            Err(failure) => {
                Span::current().record("error.type", failure.class.as_str());
                // The message may quote the model's words, which are in the record and not in logs.
                tracing::warn!(class = %failure.class, "planning failed");
                Fact::PlanFailed { draft: self.draft, failure, usage: self.usage }
            }
        };
        self.shared.bus.append(&self.order.run, &fact).await
    }

    fn sealed(&self, answer: Answer) -> PlanSealed {
        PlanSealed {
            draft: self.draft,
            steps: u32::try_from(answer.steps.len()).unwrap_or(u32::MAX),
            decision: answer.decision,
            reason: answer.reason,
            usage: self.usage,
            model: self.shared.model.as_ref().map(|model| model.name().to_owned()).unwrap_or_default(),
            started_ms: self.started_ms,
        }
    }
}

/// Calls the model and hands each step on when its object closes. Dropping the
/// sender at the end tells the other side that there are no more.
async fn stream(model: &ModelHandle, request: ChatRequest, steps: mpsc::UnboundedSender<String>) -> Called {
    let mut elements = Elements::default();
    let mut sink = |piece: &str| {
        for element in elements.push(piece) {
            // Bounded by the answer, whose size the transport caps; the receiver outlives the call.
            let _ = steps.send(element);
        }
    };
    model.call_streaming(request, &mut sink).await
}

fn unsound(faults: &[Fault]) -> Failure {
    let message = format!("the plan still has faults after a repair:\n{}", lint::describe(faults));
    Failure::new(FailureClass::InvalidOutput, message)
}
