//! `planned`: goals instead of plans. A planner asks a simulated model that answers at
//! once, and finds the steps in its answer.

use serde_json::json;

use crate::{
    Options,
    engine::{self, Fleet, User},
    error::Error,
    graph::{self, Graph},
    measure::{Side, Span},
    plan_text::PlanText,
    sample::Sample,
    site::Site,
};

/// What users ask for. The model answers with a diamond.
const GOAL: &str = "Echo a text ten times.";

/// As many as are planned at once by default.
const PLANNINGS: usize = 4;

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
        let script = json!({"rules": [{"when": {"schema": "plan"}, "reply": {"text": answer()}}]});
        let fleet = Fleet { plannings: PLANNINGS, model: Some(script), ..Fleet::usual(options) };
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
fn answer() -> String {
    let steps = Graph::Diamond.task()["plan"]["steps"].as_array().cloned();
    PlanText::new(steps.unwrap_or_default()).text
}
