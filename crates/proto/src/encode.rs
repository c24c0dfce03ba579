//! From the core's types to the wire.

use planfleet_core::{
    command::{PlanOrder, ResolvedInput, ResolvedValue, Situation, StepOrder, StepStanding},
    document::RunDocument,
    failure::Failure,
    id::StepId,
    json::Json,
    plan::{Criterion, ForEach, Input, Plan, PlanStep, StepKind},
    reason::Cause,
    record::{
        ApprovalDecided, AttemptReport, CacheNote, Decision, Draft, Fact, Gate, PlanSealed, Timer, ToolCall,
    },
    task::{Ancestor, Brief, Carried, Envelope, Mode, Parent, Priority, Review, Submission},
    tool::Effect,
    usage::{Account, Charge, Usage},
};
use prost::Message;

use crate::{VERSION, seal, subjects::Kind, wire};

/// A record's encoding; its subject's kind is [`kind`].
#[must_use]
pub fn record(run: &str, fact: &Fact) -> Vec<u8> {
    wire::Record { version: VERSION, run_id: run.to_owned(), fact: Some(self::fact(fact)) }.encode_to_vec()
}

/// The record of a takeover, which is about the shard and no run.
#[must_use]
pub fn epoch_opened(epoch: u64, owner: &str, logic_version: u32) -> Vec<u8> {
    let fact =
        wire::record::Fact::EpochOpened(wire::EpochOpened { epoch, owner: owner.to_owned(), logic_version });
    wire::Record { version: VERSION, run_id: String::new(), fact: Some(fact) }.encode_to_vec()
}

/// The subject that a fact travels on.
#[must_use]
pub const fn kind(fact: &Fact) -> Kind {
    match fact {
        Fact::TaskSubmitted(_) => Kind::Submit,
        Fact::StepPlanned { .. } => Kind::Step,
        Fact::PlanSealed(_) => Kind::Sealed,
        Fact::StepSucceeded(_) => Kind::Result,
        Fact::StepFailed(_) | Fact::PlanFailed { .. } => Kind::Failure,
        Fact::RunCancelRequested { .. } => Kind::Cancel,
        Fact::RunPauseRequested { .. } | Fact::RunResumeRequested | Fact::ApprovalDecided(_) => Kind::Control,
        Fact::TimerFired(_) => Kind::Timer,
    }
}

fn fact(fact: &Fact) -> wire::record::Fact {
    use wire::record::Fact as W;
    match fact {
        Fact::TaskSubmitted(submission) => W::TaskSubmitted(self::submission(submission)),
        Fact::StepPlanned { draft: d, step } => {
            W::StepPlanned(wire::StepPlanned { draft: Some(draft(*d)), step: Some(plan_step(step)) })
        }
        Fact::PlanSealed(sealed) => W::PlanSealed(plan_sealed(sealed)),
        Fact::PlanFailed { draft: d, failure: f, usage: u } => W::PlanFailed(wire::PlanFailed {
            draft: Some(draft(*d)),
            failure: Some(failure(f)),
            usage: charges(u),
        }),
        Fact::StepSucceeded(success) => W::StepSucceeded(wire::StepSucceeded {
            attempt: Some(attempt(&success.attempt)),
            output_json: success.output.as_str().to_owned(),
        }),
        Fact::StepFailed(failed) => W::StepFailed(wire::StepFailed {
            attempt: Some(attempt(&failed.attempt)),
            failure: Some(failure(&failed.failure)),
        }),
        Fact::RunCancelRequested { reason } => {
            W::RunCancelRequested(wire::RunCancelRequested { reason: reason.clone() })
        }
        Fact::RunPauseRequested { reason } => {
            W::RunPauseRequested(wire::RunPauseRequested { reason: reason.clone() })
        }
        Fact::RunResumeRequested => W::RunResumeRequested(wire::RunResumeRequested {}),
        Fact::ApprovalDecided(decided) => W::ApprovalDecided(approval_decided(decided)),
        Fact::TimerFired(timer) => W::TimerFired(wire::TimerFired { timer: Some(self::timer(*timer)) }),
    }
}

