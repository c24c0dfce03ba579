//! One value of every kind of message, with every field filled somewhere.

use std::{collections::BTreeMap, sync::Arc};

use planfleet_core::{
    command::{PlanOrder, ResolvedInput, ResolvedValue, Situation, StepOrder, StepStanding},
    document::{RevisionNote, RunDocument, RunState, StepEntry, StepKey, Timings},
    failure::{Failure, FailureClass},
    id::{RunId, StepId},
    json::Json,
    plan::{Criterion, CriterionKind, ForEach, Input, Plan, PlanStep, StepKind},
    reason::{Cause, End, EndCode},
    record::{
        ApprovalDecided, AttemptReport, CacheNote, Decision, Draft, Fact, Gate, PlanSealed, Record,
        StepFailed, StepSucceeded, Timer, ToolCall,
    },
    task::{
        Ancestor, Approval, Brief, Budget, Carried, Envelope, Mode, Parent, Priority, Review, Submission,
    },
    tool::Effect,
    usage::{Account, Charge, Ledger, Usage},
};
use planfleet_proto::{VERSION, wire};

/// One message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Sample {
    Record(Box<Record>),
    Epoch { epoch: u64, owner: String, logic_version: u32 },
    Plan(Box<PlanOrder>),
    Step(Box<StepOrder>),
    Finished(Box<RunDocument>),
    Changed(wire::RunChanged),
    Dead(wire::DeadLetter),
}

/// Every sample with the name of its file.
pub(crate) fn all() -> Vec<(&'static str, Sample)> {
    let sealed = |decision| Fact::PlanSealed(Box::new(plan_sealed(decision)));
    let facts = [
        ("task_submitted", Fact::TaskSubmitted(Box::new(submission(None)))),
        ("task_submitted_inline", Fact::TaskSubmitted(Box::new(submission(Some(plan()))))),
        ("step_planned", Fact::StepPlanned { draft: draft(1), step: Box::new(model_step()) }),
        ("plan_sealed_plan", sealed(Decision::Plan { final_step: 2 })),
        ("plan_sealed_revise", sealed(Decision::Revise { drop: vec![2, 3], final_step: Some(5) })),
        ("plan_sealed_revise_keeps_final", sealed(Decision::Revise { drop: vec![], final_step: None })),
        ("plan_sealed_finish", sealed(Decision::Finish { answer: json("{\"name\":\"Ada\"}") })),
        ("plan_sealed_give_up", sealed(Decision::GiveUp)),
        ("plan_failed", Fact::PlanFailed { draft: draft(1), failure: failure(), usage: charges(None) }),
        ("step_succeeded", succeeded(StepId::plain(2), "\"Ada\"")),
        ("step_succeeded_item", succeeded(StepId::item(3, 0), "[1,2.5,null]")),
        (
            "step_failed",
            Fact::StepFailed(Box::new(StepFailed { attempt: report(StepId::plain(2)), failure: failure() })),
        ),
        ("run_cancel_requested", Fact::RunCancelRequested { reason: "enough".to_owned() }),
        ("task_submitted_rerun", Fact::TaskSubmitted(Box::new(rerun()))),
        ("task_submitted_part", Fact::TaskSubmitted(Box::new(part()))),
        ("run_pause_requested", Fact::RunPauseRequested { reason: "office hours".to_owned() }),
        ("run_resume_requested", Fact::RunResumeRequested),
        ("approval_plan", decided(Gate::Plan { revision: 2 }, true)),
        ("approval_step", decided(Gate::Step { step: 3 }, false)),
        ("timer_step_timeout", Fact::TimerFired(Timer::StepTimeout { step: StepId::item(3, 0), attempt: 2 })),
        ("timer_deadline", Fact::TimerFired(Timer::Deadline)),
        ("timer_retry", Fact::TimerFired(Timer::Retry { step: StepId::item(3, 0), attempt: 2 })),
        ("timer_replan", Fact::TimerFired(Timer::Replan { revision: 2, attempt: 3 })),
    ];
    let record = |fact| Sample::Record(Box::new(Record { run: run(), at_ms: super::AT_MS, fact }));
    let replan = |cause| Sample::Plan(Box::new(plan_order(Some(Situation { cause, ..situation() }))));
    let mut all: Vec<_> = facts.into_iter().map(|(name, fact)| (name, record(fact))).collect();
    all.extend([
        ("epoch_opened", Sample::Epoch { epoch: 7, owner: "coordinator-1".to_owned(), logic_version: 1 }),
        ("plan_order_first", Sample::Plan(Box::new(plan_order(None)))),
        ("plan_order_replan", replan(Cause::Failed { steps: vec![3] })),
        ("plan_order_review", replan(Cause::Reviewed { steps: vec![1] })),
        ("plan_order_rejected", replan(Cause::Rejected { reason: "too dear".to_owned() })),
        ("step_order", Sample::Step(Box::new(step_order(StepId::plain(1), tool_step())))),
        ("step_order_item", Sample::Step(Box::new(step_order(StepId::item(3, 0), model_step())))),
        ("run_finished", Sample::Finished(Box::new(document()))),
        ("run_changed", Sample::Changed(run_changed())),
        ("dead_letter", Sample::Dead(dead_letter())),
    ]);
    all
}

