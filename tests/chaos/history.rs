//! What a campaign has seen, whole: the contract between the driver, which fills
//! a [`History`], and the checker ([`crate::check`]), which judges it.
//!
//! All times are milliseconds since the Unix epoch by the clock of one host, the
//! broker's included: they can be compared with one another. A task's `custom_id`
//! is its **tag**. One tag is one key is one run: the tag is how effects, which
//! know nothing of run ids, and expectations, which are there before the run is,
//! find their run.

use std::collections::BTreeMap;

use planfleet_core::{
    command::StepOrder,
    id::{RunId, ShardId},
};
use planfleet_proto::{
    decode::{self, Entry},
    subjects::Work,
};
use serde_json::Value;

/// Everything that was seen of one campaign.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    /// What clients did, each client's calls in the order in which it made them.
    pub(crate) clients: Vec<Call>,
    /// Every log from its first message to its tail, in the log's order.
    pub(crate) logs: BTreeMap<ShardId, Vec<Logged>>,
    /// What the work queue took, as far as it was seen: some may be missing, so
    /// that nothing is concluded from absence.
    pub(crate) dispatches: Vec<Dispatch>,
    /// Every message of the stream of ended runs, in the stream's order.
    pub(crate) documents: Vec<Kept>,
    /// Every call of the ledger, in any order.
    pub(crate) effects: Vec<Effect>,
    /// What the nemesis did, in any order.
    pub(crate) faults: Vec<Fault>,
    /// What must come of every task that was submitted, by tag.
    pub(crate) expected: BTreeMap<String, Expected>,
    /// When the last fault had ended; without faults, when no more tasks were submitted.
    pub(crate) healed_ms: u64,
}

/// One call of one client.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// Who made it: a client makes one call at a time.
    pub(crate) client: u32,
    /// When it was made.
    pub(crate) began_ms: u64,
    /// When it was answered, or given up.
    pub(crate) ended_ms: u64,
    /// What it was.
    pub(crate) what: What,
}

/// What a client did, and what it was told.
#[derive(Debug, Clone)]
pub(crate) enum What {
    /// It submitted a task. A submit whose outcome is unknown is made again, as
    /// another call with the same key.
    Submit {
        /// The idempotency key.
        key: String,
        /// The task's tag.
        tag: String,
        /// The run that it was told; known where the outcome is [`Outcome::Ok`].
        run: Option<RunId>,
        /// What came of it.
        outcome: Outcome,
    },
    /// It asked for a run to be cancelled.
    Cancel {
        /// The run.
        run: RunId,
        /// What came of it.
        outcome: Outcome,
    },
    /// It was shown how a run stands. A read without an answer is no read.
    Read {
        /// The run.
        run: RunId,
        /// The document's `state`; [`UNKNOWN`] where it is said that there is no
        /// such run.
        state: String,
        /// How many revisions the document has.
        revision: u32,
        /// How many entries of its `steps` have succeeded; `None` where the
        /// answer shows no steps.
        steps_done: Option<u32>,
    },
    /// It was told that a run has ended, and how.
    Ended {
        /// The run.
        run: RunId,
        /// The document, whole.
        document: Value,
    },
}

/// How a run stands of which nobody knows: just after its submit, an owner may
/// not have read of it yet.
pub(crate) const UNKNOWN: &str = "unknown";

/// What came of a call that changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was acknowledged: it has happened, and lasts.
    Ok,
    /// It was refused: it has not happened.
    Refused,
    /// A time-out or a lost connection: it may have happened.
    Unknown,
}

impl Outcome {
    /// Whether the client knows that it has happened.
    pub(crate) const fn is_ok(self) -> bool {
        matches!(self, Self::Ok)
    }
}

/// One entry of a shard's log.
#[derive(Debug, Clone)]
pub(crate) struct Logged {
    /// Its position, from 1.
    pub(crate) seq: u64,
    /// When the broker stored it.
    pub(crate) at_ms: u64,
    /// What it says, bodies by reference resolved; or why nobody can read it.
    pub(crate) entry: Result<Entry, decode::Error>,
}

/// One message that the work queue took.
#[derive(Debug, Clone)]
pub(crate) struct Dispatch {
    /// Its position in the work queue's stream: a message that was captured twice
    /// is one.
    pub(crate) seq: u64,
    /// When the broker stored it.
    pub(crate) at_ms: u64,
    /// Run, work and attempt, as the subject names them.
    pub(crate) work: Work,
    /// The body, where it is a step.
    pub(crate) order: Option<Box<StepOrder>>,
    /// Whose order it is, as `Pf-Origin` says.
    pub(crate) epoch: Option<u64>,
    /// The position up to which that owner had folded its log when the order
    /// followed, as `Pf-Origin` says.
    pub(crate) log_seq: Option<u64>,
}