fn plan_sealed(sealed: &PlanSealed) -> wire::PlanSealed {
    use wire::plan_sealed::Decision as W;
    let decision = match &sealed.decision {
        Decision::Plan { final_step } => W::Plan(wire::FirstPlan { final_step: *final_step }),
        Decision::Revise { drop, final_step } => {
            W::Revise(wire::Revise { drop: drop.clone(), final_step: *final_step })
        }
        Decision::Finish { answer } => W::Finish(wire::Finish { answer_json: answer.as_str().to_owned() }),
        Decision::GiveUp => W::GiveUp(wire::GiveUp {}),
    };
    wire::PlanSealed {
        draft: Some(draft(sealed.draft)),
        steps: sealed.steps,
        reason: sealed.reason.clone(),
        usage: charges(&sealed.usage),
        model: sealed.model.clone(),
        started_unix_ms: sealed.started_ms,
        cache: sealed.cache.as_deref().map(cache_note),
        decision: Some(decision),
    }
}

fn cache_note(note: &CacheNote) -> wire::CacheNote {
    wire::CacheNote {
        key: note.key.clone(),
        class: note.class.clone(),
        hit: note.hit,
        saved_tokens: note.saved_tokens,
        saved_nano_usd: note.saved_nano_usd,
        saved_ms: note.saved_ms,
        made_ms: note.made_ms,
    }
}

/// Of revisions only one can wait, so that one is enough.
fn approval_decided(decided: &ApprovalDecided) -> wire::ApprovalDecided {
    let revision = |gate: &Gate| match gate {
        Gate::Plan { revision } => Some(*revision),
        Gate::Step { .. } => None,
    };
    let step = |gate: &Gate| match gate {
        Gate::Plan { .. } => None,
        Gate::Step { step } => Some(*step),
    };
    wire::ApprovalDecided {
        revision: decided.gates.iter().filter_map(revision).max(),
        steps: decided.gates.iter().filter_map(step).collect(),
        approved: decided.approved,
        reason: decided.reason.clone(),
    }
}

fn timer(timer: Timer) -> wire::timer_fired::Timer {
    use wire::timer_fired::Timer as W;
    match timer {
        Timer::Deadline => W::Deadline(wire::DeadlineTimer {}),
        Timer::Retry { step, attempt } => {
            W::Retry(wire::RetryTimer { step: step.step, item: step.item, attempt })
        }
        Timer::StepTimeout { step, attempt } => {
            W::StepTimeout(wire::StepTimeoutTimer { step: step.step, item: step.item, attempt })
        }
        Timer::Replan { revision, attempt } => W::Replan(wire::ReplanTimer { revision, attempt }),
    }
}

const fn draft(draft: Draft) -> wire::Draft {
    wire::Draft { revision: draft.revision, attempt: draft.attempt, take: draft.take }
}

fn attempt(report: &AttemptReport) -> wire::Attempt {
    let StepId { step, item } = report.step;
    wire::Attempt {
        step,
        item,
        attempt: report.attempt,
        model: report.model.clone().unwrap_or_default(),
        usage: charges(&report.usage),
        started_unix_ms: report.started_ms,
        ended_unix_ms: report.ended_ms,
        calls: report.calls.iter().map(tool_call).collect(),
    }
}

fn tool_call(call: &ToolCall) -> wire::ToolCall {
    wire::ToolCall {
        tool: call.tool.clone(),
        arguments: call.arguments.clone(),
        result: call.result.clone(),
        class: call.class.map(|class| class.as_str().to_owned()).unwrap_or_default(),
        started_unix_ms: call.started_ms,
        ended_unix_ms: call.ended_ms,
    }
}

fn failure(failure: &Failure) -> wire::Failure {
    wire::Failure {
        class: failure.class.as_str().to_owned(),
        message: failure.message.clone(),
        criterion: failure.criterion.clone(),
        seen: failure.seen.clone(),
        retry_after_ms: failure.retry_after_ms,
    }
}

fn charges(charges: &[Charge]) -> Vec<wire::AccountUsage> {
    let charge = |charge: &Charge| wire::AccountUsage {
        account: account(charge.account).into(),
        usage: Some(usage(&charge.usage)),
        model: charge.model.clone(),
    };
    charges.iter().map(charge).collect()
}

const fn usage(usage: &Usage) -> wire::Usage {
    wire::Usage {
        calls: usage.calls,
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        cached_tokens: usage.cached_tokens,
        nano_usd: usage.nano_usd,
    }
}

const fn account(account: Account) -> wire::Account {
    match account {
        Account::Planner => wire::Account::Planner,
        Account::Executor => wire::Account::Executor,
        Account::Judge => wire::Account::Judge,
        Account::Triage => wire::Account::Triage,
    }
}

fn submission(submission: &Submission) -> wire::Submission {
    wire::Submission {
        task: Some(task(&submission.task)),
        envelope: Some(envelope(&submission.envelope, |_| true)),
        plan: submission.plan.as_deref().map(plan),
        traceparent: submission.traceparent.clone().unwrap_or_default(),
        carried: submission.carried.as_deref().map(carried),
        parent: submission.parent.as_deref().map(parent),
    }
}

