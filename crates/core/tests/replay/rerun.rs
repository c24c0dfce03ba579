//! What a run left behind for its rerun is enough to go on from.

use std::{collections::BTreeSet, sync::Arc};

use planfleet_core::{
    command::{Command, StepOrder},
    document::RunDocument,
    failure::{Failure, FailureClass},
    id::{RunId, StepId},
    json::Json,
    record::{ApprovalDecided, AttemptReport, Fact, Record, StepSucceeded},
    shard::Shard,
    task::Submission,
};

/// A rerun does nothing again that is done, and ends.
pub(super) fn goes_on(ended: &RunDocument, rerun: &Arc<Submission>) {
    let run: RunId = "00-rerun".parse().expect("a run id");
    let done: BTreeSet<StepId> = match &rerun.carried {
        None => BTreeSet::new(),
        Some(_) => {
            ended.steps.iter().filter(|entry| entry.state == "succeeded").map(|entry| entry.id.0).collect()
        }
    };
    let mut shard = Shard::default();
    let mut next = vec![Fact::TaskSubmitted(Box::new(rerun.as_ref().clone()))];
    let mut seq = 0;
    while let Some(fact) = next.pop() {
        seq += 1;
        let mut commands = Vec::new();
        let record = Record { run: run.clone(), at_ms: seq, fact };
        shard.apply(seq, record, &mut commands).expect("all of it is legal");
        for command in commands {
            match command {
                Command::DispatchStep(order) => {
                    assert!(!done.contains(&order.step), "{} is done again", order.step);
                    next.push(success(&order));
                }
                Command::DispatchPlan(order) => next.push(Fact::PlanFailed {
                    draft: order.draft,
                    failure: Failure::new(FailureClass::Quota, "no planner"),
                    usage: Vec::new(),
                }),
                Command::AskApproval { gate, .. } => {
                    let reason = String::new();
                    next.push(Fact::ApprovalDecided(ApprovalDecided {
                        gates: vec![gate],
                        approved: true,
                        reason,
                    }));
                }
                Command::FinishRun(document) => {
                    assert_eq!(document.rerun_of.is_some(), rerun.carried.is_some());
                    return;
                }
                Command::ArmTimer { .. } | Command::BroadcastCancel { .. } | Command::TellRun { .. } => {}
            }
        }
    }
    panic!("the rerun has not ended");
}

fn success(order: &StepOrder) -> Fact {
    let attempt = AttemptReport {
        step: order.step,
        attempt: order.attempt,
        model: None,
        usage: Vec::new(),
        started_ms: 0,
        ended_ms: 0,
        calls: Vec::new(),
    };
    let output = Json::from_text("\"again\"").expect("JSON");
    Fact::StepSucceeded(Box::new(StepSucceeded { attempt, output }))
}