/// One message of the stream of ended runs.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    /// Its position.
    pub(crate) seq: u64,
    /// When the broker stored it.
    pub(crate) at_ms: u64,
    /// The run.
    pub(crate) run: RunId,
    /// Its document.
    pub(crate) document: Value,
}

/// One call of the ledger: what a step does to the world.
#[derive(Debug, Clone, Default)]
pub(crate) struct Effect {
    /// When the request had arrived.
    pub(crate) began_ms: u64,
    /// When the answer was handed to the connection; `None` when that broke.
    pub(crate) ended_ms: Option<u64>,
    /// When the connection broke before there was an answer: the caller gave up or died.
    pub(crate) broke_ms: Option<u64>,
    /// The run's tag.
    pub(crate) tag: String,
    /// The node of the expected DAG.
    pub(crate) node: String,
    /// The item's position, where the node's step is a `for_each`.
    pub(crate) item: Option<u32>,
    /// The values that the call brought, in the order of [`Node::inputs`].
    pub(crate) inputs: Vec<Value>,
    /// The answer, as JSON; `None` when the ledger answered with an error status.
    pub(crate) value: Option<Value>,
}

impl Effect {
    /// When it was over, one way or the other; `None` while it is open.
    pub(crate) fn over_ms(&self) -> Option<u64> {
        self.ended_ms.or(self.broke_ms)
    }
}

/// One fault that the nemesis has injected and proven.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    /// What was done.
    pub(crate) kind: FaultKind,
    /// What it was done to.
    pub(crate) target: Target,
    /// Which one of these, for people.
    pub(crate) name: String,
    /// The name under which a coordinator opens epochs, where it is one.
    pub(crate) owner: Option<String>,
    /// When it began.
    pub(crate) from_ms: u64,
    /// When it was over: the process is up again, the connection works again.
    pub(crate) to_ms: u64,
    /// How it is known that it happened.
    pub(crate) evidence: String,
}

/// The kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FaultKind {
    /// SIGKILL, then a new process.
    Kill,
    /// SIGSTOP, later SIGCONT: a zombie.
    Freeze,
    /// SIGTERM, then a new process.
    Terminate,
    /// Connections are broken.
    Cut,
    /// New connections are refused, and old ones broken.
    Refuse,
    /// Bytes come late.
    Delay,
    /// Bytes come one by one.
    Drip,
    /// The broker cannot store.
    DiskFull,
    /// The model answers with errors or garbage.
    BadModel,
}

/// What a fault befalls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    /// A process with the role of that name.
    Api,
    /// Likewise.
    Coordinator,
    /// Likewise.
    Planner,
    /// Likewise.
    Executor,
    /// A nats-server.
    Broker,
    /// The simulated provider.
    Model,
}

/// What must come of a task.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    /// The nodes of its DAG: what calls the ledger.
    pub(crate) nodes: BTreeMap<String, Node>,
    /// How it is meant to end.
    pub(crate) fate: Fate,
    /// Whether its plan is meant to be revised once.
    pub(crate) replanned: bool,
}

/// One node: a step, or a `for_each` step, whose tool calls the ledger.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// The step that calls.
    pub(crate) step: u32,
    /// Where in that step's output the ledger's answer is; a JSON Pointer.
    pub(crate) answer: String,
    /// Which accepted outputs the values of a call are, in the order of
    /// [`Effect::inputs`].
    pub(crate) inputs: Vec<Source>,
    /// The list that a `for_each` goes over: an item is the last of a call's values.
    pub(crate) each: Option<Source>,
    /// The steps whose accepted results have to be there before a call begins:
    /// all ancestors in the plan, or as many as the driver knows.
    pub(crate) after: Vec<u32>,
}

/// A place in the output of a step; step 0 is the task's inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// The step.
    pub(crate) step: u32,
    /// A JSON Pointer into its output.
    pub(crate) path: String,
}

/// How a run is meant to end.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fate {
    /// With that answer.
    Succeeds {
        /// Where in the document's answer it is; a JSON Pointer.
        path: String,
        /// The value there.
        answer: Value,
    },
    /// As failed, for that reason.
    Fails {
        /// `end.code` of its document.
        code: String,
        /// A part of `end.message`.
        message: String,
    },
    /// As cancelled, if the cancel comes before the end that it would have had.
    Cancelled {
        /// That end.
        otherwise: Box<Fate>,
    },
}