fn parent(parent: &Parent) -> wire::Parent {
    wire::Parent {
        run_id: parent.run.to_string(),
        step: parent.step.step,
        item: parent.step.item,
        attempt: parent.attempt,
        until_unix_ms: parent.until_ms,
        criteria: parent.criteria.iter().map(criterion).collect(),
    }
}

fn carried(carried: &Carried) -> wire::Carried {
    let output = |(id, output): (&StepId, &Json)| wire::CarriedOutput {
        step: id.step,
        item: id.item,
        output_json: output.as_str().to_owned(),
    };
    wire::Carried { run_id: carried.run.to_string(), outputs: carried.outputs.iter().map(output).collect() }
}

fn task(task: &Brief) -> wire::Task {
    let mode = match task.mode {
        Mode::Auto => wire::Mode::Auto,
        Mode::Plan => wire::Mode::Plan,
        Mode::Direct => wire::Mode::Direct,
    };
    let priority = match task.priority {
        Priority::High => wire::Priority::High,
        Priority::Normal => wire::Priority::Normal,
        Priority::Low => wire::Priority::Low,
    };
    wire::Task {
        goal: task.goal.clone().unwrap_or_default(),
        inputs_json: serde_json::Value::Object(task.inputs.clone()).to_string(),
        custom_id: task.custom_id.clone().unwrap_or_default(),
        template: task.template.clone().unwrap_or_default(),
        class: task.class.clone().unwrap_or_default(),
        mode: mode.into(),
        tenant: task.tenant.clone().unwrap_or_default(),
        priority: priority.into(),
        labels: task.labels.clone(),
        batch: task.batch.clone().unwrap_or_default(),
    }
}

fn envelope(envelope: &Envelope, wanted: impl Fn(&str) -> bool) -> wire::Envelope {
    let effect = |effect: &Effect| match effect {
        Effect::Pure => wire::Effect::Pure,
        Effect::Read => wire::Effect::Read,
        Effect::Write => wire::Effect::Write,
        Effect::Destructive => wire::Effect::Destructive,
    };
    let tools = envelope.tools.iter().filter(|(name, _)| wanted(name));
    let review = match envelope.review {
        Review::OnFailure => wire::Review::OnFailure,
        Review::AfterEachStep => wire::Review::AfterEachStep,
        Review::Never => wire::Review::Never,
    };
    wire::Envelope {
        tools: tools
            .map(|(name, e)| wire::AllowedTool { name: name.clone(), effect: effect(e).into() })
            .collect(),
        hosts: envelope.hosts.clone(),
        pools: envelope.pools.clone(),
        budget_nano_usd: envelope.budget.nano_usd,
        budget_tokens: envelope.budget.tokens,
        deadline_ms: envelope.deadline_ms,
        replans_max: envelope.replans_max,
        steps_max: envelope.steps_max,
        items_max: envelope.items_max,
        attempts_max: envelope.attempts_max,
        review: review.into(),
        approve_plan: envelope.approval.plan,
        approve_tools: envelope.approval.tools.iter().cloned().collect(),
        step_timeout_ms: envelope.step_timeout_ms,
        quota_wait_ms: envelope.quota_wait_ms,
        lineage: envelope.lineage.iter().map(ancestor).collect(),
    }
}

fn ancestor(ancestor: &Ancestor) -> wire::Ancestor {
    wire::Ancestor {
        run_id: ancestor.run.to_string(),
        budget_nano_usd: ancestor.budget.nano_usd,
        budget_tokens: ancestor.budget.tokens,
    }
}

fn plan(plan: &Plan) -> wire::Plan {
    wire::Plan { steps: plan.steps.iter().map(|step| plan_step(step)).collect(), final_step: plan.final_step }
}

fn plan_step(step: &PlanStep) -> wire::PlanStep {
    let kind = match step.kind {
        StepKind::Tool => wire::StepKind::Tool,
        StepKind::Model => wire::StepKind::Model,
    };
    let input = |input: &Input| wire::Input {
        name: input.name.clone(),
        value: input.value.clone(),
        from_step: input.from_step,
        path: input.path.clone(),
    };
    let for_each = |each: &ForEach| wire::ForEach {
        from_step: each.from_step,
        path: each.path.clone(),
        item_name: each.item_name.clone(),
    };
    wire::PlanStep {
        id: step.id,
        description: step.description.clone(),
        kind: kind.into(),
        tools: step.tools.clone(),
        inputs: step.inputs.iter().map(input).collect(),
        for_each: step.for_each.as_ref().map(for_each),
        depends_on: step.depends_on.clone(),
        expected_output: step.expected_output.clone(),
        success_criteria: step.success_criteria.iter().map(criterion).collect(),
        tier: step.tier.clone(),
        timeout_s: step.timeout_s,
    }
}

