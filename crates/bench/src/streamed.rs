//! `streamed`: how soon a step starts whose JSON object has closed in the planner's stream. The
//! steps are model calls to the same simulated provider as the planner's, so that one clock
//! says when the closing brace was sent and when the step's request came.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    Options,
    engine::{self, Fleet, User},
    error::Error,
    graph,
    measure::{Side, Span},
    plan_text::{Pace, PlanText},
    provider::{self, Request},
    sample::Sample,
    site::Site,
};

/// Steps of a plan, none of which waits for another.
const STEPS: usize = 10;

/// A quick model's.
const PACE: Pace = Pace { first_byte_ms: 100.0, tokens_per_s: 200.0 };

/// Between two runs: four are planned at once, so that the simulator is not kept busy by writing.
const RUN_EVERY: Duration = Duration::from_secs(1);

/// More than are ever under way at once.
const PLANNINGS: usize = 64;

/// So many runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Streamed {
    pub(crate) runs: u64,
}

impl Streamed {
    pub(crate) const fn steps(self) -> u64 {
        self.runs * STEPS as u64
    }

    pub(crate) async fn engine(self, options: &Options) -> Result<Sample, Error> {
        let plan = plan();
        let answer =
            json!({"when": {"schema": "plan"}, "reply": {"text": plan.text}, "latency": PACE.json()});
        let script = json!({"rules": [answer, {"reply": {"text": "done"}}]});
        let config = "[planner]\ncache = false\n".to_owned();
        let fleet = Fleet { plannings: PLANNINGS, model: Some(script), config, ..Fleet::usual(options) };
        let mut site = Site::open(options).await?;
        let provider = engine::start(&mut site, options, &fleet).await?.unwrap_or_default();
        let submission = |run: u64| {
            graph::freeze(json!({"goal": "Do ten things.", "mode": "plan", "inputs": {"id": id(run)}}))
        };
        let user = User::new(&site, submission(self.runs)?);
        site.with_crew(user.carry_out(submission(self.runs)?)).await?;
        let before = site.read().await?;
        let user = &user;
        let doing = stream::iter(0..self.runs).map(|run| async move {
            sleep(RUN_EVERY * run as u32).await;
            Ok::<_, Error>(user.carry_out(submission(run)?).await?.1)
        });
        let all = doing.buffer_unordered(self.runs as usize).try_collect();
        let latencies: Vec<Duration> = site.with_crew(all).await?;
        let after = site.read().await?;
        let span = Span { before, after, runs: self.runs, steps: self.steps() };
        span.check()?;
        let mut sample = span.sample(&site, Side::Engine, latencies).await?;
        let requests = provider::requests(&provider).await?;
        let (mut first, mut all) = (Vec::new(), Vec::new());
        for run in 0..self.runs {
            let waits = waits(&id(run), &plan, &requests)?;
            first.extend(waits.first());
            all.extend(waits);
        }
        sample.percentiles(["first_step_p50_ms", "first_step_p99_ms", "first_step_p999_ms"], first);
        sample.percentiles(["step_p50_ms", "step_p99_ms", "step_p999_ms"], all);
        site.close().await;
        Ok(sample)
    }
}

/// In no other run's prompts.
fn id(run: u64) -> String {
    format!("streamed-{run:05}")
}

/// In no other step's prompt.
fn what(step: usize) -> String {
    format!("Do thing number {step} of the things that are to be done.")
}

fn plan() -> PlanText {
    let step = |id: usize| {
        let input = json!({"name": "id", "from_step": 0, "path": "/id"});
        json!({"id": id, "description": what(id), "kind": "model", "tools": [], "inputs": [input]})
    };
    let mut steps: Vec<Value> = (1..=STEPS).map(step).collect();
    if let Some(last) = steps.last_mut() {
        // What nothing leads to the end for is no plan.
        last["depends_on"] = json!([]);
    }
    PlanText::new(steps)
}

/// How long each step of a run has waited: from its closing brace to its request.
fn waits(run: &str, plan: &PlanText, requests: &[Request]) -> Result<Vec<Duration>, Error> {
    let of_run: Vec<&Request> = requests.iter().filter(|request| request.says(run)).collect();
    let void = |why: String| Error::Void(format!("run {run}: {why}"));
    let planning = of_run.iter().find(|request| !request.sent.is_empty() && request.body["stream"] == true);
    let planning = planning.ok_or_else(|| void("its plan was not streamed".to_owned()))?;
    let wait = |(place, bytes): (usize, &usize)| {
        let closed = planning.written_us(*bytes);
        let asked = of_run.iter().find(|request| request.says(&what(place + 1)));
        let (closed, asked) = closed
            .zip(asked)
            .ok_or_else(|| void(format!("it is not known when step {} started", place + 1)))?;
        let wait = asked.at_us.checked_sub(closed);
        wait.map(Duration::from_micros)
            .ok_or_else(|| void(format!("step {} started before it was written", place + 1)))
    };
    plan.closes.iter().enumerate().map(wait).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(at_us: u64, text: &str, sent: Value) -> Request {
        let body = json!({"stream": sent != json!([]), "messages": [{"content": text}]});
        let request = json!({"number": 1, "at_us": at_us, "counted": null, "sent": sent, "body": body});
        serde_json::from_value(request).unwrap()
    }

    #[test]
    fn a_wait_lasts_from_the_closing_brace_to_the_request() {
        let plan = PlanText { text: String::new(), closes: vec![10, 20] };
        let sent = json!([{"at_us": 100, "text_bytes": 16}, {"at_us": 200, "text_bytes": 32}]);
        let step = |at_us, id| request(at_us, &format!("{} id: streamed-7", what(id)), json!([]));
        let mut requests = vec![request(0, "id: streamed-7", sent), step(2_100, 1), step(3_200, 2)];
        let ms = |waits: Vec<Duration>| waits.iter().map(Duration::as_micros).collect::<Vec<_>>();
        assert_eq!(ms(waits("streamed-7", &plan, &requests).unwrap()), [2_000, 3_000]);
        requests[2].at_us = 150;
        assert!(waits("streamed-7", &plan, &requests).is_err(), "a step before its brace");
        assert!(waits("streamed-8", &plan, &requests).is_err(), "a run that nobody has planned");
    }
}
