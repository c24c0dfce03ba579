//! The fleet itself: cache, tools, models, queues, dead letters, costs, and who asks.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// A plan that no run was made of.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PlanPreview {
    /// Null where its faults leave none.
    pub(crate) plan: Option<Map<String, Value>>,
    pub(crate) faults: Vec<super::ProblemAt>,
    /// Where the plan is from: `task`, `template`, `direct` or `planner`.
    pub(crate) source: Option<String>,
    /// What the planner has used, where it was asked.
    pub(crate) usage: Option<PreviewUsage>,
}

/// What a preview has used of the planner's model.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PreviewUsage {
    /// The model.
    pub model: String,
    /// Input tokens.
    pub input_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
    /// Dollars; null when the price is unknown.
    pub usd: Option<f64>,
}

/// An entry of the plan cache, without its plan.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct CacheEntry {
    /// Its key.
    pub key: String,
    /// Whose it is.
    pub tenant: String,
    /// The class of task that it is for.
    pub class: String,
    /// The names of its inputs.
    pub slots: Vec<String>,
    /// What is done, in words.
    pub way: String,
    /// Whether a run of it has succeeded.
    pub proven: bool,
    /// Whether it stays whatever becomes of its runs.
    pub pinned: bool,
    /// The model that planned it.
    pub model: String,
    /// When it was made.
    pub made_at: String,
    /// Runs that have used it.
    pub used: u64,
    /// Of them, those that failed.
    pub failed: u64,
    /// Runs of this kind that were planned anew.
    pub fresh: Outcomes,
    /// Tokens of planning that its uses have spared.
    pub saved_tokens: u64,
    /// Dollars; null when a price is unknown.
    pub saved_usd: Option<f64>,
    /// Milliseconds.
    pub saved_ms: u64,
}

/// How runs of a kind have ended.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct Outcomes {
    /// Well.
    pub succeeded: u64,
    /// Not.
    pub failed: u64,
}

/// The plan cache and what it has saved.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CacheList {
    pub(crate) entries: Vec<CacheEntry>,
    pub(crate) savings: Savings,
}

/// What the entries shown have saved together.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub(crate) struct Savings {
    pub(crate) used: u64,
    pub(crate) saved_tokens: u64,
    /// Null when a price is unknown.
    pub(crate) saved_usd: Option<f64>,
    pub(crate) saved_ms: u64,
}

/// An entry of the plan cache, whole.
#[derive(Debug, Serialize, ToSchema)]
pub struct CacheDetail {
    /// The entry.
    #[serde(flatten)]
    pub entry: CacheEntry,
    /// The goal that it was made for.
    pub goal: String,
    /// Its plan; null where there is none to keep.
    pub plan: Option<Map<String, Value>>,
}

/// What plans may use.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Tools {
    pub(crate) tools: Vec<Tool>,
}

/// One tool.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Tool {
    pub(crate) name: String,
    pub(crate) description: String,
    /// JSON Schema of its arguments.
    pub(crate) arguments: Value,
    /// JSON Schema of its output.
    pub(crate) output: Value,
    /// `pure`, `read`, `write` or `destructive`.
    pub(crate) effect: String,
    pub(crate) idempotent: bool,
}

/// The models of the settings, and what the fleet knows of each.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Models {
    /// Each has `name`, `model`, `dialect`, `roles`, `limits` and `fleet` (`paused`, `in_flight`, ..).
    pub(crate) models: Vec<Map<String, Value>>,
}

/// What waits for workers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Queues {
    pub(crate) pools: Vec<PoolQueue>,
    /// Whose work is held back before it begins.
    pub(crate) pauses: Vec<QueuePause>,
    /// Models that are paused, and why.
    pub(crate) paused: Vec<PausedModel>,
    /// Steps and plans in flight, waiting and held back over all pools.
    pub(crate) backlog: u64,
}

