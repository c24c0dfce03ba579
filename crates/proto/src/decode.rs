//! From the wire to the core's types. What is not understood is refused.

mod family;
mod usage;

use std::{borrow::Cow, str::FromStr, sync::Arc};

use planfleet_core::{
    command::{PlanOrder, ResolvedInput, ResolvedValue, Situation, StepOrder, StepStanding},
    failure::{Failure, FailureClass},
    id::{RunId, StepId},
    json::Json,
    plan::{Criterion, CriterionKind, ForEach, Input, Plan, PlanStep, StepKind},
    reason::Cause,
    record::{
        ApprovalDecided, AttemptReport, Decision, Draft, Fact, Gate, PlanSealed, Record, StepFailed,
        StepSucceeded, Timer, ToolCall,
    },
    task::{Approval, Brief, Budget, Carried, Envelope, Mode, Priority, Review, Submission},
    tool::Effect,
};
use prost::Message;

use self::usage::{cache_note, charges};
use crate::{VERSION, seal, wire};

/// Why a message was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not even protobuf.
    #[error("not a message of this kind: {0}")]
    Bytes(String),
    /// Written by a newer version.
    #[error("version {0} is not known here; this program reads version {VERSION}")]
    Version(u32),
    /// A part that has to be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// The envelope of a dispatch is not the one that it was sent with.
    #[error(
        "its envelope is not the one that it was sent with: it was changed, or its sender is newer \
         and knows limits that are not known here"
    )]
    Envelope,
    /// A part has a value that is not known here.
    #[error("{what} has an unknown value {value}")]
    Unknown {
        /// The part.
        what: &'static str,
        /// Its value.
        value: String,
    },
}

type Result<T> = std::result::Result<T, Error>;

/// An entry of a shard's log.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// A fact about a run.
    Run(Box<Record>),
    /// Another coordinator has taken the shard over.
    EpochOpened {
        /// Its epoch.
        epoch: u64,
        /// Its name.
        owner: String,
        /// The version of its decisions.
        logic_version: u32,
    },
}

fn missing<T>(what: &'static str, part: Option<T>) -> Result<T> {
    part.ok_or(Error::Missing(what))
}

fn unknown<T>(what: &'static str, value: impl ToString) -> Result<T> {
    Err(Error::Unknown { what, value: value.to_string() })
}

fn message<M: Message + Default>(bytes: &[u8]) -> Result<M> {
    M::decode(bytes).map_err(|error| Error::Bytes(error.to_string()))
}

fn version(version: u32) -> Result<()> {
    if version == VERSION { Ok(()) } else { Err(Error::Version(version)) }
}

fn parsed<T: FromStr>(what: &'static str, text: &str) -> Result<T> {
    text.parse().or_else(|_| unknown(what, text))
}

fn json(what: &'static str, text: &str) -> Result<Json> {
    Json::from_text(text).or_else(|_| unknown(what, text.chars().take(80).collect::<String>()))
}