fn run() -> RunId {
    "0b-0190a5c2".parse().unwrap()
}

fn json(text: &str) -> Json {
    Json::from_text(text).unwrap()
}

const fn draft(revision: u32) -> Draft {
    Draft { revision, attempt: 2, take: 3 }
}

const fn usage(nano_usd: Option<u64>) -> Usage {
    Usage { calls: 2, input_tokens: 1_234, output_tokens: 56, cached_tokens: 78, nano_usd }
}

fn charges(nano_usd: Option<u64>) -> Vec<Charge> {
    vec![
        Charge::new(Account::Triage, "small-model", usage(Some(7_000))),
        Charge::new(Account::Planner, "large-model", usage(nano_usd)),
    ]
}

fn cache_note() -> CacheNote {
    CacheNote {
        key: "acme.movies.0123".to_owned(),
        class: "movies".to_owned(),
        hit: true,
        saved_tokens: 900,
        saved_nano_usd: Some(5_000),
        saved_ms: 1_880,
        made_ms: 1_790_000_000_000,
    }
}

fn failure() -> Failure {
    Failure {
        class: FailureClass::InvalidOutput,
        message: "criterion is not met".to_owned(),
        criterion: Some("min_length 3".to_owned()),
        seen: Some("ab ü".to_owned()),
        retry_after_ms: Some(1_500),
    }
}

fn call(class: Option<FailureClass>) -> ToolCall {
    ToolCall {
        tool: "file_read".to_owned(),
        arguments: "{\"path\":\"a.txt\"}".to_owned(),
        result: "\"ü\"".to_owned(),
        class,
        started_ms: 1_700_000_000_200,
        ended_ms: 1_700_000_000_300,
    }
}

fn report(step: StepId) -> AttemptReport {
    AttemptReport {
        step,
        attempt: 2,
        model: Some("small-model".to_owned()),
        usage: vec![
            Charge::new(Account::Executor, "small-model", usage(Some(42_000))),
            Charge::new(Account::Judge, "judge-model", usage(None)),
        ],
        started_ms: 1_700_000_000_100,
        ended_ms: 1_700_000_000_900,
        calls: vec![call(None), call(Some(FailureClass::ToolError))],
    }
}

fn succeeded(step: StepId, output: &str) -> Fact {
    Fact::StepSucceeded(Box::new(StepSucceeded { attempt: report(step), output: json(output) }))
}

fn plan_sealed(decision: Decision) -> PlanSealed {
    PlanSealed {
        draft: draft(2),
        steps: 2,
        decision,
        reason: "two steps do".to_owned(),
        usage: charges(Some(9_000_000)),
        model: "large-model".to_owned(),
        started_ms: 1_700_000_000_000,
        cache: Some(Box::new(cache_note())),
    }
}

fn literal(name: &str, value: &str) -> Input {
    Input { name: name.to_owned(), value: Some(value.to_owned()), from_step: None, path: None }
}

fn reference(name: &str, from: u32, path: &str) -> Input {
    Input { name: name.to_owned(), value: None, from_step: Some(from), path: Some(path.to_owned()) }
}

fn tool_step() -> PlanStep {
    PlanStep {
        id: 1,
        description: "Fetch the page.".to_owned(),
        kind: StepKind::Tool,
        tools: vec!["http_fetch".to_owned()],
        inputs: vec![literal("url", "https://example.org/a"), reference("country", 0, "/country")],
        for_each: None,
        depends_on: Vec::new(),
        expected_output: "the page's text".to_owned(),
        success_criteria: vec![Criterion { kind: CriterionKind::MinLength, arg: "1".to_owned() }],
        tier: "default".to_owned(),
        timeout_s: None,
    }
}

