//! Tasks offered to the API over HTTP at a pace of their own: the next one comes when it is due,
//! whatever has become of those before it, as users do who know nothing of each other.

use std::time::Duration;

use planfleet_core::id::RunId;
use reqwest::{StatusCode, header::RETRY_AFTER};
use serde_json::Value;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    Options,
    engine::serve,
    error::{Error, failed},
    server::free_port,
    site::{Role, Site},
};

/// Requests under way at once. Whoever is due while there are as many waits, and the wait counts
/// as part of his answer's.
const AT_ONCE_MAX: usize = 1_000;

/// An answer is there within this, or the measurement is void.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

const START_TIMEOUT: Duration = Duration::from_secs(30);

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The API of a fleet.
pub(crate) struct Api {
    http: reqwest::Client,
    runs: String,
}

/// What came of tasks that were offered.
#[derive(Debug, Default)]
pub(crate) struct Offered {
    /// From the first task that was due to the last.
    pub(crate) over: Duration,
    pub(crate) accepted: Vec<RunId>,
    /// From when a task was due to its answer.
    pub(crate) accepted_after: Vec<Duration>,
    pub(crate) refused_after: Vec<Duration>,
}

/// What is answered to one task: its run, unless it was refused.
type Answer = Result<(Option<RunId>, Duration), Error>;

impl Api {
    /// A listener on loopback, for [`crate::engine::Fleet`].
    pub(crate) fn config() -> Result<(String, u16), Error> {
        let port = free_port()?;
        Ok((format!("[api]\nlisten = \"127.0.0.1:{port}\"\n"), port))
    }

    /// Starts one of a fleet that was configured so, and waits until it answers.
    pub(crate) async fn start(site: &mut Site, options: &Options, port: u16) -> Result<Self, Error> {
        site.hire(options, Role::Api, serve("api")).await?;
        let http = reqwest::Client::builder()
            .timeout(ANSWER_TIMEOUT)
            .pool_max_idle_per_host(AT_ONCE_MAX)
            .no_proxy()
            .build()
            .map_err(failed("make an HTTP client"))?;
        let api = Self { http, runs: format!("http://127.0.0.1:{port}/v1/runs") };
        let answers = async {
            let url = format!("http://127.0.0.1:{port}/v1/whoami");
            while api.http.get(&url).send().await.is_err() {
                sleep(LOOK_EVERY).await;
            }
            Ok(())
        };
        let late = |_| Error::Late { what: "the API to answer".to_owned(), within: START_TIMEOUT };
        timeout(START_TIMEOUT, site.with_crew(answers)).await.map_err(late)??;
        Ok(api)
    }

    /// Offers a task so often, so many times a second.
    pub(crate) async fn offer(&self, task: &Value, times: u64, per_s: f64) -> Result<Offered, Error> {
        let (body, began) = (task.to_string(), Instant::now());
        let (mut asking, mut offered) = (JoinSet::<Answer>::new(), Offered::default());
        for number in 0..times {
            let due = began + Duration::from_secs_f64(number as f64 / per_s);
            sleep_until(due).await;
            while asking.len() >= AT_ONCE_MAX
                && let Some(answer) = asking.join_next().await
            {
                offered.note(answer.map_err(failed("offer a task"))?)?;
            }
            asking.spawn(ask(self.http.clone(), self.runs.clone(), body.clone(), due));
        }
        offered.over = began.elapsed();
        while let Some(answer) = asking.join_next().await {
            offered.note(answer.map_err(failed("offer a task"))?)?;
        }
        Ok(offered)
    }
}

impl Offered {
    fn note(&mut self, answer: Answer) -> Result<(), Error> {
        match answer? {
            (Some(run), after) => {
                self.accepted.push(run);
                self.accepted_after.push(after);
            }
            (None, after) => self.refused_after.push(after),
        }
        Ok(())
    }

    /// Tasks a second.
    pub(crate) fn per_s(&self) -> f64 {
        (self.accepted.len() + self.refused_after.len()) as f64 / self.over.as_secs_f64()
    }
}

async fn ask(http: reqwest::Client, url: String, body: String, due: Instant) -> Answer {
    let what = "submit over HTTP";
    let request = http.post(url).header("content-type", "application/json").body(body);
    let answer = request.send().await.map_err(failed(what))?;
    let (status, again) = (answer.status(), answer.headers().contains_key(RETRY_AFTER));
    let text = answer.text().await.map_err(failed(what))?;
    let after = due.elapsed();
    match status {
        StatusCode::ACCEPTED => {
            let run = serde_json::from_str::<Value>(&text).map_err(failed(what))?;
            let run = run["run_id"].as_str().unwrap_or_default().parse().map_err(failed(what))?;
            Ok((Some(run), after))
        }
        // Full, for everybody or for this tenant: with the time to come again.
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS if again => Ok((None, after)),
        status => Err(Error::Void(format!("a task was answered {status}: {text}"))),
    }
}
