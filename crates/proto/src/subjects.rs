//! Every stream, subject, consumer and bucket on the broker. Nobody else
//! spells one. Streams number shards in decimal, run ids in hexadecimal.

use planfleet_core::{
    id::{RunId, ShardId, StepId},
    task::Priority,
};

/// The work queue of all pools.
pub const STEPS: &str = "PF_STEPS_0";
/// Runs that have ended.
pub const DONE: &str = "PF_DONE";
/// Messages that nobody could read or deliver.
pub const DEAD_LETTERS: &str = "PF_DLQ";

/// Leases of shards.
pub const SHARDS: &str = "pf_shards";
/// Live coordinators.
pub const MEMBERS: &str = "pf_members";
/// Runs whose work is not wanted any more, by their ids. Workers follow it.
pub const CANCELS: &str = "pf_cancel";
/// What idempotency keys stand for, by the run that each names.
pub const KEYS: &str = "pf_keys";
/// What is kept of API keys, by the SHA-256 of each in hexadecimal.
pub const API_KEYS: &str = "pf_api_keys";
/// Plans that are used again, by what they are for.
pub const PLANS: &str = "pf_plans";
/// What runs, batches and tenants have spent of their budgets, and what is set aside.
pub const BUDGETS: &str = "pf_budgets";
/// Batches, by their ids: what was asked for, and how far its submitting has come.
pub const BATCHES: &str = "pf_batches";
/// Templates: versions by the digest of what is in them, and which is the latest of each name.
pub const TEMPLATES: &str = "pf_templates";
/// What processes tell each other of models, by [`hint`]. Losing it loses nothing.
pub const LIMITS: &str = "pf_limits";
/// What workers there are, with how many slots, and how much coordinators have let go to
/// them. Losing it loses nothing.
pub const SLOTS: &str = "pf_slots";
/// Pools, tenants and classes of which nothing new is let go.
pub const PAUSES: &str = "pf_pauses";
/// What is known of calls that change the world, by their idempotency keys.
pub const CALLS: &str = "pf_calls";
/// Values that tools keep, by tenant.
pub const TOOL_VALUES: &str = "pf_tool_kv";
/// Objects that tools keep, by tenant.
pub const TOOL_OBJECTS: &str = "pf_tool_objects";
/// The key among [`SHARDS`] that says how many shards there are.
pub const SHARD_COUNT: &str = "count";
/// Bodies above [`crate::INLINE_BYTES_MAX`].
pub const BLOBS: &str = "pf_blobs";

/// Snapshots of shards.
pub const SNAPSHOTS: &str = "pf_snapshots";

/// The pool that plans.
pub const PLAN_POOL: &str = "plan";

/// The kinds of records, each a subject of its own, so that a reader may take
/// some and leave the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A task was submitted.
    Submit,
    /// A step was planned.
    Step,
    /// A draft was sealed.
    Sealed,
    /// An attempt succeeded.
    Result,
    /// An attempt or a planning failed: what triggers replans.
    Failure,
    /// A run is to be cancelled.
    Cancel,
    /// A run is to pause or go on, or a person has decided.
    Control,
    /// A timer has fired.
    Timer,
    /// A coordinator has taken the shard over.
    Epoch,
}

impl Kind {
    const fn token(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Step => "step",
            Self::Sealed => "sealed",
            Self::Result => "result",
            Self::Failure => "failure",
            Self::Cancel => "cancel",
            Self::Control => "control",
            Self::Timer => "timer",
            Self::Epoch => "epoch",
        }
    }
}

/// A shard's log.
#[must_use]
pub fn log(shard: ShardId) -> String {
    format!("PF_EV_{shard:02}")
}

/// The subjects of a shard's log.
#[must_use]
pub fn log_filter(shard: ShardId) -> String {
    format!("pf.ev.{shard:02}.*")
}

/// Where a record goes.
#[must_use]
pub fn record(shard: ShardId, kind: Kind) -> String {
    format!("pf.ev.{shard:02}.{}", kind.token())
}