fn filled(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// Reads an entry of a shard's log that the broker stored at `at_ms`.
///
/// # Errors
/// Says what was not understood.
pub fn entry(bytes: &[u8], at_ms: u64) -> Result<Entry> {
    let record: wire::Record = message(bytes)?;
    version(record.version)?;
    let fact = missing("fact", record.fact)?;
    if let wire::record::Fact::EpochOpened(opened) = fact {
        let wire::EpochOpened { epoch, owner, logic_version } = opened;
        return Ok(Entry::EpochOpened { epoch, owner, logic_version });
    }
    let run = parsed("run_id", &record.run_id)?;
    Ok(Entry::Run(Box::new(Record { run, at_ms, fact: self::fact(fact)? })))
}

/// The run that a record is about, where at least that can be read.
#[must_use]
pub fn run_of(bytes: &[u8]) -> Option<RunId> {
    wire::Record::decode(bytes).ok()?.run_id.parse().ok()
}

fn fact(fact: wire::record::Fact) -> Result<Fact> {
    use wire::record::Fact as W;
    Ok(match fact {
        W::TaskSubmitted(submission) => Fact::TaskSubmitted(Box::new(self::submission(submission)?)),
        W::StepPlanned(planned) => Fact::StepPlanned {
            draft: draft(planned.draft)?,
            step: Box::new(plan_step(missing("step", planned.step)?)?),
        },
        W::PlanSealed(sealed) => Fact::PlanSealed(Box::new(plan_sealed(sealed)?)),
        W::PlanFailed(failed) => Fact::PlanFailed {
            draft: draft(failed.draft)?,
            failure: failure(missing("failure", failed.failure)?)?,
            usage: charges(failed.usage)?,
        },
        W::StepSucceeded(success) => Fact::StepSucceeded(Box::new(StepSucceeded {
            attempt: attempt(missing("attempt", success.attempt)?)?,
            output: json("output_json", &success.output_json)?,
        })),
        W::StepFailed(failed) => Fact::StepFailed(Box::new(StepFailed {
            attempt: attempt(missing("attempt", failed.attempt)?)?,
            failure: failure(missing("failure", failed.failure)?)?,
        })),
        W::RunCancelRequested(request) => Fact::RunCancelRequested { reason: request.reason },
        W::RunPauseRequested(request) => Fact::RunPauseRequested { reason: request.reason },
        W::RunResumeRequested(_) => Fact::RunResumeRequested,
        W::ApprovalDecided(decided) => Fact::ApprovalDecided(approval_decided(decided)?),
        W::TimerFired(fired) => Fact::TimerFired(timer(missing("timer", fired.timer)?)),
        W::EpochOpened(_) => return unknown("fact", "EpochOpened"),
    })
}

fn plan_sealed(sealed: wire::PlanSealed) -> Result<PlanSealed> {
    use wire::plan_sealed::Decision as W;
    let decision = match missing("decision", sealed.decision)? {
        W::Plan(plan) => Decision::Plan { final_step: plan.final_step },
        W::Revise(revise) => Decision::Revise { drop: revise.drop, final_step: revise.final_step },
        W::Finish(finish) => Decision::Finish { answer: json("answer_json", &finish.answer_json)? },
        W::GiveUp(_) => Decision::GiveUp,
    };
    Ok(PlanSealed {
        draft: draft(sealed.draft)?,
        steps: sealed.steps,
        decision,
        reason: sealed.reason,
        usage: charges(sealed.usage)?,
        model: sealed.model,
        started_ms: sealed.started_unix_ms,
        cache: sealed.cache.map(|note| Box::new(cache_note(note))),
    })
}

fn approval_decided(decided: wire::ApprovalDecided) -> Result<ApprovalDecided> {
    let plan = decided.revision.map(|revision| Gate::Plan { revision });
    let steps = decided.steps.into_iter().map(|step| Gate::Step { step });
    let gates: Vec<Gate> = plan.into_iter().chain(steps).collect();
    if gates.is_empty() {
        return Err(Error::Missing("gate"));
    }
    Ok(ApprovalDecided { gates, approved: decided.approved, reason: decided.reason })
}

fn timer(timer: wire::timer_fired::Timer) -> Timer {
    use wire::timer_fired::Timer as W;
    match timer {
        W::Deadline(_) => Timer::Deadline,
        W::Retry(retry) => {
            Timer::Retry { step: StepId { step: retry.step, item: retry.item }, attempt: retry.attempt }
        }
        W::StepTimeout(timeout) => Timer::StepTimeout {
            step: StepId { step: timeout.step, item: timeout.item },
            attempt: timeout.attempt,
        },
        W::Replan(replan) => Timer::Replan { revision: replan.revision, attempt: replan.attempt },
    }
}

fn draft(draft: Option<wire::Draft>) -> Result<Draft> {
    let wire::Draft { revision, attempt, take } = missing("draft", draft)?;
    Ok(Draft { revision, attempt, take })
}

fn attempt(attempt: wire::Attempt) -> Result<AttemptReport> {
    Ok(AttemptReport {
        step: StepId { step: attempt.step, item: attempt.item },
        attempt: attempt.attempt,
        model: filled(attempt.model),
        usage: charges(attempt.usage)?,
        started_ms: attempt.started_unix_ms,
        ended_ms: attempt.ended_unix_ms,
        calls: attempt.calls.into_iter().map(tool_call).collect::<Result<_>>()?,
    })
}

fn tool_call(call: wire::ToolCall) -> Result<ToolCall> {
    let class = |name: String| FailureClass::from_name(&name).map_or_else(|| unknown("class", name), Ok);
    Ok(ToolCall {
        tool: call.tool,
        arguments: call.arguments,
        result: call.result,
        class: filled(call.class).map(class).transpose()?,
        started_ms: call.started_unix_ms,
        ended_ms: call.ended_unix_ms,
    })
}

fn failure(failure: wire::Failure) -> Result<Failure> {
    let Some(class) = FailureClass::from_name(&failure.class) else {
        return unknown("class", failure.class);
    };
    Ok(Failure {
        class,
        message: failure.message,
        criterion: failure.criterion,
        seen: failure.seen,
        retry_after_ms: failure.retry_after_ms,
    })
}

fn submission(submission: wire::Submission) -> Result<Submission> {
    Ok(Submission {
        task: task(missing("task", submission.task)?)?,
        envelope: Arc::new(envelope(missing("envelope", submission.envelope)?)?),
        plan: submission.plan.map(plan).transpose()?.map(Arc::new),
        traceparent: filled(submission.traceparent),
        carried: submission.carried.map(carried).transpose()?.map(Box::new),
        parent: submission.parent.map(family::parent).transpose()?.map(Box::new),
    })
}

fn carried(carried: wire::Carried) -> Result<Carried> {
    let output = |output: wire::CarriedOutput| {
        Ok((StepId { step: output.step, item: output.item }, json("output_json", &output.output_json)?))
    };
    Ok(Carried {
        run: parsed("run_id", &carried.run_id)?,
        outputs: carried.outputs.into_iter().map(output).collect::<Result<_>>()?,
    })
}

fn task(task: wire::Task) -> Result<Brief> {
    let mode = match wire::Mode::try_from(task.mode) {
        Ok(wire::Mode::Auto) => Mode::Auto,
        Ok(wire::Mode::Plan) => Mode::Plan,
        Ok(wire::Mode::Direct) => Mode::Direct,
        Ok(wire::Mode::Unspecified) | Err(_) => return unknown("mode", task.mode),
    };
    let priority = match wire::Priority::try_from(task.priority) {
        Ok(wire::Priority::High) => Priority::High,
        Ok(wire::Priority::Normal) => Priority::Normal,
        Ok(wire::Priority::Low) => Priority::Low,
        Ok(wire::Priority::Unspecified) | Err(_) => return unknown("priority", task.priority),
    };
    Ok(Brief {
        goal: filled(task.goal),
        inputs: serde_json::from_str(&task.inputs_json)
            .or_else(|_| unknown("inputs_json", "text that is no object"))?,
        custom_id: filled(task.custom_id),
        template: filled(task.template),
        class: filled(task.class),
        mode,
        tenant: filled(task.tenant),
        priority,
        labels: task.labels,
        batch: filled(task.batch),
    })
}

fn envelope(envelope: wire::Envelope) -> Result<Envelope> {
    let effect = |effect: i32| match wire::Effect::try_from(effect) {
        Ok(wire::Effect::Pure) => Ok(Effect::Pure),
        Ok(wire::Effect::Read) => Ok(Effect::Read),
        Ok(wire::Effect::Write) => Ok(Effect::Write),
        Ok(wire::Effect::Destructive) => Ok(Effect::Destructive),
        Ok(wire::Effect::Unspecified) | Err(_) => unknown("effect", effect),
    };
    let review = match wire::Review::try_from(envelope.review) {
        Ok(wire::Review::OnFailure) => Review::OnFailure,
        Ok(wire::Review::AfterEachStep) => Review::AfterEachStep,
        Ok(wire::Review::Never) => Review::Never,
        Ok(wire::Review::Unspecified) | Err(_) => return unknown("review", envelope.review),
    };
    let tools = envelope.tools.into_iter().map(|tool| Ok((tool.name, effect(tool.effect)?)));
    Ok(Envelope {
        tools: tools.collect::<Result<_>>()?,
        hosts: envelope.hosts,
        pools: envelope.pools,
        budget: Budget { nano_usd: envelope.budget_nano_usd, tokens: envelope.budget_tokens },
        deadline_ms: envelope.deadline_ms,
        replans_max: envelope.replans_max,
        steps_max: envelope.steps_max,
        items_max: envelope.items_max,
        attempts_max: envelope.attempts_max,
        review,
        approval: Approval {
            plan: envelope.approve_plan,
            tools: envelope.approve_tools.into_iter().collect(),
        },
        step_timeout_ms: envelope.step_timeout_ms,
        quota_wait_ms: envelope.quota_wait_ms,
        lineage: envelope.lineage.into_iter().map(family::ancestor).collect::<Result<_>>()?,
    })
}

fn plan(plan: wire::Plan) -> Result<Plan> {
    let steps = plan.steps.into_iter().map(|step| plan_step(step).map(Arc::new)).collect::<Result<_>>()?;
    Ok(Plan { steps, final_step: plan.final_step })
}

fn plan_step(step: wire::PlanStep) -> Result<PlanStep> {
    let kind = match wire::StepKind::try_from(step.kind) {
        Ok(wire::StepKind::Tool) => StepKind::Tool,
        Ok(wire::StepKind::Model) => StepKind::Model,
        Ok(wire::StepKind::Unspecified) | Err(_) => return unknown("kind", step.kind),
    };
    let input = |input: wire::Input| Input {
        name: input.name,
        value: input.value,
        from_step: input.from_step,
        path: input.path,
    };
    let for_each = |each: wire::ForEach| ForEach {
        from_step: each.from_step,
        path: each.path,
        item_name: each.item_name,
    };
    Ok(PlanStep {
        id: step.id,
        description: step.description,
        kind,
        tools: step.tools,
        inputs: step.inputs.into_iter().map(input).collect(),
        for_each: step.for_each.map(for_each),
        depends_on: step.depends_on,
        expected_output: step.expected_output,
        success_criteria: step.success_criteria.into_iter().map(criterion).collect::<Result<_>>()?,
        tier: step.tier,
        timeout_s: step.timeout_s,
    })
}

fn criterion(criterion: wire::Criterion) -> Result<Criterion> {
    let kind = CriterionKind::ALL.into_iter().find(|kind| kind.as_str() == criterion.kind);
    match kind {
        Some(kind) => Ok(Criterion { kind, arg: criterion.arg }),
        None => unknown("criterion kind", criterion.kind),
    }
}

/// Reads planning work.
///
/// # Errors
/// Says what was not understood.
pub fn plan_order(bytes: &[u8]) -> Result<PlanOrder> {
    let order: wire::PlanOrder = message(bytes)?;
    version(order.version)?;
    Ok(PlanOrder {
        run: parsed("run_id", &order.run_id)?,
        draft: draft(order.draft)?,
        submission: Arc::new(submission(missing("submission", order.submission)?)?),
        situation: order.situation.map(situation).transpose()?,
        deadline_at_ms: order.deadline_unix_ms,
    })
}

fn situation(situation: wire::Situation) -> Result<Situation> {
    let standing = |standing: wire::StepStanding| {
        Ok(StepStanding {
            step: Arc::new(plan_step(missing("step", standing.step)?)?),
            state: standing_state(&standing.state)?,
            output: standing.output,
            failure: standing.failure.map(failure).transpose()?,
        })
    };
    Ok(Situation {
        steps: situation.steps.into_iter().map(standing).collect::<Result<_>>()?,
        cause: cause(missing("cause", situation.cause)?)?,
        final_step: situation.final_step,
        highest_id: situation.highest_id,
        steps_left: situation.steps_left,
        replans_left: situation.replans_left,
        tokens_left: situation.tokens_left,
        nano_usd_left: situation.nano_usd_left,
    })
}

fn cause(cause: wire::Cause) -> Result<Cause> {
    use wire::cause::Cause as W;
    Ok(match missing("cause", cause.cause)? {
        W::Failed(failed) => Cause::Failed { steps: failed.steps },
        W::Reviewed(finished) => Cause::Reviewed { steps: finished.steps },
        W::Rejected(reason) => Cause::Rejected { reason },
    })
}

fn standing_state(state: &str) -> Result<&'static str> {
    const STATES: [&str; 5] = ["succeeded", "partial", "failed", "running", "waiting"];
    STATES.into_iter().find(|known| *known == state).map_or_else(|| unknown("state", state), Ok)
}

