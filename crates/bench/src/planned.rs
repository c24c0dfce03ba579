//! `planned`: goals instead of plans. A planner asks a simulated model that answers at
//! once, and finds the steps in its answer.

use serde_json::{Value, json};

use crate::{
    Options,
    engine::{self, Fleet, User},
    error::Error,
    graph::{self, Graph},
    measure::{Side, Span},
    sample::Sample,
    site::Site,
};

/// What users ask for. The model answers with a diamond.
const GOAL: &str = "Echo a text ten times.";

/// So many goals at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Planned {
    pub(crate) runs: u64,
}

/// Runs before anything is measured.
const WARM_UP: u64 = 20;

impl Planned {
    pub(crate) fn steps(self) -> u64 {
        self.runs * Graph::Diamond.steps()
    }

    pub(crate) async fn engine(self, options: &Options) -> Result<Sample, Error> {
        let script = json!({"rules": [{"when": {"schema": "plan"}, "reply": {"json": answer()}}]});
        let fleet = Fleet { planner: true, model: Some(script), ..Fleet::usual(options) };
        let mut site = Site::open(options).await?;
        engine::start(&mut site, options, &fleet).await?;
        let mut user = User::new(&site, graph::freeze(json!({"goal": GOAL, "tools": ["echo"]}))?);
        site.with_crew(user.submit(WARM_UP)).await?;
        let before = site.read().await?;
        let latencies = site.with_crew(user.submit(self.runs)).await?;
        let after = site.read().await?;
        let span = Span { before, after, runs: self.runs, steps: self.steps() };
        span.check()?;
        let sample = span.sample(&site, Side::Engine, latencies).await?;
        site.close().await;
        Ok(sample)
    }
}

/// The diamond as a planner model writes it: every field is there.
fn answer() -> Value {
    let mut plan = Graph::Diamond.task()["plan"].take();
    let defaults = [
        ("for_each", Value::Null),
        ("depends_on", json!([])),
        ("expected_output", json!("")),
        ("success_criteria", json!([])),
        ("tier", json!("default")),
    ];
    for step in plan["steps"].as_array_mut().into_iter().flatten() {
        fill(step, &defaults);
        let nothing = ["value", "from_step", "path"].map(|name| (name, Value::Null));
        step["inputs"].as_array_mut().into_iter().flatten().for_each(|input| fill(input, &nothing));
    }
    plan
}

fn fill(object: &mut Value, defaults: &[(&str, Value)]) {
    for (name, value) in defaults {
        if object.get(name).is_none() {
            object[*name] = value.clone();
        }
    }
}
