//! One attempt, from delivery to record.

use std::{sync::Arc, time::Instant};

use planfleet_bus::{
    Error, Job, Settled, broker,
    live::{News, STEP_STARTED},
    trace,
};
use planfleet_core::{
    command::StepOrder,
    criteria::Check,
    failure::{Failure, FailureClass, trim_chars},
    json::{self, Json},
    plan::StepKind,
    record::{AttemptReport, Fact, StepFailed, StepSucceeded, ToolCall},
    seeded::{self, Bug},
    usage::{Account, Charge},
};
use planfleet_llm::{ChatRequest, ChatResponse, ModelHandle, Purse, Tally};
use planfleet_proto::decode;
use planfleet_telemetry::names::{self, attribute as a};
use serde_json::Value;
use tokio::time::timeout;
use tracing::{Instrument as _, Span, field::Empty, info_span};

use crate::{Shared, envelope, limit::Limit, model_step, tool_step};

/// When an attempt began that nobody has begun.
const NOT_BEGUN: u64 = 0;

/// Enough of a call, and of its outcome, for a planner to know what was done.
const CHANGE_CHARS_MAX: usize = 300;

/// What an attempt uses up on its way, whether it succeeds or not.
#[derive(Default)]
pub(crate) struct Spent {
    pub(crate) model: Option<String>,
    pub(crate) usage: Vec<Charge>,
    /// What the step's model has called.
    pub(crate) calls: Vec<ToolCall>,
    /// What its calls are paid from, if there is a limit.
    purse: Option<Arc<dyn Purse>>,
    /// The calls by which its model has changed something, and what came of them.
    changes: Vec<String>,
    /// The one under way.
    calling: Option<String>,
    /// The model call under way.
    in_flight: Option<(Account, String, Arc<Tally>)>,
}

impl Spent {
    /// Calls a model and charges it.
    pub(crate) async fn call(
        &mut self,
        account: Account,
        model: &ModelHandle,
        request: ChatRequest,
    ) -> Result<ChatResponse, Failure> {
        let tally = Arc::new(model.tally().on_account(account).paid_from(self.purse.clone()));
        self.in_flight = Some((account, model.name().to_owned(), Arc::clone(&tally)));
        let called = model.call_tallied(request, &tally).await;
        self.in_flight = None;
        // A call that was not made, as its model is paused, is on no bill.
        if called.usage.calls > 0 {
            Charge::add_to(&mut self.usage, account, model.name(), &called.usage);
        }
        called.result
    }

    /// Calls the models of a role, the next one where one turns out to be paused.
    pub(crate) async fn call_role(
        &mut self,
        account: Account,
        role: &ModelHandle,
        request: &ChatRequest,
    ) -> Result<ChatResponse, Failure> {
        let mut models = role.candidates().into_iter().peekable();
        while let Some(model) = models.next() {
            let result = self.call(account, model, request.clone()).await;
            if !is_paused(&result, model) || models.peek().is_none() {
                return result;
            }
        }
        self.call(account, role, request.clone()).await
    }

    /// Remembers a call of the attempt's model that may have changed something.
    pub(crate) fn changed(&mut self, tool: &str, arguments: &str, result: &Result<Value, Failure>) {
        let outcome = result.as_ref().map_or_else(|failure| failure.to_string(), Value::to_string);
        let shown = |text: &str| trim_chars(text, CHANGE_CHARS_MAX);
        self.changes.push(format!("{tool} with {}, which gave {}", shown(arguments), shown(&outcome)));
    }

    /// Remembers the call under way that may change something; `None` once it is over.
    pub(crate) fn begun(&mut self, call: Option<(&str, &str)>) {
        self.calling = call.map(|(tool, arguments)| {
            let arguments = trim_chars(arguments, CHANGE_CHARS_MAX);
            format!("{tool} with {arguments}, which was cut off and may have been done")
        });
    }

