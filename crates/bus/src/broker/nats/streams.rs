//! Streams and durable consumers: created, compared, measured, trimmed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

use async_nats::jetstream::{
    ErrorCode,
    consumer::{self, AckPolicy, pull},
    message::StreamMessage,
    stream::{
        Config, DeleteStatus, DiscardPolicy, Info, LastRawMessageErrorKind, PurgeRequest, PurgeResponse,
        RawMessageBuilder, RawMessageError, RetentionPolicy, StorageType, WithHeaders,
    },
};
use serde::{Deserialize, Serialize};

use super::{
    api::{ask, demand, from_wire, refusal, refused},
    connection::Link,
    fetch,
};
use crate::broker::{ConsumerSpec, Depth, Error, LogEntry, StreamKind, StreamSpec, StreamState};

/// Pulls that may wait at one consumer: every idle worker of a pool holds one, and
/// the server's default of 512 would turn away the rest of a large fleet.
const WAITING_PULLS_MAX: i64 = 20_000;

/// The body of a question without parameters: the server takes `{}`, but not `null`.
const NOTHING: BTreeMap<&str, &str> = BTreeMap::new();

/// Creates the stream, or checks that the one that is there agrees. Processes that
/// start together may all do this: creating an equal stream is no error, and
/// whoever loses against a different one compares.
pub(super) async fn ensure(link: &Link, spec: &StreamSpec) -> Result<(), Error> {
    let wanted = stream_config(spec);
    let there = create(link, &wanted).await?;
    compare(&wanted, &there)
}

/// Checks that the stream is there and agrees.
pub(super) async fn verify(link: &Link, spec: &StreamSpec) -> Result<(), Error> {
    compare(&stream_config(spec), &info(link, &spec.name).await?.config)
}

/// Creates a stream unless one of its name is there; returns the configuration of
/// whichever it is.
pub(super) async fn create(link: &Link, wanted: &Config) -> Result<Config, Error> {
    let name = &wanted.name;
    let what = format!("create stream {name}");
    match ask::<Info>(link, &what, format!("STREAM.CREATE.{name}"), wanted).await? {
        Ok(created) => Ok(created.config),
        Err(error) if error.error_code() == ErrorCode::STREAM_NAME_EXIST => {
            Ok(info(link, name).await?.config)
        }
        Err(error) => Err(refusal(&what, name, &error)),
    }
}

/// What the server knows of a stream.
pub(super) async fn info(link: &Link, name: &str) -> Result<Info, Error> {
    let what = format!("look at stream {name}");
    demand(link, &what, name, format!("STREAM.INFO.{name}"), &NOTHING).await
}

/// A stream's edges.
pub(super) async fn state(link: &Link, name: &str) -> Result<StreamState, Error> {
    let Info { state, config, .. } = info(link, name).await?;
    // A server alone may report 0.
    let replicas = config.num_replicas.max(1);
    Ok(StreamState {
        // A stream that never held a message reports 0.
        first_seq: if state.messages == 0 { state.last_sequence + 1 } else { state.first_sequence },
        last_seq: state.last_sequence,
        messages: state.messages,
        replicas,
    })
}

/// The subjects on which a stream holds anything. The leader counts them in memory and says
/// a hundred thousand at once; from one such page to the next they may shift.
pub(super) async fn subjects(link: &Link, name: &str, pattern: &str) -> Result<BTreeSet<String>, Error> {
    let what = format!("list the subjects of stream {name}");
    let mut found = BTreeSet::new();
    let mut offset = 0;
    loop {
        let page = SubjectsPage { subjects_filter: pattern, offset };
        let answer: SubjectsAnswer = demand(link, &what, name, format!("STREAM.INFO.{name}"), &page).await?;
        let subjects = answer.state.subjects.unwrap_or_default();
        offset += subjects.len();
        let is_last = subjects.is_empty() || offset >= answer.total;
        found.extend(subjects.into_keys());
        if is_last {
            return Ok(found);
        }
    }
}

/// What is asked of the server's `JSApiStreamInfoRequest`.
#[derive(Serialize)]
struct SubjectsPage<'a> {
    subjects_filter: &'a str,
    offset: usize,
}

/// What is read of its answer.
#[derive(Deserialize)]
struct SubjectsAnswer {
    /// Of all pages.
    #[serde(default)]
    total: usize,
    state: SubjectsState,
}

#[derive(Deserialize)]
struct SubjectsState {
    /// How much is on each.
    subjects: Option<BTreeMap<String, u64>>,
}

