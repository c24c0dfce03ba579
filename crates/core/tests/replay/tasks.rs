//! Random tasks: envelopes with every kind of hold, and small plans.

use std::sync::Arc;

use planfleet_core::{
    json::Json,
    plan::{ForEach, Input, Plan, PlanStep, StepKind},
    task::{Approval, Brief, Budget, Envelope, Review, Submission},
    tool::Effect,
};

use super::History;

impl History {
    pub(super) fn submission(&mut self) -> Submission {
        let list = Json::from_text(&format!("{:?}", (0..self.items).collect::<Vec<_>>())).expect("a list");
        let envelope = Envelope {
            tools: [("look".to_owned(), Effect::Read), ("send".to_owned(), Effect::Write)].into(),
            hosts: Vec::new(),
            pools: Vec::new(),
            budget: Budget { nano_usd: None, tokens: self.dice.one_in(8).then_some(30) },
            deadline_ms: self.dice.one_in(3).then_some(6_000),
            replans_max: 3,
            steps_max: 100,
            items_max: 10,
            attempts_max: 3,
            review: match self.dice.roll(8) {
                0 => Review::Never,
                1 | 2 => Review::AfterEachStep,
                _ => Review::OnFailure,
            },
            approval: Approval {
                plan: self.dice.one_in(6),
                tools: self.dice.one_in(4).then(|| "send".to_owned()).into_iter().collect(),
            },
            step_timeout_ms: self.dice.one_in(4).then_some(4_000),
            quota_wait_ms: if self.dice.one_in(2) { 100_000 } else { 0 },
            lineage: Vec::new(),
        };
        let inline = self.dice.one_in(3);
        Submission {
            task: Brief {
                goal: (!inline || self.dice.one_in(2)).then(|| "random".to_owned()),
                inputs: serde_json::Map::from_iter([("list".to_owned(), list.value())]),
                ..Brief::default()
            },
            envelope: Arc::new(envelope),
            plan: inline.then(|| {
                let steps = self.steps(1, &[]);
                let last = steps[steps.len() - 1].id;
                Arc::new(Plan::new(steps, last))
            }),
            traceparent: None,
            carried: None,
            parent: None,
        }
    }

    /// A few steps from `first` on that lean on one another and on `kept`.
    pub(super) fn steps(&mut self, first: u32, kept: &[u32]) -> Vec<PlanStep> {
        let count = u32::try_from(1 + self.dice.roll(6)).expect("small");
        let mut steps: Vec<PlanStep> = Vec::new();
        for id in first..first + count {
            let earlier: Vec<u32> = kept.iter().copied().chain(first..id).collect();
            let mut step = self.step(id);
            for _ in 0..self.dice.roll(3) {
                if let Some(on) = earlier.get(self.dice.roll(earlier.len())) {
                    lean(&mut step, *on, self.dice.one_in(2));
                }
            }
            steps.push(step);
        }
        steps
    }

    fn step(&mut self, id: u32) -> PlanStep {
        let tool = ["look", "send"][self.dice.roll(2)].to_owned();
        let tools = if self.dice.one_in(2) { vec![tool] } else { Vec::new() };
        let each = ForEach { from_step: 0, path: "/list".to_owned(), item_name: None };
        // A path that is not there fails the step when it starts.
        let astray = Input {
            name: "astray".to_owned(),
            value: None,
            from_step: Some(0),
            path: Some("/nowhere".to_owned()),
        };
        PlanStep {
            id,
            // Two wordings, so that planners that take over want some steps again and some not.
            description: format!("step {id}, wording {}", self.dice.roll(2)),
            kind: StepKind::Model,
            tools,
            inputs: self.dice.one_in(15).then_some(astray).into_iter().collect(),
            // By its number, so that every draft of a run agrees on which steps are expanded.
            for_each: (id % 4 == 3).then_some(each),
            depends_on: Vec::new(),
            expected_output: String::new(),
            success_criteria: Vec::new(),
            tier: "default".to_owned(),
            timeout_s: self.dice.one_in(10).then_some(3),
        }
    }
}

fn lean(step: &mut PlanStep, on: u32, by_reference: bool) {
    let name = format!("from_{on}");
    if !by_reference || step.inputs.iter().any(|input| input.name == name) {
        step.depends_on.push(on);
        return;
    }
    step.inputs.push(Input { name, value: None, from_step: Some(on), path: Some(String::new()) });
}
