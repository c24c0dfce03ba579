//! Dashboards without a screen: each reads a run's events as they come and its document again and
//! again while something happens, at the pace of the real one (`crates/api/ui/src/api/live.ts`).

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures::future::try_join_all;
use reqwest::{Client, Response, header};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use crate::{
    STALL,
    error::{Error, failed},
};

/// Between two looks at the document: three times what the last one took, within these.
const REST: u32 = 3;
const REST_MIN: Duration = Duration::from_millis(400);
const REST_MAX: Duration = Duration::from_secs(5);

/// What all watchers together were told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Watched {
    pub(crate) watchers: usize,
    pub(crate) events: u64,
    pub(crate) documents: u64,
    pub(crate) bytes: u64,
    /// Streams that were let go as their reader was too slow, and went on.
    pub(crate) resumed: u64,
}

impl Watched {
    fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.documents += other.documents;
        self.bytes += other.bytes;
        self.resumed += other.resumed;
    }
}

/// Watches the run at `url` so often at once until it ends. `say` is told `watching` when all streams
/// are open, and in the end what was told, as JSON.
///
/// # Errors
/// When the API cannot be reached, refuses, or says nothing for two minutes.
pub async fn watch(url: &str, watchers: usize, say: &dyn Fn(&str)) -> Result<(), Error> {
    let client = Client::builder().no_proxy().build().map_err(failed("make an HTTP client"))?;
    let open = AtomicUsize::new(0);
    let opened = || {
        if open.fetch_add(1, Ordering::Relaxed) + 1 == watchers {
            say("watching");
        }
    };
    let told = try_join_all((0..watchers).map(|_| one(&client, url, &opened))).await?;
    let mut all = Watched { watchers, ..Watched::default() };
    told.iter().for_each(|one| all.add(one));
    say(&serde_json::to_string(&all).map_err(failed("write down what was watched"))?);
    Ok(())
}

async fn one(client: &Client, url: &str, opened: &impl Fn()) -> Result<Watched, Error> {
    // Whether the run is over; every change is news.
    let (news, seen) = watch::channel(false);
    let (mut told, looked) =
        tokio::try_join!(events(client, url, opened, news), documents(client, url, seen))?;
    told.add(&looked);
    Ok(told)
}

/// Reads the stream to its end, and goes on where it is let go.
async fn events(
    client: &Client,
    url: &str,
    opened: &impl Fn(),
    news: watch::Sender<bool>,
) -> Result<Watched, Error> {
    let (mut told, mut last, mut is_first) = (Watched::default(), String::new(), true);
    loop {
        let mut request = client.get(format!("{url}/events")).header(header::ACCEPT, "text/event-stream");
        if !last.is_empty() {
            request = request.header("last-event-id", &last);
        }
        let mut response = answered(request.send().await, "open a stream of events")?;
        if std::mem::take(&mut is_first) {
            opened();
        }
        let mut rest = Vec::new();
        while let Some(chunk) = next(&mut response).await? {
            told.bytes += chunk.len() as u64;
            rest.extend_from_slice(&chunk);
            let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let lines: Vec<u8> = rest.drain(..whole).collect();
            for line in lines.split(|byte| *byte == b'\n') {
                if line.starts_with(b"data: {") {
                    told.events += 1;
                    // What is not in the log has no position, and is seldom.
                    if line.starts_with(b"data: {\"seq\":null") && contains(line, b"\"RunFinished\"") {
                        news.send_replace(true);
                        return Ok(told);
                    }
                } else if let Some(id) = line.strip_prefix(b"id: ") {
                    last = String::from_utf8_lossy(id).into_owned();
                }
            }
            news.send_replace(false);
        }
        told.resumed += 1;
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

async fn next(response: &mut Response) -> Result<Option<Vec<u8>>, Error> {
    let what = "the next event";
    let chunk = timeout(STALL, response.chunk()).await;
    let chunk = chunk.map_err(|_| Error::Late { what: what.to_owned(), within: STALL })?;
    Ok(chunk.map_err(failed(what))?.map(Into::into))
}

/// Looks at the document whenever there are news, and once when the run is over.
async fn documents(client: &Client, url: &str, mut seen: watch::Receiver<bool>) -> Result<Watched, Error> {
    let (mut told, mut tag) = (Watched::default(), None);
    loop {
        let is_over = *seen.borrow_and_update();
        let began = Instant::now();
        let mut request = client.get(url).timeout(STALL);
        if let Some(tag) = &tag {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        let response = answered(request.send().await, "look at the run")?;
        tag = response.headers().get(header::ETAG).cloned();
        told.bytes += response.bytes().await.map_err(failed("read the run's document"))?.len() as u64;
        told.documents += 1;
        if is_over {
            return Ok(told);
        }
        sleep((began.elapsed() * REST).clamp(REST_MIN, REST_MAX)).await;
        // The stream ends with its last news.
        let _ = seen.changed().await;
    }
}

fn answered(sent: Result<Response, reqwest::Error>, what: &str) -> Result<Response, Error> {
    sent.map_err(failed(what))?.error_for_status().map_err(failed(what))
}