/// The queue of one pool.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PoolQueue {
    pub(crate) pool: String,
    /// Slots of one process of the pool.
    pub(crate) slots: u64,
    /// Not handed to a worker yet.
    pub(crate) waiting: u64,
    /// At workers.
    pub(crate) in_flight: u64,
    /// Work that is ready and held back by coordinators; null while one of them does not answer.
    pub(crate) ready_backlog: Option<u64>,
}

/// Whose work is held back: nothing new of it is let go.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QueuePause {
    /// `pool`, `tenant` or `class`.
    pub(crate) what: String,
    /// Its name.
    pub(crate) name: String,
    pub(crate) reason: String,
    pub(crate) since: String,
}

/// Whose work is held back no longer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QueueResumed {
    /// `pool`, `tenant` or `class`.
    pub(crate) what: String,
    /// Its name.
    pub(crate) name: String,
    /// Whether it was held back until now.
    pub(crate) was_paused: bool,
}

/// A model that nobody calls just now.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PausedModel {
    pub(crate) model: String,
    pub(crate) reason: Option<String>,
    pub(crate) until: Option<String>,
}

/// Who is at work in the fleet.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Workers {
    pub(crate) workers: Vec<Worker>,
}

/// One role of one process that gives signs of life.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Worker {
    pub(crate) name: String,
    /// `coordinator`, `planner` or `executor`.
    pub(crate) role: String,
    /// The shards that it owns, as a coordinator.
    pub(crate) shards: Vec<u16>,
    /// The pools that it works for, with how many pieces of work it does at once in each.
    pub(crate) slots: BTreeMap<String, u64>,
}

/// Messages that nobody could read or deliver, the newest last.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeadLetters {
    pub(crate) dead_letters: Vec<DeadLetter>,
}

/// One of them, without its body.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct DeadLetter {
    /// Its position among the dead letters.
    pub seq: u64,
    /// When it was set aside.
    pub set_aside_at: String,
    /// The stream that it came from; null where the letter cannot be read.
    pub stream: Option<String>,
    /// Its position there.
    pub stream_seq: Option<u64>,
    /// The subject that it came on.
    pub subject: Option<String>,
    /// What was not understood.
    pub reason: String,
    /// The run that it is about.
    pub run_id: Option<String>,
    /// `3`, or `"3[0]"` for an item.
    pub step: Option<Value>,
    /// The revision whose planning it was.
    pub planning: Option<u32>,
    /// The attempt.
    pub attempt: Option<u32>,
    /// Bytes of its body.
    pub bytes: u64,
}

/// One of them, whole.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeadLetterDetail {
    /// Without its body.
    #[serde(flatten)]
    pub letter: DeadLetter,
    /// The headers of the message.
    pub headers: BTreeMap<String, String>,
    /// Its body in hexadecimal; null where that is gone.
    pub payload_hex: Option<String>,
    /// What this version of planfleet reads in it.
    pub decoded: Option<Map<String, Value>>,
    /// Why it reads nothing.
    pub not_decoded: Option<String>,
}

/// What became of a replay.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Replayed {
    pub(crate) seq: u64,
    pub(crate) run_id: Option<String>,
    /// What the message can still bring about.
    pub(crate) detail: String,
}

/// What ended runs have cost.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Costs {
    pub(crate) rows: Vec<CostRow>,
    /// Whether ended runs are still being read into the index.
    pub(crate) indexing: bool,
}

/// One row.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct CostRow {
    /// The class, model, run, batch, role or day; null for runs that have none.
    pub(crate) key: Option<String>,
    pub(crate) runs: u64,
    pub(crate) calls: u64,
    pub(crate) input_tokens: u64,
    pub(crate) cached_tokens: u64,
    pub(crate) output_tokens: u64,
    /// Null when any part is not known.
    pub(crate) usd: Option<f64>,
    /// What is known of it.
    pub(crate) known_usd: f64,
}

/// Who asks.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WhoAmI {
    /// Null for who may see all tenants.
    pub(crate) tenant: Option<String>,
    pub(crate) role: crate::access::Role,
    /// `none`, `key` or `jwt`.
    pub(crate) auth: String,
    /// The name of the key, or the subject of the token.
    pub(crate) name: Option<String>,
}