/// Whether a subject is that of records of a kind, of whatever shard.
#[must_use]
pub fn is_of_kind(subject: &str, kind: Kind) -> bool {
    let tokens = subject.strip_prefix("pf.ev.").and_then(|rest| rest.split_once('.'));
    tokens.is_some_and(|(_, token)| token == kind.token())
}

/// Whether a subject is that of a shard's records of a kind. Without allocating: it is asked of
/// every entry that is read.
#[must_use]
pub fn is_record(subject: &str, shard: ShardId, kind: Kind) -> bool {
    let tokens = subject.strip_prefix("pf.ev.").and_then(|rest| rest.split_once('.'));
    tokens.is_some_and(|(of, token)| of.parse() == Ok(shard) && token == kind.token())
}

/// Whether a subject is that of some shard's takeovers.
#[must_use]
pub fn is_epoch(subject: &str) -> bool {
    let tokens = subject.strip_prefix("pf.ev.").and_then(|rest| rest.split_once('.'));
    tokens.is_some_and(|(shard, token)| shard.parse::<ShardId>().is_ok() && token == Kind::Epoch.token())
}

/// Where records of a kind go, whatever the shard.
#[must_use]
pub fn records(kind: Kind) -> String {
    format!("pf.ev.*.{}", kind.token())
}

/// A tenant's key among [`TOOL_VALUES`] or [`TOOL_OBJECTS`]. A tenant's name has no slash.
#[must_use]
pub fn kept(tenant: &str, key: &str) -> String {
    format!("{tenant}/{key}")
}

/// Where the snapshots of a shard begin, among [`SNAPSHOTS`].
#[must_use]
pub fn snapshots_of(shard: ShardId) -> String {
    format!("{shard:02}/")
}

/// A snapshot's name: how far it goes and under which epoch it was made, so that
/// no two owners write the same.
#[must_use]
pub fn snapshot(shard: ShardId, folded_to: u64, epoch: u64) -> String {
    format!("{shard:02}/{folded_to}.{epoch}")
}

/// One of a snapshot's segments.
#[must_use]
pub fn segment(snapshot: &str, number: usize) -> String {
    format!("{snapshot}/{number}")
}

/// How far a snapshot goes, or that of a segment, and the epoch under which it was made.
#[must_use]
pub fn snapshot_origin(name: &str) -> Option<(u64, u64)> {
    let (folded_to, epoch) = name.split('/').nth(1)?.split_once('.')?;
    Some((folded_to.parse().ok()?, epoch.parse().ok()?))
}

/// The subjects of the work queue.
pub const STEPS_FILTER: &str = "pf.steps.>";

/// The subjects of one pool's work.
#[must_use]
pub fn pool_filter(pool: &str) -> String {
    format!("pf.steps.{pool}.>")
}

/// The durable consumer of one pool's work.
#[must_use]
pub fn pool_consumer(pool: &str) -> String {
    format!("pool_{pool}")
}

/// One attempt of one step: the name that the broker takes once.
#[must_use]
pub fn step(pool: &str, priority: Priority, tenant: &str, run: &RunId, step: StepId, attempt: u32) -> String {
    format!("pf.steps.{pool}.{}.{tenant}.{run}.{}.{attempt}", priority.token(), step.token())
}

/// One attempt of planning one revision, likewise.
#[must_use]
pub fn planning(priority: Priority, tenant: &str, run: &RunId, revision: u32, attempt: u32) -> String {
    format!("pf.steps.{PLAN_POOL}.{}.{tenant}.{run}.r{revision}.{attempt}", priority.token())
}

/// Work as its subject names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Work {
    /// The run.
    pub run: RunId,
    /// What is to be done for it.
    pub what: WorkKind,
    /// The attempt, from 1.
    pub attempt: u32,
}

/// What is to be done for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WorkKind {
    /// A step or an item of one.
    Step(StepId),
    /// The planning of a revision.
    Planning(u32),
}

