//! What a planner model is asked for one plan or revision, and how its answer is
//! read. An answer with faults is sent back, with all of them.

use planfleet_core::{
    command::Situation,
    failure::{Failure, FailureClass},
    json,
    plan::{
        Plan, PlanStep,
        lint::{self, Existing, Fault, Scope},
        parse,
    },
    task::Submission,
    tool::ToolCatalog,
};
use planfleet_llm::{ChatRequest, JsonSchemaFormat, Message, StablePrefix};

use crate::{
    answer::{self, Answer},
    prompt, schema,
};

/// Answers that are read before planning has failed: the first and its repairs. With one repair a
/// model that garbles 6 % of its answers fails four runs of a thousand (`tests/e2e/fault_mix.rs`).
pub(crate) const TAKES: u32 = 3;

/// One question and the conversation about it.
pub(crate) struct Ask<'a> {
    submission: &'a Submission,
    situation: Option<&'a Situation>,
    tools: ToolCatalog,
    small_model: bool,
    messages: Vec<Message>,
}

impl<'a> Ask<'a> {
    /// For a first plan, which other tasks use again or not, or for a revision where there
    /// is a situation.
    pub(crate) fn new(
        submission: &'a Submission,
        situation: Option<&'a Situation>,
        catalog: &ToolCatalog,
        small_model: bool,
        reused: bool,
    ) -> Self {
        let tools = submission.envelope.narrow(catalog);
        let messages = match situation {
            Some(situation) => prompt::replan(submission, &tools, situation),
            None if small_model => prompt::positional(submission),
            None => prompt::plan(submission, &tools, reused),
        };
        Self { submission, situation, tools, small_model, messages }
    }

    /// The next call of the model.
    pub(crate) fn request(&self) -> ChatRequest {
        let (name, schema) = match self.situation {
            Some(_) => ("replan", schema::replan()),
            None if self.small_model => ("plan", schema::positional()),
            None => ("plan", schema::plan()),
        };
        ChatRequest {
            messages: self.messages.clone(),
            response_format: Some(JsonSchemaFormat { name: name.to_owned(), schema, strict: true }),
            // The system message: rules, answer and tools, the same for every task of this kind.
            stable_prefix: Some(StablePrefix { messages: 1, key: format!("planfleet-{name}") }),
            tenant: self.submission.task.tenant().to_owned(),
            ..ChatRequest::default()
        }
    }

    /// What an answer says.
    pub(crate) fn read(&self, text: &str) -> Result<Answer, Vec<Fault>> {
        let scope = self.scope();
        match self.situation {
            Some(situation) => answer::replan(text, situation, &scope),
            None if self.small_model => answer::positional(text, self.submission, &scope),
            None => answer::plan(text, &scope),
        }
    }

    /// Shows the model its answer and everything that is wrong with it.
    pub(crate) fn mend(&mut self, text: String, faults: &[Fault]) {
        tracing::info!(faults = faults.len(), "the plan is not sound; asking again");
        self.messages.push(Message::assistant(text, Vec::new()));
        self.messages.push(prompt::mend(&lint::describe(faults)));
    }

    /// One step of a first plan whose answer is still arriving, if it is sound
    /// beside those before it, as far as one can tell without those after it.
    pub(crate) fn read_step(&self, text: &str, before: &[PlanStep]) -> Option<PlanStep> {
        let mut step = parse::step(json::parse_strict(text).ok()?).ok()?;
        if self.small_model {
            answer::complete(&mut step, self.submission);
        }
        let existing = Existing {
            kept: before.iter().map(|step| step.id).collect(),
            highest_id: before.iter().map(|step| step.id).max().unwrap_or(0),
        };
        let plan = Plan::new(vec![step.clone()], step.id);
        let sound =
            before.len() < self.scope().steps_max && lint::full(&plan, &existing, &self.scope()).is_empty();
        sound.then_some(step)
    }

    fn scope(&self) -> Scope<'_> {
        let envelope = &self.submission.envelope;
        let steps_max = self.situation.map_or(envelope.steps_max, |situation| situation.steps_left);
        Scope {
            tools: &self.tools,
            inputs: Some(&self.submission.task.inputs),
            pools: &envelope.pools,
            steps_max: steps_max as usize,
        }
    }
}

/// Planning has failed for these faults.
pub(crate) fn unsound(faults: &[Fault]) -> Failure {
    let message = format!("the plan still has faults after two repairs:\n{}", lint::describe(faults));
    Failure::new(FailureClass::InvalidOutput, message)
}
