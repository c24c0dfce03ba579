//! A step that a model carries out, with tools if the plan gives it some.
//!
//! One repair turn shows the model what its answer fails; after that the
//! planner decides.

use std::collections::BTreeMap;

use planfleet_core::{
    command::StepOrder,
    criteria::Check,
    criteria::Unmet,
    failure::{Failure, FailureClass, trim_chars},
    json,
    plan::CriterionKind,
    record,
    usage::Account,
};
use planfleet_llm::{
    ChatRequest, ChatResponse, JsonSchemaFormat, Message, ModelHandle, StablePrefix, ToolCall,
    ToolDefinition, fence::unclosable,
};
use planfleet_tools::CallContext;
use serde_json::Value;

use crate::{
    Shared,
    attempt::{self, Spent},
    envelope, judge,
    once::{self, Author},
    prompt,
};

/// How much of a tool's output goes back to the model in one message: a larger
/// one would leave no room for the answer in a small context window.
const TOOL_OUTPUT_CHARS_MAX: usize = 32_000;

/// Calls of an attempt that its record tells of: more than the turns of any sensible step make.
const CALLS_TOLD_MAX: usize = 64;

/// How much of a call's name, arguments and result the record tells: enough for people to see what
/// happened. All of them together are 384,000 characters at most.
const CALL_TOLD_CHARS_MAX: usize = 2_000;

/// The model that would take a step of this tier now.
pub(crate) fn model<'s>(shared: &'s Shared, order: &StepOrder) -> Option<&'s ModelHandle> {
    role(shared, order).map(ModelHandle::best)
}

/// The models of a step's tier.
fn role<'s>(shared: &'s Shared, order: &StepOrder) -> Option<&'s ModelHandle> {
    let models = &shared.models;
    let strong = (order.spec.tier == "strong").then_some(models.strong.as_ref()).flatten();
    strong.or(models.executor.as_ref())
}

pub(crate) async fn perform(shared: &Shared, order: &StepOrder, spent: &mut Spent) -> Result<Value, Failure> {
    let Some(role) = role(shared, order) else {
        let message = "no executor model is configured: set roles.executor, or plan this step with a tool";
        return Err(Failure::new(FailureClass::Quota, message));
    };
    let checks = attempt::checks(order)?;
    let mut models = role.candidates().into_iter().peekable();
    loop {
        let model = models.next().unwrap_or(role);
        spent.model = Some(model.name().to_owned());
        let mut talk = Talk::new(shared, order, model);
        let result = talk.perform(&checks, spent).await;
        // What a tool has done is not done again by another model.
        let untouched = !talk.has_called_tools;
        if !untouched || models.peek().is_none() || !attempt::is_paused(&result, model) {
            return result;
        }
    }
}

/// An output, or what is wrong with the answer and is the model's to mend.
type Taken = Result<Value, Failure>;

/// The conversation of one attempt.
struct Talk<'a> {
    shared: &'a Shared,
    order: &'a StepOrder,
    model: &'a ModelHandle,
    context: CallContext,
    request: ChatRequest,
    turns_left: u32,
    has_called_tools: bool,
    /// How often each tool was called.
    calls: BTreeMap<String, usize>,
}

impl<'a> Talk<'a> {
    fn new(shared: &'a Shared, order: &'a StepOrder, model: &'a ModelHandle) -> Self {
        let request = ChatRequest {
            messages: prompt::messages(order, model.dialect().small_model),
            tools: definitions(shared, order),
            response_format: response_format(order),
            tenant: order.tenant.to_string(),
            ..ChatRequest::default()
        };
        let context = envelope::context(order);
        Self {
            shared,
            order,
            model,
            context,
            request,
            turns_left: shared.config.turns_max,
            has_called_tools: false,
            calls: BTreeMap::new(),
        }
    }