/// Reads one attempt of a step.
///
/// # Errors
/// Says what was not understood.
pub fn step_order(bytes: &[u8]) -> Result<StepOrder> {
    let order: wire::StepOrder = message(bytes)?;
    version(order.version)?;
    let sealed = order.envelope_sha256 == seal::of(&order);
    let order = StepOrder {
        run: parsed::<RunId>("run_id", &order.run_id)?,
        step: StepId { step: order.step, item: order.item },
        attempt: order.attempt,
        revision: order.revision,
        pool: Cow::Borrowed(""),
        spec: Arc::new(plan_step(missing("spec", order.spec)?)?),
        inputs: order.inputs.into_iter().map(resolved_input).collect::<Result<_>>()?,
        tenant: order.tenant.into(),
        batch: filled(order.batch),
        priority: Priority::default(),
        envelope: Arc::new(envelope(missing("envelope", order.envelope)?)?),
        traceparent: filled(order.traceparent),
        deadline_at_ms: order.deadline_unix_ms,
        timeout_at_ms: order.timeout_unix_ms,
    };
    if sealed { Ok(order) } else { Err(Error::Envelope) }
}

fn resolved_input(input: wire::ResolvedInput) -> Result<ResolvedInput> {
    use wire::resolved_input::Value as W;
    let value = match missing("value", input.value)? {
        W::Literal(text) => ResolvedValue::Literal(text),
        W::Json(text) => ResolvedValue::Json(json("json", &text)?),
        W::ItemJson(text) => ResolvedValue::Item(json("item_json", &text)?),
        W::Index(index) => ResolvedValue::Index(index),
    };
    Ok(ResolvedInput { name: input.name, value })
}

/// A run that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct RunFinished {
    /// The run.
    pub run: RunId,
    /// Whose it was.
    pub tenant: String,
    /// Its state's name.
    pub state: String,
    /// Its document, as JSON text.
    pub document_json: String,
    /// What to submit for a rerun; absent after success.
    pub rerun: Option<Submission>,
}

/// Reads an ended run.
///
/// # Errors
/// Says what was not understood.
pub fn run_finished(bytes: &[u8]) -> Result<RunFinished> {
    let finished: wire::RunFinished = message(bytes)?;
    version(finished.version)?;
    Ok(RunFinished {
        run: parsed("run_id", &finished.run_id)?,
        tenant: finished.tenant,
        state: finished.state,
        document_json: finished.document_json,
        rerun: finished.rerun.map(submission).transpose()?,
    })
}
