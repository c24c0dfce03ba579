//! The messages of one run, and how long they are: the real fold is given the real
//! submission and perfect executors, and what it orders is encoded as the fleet does.
//! The floor moves messages of these lengths.

use std::collections::VecDeque;

use planfleet_core::{
    command::{Command, StepOrder},
    id::RunId,
    json::Json,
    record::{AttemptReport, Fact, Record, StepSucceeded},
    shard::Shard,
};
use planfleet_proto::{INLINE_BYTES_MAX, encode};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{error::Error, graph::Graph};

/// When it all happens, in milliseconds since the Unix epoch: as long in digits as now.
const NOW_MS: u64 = 1_800_000_000_000;

/// The messages of one run. Lengths are in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Messages {
    /// The record of the submission.
    pub submit: usize,
    /// What is ready at once, stage after stage.
    pub stages: Vec<Stage>,
    /// The run's document.
    pub done: usize,
}

/// Steps that are ready at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// How many.
    pub width: u32,
    /// The dispatch of one; the mean.
    pub dispatch: usize,
    /// The result of one; the mean.
    pub result: usize,
}

impl Messages {
    /// The messages of one run of that shape.
    pub(crate) fn of(graph: Graph) -> Result<Self, Error> {
        let void = |why: &str| Error::Void(format!("the fold of the workload went wrong: {why}"));
        let run = RunId::new(0, &"0".repeat(32)).map_err(|error| void(&error.to_string()))?;
        let submitted = Fact::TaskSubmitted(Box::new(graph.submission()?));
        let submit = inline(encode::record(run.as_str(), &submitted).len());
        let mut lengths: Vec<(usize, usize)> = Vec::new();
        let mut done = None;
        let (mut shard, mut facts, mut seq) = (Shard::default(), VecDeque::from([submitted]), 0);
        while let Some(fact) = facts.pop_front() {
            let mut commands = Vec::new();
            seq += 1;
            shard
                .apply(seq, Record { run: run.clone(), at_ms: NOW_MS, fact }, &mut commands)
                .map_err(|ignored| void(&format!("{ignored:?}")))?;
            for command in commands {
                match command {
                    Command::DispatchStep(order) => {
                        let fact = result(&order);
                        let lengths_of =
                            (encode::step_order(&order).len(), encode::record(run.as_str(), &fact).len());
                        lengths.push((inline(lengths_of.0), inline(lengths_of.1)));
                        facts.push_back(fact);
                    }
                    Command::FinishRun(document) => {
                        done = Some(inline(encode::run_finished(&document).len()));
                    }
                    _ => {}
                }
            }
        }
        let done = done.ok_or_else(|| void("it has no end"))?;
        Ok(Self { submit, stages: stages(graph, &lengths).ok_or_else(|| void("steps are missing"))?, done })
    }
}

/// Larger bodies travel by reference, in pieces: there are few, and the floor moves
/// the largest piece that is a message of its own instead.
fn inline(bytes: usize) -> usize {
    bytes.min(INLINE_BYTES_MAX)
}

fn stages(graph: Graph, lengths: &[(usize, usize)]) -> Option<Vec<Stage>> {
    let mut rest = lengths;
    let mut stages = Vec::new();
    for width in graph.stages() {
        let (these, others) = rest.split_at_checked(width as usize)?;
        let mean =
            |of: fn(&(usize, usize)) -> usize| these.iter().map(of).sum::<usize>() / these.len().max(1);
        stages.push(Stage { width, dispatch: mean(|(dispatch, _)| *dispatch), result: mean(|(_, r)| *r) });
        rest = others;
    }
    rest.is_empty().then_some(stages)
}

fn result(order: &StepOrder) -> Fact {
    let attempt = AttemptReport {
        step: order.step,
        attempt: order.attempt,
        model: None,
        usage: Vec::new(),
        started_ms: NOW_MS,
        ended_ms: NOW_MS,
        calls: Vec::new(),
    };
    let output = Json::from_value(&json!({"text": "x".repeat(crate::graph::PAYLOAD_BYTES)}));
    Fact::StepSucceeded(Box::new(StepSucceeded { attempt, output }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_s_messages_carry_its_payload() {
        for graph in [Graph::Diamond, Graph::Chain(5), Graph::Wide(20)] {
            let messages = Messages::of(graph).unwrap();
            assert_eq!(
                messages.stages.iter().map(|stage| u64::from(stage.width)).sum::<u64>(),
                graph.steps()
            );
            assert!(messages.submit > 200 && messages.done > 200, "{messages:?}");
            assert!(
                messages.stages.iter().all(|stage| stage.dispatch > 200 && stage.result > 200),
                "{messages:?}"
            );
        }
    }
}