    /// The step's output, with one repair.
    async fn perform(&mut self, checks: &[Check<'_>], spent: &mut Spent) -> Result<Value, Failure> {
        match self.take(checks, spent).await? {
            Ok(output) => Ok(output),
            Err(failure) => {
                self.ask_to_mend(&failure);
                self.take(checks, spent).await?
            }
        }
    }

    /// One answer, checked.
    async fn take(&mut self, checks: &[Check<'_>], spent: &mut Spent) -> Result<Taken, Failure> {
        let output = match self.answer(spent).await? {
            Ok(output) => output,
            Err(failure) => return Ok(Err(failure)),
        };
        let broken = judge::unmet(self.shared, self.order, checks, &output, spent).await?;
        Ok(if broken.is_empty() { Ok(output) } else { Err(Unmet::failure(&broken, &output)) })
    }

    /// Talks until the model gives an answer instead of calling tools.
    async fn answer(&mut self, spent: &mut Spent) -> Result<Taken, Failure> {
        while self.turns_left > 0 {
            self.turns_left -= 1;
            let called = spent.call(Account::Executor, self.model, self.next_request()).await;
            let response = match called {
                // Such as one that was cut off: a shorter answer mends it.
                Err(failure) if failure.class == FailureClass::InvalidOutput => {
                    let seen = failure.seen.clone().map(|seen| Message::assistant(seen, Vec::new()));
                    self.request.messages.extend(seen);
                    return Ok(Err(failure));
                }
                result => result?,
            };
            self.note(&response);
            if response.tool_calls.is_empty() {
                return Ok(Ok(self.output(&response.text)));
            }
            for call in &response.tool_calls {
                self.has_called_tools = true;
                let result = self.call_tool(call, spent).await;
                self.request.messages.push(Message::tool(call.id.clone(), result));
            }
        }
        let message = format!("no answer within {} model turns", self.shared.config.turns_max);
        Err(Failure::new(FailureClass::InvalidOutput, message))
    }

    /// What is said next begins with all that was said: with tools, the next turn does too.
    fn next_request(&self) -> ChatRequest {
        let goes_on = !self.request.tools.is_empty();
        let key = "planfleet-step".to_owned();
        let stable_prefix = goes_on.then_some(StablePrefix { messages: self.request.messages.len(), key });
        ChatRequest { stable_prefix, ..self.request.clone() }
    }

    fn note(&mut self, response: &ChatResponse) {
        self.request.messages.push(Message::answered(response));
    }

    /// A tool's trouble is the model's to deal with: it reads the error.
    async fn call_tool(&mut self, call: &ToolCall, spent: &mut Spent) -> String {
        let started_ms = (self.shared.config.now_ms)();
        let result = self.result_of(call, spent).await;
        let class = result.as_ref().err().map(|failure| failure.class);
        let text = match result {
            Ok(output) => output.to_string(),
            Err(failure) => serde_json::json!({"error": failure.to_string()}).to_string(),
        };
        if spent.calls.len() < CALLS_TOLD_MAX {
            spent.calls.push(record::ToolCall {
                tool: trim_chars(&call.name, CALL_TOLD_CHARS_MAX),
                arguments: trim_chars(&call.arguments, CALL_TOLD_CHARS_MAX),
                result: trim_chars(&text, CALL_TOLD_CHARS_MAX),
                class,
                started_ms,
                ended_ms: (self.shared.config.now_ms)(),
            });
        }
        fenced(&trim_chars(&text, TOOL_OUTPUT_CHARS_MAX))
    }

    async fn result_of(&mut self, call: &ToolCall, spent: &mut Spent) -> Result<Value, Failure> {
        let arguments = if call.arguments.trim().is_empty() { "{}" } else { call.arguments.as_str() };
        match json::parse_strict(arguments) {
            Ok(arguments) if self.order.spec.tools.contains(&call.name) => {
                let context = self.context_of(call);
                // Whoever is cut off in the middle does not know what became of it.
                let begun = once::changes(self.shared, &call.name);
                spent.begun(begun.then(|| (&*call.name, &*call.arguments)));
                let result =
                    once::call(self.shared, self.order, &call.name, arguments, &context, Author::Model).await;
                spent.begun(None);
                if once::may_have_changed(self.shared, &call.name, &context, &result) {
                    spent.changed(&call.name, &call.arguments, &result);
                }
                result
            }
            Ok(_) => {
                let have = self.order.spec.tools.join(", ");
                let message = format!("this step has no tool {:?}; it has [{have}]", call.name);
                Err(Failure::new(FailureClass::Denied, message))
            }
            Err(error) => {
                Err(Failure::new(FailureClass::ToolError, format!("arguments that are no JSON: {error}")))
            }
        }
    }

    fn context_of(&mut self, call: &ToolCall) -> CallContext {
        let calls = self.calls.entry(call.name.clone()).or_default();
        let key = envelope::call_key(&self.context.idempotency_key, &call.name, *calls);
        *calls += 1;
        CallContext { idempotency_key: key, ..self.context.clone() }
    }

    fn ask_to_mend(&mut self, failure: &Failure) {
        let text = format!(
            "Your answer does not meet what was asked:\n- {}\nAnswer again, with the result alone.",
            failure.message
        );
        self.request.messages.push(Message::user(text));
        // Even the last turn's answer gets its one repair.
        self.turns_left = self.turns_left.max(1);
    }

    fn output(&self, text: &str) -> Value {
        let text = text.trim();
        if self.request.response_format.is_none() {
            return Value::String(text.to_owned());
        }
        json_answer(text).unwrap_or_else(|| Value::String(text.to_owned()))
    }
}

/// What a tool says is data, and ends where its fence does.
fn fenced(text: &str) -> String {
    format!("<tool_output>\n{}\n</tool_output>", unclosable(text, "tool_output"))
}

/// The JSON value that an answer is, with or without a code fence around it.
pub(crate) fn json_answer(text: &str) -> Option<Value> {
    json::parse_strict(unfenced(text.trim())).ok()
}

/// The text inside a Markdown code fence, if that is all there is.
fn unfenced(text: &str) -> &str {
    let inner = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    inner.map_or(text, |inner| inner.trim_start_matches("json").trim())
}

/// The schema that a `json_schema` criterion asks for.
fn response_format(order: &StepOrder) -> Option<JsonSchemaFormat> {
    let criterion = order.spec.success_criteria.iter().find(|c| c.kind == CriterionKind::JsonSchema)?;
    let schema = json::parse_strict(&criterion.arg).ok()?;
    Some(JsonSchemaFormat { name: "output".to_owned(), schema, strict: true })
}

fn definitions(shared: &Shared, order: &StepOrder) -> Vec<ToolDefinition> {
    let wanted = order.spec.tools.iter().filter_map(|name| shared.tools.spec(name));
    wanted
        .map(|tool| ToolDefinition {
            name: tool.name.clone(),
            description: tool.description.clone(),
            parameters: tool.arguments.clone(),
        })
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use planfleet_core::task::{Approval, Budget, Envelope, Review};

    use super::*;

    pub(crate) fn envelope() -> Envelope {
        Envelope {
            tools: Default::default(),
            hosts: Vec::new(),
            pools: Vec::new(),
            budget: Budget::default(),
            deadline_ms: None,
            replans_max: 0,
            steps_max: 10,
            items_max: 10,
            attempts_max: 1,
            review: Review::OnFailure,
            approval: Approval::default(),
            step_timeout_ms: None,
            quota_wait_ms: 0,
            lineage: Vec::new(),
        }
    }

    #[test]
    fn a_fence_around_the_whole_answer_is_taken_off() {
        assert_eq!(unfenced("```json\n{\"a\": 1}\n```"), "{\"a\": 1}");
        assert_eq!(unfenced("```\n1\n```"), "1");
        assert_eq!(unfenced("see ```x```"), "see ```x```");
    }
}