fn model_step() -> PlanStep {
    let criterion = |kind| Criterion { kind, arg: "arg".to_owned() };
    PlanStep {
        id: 3,
        description: "Name the author.".to_owned(),
        kind: StepKind::Model,
        tools: vec!["http_fetch".to_owned()],
        inputs: vec![reference("page", 1, "")],
        for_each: Some(ForEach {
            from_step: 1,
            path: "/items".to_owned(),
            item_name: Some("message".to_owned()),
        }),
        depends_on: vec![1, 2],
        expected_output: "a name".to_owned(),
        success_criteria: CriterionKind::ALL.map(criterion).to_vec(),
        tier: "strong".to_owned(),
        timeout_s: Some(90),
    }
}

fn plan() -> Plan {
    Plan::new(vec![tool_step(), model_step()], 3)
}

fn envelope(tools: &[(&str, Effect)]) -> Arc<Envelope> {
    Arc::new(Envelope {
        tools: tools.iter().map(|(name, effect)| ((*name).to_owned(), *effect)).collect(),
        hosts: vec!["example.org".to_owned()],
        pools: vec!["strong".to_owned()],
        budget: Budget { nano_usd: Some(500_000_000), tokens: Some(100_000) },
        deadline_ms: Some(60_000),
        replans_max: 3,
        steps_max: 1_000,
        items_max: 1_000,
        attempts_max: 5,
        review: Review::AfterEachStep,
        approval: Approval { plan: true, tools: ["http_fetch".to_owned()].into() },
        step_timeout_ms: Some(30_000),
        quota_wait_ms: 60_000,
        lineage: Vec::new(),
    })
}

/// What became part of the envelope or the plan is not said twice, so the task has none of it.
fn submission(plan: Option<Plan>) -> Submission {
    let effects = [
        ("file_write", Effect::Write),
        ("http_fetch", Effect::Read),
        ("math_eval", Effect::Pure),
        ("shell", Effect::Destructive),
    ];
    Submission {
        task: Brief {
            goal: Some("Who wrote it?".to_owned()),
            inputs: serde_json::Map::from_iter([("country".to_owned(), "Norway".into())]),
            custom_id: Some("c-1".to_owned()),
            template: Some("authors".to_owned()),
            class: Some("authorship".to_owned()),
            mode: Mode::Plan,
            priority: Priority::High,
            tenant: Some("acme".to_owned()),
            labels: BTreeMap::from([("team".to_owned(), "books".to_owned())]),
            batch: Some("nightly-1".to_owned()),
        },
        envelope: envelope(&effects),
        plan: plan.map(Arc::new),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        carried: None,
        parent: None,
    }
}

/// What a step of another run has asked for.
fn part() -> Submission {
    let whole = submission(None);
    let of =
        |run: &str, tokens| Ancestor { run: run.parse().unwrap(), budget: Budget { nano_usd: None, tokens } };
    let lineage = vec![of("0b-outer", Some(1_000)), of("0b-inner", None)];
    let parent = Parent {
        run: "0b-inner".parse().unwrap(),
        step: StepId::item(2, 1),
        attempt: 3,
        until_ms: Some(1_700_000_060_000),
        criteria: model_step().success_criteria,
    };
    let envelope = Envelope { lineage, ..whole.envelope.as_ref().clone() };
    Submission { envelope: Arc::new(envelope), parent: Some(Box::new(parent)), ..whole }
}

fn rerun() -> Submission {
    let outputs = [(StepId::plain(1), json("\"the text\"")), (StepId::item(3, 1), json("\"Ada\""))];
    let carried = Carried { run: run(), outputs: outputs.into() };
    Submission { carried: Some(Box::new(carried)), ..submission(Some(plan())) }
}

fn decided(gate: Gate, approved: bool) -> Fact {
    let gates = vec![gate, Gate::Step { step: 7 }];
    Fact::ApprovalDecided(ApprovalDecided { gates, approved, reason: "seen".to_owned() })
}

fn plan_order(situation: Option<Situation>) -> PlanOrder {
    let revision = if situation.is_some() { 2 } else { 1 };
    PlanOrder {
        run: run(),
        draft: Draft { revision, attempt: 1, take: 0 },
        submission: Arc::new(submission(None)),
        situation,
        deadline_at_ms: Some(1_700_000_060_000),
    }
}

