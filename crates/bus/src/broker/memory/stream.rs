//! One stream: its messages, the names that are taken, its consumers.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::{
    queue::Queue,
    subject::{matches, overlap},
};
use crate::broker::{
    ConsumerSpec, Depth, Error, LogEntry, Outgoing, Published, StreamKind, StreamSpec, StreamState,
};

pub(super) struct Stream {
    spec: StreamSpec,
    messages: BTreeMap<u64, LogEntry>,
    /// The newest message of every subject that has one.
    newest: BTreeMap<String, u64>,
    last_seq: u64,
    queues: BTreeMap<String, Queue>,
}

impl Stream {
    pub(super) fn new(spec: StreamSpec) -> Self {
        Self {
            spec,
            messages: BTreeMap::new(),
            newest: BTreeMap::new(),
            last_seq: 0,
            queues: BTreeMap::new(),
        }
    }

    pub(super) fn takes(&self, subject: &str) -> bool {
        self.spec.subjects.iter().any(|pattern| matches(pattern, subject))
    }

    pub(super) fn agrees_with(&self, spec: &StreamSpec) -> Result<(), Error> {
        if self.spec == *spec {
            return Ok(());
        }
        Err(Error::Differs {
            name: format!("stream {}", spec.name),
            difference: format!("it is {:?}, expected {spec:?}", self.spec),
        })
    }

    pub(super) fn publish(&mut self, message: Outgoing, at_ms: u64) -> Published {
        if self.spec.kind != StreamKind::Log && self.newest.contains_key(&message.subject) {
            return Published::Present;
        }
        self.last_seq += 1;
        let seq = self.last_seq;
        for queue in self.queues.values_mut() {
            if matches(&queue.spec.filter, &message.subject) {
                queue.add(seq);
            }
        }
        self.newest.insert(message.subject.clone(), seq);
        let Outgoing { subject, headers, payload, .. } = message;
        self.messages.insert(seq, LogEntry { seq, at_ms, subject, headers, payload });
        Published::Stored(seq)
    }

    pub(super) fn entry_from(&self, seq: u64) -> Option<LogEntry> {
        self.messages.range(seq..).next().map(|(_, entry)| entry.clone())
    }

    /// Whether a reader may start there: at the latest right behind the end.
    pub(super) fn check_start(&self, from_seq: u64) -> Result<(), Error> {
        if from_seq <= self.last_seq + 1 {
            return Ok(());
        }
        Err(Error::Refused {
            what: format!("read {} from {from_seq}", self.spec.name),
            reason: format!("the log ends at {}", self.last_seq),
        })
    }

    pub(super) fn first_on_subject(&self, pattern: &str, from_seq: u64) -> Option<LogEntry> {
        let mut behind = self.messages.range(from_seq..).map(|(_, entry)| entry);
        behind.find(|entry| matches(pattern, &entry.subject)).cloned()
    }

    pub(super) fn last_on_subject(&self, pattern: &str) -> Option<LogEntry> {
        let newest = self.newest.iter().filter(|(subject, _)| matches(pattern, subject));
        let seq = newest.map(|(_, seq)| seq).max()?;
        self.messages.get(seq).cloned()
    }

    pub(super) fn state(&self) -> StreamState {
        let first = self.messages.first_key_value();
        StreamState {
            first_seq: first.map_or(self.last_seq + 1, |(seq, _)| *seq),
            last_seq: self.last_seq,
            messages: self.messages.len() as u64,
            replicas: self.spec.replicas,
        }
    }

    pub(super) fn trim(&mut self, below_seq: u64) {
        while let Some((&seq, _)) = self.messages.first_key_value()
            && seq < below_seq
        {
            self.remove(seq);
        }
    }

    pub(super) fn ensure_consumer(&mut self, spec: &ConsumerSpec) -> Result<(), Error> {
        if let Some(there) = self.queues.get_mut(&spec.name) {
            same_filter(there, spec)?;
            there.spec = spec.clone();
            return Ok(());
        }
        if self.queues.values().any(|other| overlap(&other.spec.filter, &spec.filter)) {
            return Err(Error::Refused {
                what: format!("create consumer {} of {}", spec.name, spec.stream),
                reason: "filtered consumer not unique on workqueue stream".to_owned(),
            });
        }
        let mut queue = Queue::new(spec.clone());
        for entry in self.messages.values().filter(|entry| matches(&spec.filter, &entry.subject)) {
            queue.add(entry.seq);
        }
        self.queues.insert(spec.name.clone(), queue);
        Ok(())
    }

    pub(super) fn queue(&mut self, name: &str) -> Result<&mut Queue, Error> {
        let missing = || missing_consumer(&self.spec.name, name);
        self.queues.get_mut(name).ok_or_else(missing)
    }

    pub(super) fn depth(&self, name: &str) -> Result<Depth, Error> {
        let missing = || missing_consumer(&self.spec.name, name);
        Ok(self.queues.get(name).ok_or_else(missing)?.depth())
    }

    /// Hands out the next message of a consumer, with its delivery count.
    pub(super) fn take(&mut self, consumer: &str, now: Instant) -> Result<Option<(LogEntry, u64)>, Error> {
        let Some((seq, deliveries)) = self.queue(consumer)?.take(now) else {
            return Ok(None);
        };
        Ok(self.messages.get(&seq).map(|entry| (entry.clone(), deliveries)))
    }

    /// Removes a message, whoever holds it: like the server, an ack looks at the
    /// sequence only. Says whether it was there.
    pub(super) fn remove(&mut self, seq: u64) -> bool {
        let Some(entry) = self.messages.remove(&seq) else {
            return false;
        };
        if self.newest.get(&entry.subject) == Some(&seq) {
            match self.newest_in_log(&entry.subject) {
                Some(older) => self.newest.insert(entry.subject, older),
                None => self.newest.remove(&entry.subject),
            };
        }
        for queue in self.queues.values_mut() {
            queue.remove(seq);
        }
        true
    }

    /// Only a log may have more than one message on a subject.
    fn newest_in_log(&self, subject: &str) -> Option<u64> {
        let newest = || self.messages.values().rfind(|entry| entry.subject == subject);
        (self.spec.kind == StreamKind::Log).then(newest)?.map(|entry| entry.seq)
    }
}

fn same_filter(there: &Queue, spec: &ConsumerSpec) -> Result<(), Error> {
    if there.spec.filter == spec.filter {
        return Ok(());
    }
    Err(Error::Differs {
        name: format!("consumer {} of {}", spec.name, spec.stream),
        difference: format!("filter is {:?}, expected {:?}", there.spec.filter, spec.filter),
    })
}

fn missing_consumer(stream: &str, consumer: &str) -> Error {
    Error::Missing(format!("consumer {consumer} of {stream}"))
}
