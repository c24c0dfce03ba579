//! `sub_task`: a step that is a run of its own.
//!
//! The tool is not called by an executor. Where a plan asks for it the fold has a child
//! run submitted, and waits for it without holding anybody's slot; the child's end is the
//! step's outcome, written to the parent's log by whoever owns the shard. A child is in
//! its parent's shard, under a name that follows from the step and the attempt, so that
//! submitting it again is harmless. It gets no more than its parent has: see [`submission`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock},
};

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    command::{ResolvedInput, ResolvedValue},
    failure::{Failure, FailureClass},
    id::{RunId, StepId},
    plan::{self, PlanStep, StepKind, lint::tools::coerce},
    task::{self, Ancestor, Approval, Brief, Budget, Envelope, Mode, Parent, Submission, Task},
    tool::{Effect, ToolSpec},
};

/// The tool's name.
pub const NAME: &str = "sub_task";

/// How deep runs may lie in one another, the outermost not counted: a plan that needs more
/// is not getting any smaller.
pub const DEPTH_MAX: usize = 4;

/// Whether a step is carried out by a child run.
#[must_use]
pub fn is_call(step: &PlanStep) -> bool {
    step.kind == StepKind::Tool && step.tools.first().is_some_and(|tool| tool == NAME)
}

/// What planners and linters know of the tool.
#[must_use]
pub fn spec() -> &'static ToolSpec {
    static SPEC: LazyLock<ToolSpec> = LazyLock::new(|| ToolSpec {
        name: NAME.to_owned(),
        description: "Has a part of the task that needs a plan of its own done by a run of its own, and \
                      puts out that run's answer. Any other argument becomes an input of it, under its \
                      own name. For tool steps only."
            .to_owned(),
        arguments: json!({
            "type": "object",
            "properties": {
                "goal": {"type": "string", "description": "what is to be reached, self-contained"},
                "inputs": {"type": "object", "description": "named values to work with"},
                "class": {"type": "string", "description": "the kind of task, for the plan cache"},
                "mode": {"type": "string", "enum": ["auto", "plan", "direct"]},
                "tools": {"type": "array", "items": {"type": "string"},
                          "description": "those it may use; unless said, all of this run but sub_task"},
                "budget": {"type": "object", "description": "the most of this run's budget that it may spend",
                           "properties": {"usd": {"type": "number"}, "tokens": {"type": "integer"}},
                           "additionalProperties": false},
                "deadline_s": {"type": "integer", "minimum": 1},
                "max_replans": {"type": "integer", "minimum": 0}
            },
            "required": ["goal"],
            "additionalProperties": true
        }),
        output: json!({}),
        // It spends money, and its steps may write.
        effect: Effect::Write,
        idempotent: true,
    });
    &SPEC
}

/// The name of the run that carries an attempt of a step out: in its parent's shard, whose
/// owner then sees both, and as long for the innermost as for the outermost.
#[must_use]
pub fn run_id(parent: &RunId, step: StepId, attempt: u32) -> RunId {
    let digest = Sha256::digest(format!("{parent}.{}.{attempt}", step.token()));
    match RunId::new(parent.shard(), &format!("c-{}", hex::encode(&digest[..16]))) {
        Ok(run) => run,
        Err(error) => unreachable!("a hexadecimal name is a valid one: {error}"),
    }
}

/// What is asked for, and by whom.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The run that asks.
    pub run: &'a RunId,
    /// What it was submitted with.
    pub submission: &'a Submission,
    /// The step that asks.
    pub spec: &'a PlanStep,
    /// Its name, or that of its item.
    pub step: StepId,
    /// The attempt.
    pub attempt: u32,
    /// When nobody waits for it any more, in milliseconds since the Unix epoch.
    pub until_ms: Option<u64>,
}

/// The child's submission: the same tenant, batch, priority and labels; tools, budget,
/// replans and time are its parent's or less.
///
/// # Errors
/// [`FailureClass::ToolError`] where the arguments make no task, [`FailureClass::Denied`]
/// where they ask for what the parent does not have.
pub fn submission(call: &Call<'_>, inputs: &[ResolvedInput]) -> Result<Submission, Failure> {
    let (outer, parent) = (call.submission, &call.submission.envelope);
    if !parent.tools.contains_key(NAME) {
        return Err(denied(format!("this run may not call {NAME:?}")));
    }
    if parent.lineage.len() >= DEPTH_MAX {
        return Err(denied(format!("{NAME}: runs lie in one another at most {DEPTH_MAX} deep")));
    }
    let asked = task::from_value(Value::Object(arguments(inputs)?)).map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        tool_error(faults.join("; "))
    })?;
    let envelope = narrowed(parent, &asked, call.run)?;
    let plan = match (asked.mode, &asked.goal) {
        (Mode::Direct, Some(goal)) => {
            let names: Vec<String> = asked.inputs.keys().cloned().collect();
            let tools = envelope.tools.keys().cloned().collect();
            Some(Arc::new(plan::direct(goal, &names, tools, "strong")))
        }
        _ => None,
    };
    Ok(Submission {
        task: Brief {
            goal: asked.goal,
            inputs: asked.inputs,
            class: asked.class,
            mode: asked.mode,
            tenant: outer.task.tenant.clone(),
            priority: outer.task.priority,
            labels: outer.task.labels.clone(),
            batch: outer.task.batch.clone(),
            ..Brief::default()
        },
        envelope: Arc::new(envelope),
        plan,
        traceparent: outer.traceparent.clone(),
        carried: None,
        parent: Some(Box::new(Parent {
            run: call.run.clone(),
            step: call.step,
            attempt: call.attempt,
            until_ms: call.until_ms,
            criteria: call.spec.success_criteria.clone(),
        })),
    })
}