/// Creates the consumer or updates its limits. Another filter is a difference, not
/// an update: what is queued under the old one would never be delivered.
pub(super) async fn ensure_consumer(link: &Link, spec: &ConsumerSpec) -> Result<(), Error> {
    let asset = fetch::consumer_name(&spec.stream, &spec.name);
    match consumer_info(link, &spec.stream, &spec.name).await {
        Ok(there) if there.config.filter_subject != spec.filter => {
            let differences = [difference("filter", &spec.filter, &there.config.filter_subject)];
            return differs(&asset, differences.into_iter().flatten().collect());
        }
        Ok(_) | Err(Error::Missing(_)) => {}
        Err(error) => return Err(error),
    }
    let what = format!("create {asset}");
    let creating = link.jetstream.create_consumer_on_stream(consumer_config(spec), &spec.stream);
    link.limited(&what, creating)
        .await?
        .map_err(|error| fetch::consumer_error(&what, &spec.stream, &error))?;
    Ok(())
}

/// How many messages of a consumer wait or are in flight.
pub(super) async fn depth(link: &Link, stream: &str, consumer: &str) -> Result<Depth, Error> {
    let info = consumer_info(link, stream, consumer).await?;
    Ok(Depth { waiting: info.num_pending, in_flight: info.num_ack_pending as u64 })
}

/// What the server knows of a consumer.
pub(super) async fn consumer_info(
    link: &Link,
    stream: &str,
    consumer: &str,
) -> Result<consumer::Info, Error> {
    let asset = fetch::consumer_name(stream, consumer);
    let what = format!("look at {asset}");
    demand(link, &what, &asset, format!("CONSUMER.INFO.{stream}.{consumer}"), &NOTHING).await
}

/// The newest message on a subject, from the stream's leader: a direct read may be
/// served by a follower that has not yet seen what was just acked.
pub(super) async fn last_on_subject(
    link: &Link,
    stream: &str,
    subject: &str,
) -> Result<Option<LogEntry>, Error> {
    let what = format!("read {subject} of {stream}");
    let asked = messages(link, stream, &what).await?.last_by_subject(subject);
    stored(&what, stream, link.limited(&what, asked.send()).await?)
}

/// The first message at or behind `from_seq` on a subject, likewise.
pub(super) async fn first_on_subject(
    link: &Link,
    stream: &str,
    subject: &str,
    from_seq: u64,
) -> Result<Option<LogEntry>, Error> {
    let what = format!("read {subject} of {stream} from {from_seq}");
    // The server takes 0 for a question that names no place.
    let asked = messages(link, stream, &what).await?.sequence(from_seq.max(1)).next_by_subject(subject);
    stored(&what, stream, link.limited(&what, asked.send()).await?)
}

async fn messages(link: &Link, stream: &str, what: &str) -> Result<RawMessageBuilder<WithHeaders>, Error> {
    let handle = link.jetstream.get_stream_no_info(stream).await.map_err(|error| refused(what, &error))?;
    Ok(handle.raw_message_builder())
}

fn stored(
    what: &str,
    stream: &str,
    answer: Result<StreamMessage, RawMessageError>,
) -> Result<Option<LogEntry>, Error> {
    match answer {
        Ok(message) => Ok(Some(LogEntry {
            seq: message.sequence,
            at_ms: fetch::unix_ms(message.time.unix_timestamp_nanos()),
            subject: message.subject.into_string(),
            headers: from_wire(Some(message.headers)),
            payload: message.payload,
        })),
        Err(error) => match error.kind() {
            LastRawMessageErrorKind::NoMessageFound => Ok(None),
            LastRawMessageErrorKind::JetStream(error) => Err(refusal(what, stream, &error)),
            LastRawMessageErrorKind::InvalidSubject => Err(refused(what, &error)),
            LastRawMessageErrorKind::Other => Err(Error::Unreachable(format!("{what}: {error}"))),
        },
    }
}

/// Removes one message. Its bytes are left to be overwritten: erasing them at once
/// costs a sync to disk, and nobody has asked for that.
pub(super) async fn remove(link: &Link, stream: &str, seq: u64) -> Result<bool, Error> {
    let what = format!("remove message {seq} of {stream}");
    let subject = format!("STREAM.MSG.DELETE.{stream}");
    let request = Removal { seq, no_erase: true };
    match ask::<DeleteStatus>(link, &what, subject, &request).await? {
        Ok(removed) => Ok(removed.success),
        // The second is any failure to remove, that of a message which is gone among them.
        Err(error)
            if matches!(
                error.error_code(),
                ErrorCode::SEQUENCE_NOT_FOUND | ErrorCode::STREAM_MESSAGE_DELETE_FAILED
            ) =>
        {
            let there = first_on_subject(link, stream, ">", seq).await?;
            if there.is_some_and(|entry| entry.seq == seq) {
                return Err(refusal(&what, stream, &error));
            }
            Ok(false)
        }
        Err(error) => Err(refusal(&what, stream, &error)),
    }
}