/// The work that a subject of the queue names: what is known of a message even
/// where its body cannot be read.
#[must_use]
pub fn work(subject: &str) -> Option<Work> {
    let tokens: Vec<&str> = subject.split('.').collect();
    let ["pf", "steps", _pool, _priority, _tenant, run, what, attempt] = tokens.as_slice() else {
        return None;
    };
    let what = match what.strip_prefix('r') {
        Some(revision) => WorkKind::Planning(number(revision)?),
        None => WorkKind::Step(step_of(what)?),
    };
    Some(Work { run: run.parse().ok()?, what, attempt: number(attempt)? })
}

fn step_of(token: &str) -> Option<StepId> {
    match token.split_once('-') {
        Some((step, item)) => Some(StepId::item(number(step)?, number(item)?)),
        None => Some(StepId::plain(number(token)?)),
    }
}

/// A number as it is written here. With a sign or zeros before it, one piece of
/// work would have many names, and the broker would take each of them.
fn number(token: &str) -> Option<u32> {
    let number: u32 = token.parse().ok()?;
    (number.to_string() == token).then_some(number)
}

/// The subjects of ended runs.
pub const DONE_FILTER: &str = "pf.done.>";

/// Where an ended run is kept.
#[must_use]
pub fn done(tenant: &str, run: &RunId) -> String {
    format!("pf.done.{tenant}.{run}")
}

/// Where an ended run of a batch is kept, so that the broker finds those of one batch.
#[must_use]
pub fn done_in_batch(tenant: &str, run: &RunId, batch: &str) -> String {
    format!("pf.done.{tenant}.{run}.{batch}")
}

/// Where an ended run is found by its id alone.
#[must_use]
pub fn done_of(run: &RunId) -> String {
    if run.is_in_batch() { format!("pf.done.*.{run}.*") } else { format!("pf.done.*.{run}") }
}

/// The subjects of a batch's ended runs.
#[must_use]
pub fn done_of_batch(tenant: &str, batch: &str) -> String {
    format!("pf.done.{tenant}.*.{batch}")
}

/// The run that the subject of an ended run names.
#[must_use]
pub fn done_run(subject: &str) -> Option<RunId> {
    subject.strip_prefix("pf.done.")?.split('.').nth(1)?.parse().ok()
}

/// The key of a template's version.
#[must_use]
pub fn template_version(name: &str, version: &str) -> String {
    format!("version.{name}.{version}")
}

/// Begins the keys that say which versions of a template there are.
pub const TEMPLATE_INDEX: &str = "name.";

/// The key that says which versions of a template there are, and which is the latest.
#[must_use]
pub fn template_index(name: &str) -> String {
    format!("{TEMPLATE_INDEX}{name}")
}

/// The subjects of dead letters.
pub const DEAD_LETTERS_FILTER: &str = "pf.dlq.>";

/// Where a message of a log that cannot be read is set aside.
#[must_use]
pub fn dead_record(shard: ShardId) -> String {
    format!("pf.dlq.log.{shard:02}")
}

/// Where work that cannot be read is set aside.
#[must_use]
pub fn dead_work(pool: &str) -> String {
    format!("pf.dlq.work.{pool}")
}

/// Where those who watch a run say so.
pub const WATCHED: &str = "pf.watched";

/// A hint about a model, by what it tells (`paused`, `asked`, ..) and, where each process tells
/// its own, by the process.
#[must_use]
pub fn hint(topic: &str, model: &str, process: Option<&str>) -> String {
    match process {
        Some(process) => format!("{topic}.{model}.{process}"),
        None => format!("{topic}.{model}"),
    }
}

/// Topic, model and process of a hint's key.
#[must_use]
pub fn hint_of(key: &str) -> Option<(&str, &str, Option<&str>)> {
    let (topic, rest) = key.split_once('.')?;
    let (model, process) =
        rest.split_once('.').map_or((rest, None), |(model, process)| (model, Some(process)));
    Some((topic, model, process))
}

/// Begins the keys among [`BUDGETS`] of runs.
pub const BUDGETS_RUN: &str = "run.";

/// Begins the keys among [`BUDGETS`] of batches.
pub const BUDGETS_BATCH: &str = "batch.";

/// Begins the keys among [`BUDGETS`] of tenants.
pub const BUDGETS_TENANT: &str = "tenant.";

