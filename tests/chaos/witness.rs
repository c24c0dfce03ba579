//! The witness: reads what is on the broker, all of it and from the first message, by
//! connections of its own and without the product's bus.
//!
//! It asks for one message after the other by its position: slower than a consumer, and
//! there is nothing to lose when a server dies.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::jetstream::{
    self, Context,
    message::StreamMessage,
    stream::{Config, LastRawMessageErrorKind, Republish, Stream},
};
use planfleet_bus::work::Origin;
use planfleet_core::id::ShardId;
use planfleet_proto::{
    decode,
    subjects::{self, WorkKind},
};
use tokio::{
    io::AsyncReadExt as _,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use crate::{
    fleet::SHARDS,
    history::{Dispatch, Kept, Logged},
};

/// The witness's own stream, of what the work queue took.
const STEPS_SEEN: &str = "CHAOS_STEPS";

/// Where the queue's messages are repeated: `pf.` becomes `chaos.`.
const SEEN_PREFIX: &str = "chaos.";

/// The header that names a body which travels by reference.
const BLOB: &str = "Pf-Blob";

/// Between two looks at the end of a stream.
const LOOK_EVERY: Duration = Duration::from_millis(30);

/// At the end of a stream, it is asked this often whether it begins further on.
const LOOK_AT_STATE_EVERY: Duration = Duration::from_secs(3);

/// Longer than an election.
const CALL_LIMIT: Duration = Duration::from_secs(3);

/// How long a body may be missing, by elections or else.
const BLOB_LIMIT: Duration = Duration::from_secs(30);

/// How long the rest of the streams may take to be read when all is quiet.
const FINISH_LIMIT: Duration = Duration::from_secs(60);

/// A message as it was stored, its body in full.
#[derive(Debug)]
struct Seen {
    seq: u64,
    at_ms: u64,
    subject: String,
    headers: BTreeMap<String, String>,
    body: Result<Vec<u8>, decode::Error>,
}

/// What the witness has read.
pub(crate) struct Testimony {
    pub(crate) logs: BTreeMap<ShardId, Vec<Logged>>,
    pub(crate) dispatches: Vec<Dispatch>,
    pub(crate) documents: Vec<Kept>,
}

/// A witness at work.
pub(crate) struct Witness {
    context: Context,
    tails: BTreeMap<String, Tail>,
}

struct Tail {
    /// Reads until this position, which is unknown until the end.
    until: Arc<AtomicU64>,
    reading: JoinHandle<Vec<Seen>>,
}

impl Witness {
    /// Begins to read. The fleet has made its streams before.
    pub(crate) async fn start(servers: &[SocketAddr]) -> Self {
        let urls: Vec<String> = servers.iter().map(|server| format!("nats://{server}")).collect();
        let options = async_nats::ConnectOptions::new()
            .name("witness")
            .ping_interval(Duration::from_secs(2))
            .request_timeout(Some(CALL_LIMIT));
        let client = options.connect(urls).await.expect("a connection to the broker");
        let context = jetstream::new(client);
        repeat_steps(&context, servers.len()).await;
        let logs = (0..SHARDS).map(subjects::log);
        let streams = logs.chain([STEPS_SEEN.to_owned(), subjects::DONE.to_owned()]);
        let tails = streams.map(|stream| (stream.clone(), Tail::start(context.clone(), stream))).collect();
        Self { context, tails }
    }

    /// Reads what is left and says everything. Nothing may be written any more.
    pub(crate) async fn finish(self) -> Testimony {
        let mut read = BTreeMap::new();
        for (name, tail) in self.tails {
            let last = last_sequence(&self.context, &name).await;
            tail.until.store(last, Ordering::Relaxed);
            let seen = timeout(FINISH_LIMIT, tail.reading).await;
            let seen =
                seen.unwrap_or_else(|_| panic!("{name} is not read to {last} within {FINISH_LIMIT:?}"));
            read.insert(name, seen.expect("a reader ends by itself"));
        }
        let mut take = |name: &str| read.remove(name).unwrap_or_default();
        let log = |shard| (shard, take(&subjects::log(shard)).into_iter().map(logged).collect());
        Testimony {
            logs: (0..SHARDS).map(log).collect(),
            dispatches: take(STEPS_SEEN).into_iter().filter_map(dispatch).collect(),
            documents: take(subjects::DONE).into_iter().map(kept).collect(),
        }
    }
}

/// Has the broker repeat what the work queue takes, so that it can be read after it is done.
async fn repeat_steps(context: &Context, replicas: usize) {
    let seen = Config {
        name: STEPS_SEEN.to_owned(),
        subjects: vec![format!("{SEEN_PREFIX}steps.>")],
        num_replicas: replicas,
        ..Config::default()
    };
    context.create_stream(seen).await.expect("a stream of our own");
    let queue = context.get_stream(subjects::STEPS).await.expect("the work queue");
    let republish = Republish {
        source: subjects::STEPS_FILTER.to_owned(),
        destination: format!("{SEEN_PREFIX}steps.>"),
        headers_only: false,
    };
    let config = Config { republish: Some(republish), ..queue.cached_info().config.clone() };
    context.update_stream(config).await.expect("the work queue takes a republish");
}

async fn last_sequence(context: &Context, name: &str) -> u64 {
    let until = Instant::now() + FINISH_LIMIT;
    loop {
        match timeout(CALL_LIMIT, context.get_stream(name)).await {
            Ok(Ok(stream)) => return stream.cached_info().state.last_sequence,
            other if Instant::now() > until => panic!("{name} cannot be looked at: {other:?}"),
            _ => sleep(LOOK_EVERY).await,
        }
    }
}

impl Tail {
    fn start(context: Context, stream: String) -> Self {
        let until = Arc::new(AtomicU64::new(u64::MAX));
        let reading = tokio::spawn(read(context, stream, Arc::clone(&until)));
        Self { until, reading }
    }
}

/// Reads a stream from its first message.
async fn read(context: Context, name: String, until: Arc<AtomicU64>) -> Vec<Seen> {
    let mut seen: Vec<Seen> = Vec::new();
    let mut next = 1;
    let mut state_looked_at = Instant::now();
    while next <= until.load(Ordering::Relaxed) {
        let Ok(Ok(stream)) = timeout(CALL_LIMIT, context.get_stream_no_info(&name)).await else { continue };
        match timeout(CALL_LIMIT, stream.get_raw_message(next)).await {
            Ok(Ok(message)) => {
                seen.push(whole(&context, message).await);
                next += 1;
                continue;
            }
            Ok(Err(error))
                if matches!(error.kind(), LastRawMessageErrorKind::NoMessageFound)
                    && state_looked_at.elapsed() > LOOK_AT_STATE_EVERY =>
            {
                state_looked_at = Instant::now();
                next = next.max(first_sequence(&stream).await);
            }
            _ => {}
        }
        sleep(LOOK_EVERY).await;
    }
    seen
}

/// Where a stream begins: messages may be gone before they were read. The checker finds
/// the gap.
async fn first_sequence(stream: &Stream<()>) -> u64 {
    match timeout(CALL_LIMIT, stream.get_info()).await {
        Ok(Ok(info)) if info.state.messages > 0 => info.state.first_sequence,
        _ => 0,
    }
}

async fn whole(context: &Context, message: StreamMessage) -> Seen {
    let headers: BTreeMap<String, String> = message
        .headers
        .iter()
        .filter_map(|(name, values)| Some((name.to_string(), values.first()?.to_string())))
        .collect();
    let body = match headers.get(BLOB) {
        None => Ok(message.payload.to_vec()),
        Some(digest) => blob(context, digest).await,
    };
    let at_ms = u64::try_from(message.time.unix_timestamp_nanos() / 1_000_000).unwrap_or_default();
    Seen { seq: message.sequence, at_ms, subject: message.subject.to_string(), headers, body }
}

async fn blob(context: &Context, digest: &str) -> Result<Vec<u8>, decode::Error> {
    let until = Instant::now() + BLOB_LIMIT;
    loop {
        match timeout(CALL_LIMIT, object(context, digest)).await {
            Ok(Some(body)) => return Ok(body),
            _ if Instant::now() > until => {
                return Err(decode::Error::Bytes(format!("the body {digest} is missing")));
            }
            _ => sleep(LOOK_EVERY).await,
        }
    }
}

async fn object(context: &Context, digest: &str) -> Option<Vec<u8>> {
    let store = context.get_object_store(subjects::BLOBS).await.ok()?;
    let mut object = store.get(digest).await.ok()?;
    let mut body = Vec::new();
    object.read_to_end(&mut body).await.ok()?;
    Some(body)
}

fn logged(seen: Seen) -> Logged {
    let entry = seen.body.and_then(|body| decode::entry(&body, seen.at_ms));
    Logged { seq: seen.seq, at_ms: seen.at_ms, entry }
}

fn dispatch(seen: Seen) -> Option<Dispatch> {
    let subject = seen.subject.strip_prefix(SEEN_PREFIX)?;
    let work = subjects::work(&format!("pf.{subject}"))?;
    let order = match work.what {
        WorkKind::Step(_) => seen.body.ok().and_then(|body| decode::step_order(&body).ok()).map(Box::new),
        WorkKind::Planning(_) => None,
    };
    let number = |name: &str| seen.headers.get(name).and_then(|value| value.parse().ok());
    let origin = Origin::read(&seen.headers);
    Some(Dispatch {
        // Of the queue, not of the stream that repeats it.
        seq: number("Nats-Sequence")?,
        at_ms: seen.at_ms,
        work,
        order,
        epoch: origin.map(|origin| origin.epoch),
        log_seq: origin.map(|origin| origin.log_seq),
    })
}

fn kept(seen: Seen) -> Kept {
    let run = seen.subject.rsplit('.').next().and_then(|run| run.parse().ok());
    let run = run.unwrap_or_else(|| panic!("{} names no run", seen.subject));
    let finished = seen.body.and_then(|body| decode::run_finished(&body));
    let text = finished.map(|finished| finished.document_json).unwrap_or_default();
    // What cannot be read is null, which is no way to end.
    let document = serde_json::from_str(&text).unwrap_or_default();
    Kept { seq: seen.seq, at_ms: seen.at_ms, run, document }
}