/// The task's words: those that the tool names, and the others as inputs of the task.
fn arguments(inputs: &[ResolvedInput]) -> Result<Map<String, Value>, Failure> {
    let (mut words, mut others) = (Map::new(), Map::new());
    for ResolvedInput { name, value } in inputs {
        let schema = spec().argument(name);
        let value = match (value, schema) {
            (ResolvedValue::Literal(text), Some(schema)) => {
                coerce(text, schema).map_err(|problem| tool_error(format!("argument {name:?}: {problem}")))?
            }
            (ResolvedValue::Literal(text), None) => text.as_str().into(),
            (ResolvedValue::Json(json) | ResolvedValue::Item(json), _) => json.value(),
            (ResolvedValue::Index(index), _) => (*index).into(),
        };
        if schema.is_some() { &mut words } else { &mut others }.insert(name.clone(), value);
    }
    // As with any tool, an item fills the argument that is left open.
    if !words.contains_key("goal")
        && let Some(item) = inputs.iter().find(|input| matches!(input.value, ResolvedValue::Item(_)))
        && let Some(goal) = others.remove(&item.name)
    {
        words.insert("goal".to_owned(), goal);
    }
    match words.entry("inputs").or_insert_with(|| json!({})) {
        Value::Object(given) => others.append(given),
        other => return Err(tool_error(format!("argument \"inputs\": {other} is no object"))),
    }
    words.insert("inputs".to_owned(), Value::Object(others));
    // A task without any would stand for one with a plan or a template.
    words.entry("goal").or_insert_with(|| "".into());
    Ok(words)
}

fn narrowed(parent: &Envelope, asked: &Task, run: &RunId) -> Result<Envelope, Failure> {
    let tools: BTreeMap<String, Effect> = match &asked.tools {
        Some(names) => names.iter().map(|name| allowed(parent, name)).collect::<Result<_, _>>()?,
        // Whoever wants runs in runs in runs says so.
        None => parent.tools.iter().filter(|(name, _)| *name != NAME).map(|(n, e)| (n.clone(), *e)).collect(),
    };
    let approved: BTreeSet<String> =
        parent.approval.tools.iter().filter(|name| tools.contains_key(*name)).cloned().collect();
    let mut lineage = parent.lineage.clone();
    lineage.push(Ancestor { run: run.clone(), budget: parent.budget });
    Ok(Envelope {
        tools,
        budget: Budget {
            nano_usd: share(asked.budget.nano_usd, parent.budget.nano_usd),
            tokens: share(asked.budget.tokens, parent.budget.tokens),
        },
        deadline_ms: asked.deadline_s.map(|seconds| seconds.saturating_mul(1_000)),
        replans_max: asked.max_replans.unwrap_or(parent.replans_max).min(parent.replans_max),
        approval: Approval { plan: parent.approval.plan, tools: approved },
        lineage,
        ..parent.clone()
    })
}

fn allowed(parent: &Envelope, name: &str) -> Result<(String, Effect), Failure> {
    let effect = parent.tools.get(name).ok_or_else(|| {
        let have: Vec<&str> = parent.tools.keys().map(String::as_str).collect();
        denied(format!("{NAME}: this run has no tool {name:?} to pass on; it has [{}]", have.join(", ")))
    })?;
    Ok((name.to_owned(), *effect))
}

/// A share of a budget, where one is asked for: the rest of the parent's holds anyway, as
/// everything is paid from it, too.
fn share(asked: Option<u64>, parents: Option<u64>) -> Option<u64> {
    asked.map(|asked| parents.map_or(asked, |most| asked.min(most)))
}

fn tool_error(message: String) -> Failure {
    Failure::new(FailureClass::ToolError, format!("{NAME}: {message}"))
}

