//! Everything that was seen, by run: made in one pass over the history.

use std::collections::{BTreeMap, HashMap};

use planfleet_core::id::{RunId, ShardId};
use planfleet_proto::decode::Entry;
use serde_json::Value;

use super::{Limits, fold::RunFold};
use crate::history::{Call, Dispatch, Effect, Expected, History, Kept, Logged, What};

mod story;

/// A history by run.
pub(crate) struct Index<'h> {
    pub(crate) history: &'h History,
    pub(crate) limits: &'h Limits,
    /// Every run that anything was seen of, in the order in which it was.
    pub(crate) runs: Vec<Seen<'h>>,
    /// Runs by tag: one each, unless something is wrong.
    pub(crate) by_tag: HashMap<&'h str, Vec<usize>>,
    /// Where epochs begin in each log, ascending. One that is older than what was read
    /// before is none: its owner was overtaken before it had said a word.
    pub(crate) epochs: BTreeMap<ShardId, Vec<Epoch<'h>>>,
    /// Effects of tags that no log knows.
    pub(crate) strays: Vec<&'h Effect>,
    /// When the last thing was seen.
    pub(crate) ends_ms: u64,
    by_id: HashMap<&'h RunId, usize>,
}

/// All that was seen of one run.
pub(crate) struct Seen<'h> {
    pub(crate) id: &'h RunId,
    pub(crate) fold: RunFold<'h>,
    pub(crate) records: Vec<&'h Logged>,
    /// In the order of the queue, each once.
    pub(crate) dispatches: Vec<&'h Dispatch>,
    pub(crate) documents: Vec<&'h Kept>,
    pub(crate) effects: Vec<&'h Effect>,
    pub(crate) calls: Vec<&'h Call>,
    /// Whether a client was told that it exists.
    pub(crate) acked: bool,
    pub(crate) expected: Option<&'h Expected>,
}

/// A coordinator has taken a shard over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Epoch<'h> {
    pub(crate) seq: u64,
    pub(crate) at_ms: u64,
    pub(crate) epoch: u64,
    pub(crate) owner: &'h str,
}

impl<'h> Index<'h> {
    pub(crate) fn of(history: &'h History, limits: &'h Limits) -> Self {
        let mut index = Self {
            history,
            limits,
            runs: Vec::new(),
            by_tag: HashMap::new(),
            epochs: BTreeMap::new(),
            strays: Vec::new(),
            ends_ms: ends_ms(history),
            by_id: HashMap::new(),
        };
        index.read_logs();
        index.sort_in();
        index
    }

    fn read_logs(&mut self) {
        for (shard, log) in &self.history.logs {
            for logged in log {
                match &logged.entry {
                    Ok(Entry::Run(record)) => {
                        let run = self.run(&record.run);
                        run.records.push(logged);
                        run.fold.read(logged.seq, record);
                    }
                    Ok(Entry::EpochOpened { epoch, owner, .. }) => {
                        let Logged { seq, at_ms, .. } = *logged;
                        let opened = Epoch { seq, at_ms, epoch: *epoch, owner };
                        let epochs = self.epochs.entry(*shard).or_default();
                        if epochs.last().is_none_or(|newest| newest.epoch < *epoch) {
                            epochs.push(opened);
                        }
                    }
                    // The rule about logs says so.
                    Err(_) => {}
                }
            }
        }
        for (at, run) in self.runs.iter_mut().enumerate() {
            if let Some(tag) = run.tag() {
                self.by_tag.entry(tag).or_default().push(at);
                run.expected = self.history.expected.get(tag);
            }
        }
    }

    fn sort_in(&mut self) {
        let history = self.history;
        for dispatch in &history.dispatches {
            self.run(&dispatch.work.run).dispatches.push(dispatch);
        }
        for kept in &history.documents {
            self.run(&kept.run).documents.push(kept);
        }
        for call in &history.clients {
            let run = match &call.what {
                What::Submit { run, .. } => run.as_ref(),
                What::Cancel { run, .. } | What::Read { run, .. } | What::Ended { run, .. } => Some(run),
            };
            if let Some(run) = run {
                let run = self.run(run);
                run.acked |= matches!(&call.what, What::Submit { outcome, .. } if outcome.is_ok());
                run.calls.push(call);
            }
        }
        for effect in &history.effects {
            match self.by_tag.get(effect.tag.as_str()).and_then(|runs| runs.first()) {
                Some(run) => self.runs[*run].effects.push(effect),
                None => self.strays.push(effect),
            }
        }
        for run in &mut self.runs {
            run.dispatches.sort_by_key(|dispatch| dispatch.seq);
            run.dispatches.dedup_by_key(|dispatch| dispatch.seq);
            run.effects.sort_by_key(|effect| effect.began_ms);
        }
    }

    fn run(&mut self, id: &'h RunId) -> &mut Seen<'h> {
        let at = *self.by_id.entry(id).or_insert_with(|| {
            self.runs.push(Seen::new(id));
            self.runs.len() - 1
        });
        &mut self.runs[at]
    }

    /// Where a run is.
    pub(crate) fn find(&self, id: &RunId) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    /// Every run with its position.
    pub(crate) fn each(&self) -> impl Iterator<Item = (usize, &Seen<'h>)> {
        self.runs.iter().enumerate()
    }
}

/// When the last thing in a history was seen.
fn ends_ms(history: &History) -> u64 {
    let logged = history.logs.values().flatten().map(|logged| logged.at_ms);
    let called = history.clients.iter().map(|call| call.ended_ms);
    let kept = history.documents.iter().map(|kept| kept.at_ms);
    logged.chain(called).chain(kept).chain([history.healed_ms]).max().unwrap_or_default()
}

impl<'h> Seen<'h> {
    fn new(id: &'h RunId) -> Self {
        Self {
            id,
            fold: RunFold::default(),
            records: Vec::new(),
            dispatches: Vec::new(),
            documents: Vec::new(),
            effects: Vec::new(),
            calls: Vec::new(),
            acked: false,
            expected: None,
        }
    }

    /// The name under which everybody but the product knows it.
    pub(crate) fn tag(&self) -> Option<&'h str> {
        self.fold.submission.and_then(|submission| submission.task.custom_id.as_deref())
    }

    /// Its document, the first if there are several.
    pub(crate) fn document(&self) -> Option<&'h Value> {
        self.documents.first().map(|kept| &kept.document)
    }

    /// The document's `state`.
    pub(crate) fn state(&self) -> Option<&'h str> {
        self.document().and_then(|document| document["state"].as_str())
    }

    /// Whether its fold can be taken at its word. It cannot say whether a planner's
    /// answer is sound, and the document says when one was not.
    pub(crate) fn is_strict(&self) -> bool {
        let code = self.document().and_then(|document| document["end"]["code"].as_str());
        self.fold.loose.is_none() && !matches!(code, Some("planning_failed" | "denied_again"))
    }

    /// When the document says that it ended: the time of the record that did it.
    pub(crate) fn says_ended_ms(&self) -> Option<u64> {
        let total = self.document()?["timings"]["total_ms"].as_u64()?;
        self.fold.submitted.map(|submitted| submitted.at_ms + total)
    }

    /// From which position on nothing may be ordered for it: where its fold ends,
    /// or for want of that, the last of its records by the time its document says.
    pub(crate) fn end_seq(&self) -> Option<u64> {
        if self.is_strict() {
            return self.fold.end.map(|end| end.at.seq);
        }
        let ended_ms = self.says_ended_ms()?;
        self.records.iter().rev().find(|logged| logged.at_ms <= ended_ms).map(|logged| logged.seq)
    }
}
