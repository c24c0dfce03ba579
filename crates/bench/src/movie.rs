//! `movie`: the movie recommendation of LLMCompiler, with the times and tokens that they have
//! published, by one model that looks up in turn, by a plan, by a plan whose steps start while
//! it is written, and by a plan that was made before; each beside its critical path.

mod mode;
mod script;
mod search;
mod tasks;
mod tokens;

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use planfleet_core::task::Submission;
use planfleet_tools::Settings;
use serde_json::{Value, json};
use tokio::time::sleep;

pub(crate) use self::mode::Mode;
use self::{
    search::Search,
    tasks::{Task, tasks},
};
use crate::{
    Options,
    engine::{self, Fleet, User},
    error::Error,
    graph,
    measure::{Side, Span},
    provider,
    sample::{Row, Sample, Variant},
    site::Site,
};

/// What users ask for; the movies are inputs.
const GOAL: &str = "Of the options, find the movie that is most like those that are liked. Look every movie up \
                    first: those that are liked and the options.";

/// Between two tasks: ten are planned at once at most, and forty under way, which keeps no machine
/// busy: it is how long a task takes that is measured, and not how many there can be.
const TASK_EVERY: Duration = Duration::from_millis(500);

/// More than are ever under way at once.
const PLANNINGS: usize = 64;

/// So many tasks, done in one way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Movie {
    pub(crate) mode: Mode,
    pub(crate) runs: u64,
}

impl Movie {
    pub(crate) fn steps(self) -> u64 {
        self.runs * self.mode.steps()
    }

    pub(crate) async fn engine(self, options: &Options) -> Result<Sample, Error> {
        let (plan, search) = (script::plan(), Search::start().await?);
        // One more than are measured: all is warm then, and the plan is kept.
        let tasks = tasks(self.runs + 1)?;
        let settings = search.settings()?;
        let submissions: Vec<(Task, Submission)> = tasks
            .iter()
            .map(|task| Ok((task.clone(), self.submission(task, &settings)?)))
            .collect::<Result<_, Error>>()?;
        let cache = self.mode == Mode::Cached;
        let fleet = Fleet {
            plannings: PLANNINGS,
            model: Some(script::script(self.mode, &plan, &tasks)),
            price: Some(tokens::PRICE),
            config: format!("{}[planner]\ncache = {cache}\n", search.config()),
            ..Fleet::usual(options)
        };
        let mut site = Site::open(options).await?;
        let provider = engine::start(&mut site, options, &fleet).await?.unwrap_or_default();
        let user = User::new(&site, submissions[0].1.clone());
        site.with_crew(self.do_one(&user, &submissions[self.runs as usize])).await?;
        let before = site.read().await?;
        let known = provider::requests(&provider).await?.last().map_or(0, |request| request.number);
        let doing = stream::iter(0..self.runs as usize).map(|place| {
            let (user, submission) = (&user, &submissions[place]);
            async move {
                sleep(TASK_EVERY * place as u32).await;
                self.do_one(user, submission).await
            }
        });
        let all = doing.buffer_unordered(self.runs as usize).try_collect();
        let done: Vec<(Duration, Used)> = site.with_crew(all).await?;
        let after = site.read().await?;
        let span = Span { before, after, runs: self.runs, steps: self.steps() };
        span.check()?;
        let latencies: Vec<Duration> = done.iter().map(|(latency, _)| *latency).collect();
        let mean_ms = latencies.iter().map(Duration::as_secs_f64).sum::<f64>() * 1e3 / self.runs as f64;
        let mut sample = span.sample(&site, Side::Engine, latencies).await?;
        let bound_ms = self.mode.bound_ms(&plan);
        sample.set("mean_ms", mean_ms);
        sample.set("bound_ms", bound_ms);
        sample.set("of_bound", mean_ms / bound_ms);
        let per_run =
            |of: fn(&Used) -> f64| done.iter().map(|(_, used)| of(used)).sum::<f64>() / self.runs as f64;
        sample.set("input_tokens_per_run", per_run(|used| used.tokens[0]));
        sample.set("output_tokens_per_run", per_run(|used| used.tokens[1]));
        sample.set("usd_per_1k_runs", per_run(|used| used.usd) * 1e3);
        let own = provider::requests(&provider).await?;
        let own: Vec<[u64; 2]> = own
            .iter()
            .filter(|request| request.number > known)
            .filter_map(|request| request.counted)
            .collect();
        let own = |at: usize| own.iter().map(|counted| counted[at] as f64).sum::<f64>() / self.runs as f64;
        sample.set("own_input_tokens_per_run", own(0));
        sample.set("own_output_tokens_per_run", own(1));
        let [input, output] = tokens::USD_PER_TOKEN;
        sample.set("own_usd_per_1k_runs", (own(0) * input + own(1) * output) * 1e3);
        site.close().await;
        Ok(sample)
    }

    fn submission(self, task: &Task, settings: &Settings) -> Result<Submission, Error> {
        let mode = if self.mode == Mode::Direct { "direct" } else { "plan" };
        let task = json!({
            "goal": GOAL, "class": "movie-recommendation", "inputs": task.inputs(), "mode": mode, "tools": ["search"],
        });
        graph::freeze_with(task, settings.clone())
    }

    /// Has one task done, and sees that its answer is right.
    async fn do_one(
        self,
        user: &User,
        (task, submission): &(Task, Submission),
    ) -> Result<(Duration, Used), Error> {
        let (document, latency) = user.carry_out(submission.clone()).await?;
        if document["answer"] != task.answer.as_str() {
            let (id, answer) = (&task.id, &document["answer"]);
            return Err(Error::Void(format!("task {id} was answered with {answer}, not {:?}", task.answer)));
        }
        Ok((latency, Used::of(&document)))
    }
}

/// What a run has used, as its document says.
#[derive(Debug, Clone, Copy)]
struct Used {
    /// In and out.
    tokens: [f64; 2],
    usd: f64,
}

impl Used {
    fn of(document: &Value) -> Self {
        let usage = document["usage"].as_object().into_iter().flat_map(|usage| usage.values());
        let sum = |name: &str| usage.clone().filter_map(|role| role[name].as_f64()).sum();
        let tokens = [sum("input_tokens"), sum("output_tokens")];
        // An unknown cost makes the measurement's unknown too.
        Self { tokens, usd: document["usd"].as_f64().unwrap_or(f64::NAN) }
    }
}

/// Sets each way beside the one that does not plan.
pub(crate) fn compare(rows: &mut [Row]) {
    let pairs = [
        ("cost_ratio", "usd_per_1k_runs"),
        ("own_cost_ratio", "own_usd_per_1k_runs"),
        ("speed_up", "mean_ms"),
    ];
    for (name, of) in pairs {
        let direct = Variant::Name("mode", Mode::Direct.name());
        let base = rows.iter().find(|row| row.subject.variant == Some(direct)).and_then(|row| row.median(of));
        for row in rows.iter_mut() {
            row.derive(name, |sample| Some(base? / sample.get(of)?));
        }
    }
}