fn denied(message: String) -> Failure {
    Failure::new(FailureClass::Denied, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{json::Json, task::Review};

    const PARENT: Budget = Budget { nano_usd: Some(1_000_000_000), tokens: Some(50_000) };

    fn envelope(budget: Budget, depth: usize) -> Envelope {
        let run = || RunId::new(3, "above").unwrap();
        Envelope {
            tools: [(NAME.to_owned(), Effect::Write), ("read".to_owned(), Effect::Read)].into(),
            hosts: vec!["allowed.example".to_owned()],
            pools: Vec::new(),
            budget,
            deadline_ms: None,
            replans_max: 2,
            steps_max: 10,
            items_max: 10,
            attempts_max: 3,
            review: Review::OnFailure,
            approval: Approval::default(),
            step_timeout_ms: None,
            quota_wait_ms: 0,
            lineage: (0..depth).map(|_| Ancestor { run: run(), budget }).collect(),
        }
    }

    /// What a child of a run with that envelope would be submitted with.
    fn child(envelope: Envelope, asked: &Value) -> Result<Submission, Failure> {
        let parent = Submission {
            task: Brief { goal: Some("the whole".into()), ..Brief::default() },
            envelope: Arc::new(envelope),
            plan: None,
            traceparent: None,
            carried: None,
            parent: None,
        };
        let spec = json!({"id": 1, "description": "part", "kind": "tool", "tools": [NAME]});
        let spec: PlanStep = serde_json::from_value(spec).unwrap();
        let run = RunId::new(3, "parent").unwrap();
        let step = StepId::plain(1);
        let call = Call { run: &run, submission: &parent, spec: &spec, step, attempt: 1, until_ms: None };
        let input = |(name, value): (&String, &Value)| ResolvedInput {
            name: name.clone(),
            value: ResolvedValue::Json(Json::from_value(value)),
        };
        let inputs: Vec<_> = asked.as_object().unwrap().iter().map(input).collect();
        submission(&call, &inputs)
    }

    /// A planner that asks for more than there is, in each way and all of them together.
    #[test]
    fn a_child_gets_no_more_than_its_parent_has() {
        for nth in 1..=1_000_u64 {
            let asked = json!({
                "goal": "spend",
                "budget": {"usd": 1 + nth * 7, "tokens": 50_000 + nth * nth},
                "max_replans": 2 + nth % 99,
            });
            let own = child(envelope(PARENT, 0), &asked).unwrap().envelope;
            assert_eq!((own.budget, own.replans_max), (PARENT, 2), "{asked}");
            assert_eq!((&own.hosts, own.steps_max, own.attempts_max), (&envelope(PARENT, 0).hosts, 10, 3));
            assert!(!own.tools.contains_key(NAME), "runs in runs in runs are asked for by name");
            // Whoever is above is asked as well, so a share that is left out is no way round it.
            assert_eq!(own.lineage.last().unwrap().budget, PARENT);
        }
        let less = json!({"goal": "g", "budget": {"usd": 0.5, "tokens": 7}, "max_replans": 1});
        let own = child(envelope(PARENT, 0), &less).unwrap().envelope;
        assert_eq!(own.budget, Budget { nano_usd: Some(500_000_000), tokens: Some(7) });
        assert_eq!(own.replans_max, 1);
        let own = child(envelope(Budget::default(), 0), &less).unwrap().envelope;
        assert_eq!(own.budget.tokens, Some(7), "a share of what is unlimited");
        let own = child(envelope(PARENT, 0), &json!({"goal": "g"})).unwrap().envelope;
        assert_eq!((own.budget, own.lineage.last().unwrap().budget), (Budget::default(), PARENT));
    }

    #[test]
    fn what_a_parent_does_not_have_is_denied() {
        for depth in 0..=DEPTH_MAX + 2 {
            let asked = json!({"goal": "deeper", "tools": [NAME]});
            match child(envelope(PARENT, depth), &asked) {
                Ok(own) => assert!(depth < DEPTH_MAX && own.envelope.lineage.len() == depth + 1),
                Err(failure) => {
                    assert_eq!(
                        (failure.class, depth >= DEPTH_MAX),
                        (FailureClass::Denied, true),
                        "{failure}"
                    );
                }
            }
        }
        for tool in ["shell", "Read", "read ", "", "sub_task2"] {
            let failure = child(envelope(PARENT, 0), &json!({"goal": "g", "tools": [tool]})).unwrap_err();
            assert_eq!(failure.class, FailureClass::Denied, "{tool}: {failure}");
        }
        for budget in [
            json!({"usd": -1}),
            json!({"tokens": -1}),
            json!({"eur": 1}),
            json!("all"),
            json!({"usd": 1e300}),
        ] {
            let failure = child(envelope(PARENT, 0), &json!({"goal": "g", "budget": budget})).unwrap_err();
            assert_eq!(failure.class, FailureClass::ToolError, "{budget}: {failure}");
        }
    }
}
