//! One attempt, from delivery to record.

use std::time::{Duration, Instant};

use planfleet_bus::{
    Job, Settled,
    live::{News, STEP_STARTED},
    trace,
};
use planfleet_core::{
    command::StepOrder,
    criteria::{Check, Unmet},
    failure::{Failure, FailureClass},
    json::Json,
    plan::{Criterion, StepKind},
    record::{AttemptReport, Fact, StepFailed, StepSucceeded},
    usage::{Account, Usage},
};
use planfleet_proto::decode;
use serde_json::Value;
use tokio::time::timeout;
use tracing::{Instrument as _, Span, field::Empty, info_span};

use crate::{Shared, model_step, tool_step};

/// What an attempt uses up on its way, whether it succeeds or not.
#[derive(Debug, Default)]
pub(crate) struct Spent {
    pub(crate) model: Option<String>,
    pub(crate) usage: Vec<(Account, Usage)>,
}

impl Spent {
    pub(crate) fn charge(&mut self, account: Account, usage: &Usage) {
        match self.usage.iter_mut().find(|(charged, _)| *charged == account) {
            Some((_, sum)) => sum.add(usage),
            None => self.usage.push((account, *usage)),
        }
    }
}

/// Carries out one job and says how the queue shall settle it.
pub(crate) async fn carry_out(shared: &Shared, job: Job) -> Settled {
    let order = match decode::step_order(&job.payload) {
        Ok(order) => order,
        Err(error) => return Settled::Unreadable(error.to_string()),
    };
    let span = span(&order);
    trace::set_parent(&span, order.traceparent.as_deref());
    attempt(shared, &order, &job).instrument(span).await
}

fn span(order: &StepOrder) -> Span {
    info_span!(
        "step",
        otel.name = format!("invoke_agent step {}", order.step),
        gen_ai.operation.name = "invoke_agent",
        gen_ai.agent.name = "executor",
        gen_ai.conversation.id = %order.run,
        gen_ai.request.model = Empty,
        run_id = %order.run,
        step = %order.step,
        attempt = order.attempt,
        error.type = Empty,
    )
}

async fn attempt(shared: &Shared, order: &StepOrder, job: &Job) -> Settled {
    let (started, started_ms) = (Instant::now(), (shared.config.now_ms)());
    if job.deliveries > 1 {
        shared.instruments.redelivery(&shared.config.pool.name);
    }
    announce(shared, order).await;
    let mut spent = Spent::default();
    let outcome = tokio::select! {
        biased;
        () = job.cancelled.cancelled() => {
            tracing::info!("cancelled: nobody wants the result any more");
            return Settled::Done;
        }
        outcome = bounded(shared, order, job.deliveries, &mut spent) => outcome,
    };
    let report = AttemptReport {
        step: order.step,
        attempt: order.attempt,
        model: spent.model,
        usage: spent.usage,
        started_ms,
        ended_ms: (shared.config.now_ms)(),
    };
    let name = outcome.as_ref().map_or_else(|failure| failure.class.as_str(), |_| "succeeded");
    shared.instruments.attempt(&shared.config.pool.name, name, started.elapsed());
    record(shared, order, outcome, report).await
}

/// The outcome is in the log before the step leaves the queue.
async fn record(
    shared: &Shared,
    order: &StepOrder,
    outcome: Result<Value, Failure>,
    attempt: AttemptReport,
) -> Settled {
    let fact = fact(outcome, attempt.clone());
    let Err(error) = shared.bus.append(&order.run, &fact).await else { return Settled::Done };
    if !error.is_permanent() {
        tracing::warn!(%error, "outcome not recorded; handing the step back");
        return Settled::GiveBack;
    }
    // The same output would be refused again: the planner is told instead.
    let failure = Failure::new(FailureClass::ToolError, format!("the output cannot be recorded: {error}"));
    match shared.bus.append(&order.run, &self::fact(Err(failure), attempt)).await {
        Ok(()) => Settled::Done,
        Err(_) => Settled::GiveBack,
    }
}

fn fact(outcome: Result<Value, Failure>, attempt: AttemptReport) -> Fact {
    match outcome {
        Ok(output) => {
            Fact::StepSucceeded(Box::new(StepSucceeded { attempt, output: Json::from_value(&output) }))
        }
        Err(failure) => {
            Span::current().record("error.type", failure.class.as_str());
            // The message may quote the model's words, which are in the record and not in logs.
            tracing::info!(class = %failure.class, "step failed");
            Fact::StepFailed(Box::new(StepFailed { attempt, failure }))
        }
    }
}

async fn bounded(
    shared: &Shared,
    order: &StepOrder,
    deliveries: u64,
    spent: &mut Spent,
) -> Result<Value, Failure> {
    if deliveries > shared.config.deliveries_max {
        let message = format!("delivered {deliveries} times, and lost with its executor each time");
        return Err(Failure::new(FailureClass::Lost, message));
    }
    let (limit, class) = time_limit(shared, order)?;
    match timeout(limit, perform(shared, order, spent)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::new(class, format!("not done within {} s", limit.as_secs_f64()))),
    }
}

/// The step's own time, or what is left of the run's, and what it is to pass it:
/// no plan helps against the run's deadline.
fn time_limit(shared: &Shared, order: &StepOrder) -> Result<(Duration, FailureClass), Failure> {
    let own = shared.config.step_timeout;
    let Some(deadline) = order.deadline_at_ms else { return Ok((own, FailureClass::Timeout)) };
    match deadline.saturating_sub((shared.config.now_ms)()) {
        0 => Err(Failure::new(FailureClass::Deadline, "the run's time is up")),
        left if Duration::from_millis(left) <= own => {
            Ok((Duration::from_millis(left), FailureClass::Deadline))
        }
        _ => Ok((own, FailureClass::Timeout)),
    }
}

async fn perform(shared: &Shared, order: &StepOrder, spent: &mut Spent) -> Result<Value, Failure> {
    match order.spec.kind {
        StepKind::Tool => tool_step::perform(shared, order, spent).await,
        StepKind::Model => model_step::perform(shared, order, spent).await,
    }
}

async fn announce(shared: &Shared, order: &StepOrder) {
    let model = (order.spec.kind == StepKind::Model)
        .then(|| model_step::model(shared, order).map(|model| model.name().to_owned()))
        .flatten();
    if let Some(model) = &model {
        Span::current().record("gen_ai.request.model", model);
    }
    let news = News { event: STEP_STARTED.to_owned(), step: Some(order.step), model };
    if let Err(error) = shared.bus.tell(&order.run, &news).await {
        tracing::debug!(%error, "news not sent");
    }
}

/// The criteria that an output does not meet, but for those of a judge.
pub(crate) fn unmet(criteria: &[Criterion], output: &Value) -> Vec<Unmet> {
    criteria.iter().filter_map(|criterion| Check::compile(criterion).ok()?.check(output).err()).collect()
}

/// Unmet criteria as the failure that the planner reads.
pub(crate) fn invalid_output(unmet: &[Unmet], output: &Value) -> Failure {
    let message = unmet.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let failure = Failure {
        criterion: unmet.first().map(|unmet| unmet.criterion.clone()),
        ..Failure::new(FailureClass::InvalidOutput, message)
    };
    failure.with_seen(&planfleet_core::json::plain_text(output))
}