    /// What is to be said of a failure where something was changed before it. Another attempt
    /// would begin afresh, with a model that may do it again in other words; so what another
    /// attempt would have mended is the planner's too.
    fn after_changes(&mut self, failure: Failure) -> Failure {
        self.changes.extend(self.calling.take());
        if self.changes.is_empty() {
            return failure;
        }
        let (class, retry_after_ms) = match failure.class {
            FailureClass::Transient | FailureClass::Quota => (FailureClass::ToolError, None),
            class => (class, failure.retry_after_ms),
        };
        let message = format!(
            "{}; before that this step's model called {}: what that did stands, so plan only what is left",
            failure.message,
            self.changes.join("; ")
        );
        Failure { class, retry_after_ms, message, ..failure }
    }

    /// Charges the call that a time limit has cut off, which the provider may bill
    /// all the same.
    fn cut_off(&mut self) {
        if let Some((account, model, tally)) = self.in_flight.take() {
            Charge::add_to(&mut self.usage, account, &model, &tally.cut_off());
        }
    }
}

/// Whether a call came to nothing as its model is paused: another model may do it.
pub(crate) fn is_paused<T>(result: &Result<T, Failure>, model: &ModelHandle) -> bool {
    let of_quota = result.as_ref().is_err_and(|failure| failure.class == FailureClass::Quota);
    of_quota && model.pause_left().is_some()
}

/// Carries out one job and says how the queue shall settle it.
pub(crate) async fn carry_out(shared: &Shared, job: Job) -> Settled {
    let order = match decode::step_order(&job.payload) {
        Ok(order) => order,
        Err(error) => return Settled::Unreadable(error.to_string()),
    };
    let span = span(&order);
    trace::join_run(&span, &order.run, order.traceparent.as_deref());
    attempt(shared, &order, &job).instrument(span).await
}

fn span(order: &StepOrder) -> Span {
    info_span!(
        names::STEP.name,
        otel.name = format!("invoke_agent step {}", order.step),
        otel.status_code = Empty,
        { a::OPERATION } = "invoke_agent",
        { a::AGENT } = "executor",
        { a::CONVERSATION } = order.run.as_str(),
        { a::REQUEST_MODEL } = Empty,
        { a::RUN_ID } = order.run.as_str(),
        { a::STEP } = %order.step,
        { a::ATTEMPT } = order.attempt,
        { a::ERROR_TYPE } = Empty,
    )
}

async fn attempt(shared: &Shared, order: &StepOrder, job: &Job) -> Settled {
    let (started, now_ms) = (Instant::now(), (shared.config.now_ms)());
    shared.instruments.delivery(job.deliveries, now_ms.saturating_sub(job.queued_ms));
    if job.deliveries > 1 && seeded::is_on(Bug::RedeliveryDropped) {
        return Settled::Done;
    }
    let mut spent = Spent { purse: (shared.purses)(order), ..Spent::default() };
    let (outcome, started_ms) = match admit(shared, order, job.deliveries, now_ms) {
        Err(failure) => (Err(failure), NOT_BEGUN),
        Ok(limit) => tokio::select! {
            biased;
            () = job.cancelled.cancelled() => {
                tracing::info!("cancelled: nobody wants the result any more");
                return Settled::Done;
            }
            outcome = begin(shared, order, limit, &mut spent) => (outcome, now_ms),
        },
    };
    let outcome = outcome.and_then(readable).map_err(|failure| spent.after_changes(failure));
    let delivery = u32::try_from(job.deliveries).unwrap_or(u32::MAX);
    let report = AttemptReport {
        step: order.step,
        attempt: if seeded::is_on(Bug::DeliveryAsAttempt) { delivery } else { order.attempt },
        model: spent.model,
        usage: spent.usage,
        started_ms,
        ended_ms: (shared.config.now_ms)(),
        calls: spent.calls,
    };
    let name = outcome.as_ref().map_or_else(|failure| failure.class.as_str(), |_| "succeeded");
    shared.instruments.attempt(name, started.elapsed());
    // What is left is between this process and the broker.
    job.slot.free();
    record(shared, order, outcome, report).await
}

/// Whoever reads the log has to be able to read the output.
fn readable(output: Value) -> Result<Value, Failure> {
    let depth = json::depth(&output);
    if depth <= json::DEPTH_MAX {
        return Ok(output);
    }
    let message = format!("the output is nested {depth} levels deep; at most {} are kept", json::DEPTH_MAX);
    Err(Failure::new(FailureClass::ToolError, message))
}

