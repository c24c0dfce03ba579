//! The one table of who may do what on the broker.
//!
//! `planfleet admin nats-auth` writes it down for a nats-server. It follows from what the
//! services do, and a test holds it to that: what each role does is allowed, all else that
//! any role may do is refused.

mod server;

use planfleet_core::id::ShardId;
use planfleet_proto::subjects::{self, Kind};

pub use self::server::{ACCOUNT, User, configuration};
use crate::broker::nats::{Grant, Permissions};

/// What a process is to the broker.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Makes the streams and looks after them: an operator, never a service.
    Admin,
    /// Owns shards.
    Coordinator,
    /// Plans.
    Planner,
    /// Works for the pool of that name, and no other.
    Executor(String),
    /// Takes tasks from the network.
    Api,
    /// The command line and programs that use the broker themselves: what the API does.
    Client,
}

impl Role {
    /// Every role of a fleet with these pools of executors.
    pub fn all<'a>(pools: impl IntoIterator<Item = &'a str>) -> Vec<Self> {
        let executors = pools.into_iter().map(|pool| Self::Executor(pool.to_owned()));
        let services = [Self::Admin, Self::Coordinator, Self::Planner];
        services.into_iter().chain(executors).chain([Self::Api, Self::Client]).collect()
    }

    /// Its name, such as `planner` or `executor-default`.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Admin => "admin".to_owned(),
            Self::Coordinator => "coordinator".to_owned(),
            Self::Planner => "planner".to_owned(),
            Self::Executor(pool) => format!("executor-{pool}"),
            Self::Api => "api".to_owned(),
            Self::Client => "client".to_owned(),
        }
    }

    /// Whether it asks owners of shards about their runs.
    #[must_use]
    pub const fn asks_owners(&self) -> bool {
        matches!(self, Self::Admin | Self::Api | Self::Client)
    }

    /// What it may do. `askers` are the inboxes of those that ask owners of shards.
    #[must_use]
    pub fn permissions(&self, shards: ShardId, inbox: &str, askers: &[String]) -> Permissions {
        let mut grants = self.grants(shards);
        if *self == Self::Coordinator {
            grants.extend(askers.iter().map(|asker| Grant::Publish(format!("{asker}.>"))));
        }
        Permissions::of(&grants, inbox)
    }

    fn grants(&self, shards: ShardId) -> Vec<Grant> {
        match self {
            Self::Admin => vec![Grant::Everything],
            Self::Coordinator => coordinator(shards),
            Self::Planner => planner(),
            Self::Executor(pool) => executor(pool),
            Self::Api => api(shards),
            Self::Client => client(),
        }
    }
}

/// Owns logs and what follows from them, dispatches, keeps documents. It makes and removes
/// no stream and takes no work.
fn coordinator(shards: ShardId) -> Vec<Grant> {
    let logs = (0..shards).map(subjects::log);
    let logs = logs.flat_map(|log| [Grant::Read(log.clone()), Grant::Trim(log)]);
    let own = [
        append(Kind::Timer),
        append(Kind::Epoch),
        // Work that could not be dispatched, and a run whose records nobody can read.
        append(Kind::Failure),
        append(Kind::Cancel),
        // Steps that are runs: begun, held, let go on, and what came of them.
        append(Kind::Submit),
        append(Kind::Control),
        append(Kind::Result),
        publish(subjects::STEPS_FILTER),
        publish(subjects::DONE_FILTER),
        publish(subjects::DEAD_LETTERS_FILTER),
        publish(subjects::LIVE_FILTER),
        Grant::Listen(subjects::READS_FILTER.to_owned()),
        Grant::Listen(subjects::WATCHED.to_owned()),
        // What is stored by reference is kept as long as one of these refers to it.
        Grant::Look(subjects::STEPS.to_owned()),
        // Not there: a fleet that has it has more shards than it is told, and nothing is removed.
        Grant::Look(subjects::log(shards)),
        Grant::Read(subjects::DONE.to_owned()),
        Grant::Read(subjects::DEAD_LETTERS.to_owned()),
        set(subjects::SHARDS),
        set(subjects::MEMBERS),
        Grant::Follow(subjects::MEMBERS.to_owned()),
        set(subjects::CANCELS),
        // Flow control: who has how many slots, what others have out, what is paused.
        set_below(subjects::SLOTS, subjects::SLOTS_TAKEN),
        Grant::Follow(subjects::SLOTS.to_owned()),
        Grant::Follow(subjects::PAUSES.to_owned()),
        // What came of the runs of a cached plan.
        set(subjects::PLANS),
        Grant::Clear(subjects::BLOBS.to_owned()),
        // What tools keep is bounded.
        Grant::Clear(subjects::TOOL_OBJECTS.to_owned()),
        Grant::Clear(subjects::SNAPSHOTS.to_owned()),
    ];
    logs.chain(own).collect()
}