fn situation() -> Situation {
    let standing = |step, state| StepStanding { step: Arc::new(step), state, output: None, failure: None };
    Situation {
        steps: vec![
            StepStanding { output: Some("the text".to_owned()), ..standing(tool_step(), "succeeded") },
            StepStanding { failure: Some(failure()), ..standing(model_step(), "failed") },
        ],
        cause: Cause::Failed { steps: vec![3] },
        final_step: 3,
        highest_id: 3,
        steps_left: 900,
        replans_left: 2,
        tokens_left: Some(90_000),
        nano_usd_left: Some(400_000_000),
    }
}

fn step_order(step: StepId, spec: PlanStep) -> StepOrder {
    let input = |name: &str, value| ResolvedInput { name: name.to_owned(), value };
    StepOrder {
        run: run(),
        step,
        attempt: 2,
        revision: 1,
        pool: "".into(),
        spec: Arc::new(spec),
        inputs: vec![
            input("url", ResolvedValue::Literal("https://example.org/a".to_owned())),
            input("page", ResolvedValue::Json(json("{\"text\":\"by Ada\"}"))),
            input("message", ResolvedValue::Item(json("\"good\""))),
            input("index", ResolvedValue::Index(0)),
        ],
        tenant: "acme".into(),
        batch: Some("nightly".to_owned()),
        priority: Priority::default(),
        envelope: envelope(&[("http_fetch", Effect::Read)]),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        deadline_at_ms: Some(1_700_000_060_000),
        timeout_at_ms: Some(1_700_000_030_000),
    }
}

fn document() -> RunDocument {
    let ledger = Ledger { planner: usage(Some(9_000_000)), executor: usage(None), ..Ledger::default() };
    RunDocument {
        run_id: run(),
        custom_id: Some("c-1".to_owned()),
        batch_id: Some("nightly-1".to_owned()),
        tenant: "acme".to_owned(),
        class: Some("movies".to_owned()),
        submission: Arc::new(submission(None)),
        created_ms: 1_700_000_000_000,
        ended_ms: Some(1_700_000_000_900),
        rerun_of: Some("0b-before".parse().unwrap()),
        parent: Some((run(), StepId::item(2, 1))),
        state: RunState::Failed,
        answer: None,
        partial: true,
        end: Some(End {
            step: Some(3),
            class: Some(FailureClass::InvalidOutput),
            ..End::new(EndCode::ReplansUsed, "invalid_output: step 3: criterion is not met")
        }),
        paused: None,
        approvals: Vec::new(),
        planning: None,
        revisions: vec![RevisionNote {
            revision: 1,
            cause: Cause::Planned,
            reason: "two steps do".to_owned(),
            added: vec![1, 3],
            dropped: vec![2],
            model: Some("large-model".to_owned()),
            nano_usd: Some(9_000_000),
        }],
        final_step: Some(3),
        steps: vec![StepEntry {
            id: StepKey(StepId::item(3, 0)),
            revision: 1,
            state: "failed",
            needs_approval: false,
            waits_for: None,
            spec: Arc::new(model_step()),
            attempts: 2,
            pool: "strong".into(),
            model: Some("small-model".to_owned()),
            child: Some("0b-c-part".parse().unwrap()),
            output: Some(json("\"ab\"")),
            error: Some(failure()),
            usage: usage(None),
            started_ms: Some(1_700_000_000_100),
            ended_ms: Some(1_700_000_000_900),
        }],
        nano_usd: ledger.total().nano_usd,
        usage: ledger,
        cache: None,
        timings: Timings { queued_ms: 1, planning_ms: 2, executing_ms: 3, total_ms: 6 },
        rerun: Some(Arc::new(rerun())),
        report: None,
    }
}

fn run_changed() -> wire::RunChanged {
    wire::RunChanged {
        run_id: run().to_string(),
        event: "StepStarted".to_owned(),
        step: Some(3),
        item: Some(0),
        model: "small-model".to_owned(),
    }
}

fn dead_letter() -> wire::DeadLetter {
    wire::DeadLetter {
        version: VERSION,
        stream: "PF_EV_11".to_owned(),
        sequence: 42,
        subject: "pf.ev.11.result".to_owned(),
        reason: "fact is missing".to_owned(),
        payload: vec![0x08, 0x01, 0xff],
    }
}