/// The server's `JSApiMsgDeleteRequest`.
#[derive(Serialize)]
struct Removal {
    seq: u64,
    no_erase: bool,
}

/// Drops all messages below `below_seq`. Never asks for more than there is: a purge
/// beyond the end moves the stream's next sequence there, and one below sequence 1
/// is a purge of everything.
pub(super) async fn trim(link: &Link, stream: &str, below_seq: u64) -> Result<(), Error> {
    let below_seq = below_seq.min(state(link, stream).await?.last_seq + 1);
    if below_seq <= 1 {
        return Ok(());
    }
    let request = PurgeRequest { sequence: Some(below_seq), filter: None, keep: None };
    let what = format!("trim {stream}");
    let subject = format!("STREAM.PURGE.{stream}");
    let _: PurgeResponse = demand(link, &what, stream, subject, &request).await?;
    Ok(())
}

fn stream_config(spec: &StreamSpec) -> Config {
    let base = Config {
        name: spec.name.clone(),
        subjects: spec.subjects.clone(),
        storage: StorageType::File,
        max_age: spec.max_age.unwrap_or_default(),
        num_replicas: spec.replicas,
        // What the lanes send to a server that syncs each message to disk.
        allow_atomic_publish: true,
        ..Config::default()
    };
    let one_per_subject = Config {
        max_messages_per_subject: 1,
        discard: DiscardPolicy::New,
        discard_new_per_subject: true,
        ..base.clone()
    };
    match spec.kind {
        StreamKind::Log => Config { allow_direct: true, ..base },
        StreamKind::WorkQueue => Config { retention: RetentionPolicy::WorkQueue, ..one_per_subject },
        StreamKind::WriteOnce => Config { allow_direct: true, ..one_per_subject },
    }
}

fn consumer_config(spec: &ConsumerSpec) -> pull::Config {
    pull::Config {
        durable_name: Some(spec.name.clone()),
        filter_subject: spec.filter.clone(),
        ack_policy: AckPolicy::Explicit,
        ack_wait: spec.ack_wait,
        // The server has no dead-letter queue: a message past the limit would stay
        // in the stream unseen. The executor counts deliveries instead.
        max_deliver: -1,
        max_ack_pending: spec.max_ack_pending,
        max_waiting: WAITING_PULLS_MAX,
        ..pull::Config::default()
    }
}

/// Compares the settings that our guarantees rest on; an operator may add others.
fn compare(wanted: &Config, there: &Config) -> Result<(), Error> {
    let differences = [
        difference("subjects", &sorted(&wanted.subjects), &sorted(&there.subjects)),
        difference("retention", &wanted.retention, &there.retention),
        difference("storage", &wanted.storage, &there.storage),
        difference("replicas", &wanted.num_replicas, &there.num_replicas),
        difference("max_age", &wanted.max_age, &there.max_age),
        difference("discard", &wanted.discard, &there.discard),
        difference(
            "max_msgs_per_subject",
            &limit(wanted.max_messages_per_subject),
            &limit(there.max_messages_per_subject),
        ),
        difference(
            "discard_new_per_subject",
            &wanted.discard_new_per_subject,
            &there.discard_new_per_subject,
        ),
        difference("allow_direct", &wanted.allow_direct, &there.allow_direct),
    ];
    differs(&format!("stream {}", wanted.name), differences.into_iter().flatten().collect())
}

fn differs(asset: &str, differences: Vec<String>) -> Result<(), Error> {
    if differences.is_empty() {
        return Ok(());
    }
    Err(Error::Differs { name: asset.to_owned(), difference: differences.join("; ") })
}

fn difference<T: PartialEq + Debug>(setting: &str, wanted: &T, there: &T) -> Option<String> {
    (wanted != there).then(|| format!("{setting} is {there:?}, expected {wanted:?}"))
}

fn sorted(subjects: &[String]) -> Vec<&String> {
    let mut subjects: Vec<&String> = subjects.iter().collect();
    subjects.sort();
    subjects
}

/// The server writes -1 where a client may leave 0: no limit.
fn limit(value: i64) -> Option<i64> {
    (value > 0).then_some(value)
}
