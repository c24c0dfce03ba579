//! The simulated provider, in this process on a thread of its own.

use std::{sync::mpsc, thread};

use planfleet_modelsim::{Latency, ReceivedRequest, Rule, Simulator, script::When};
use serde_json::Value;
use tokio::sync::oneshot;

use super::until;

/// A running simulator. The models `brain`, `hands` and `judge` all are it.
pub(crate) struct Sim {
    simulator: Simulator,
    _stop: oneshot::Sender<()>,
}

/// Requests of one kind, in the order in which they came.
pub(crate) struct Calls(pub(crate) Vec<ReceivedRequest>);

impl Sim {
    pub(crate) fn start(rules: Vec<Rule>) -> Self {
        Self::with(rules.into_iter().fold(Simulator::builder(), planfleet_modelsim::Builder::rule))
    }

    pub(crate) fn with(builder: planfleet_modelsim::Builder) -> Self {
        let (bound, take) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (simulator, server) = builder.bind("127.0.0.1:0").await.unwrap();
                bound.send(simulator).unwrap();
                let dropped = async {
                    let _ = stopped.await;
                };
                server.serve(dropped).await.unwrap();
            });
        });
        Self { simulator: take.recv().expect("the script is sound"), _stop: stop }
    }

    pub(crate) fn url(&self) -> String {
        self.simulator.base_url()
    }

    pub(crate) fn all(&self) -> Calls {
        Calls(self.simulator.requests())
    }

    /// Calls for plans and revisions.
    pub(crate) fn planner(&self) -> Calls {
        self.all().of_model("brain")
    }

    /// Calls for steps, those with this text.
    pub(crate) fn executor(&self, text: &str) -> Calls {
        self.all().of_model("hands").with(text)
    }

    /// Waits for the first call for a step with this text.
    pub(crate) fn await_step(&self, text: &str) -> ReceivedRequest {
        until(&format!("a call with {text:?}"), || self.executor(text).0.into_iter().next())
    }
}

impl Calls {
    fn of_model(self, model: &str) -> Self {
        Self(self.0.into_iter().filter(|call| call.body["model"] == model).collect())
    }

    fn with(self, text: &str) -> Self {
        Self(self.0.into_iter().filter(|call| prompt(call).contains(text)).collect())
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// What the call at this place, from 0, says to the model.
    pub(crate) fn prompt(&self, place: usize) -> String {
        let call = self.0.get(place);
        prompt(call.unwrap_or_else(|| panic!("there are only {} calls", self.count())))
    }

    pub(crate) fn only(self) -> ReceivedRequest {
        assert_eq!(self.count(), 1, "{:#?}", self.0);
        self.0.into_iter().next().unwrap()
    }
}

fn prompt(call: &ReceivedRequest) -> String {
    let messages = call.body["messages"].as_array().into_iter().flatten();
    messages.filter_map(|message| message["content"].as_str()).collect::<Vec<_>>().join("\n")
}

/// An answer that takes its time.
pub(crate) fn slow(first_byte_ms: u64) -> Latency {
    Latency { first_byte_ms, ..Latency::default() }
}

/// Rules by role: what the scripts of these tests are written in.
pub(crate) trait Roles {
    /// Answers the call for a first plan.
    fn plans(self) -> Self;
    /// Answers the call for a revision.
    fn replans(self) -> Self;
    /// Answers a step whose prompt has this text.
    fn step(self, text: &str) -> Self;
}

impl Roles for Rule {
    fn plans(self) -> Self {
        asked(self.when_model("brain"), "plan")
    }

    fn replans(self) -> Self {
        asked(self.when_model("brain"), "replan")
    }

    fn step(self, text: &str) -> Self {
        self.when_model("hands").when(text)
    }
}

fn asked(rule: Rule, schema: &str) -> Rule {
    let when = When { schema: Some(schema.to_owned()), ..rule.when };
    Rule { when, ..rule }
}

/// The first plan.
pub(crate) fn first_plan(plan: Value) -> Rule {
    Rule::json(plan).plans()
}