/// The outcome is in the log before the step leaves the queue.
async fn record(
    shared: &Shared,
    order: &StepOrder,
    outcome: Result<Value, Failure>,
    attempt: AttemptReport,
) -> Settled {
    let fact = fact(outcome, attempt.clone());
    let Err(error) = shared.bus.append_outcome(&order.run, &fact).await else { return Settled::Done };
    if !error.is_permanent() {
        tracing::warn!(%error, "outcome not recorded; handing the step back");
        return Settled::GiveBack;
    }
    // The same output would be refused again: the planner is told instead.
    let message = match error {
        Error::Broker(broker::Error::TooLarge { bytes, max }) => format!(
            "the output is too large: its record has {bytes} bytes, and at most {max} are kept; \
             ask for less, or in parts"
        ),
        other => format!("the output cannot be recorded: {other}"),
    };
    let failure = Failure::new(FailureClass::ToolError, message);
    match shared.bus.append_outcome(&order.run, &self::fact(Err(failure), attempt)).await {
        Ok(()) => Settled::Done,
        Err(_) => Settled::GiveBack,
    }
}

fn fact(outcome: Result<Value, Failure>, attempt: AttemptReport) -> Fact {
    match outcome {
        Err(failure) if seeded::is_on(Bug::FailureAsSuccess) => fact(Ok(failure.message.into()), attempt),
        Ok(output) => {
            Fact::StepSucceeded(Box::new(StepSucceeded { attempt, output: Json::from_value(&output) }))
        }
        Err(failure) => {
            Span::current().record(a::ERROR_TYPE, failure.class.as_str()).record("otel.status_code", "ERROR");
            // The message may quote the model's words, which are in the record and not in logs.
            tracing::info!(class = %failure.class, "step failed");
            Fact::StepFailed(Box::new(StepFailed { attempt, failure }))
        }
    }
}

/// Whether the attempt is begun at all, and how long it may take.
fn admit(shared: &Shared, order: &StepOrder, deliveries: u64, now_ms: u64) -> Result<Limit, Failure> {
    if deliveries > shared.config.deliveries_max {
        let message = format!("delivered {deliveries} times, and lost with its executor each time");
        return Err(Failure::new(FailureClass::Lost, message));
    }
    envelope::check(order, &shared.config.pool.name, &shared.tools)?;
    let limit = Limit::of(order, shared.config.step_timeout, now_ms);
    if limit.left.is_zero() { Err(limit.passed()) } else { Ok(limit) }
}

async fn begin(
    shared: &Shared,
    order: &StepOrder,
    limit: Limit,
    spent: &mut Spent,
) -> Result<Value, Failure> {
    announce(shared, order).await;
    match timeout(limit.left, perform(shared, order, spent)).await {
        Ok(outcome) => outcome,
        Err(_) => {
            spent.cut_off();
            Err(limit.passed())
        }
    }
}

async fn perform(shared: &Shared, order: &StepOrder, spent: &mut Spent) -> Result<Value, Failure> {
    match order.spec.kind {
        StepKind::Tool => tool_step::perform(shared, order, spent).await,
        // In a box, as it is much larger than the other, and both would take its room.
        StepKind::Model => Box::pin(model_step::perform(shared, order, spent)).await,
    }
}

async fn announce(shared: &Shared, order: &StepOrder) {
    let model = (order.spec.kind == StepKind::Model)
        .then(|| model_step::model(shared, order).map(|model| model.name().to_owned()))
        .flatten();
    if let Some(model) = &model {
        Span::current().record(a::REQUEST_MODEL, model);
    }
    let news = || News { event: STEP_STARTED.to_owned(), step: Some(order.step), model };
    if let Err(error) = shared.bus.tell(&order.run, news).await {
        tracing::debug!(%error, "news not sent");
    }
}

/// A step's criteria, read before anything is done for it: what nobody can check
/// is never met.
pub(crate) fn checks(order: &StepOrder) -> Result<Vec<Check<'_>>, Failure> {
    let check = |criterion| {
        Check::compile(criterion).map_err(|bad| Failure {
            criterion: Some(criterion.to_string()),
            ..Failure::new(FailureClass::InvalidOutput, bad.to_string())
        })
    };
    order.spec.success_criteria.iter().map(check).collect()
}