fn planner() -> Vec<Grant> {
    let own = [
        append(Kind::Step),
        append(Kind::Sealed),
        append(Kind::Failure),
        set(subjects::PLANS),
        Grant::Follow(subjects::PLANS.to_owned()),
    ];
    own.into_iter().chain(worker(subjects::PLAN_POOL)).collect()
}

fn executor(pool: &str) -> Vec<Grant> {
    let own = [
        append(Kind::Result),
        append(Kind::Failure),
        set(subjects::CALLS),
        set(subjects::TOOL_VALUES),
        Grant::Replace(subjects::TOOL_OBJECTS.to_owned()),
    ];
    own.into_iter().chain(worker(pool)).collect()
}

/// What planners and executors have in common. They read no log, no document, and no work
/// of another pool.
fn worker(pool: &str) -> Vec<Grant> {
    vec![
        Grant::Take(subjects::STEPS.to_owned(), subjects::pool_consumer(pool)),
        publish(&subjects::dead_work(pool)),
        publish(subjects::LIVE_FILTER),
        Grant::Listen(subjects::WATCHED.to_owned()),
        Grant::Follow(subjects::CANCELS.to_owned()),
        set(subjects::BUDGETS),
        set(subjects::LIMITS),
        Grant::Follow(subjects::LIMITS.to_owned()),
        set_below(subjects::SLOTS, subjects::SLOTS_WORKER),
        Grant::Store(subjects::BLOBS.to_owned()),
    ]
}

/// What a client does, and for its own callers: who they are, what happens to their runs, and
/// how the fleet is.
fn api(shards: ShardId) -> Vec<Grant> {
    let logs = (0..shards).map(|shard| Grant::Read(subjects::log(shard)));
    let own = [
        set(subjects::API_KEYS),
        Grant::Follow(subjects::API_KEYS.to_owned()),
        Grant::Follow(subjects::MEMBERS.to_owned()),
        Grant::Follow(subjects::SLOTS.to_owned()),
        Grant::Follow(subjects::LIMITS.to_owned()),
        Grant::Count(subjects::STEPS.to_owned()),
        // Dead letters are shown and dropped. What services have written is sent again by an
        // operator: whoever may do that may forge it.
        Grant::Read(subjects::DEAD_LETTERS.to_owned()),
        Grant::Remove(subjects::DEAD_LETTERS.to_owned()),
        // Plans that are only looked at are paid for by their tenant.
        set_below(subjects::BUDGETS, subjects::BUDGETS_TENANT),
    ];
    client().into_iter().chain(logs).chain(own).collect()
}

/// Submits and steers runs, and reads what came of them.
fn client() -> Vec<Grant> {
    vec![
        append(Kind::Submit),
        append(Kind::Cancel),
        append(Kind::Control),
        publish(subjects::READS_FILTER),
        publish(subjects::WATCHED),
        Grant::Listen(subjects::LIVE_FILTER.to_owned()),
        Grant::Read(subjects::DONE.to_owned()),
        // How much room owners say that they have.
        Grant::Get(subjects::SHARDS.to_owned()),
        set(subjects::KEYS),
        set(subjects::BATCHES),
        Grant::Follow(subjects::BATCHES.to_owned()),
        set(subjects::TEMPLATES),
        Grant::Follow(subjects::TEMPLATES.to_owned()),
        set(subjects::PAUSES),
        Grant::Follow(subjects::PAUSES.to_owned()),
        // The plan cache is shown, and entries are removed from it.
        set(subjects::PLANS),
        Grant::Follow(subjects::PLANS.to_owned()),
        // A batch's own budget is set before its first run.
        set_below(subjects::BUDGETS, subjects::BUDGETS_BATCH),
        Grant::Store(subjects::BLOBS.to_owned()),
    ]
}

fn append(kind: Kind) -> Grant {
    Grant::Publish(subjects::records(kind))
}

fn publish(subject: &str) -> Grant {
    Grant::Publish(subject.to_owned())
}

fn set_below(bucket: &str, prefix: &'static str) -> Grant {
    Grant::SetBelow(bucket.to_owned(), prefix)
}

fn set(bucket: &str) -> Grant {
    Grant::Set(bucket.to_owned())
}