fn criterion(criterion: &Criterion) -> wire::Criterion {
    wire::Criterion { kind: criterion.kind.as_str().to_owned(), arg: criterion.arg.clone() }
}

/// Planning work.
#[must_use]
pub fn plan_order(order: &PlanOrder) -> Vec<u8> {
    wire::PlanOrder {
        version: VERSION,
        run_id: order.run.to_string(),
        draft: Some(draft(order.draft)),
        submission: Some(submission(&order.submission)),
        situation: order.situation.as_ref().map(situation),
        deadline_unix_ms: order.deadline_at_ms,
    }
    .encode_to_vec()
}

fn situation(situation: &Situation) -> wire::Situation {
    let standing = |standing: &StepStanding| wire::StepStanding {
        step: Some(plan_step(&standing.step)),
        state: standing.state.to_owned(),
        output: standing.output.clone(),
        failure: standing.failure.as_ref().map(failure),
    };
    wire::Situation {
        steps: situation.steps.iter().map(standing).collect(),
        cause: cause(&situation.cause),
        final_step: situation.final_step,
        highest_id: situation.highest_id,
        steps_left: situation.steps_left,
        replans_left: situation.replans_left,
        tokens_left: situation.tokens_left,
        nano_usd_left: situation.nano_usd_left,
    }
}

/// Of the causes only those travel for which a planner revises.
fn cause(cause: &Cause) -> Option<wire::Cause> {
    use wire::cause::Cause as W;
    let steps = |steps: &[u32]| wire::Steps { steps: steps.to_vec() };
    let cause = match cause {
        Cause::Planned | Cause::Given | Cause::Rerun { .. } => return None,
        Cause::Failed { steps: failed } => W::Failed(steps(failed)),
        Cause::Reviewed { steps: finished } => W::Reviewed(steps(finished)),
        Cause::Rejected { reason } => W::Rejected(reason.clone()),
    };
    Some(wire::Cause { cause: Some(cause) })
}

/// One attempt of a step. Of the envelope's tools only those of the step travel along, and
/// its hash says that it has arrived as it was sent.
#[must_use]
pub fn step_order(order: &StepOrder) -> Vec<u8> {
    let mut sent = wire::StepOrder {
        version: VERSION,
        run_id: order.run.to_string(),
        step: order.step.step,
        item: order.step.item,
        attempt: order.attempt,
        revision: order.revision,
        tenant: order.tenant.to_string(),
        spec: Some(plan_step(&order.spec)),
        inputs: order.inputs.iter().map(resolved_input).collect(),
        envelope: Some(envelope(&order.envelope, |name| order.spec.tools.iter().any(|tool| tool == name))),
        deadline_unix_ms: order.deadline_at_ms,
        traceparent: order.traceparent.clone().unwrap_or_default(),
        timeout_unix_ms: order.timeout_at_ms,
        batch: order.batch.clone().unwrap_or_default(),
        envelope_sha256: Vec::new(),
    };
    sent.envelope_sha256 = seal::of(&sent);
    sent.encode_to_vec()
}

fn resolved_input(input: &ResolvedInput) -> wire::ResolvedInput {
    use wire::resolved_input::Value as W;
    let value = match &input.value {
        ResolvedValue::Literal(text) => W::Literal(text.clone()),
        ResolvedValue::Json(json) => W::Json(json.as_str().to_owned()),
        ResolvedValue::Item(json) => W::ItemJson(json.as_str().to_owned()),
        ResolvedValue::Index(index) => W::Index(*index),
    };
    wire::ResolvedInput { name: input.name.clone(), value: Some(value) }
}

/// A run that has ended.
#[must_use]
pub fn run_finished(document: &RunDocument) -> Vec<u8> {
    wire::RunFinished {
        version: VERSION,
        run_id: document.run_id.to_string(),
        tenant: document.tenant.clone(),
        state: document.state.as_str().to_owned(),
        // A document is plain data: it has no map keys that are not texts.
        document_json: serde_json::to_string(document).unwrap_or_default(),
        rerun: document.rerun.as_deref().map(submission),
    }
    .encode_to_vec()
}