/// Begins the keys among [`SLOTS`] of processes that have slots.
pub const SLOTS_WORKER: &str = "worker.";

/// Begins the keys among [`SLOTS`] of coordinators that have let work go.
pub const SLOTS_TAKEN: &str = "taken.";

/// The key of what is paused, by what it is and a name without dots.
#[must_use]
pub fn pause(what: &str, name: &str) -> String {
    format!("{what}.{name}")
}

/// Live changes of one run.
#[must_use]
pub fn live(run: &RunId) -> String {
    format!("pf.live.{run}")
}

/// Live changes of all runs.
pub const LIVE_FILTER: &str = "pf.live.*";

/// Where the owners of all shards answer.
pub const READS_FILTER: &str = "pf.read.*";

/// Where the owner of a shard answers for its active runs.
#[must_use]
pub fn reads(shard: ShardId) -> String {
    format!("pf.read.{shard:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_says_what_work_it_is() {
        let run = RunId::new(3, "abc").unwrap();
        let item = step("p", Priority::Low, "t", &run, StepId::item(7, 2), 4);
        let what = WorkKind::Step(StepId::item(7, 2));
        assert_eq!(work(&item), Some(Work { run: run.clone(), what, attempt: 4 }));
        let replan = planning(Priority::Low, "t", &run, 2, 3);
        assert_eq!(work(&replan), Some(Work { run, what: WorkKind::Planning(2), attempt: 3 }));
        for tail in ["x.1", "+7.1", "7.+1", "07.1", "7-02.1", "r+2.1", "r.1", "4294967296.1"] {
            assert_eq!(work(&format!("pf.steps.p.1.t.03-abc.{tail}")), None, "{tail}");
        }
    }

    #[test]
    fn a_snapshot_s_name_says_who_made_it() {
        let name = snapshot(3, 17, 9);
        assert!(name.starts_with(&snapshots_of(3)));
        let origin = Some((17, 9));
        assert_eq!((snapshot_origin(&name), snapshot_origin(&segment(&name, 2))), (origin, origin));
        assert_eq!(snapshot_origin("03/17"), None);
    }

    #[test]
    fn an_ended_run_is_found_by_its_id_and_by_its_batch() {
        let (alone, member) = (RunId::new(3, "abc").unwrap(), RunId::in_batch(3, "abc").unwrap());
        assert_eq!(
            (done("t", &alone).as_str(), done_of(&alone).as_str()),
            ("pf.done.t.03-abc", "pf.done.*.03-abc")
        );
        let kept = done_in_batch("t", &member, "nightly");
        assert_eq!(kept, "pf.done.t.03-b-abc.nightly");
        assert_eq!(done_of(&member), "pf.done.*.03-b-abc.*");
        assert_eq!(done_of_batch("t", "nightly"), "pf.done.t.*.nightly");
        for (subject, run) in [(done("t", &alone), alone), (kept, member)] {
            assert_eq!(done_run(&subject), Some(run));
        }
    }

    #[test]
    fn a_hint_s_key_says_what_it_tells_of_which_model() {
        for (topic, model, process) in [("paused", "gpt-x", None), ("share", "m_1", Some("pf-1-ab"))] {
            assert_eq!(hint_of(&hint(topic, model, process)), Some((topic, model, process)));
        }
        assert_eq!(hint_of("paused"), None);
    }

    #[test]
    fn an_attempt_has_one_name() {
        let run = RunId::new(3, "abc").unwrap();
        assert_eq!(
            step("default", Priority::Normal, "t", &run, StepId::item(7, 2), 1),
            "pf.steps.default.1.t.03-abc.7-2.1"
        );
        assert_eq!(planning(Priority::High, "t", &run, 2, 1), "pf.steps.plan.0.t.03-abc.r2.1");
        assert_eq!(record(3, Kind::Failure), "pf.ev.03.failure");
        assert!(is_record("pf.ev.03.failure", 3, Kind::Failure));
        for other in ["pf.ev.03.result", "pf.ev.04.failure", "pf.ev.03.failure.x", "$KV.pf_limits.x"] {
            assert!(!is_record(other, 3, Kind::Failure), "{other}");
        }
    }
}
