//! Ended runs: one document each, written once.

use bytes::Bytes;
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use planfleet_core::{
    document::RunDocument,
    id::RunId,
    seeded::{self, Bug},
    task::Submission,
};
use planfleet_proto::{decode, encode, subjects};
use serde_json::Value;

use crate::{
    Bus, Error, batches,
    broker::{Headers, LogEntry, Published},
};

/// A run that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// Its document, as `runs get -o json` prints it.
    pub document: Value,
    /// What to submit for a rerun that keeps what is done; absent after success.
    pub rerun: Option<Submission>,
}

impl Bus {
    /// Keeps a run's document. Writing it again changes nothing.
    ///
    /// # Errors
    /// When the broker has not answered within its time limit.
    pub async fn finish(&self, document: &RunDocument) -> Result<(), Error> {
        let (run, tenant) = (&document.run_id, &document.tenant);
        let (subject, headers) = match &document.batch_id {
            Some(batch) if run.is_in_batch() => {
                (subjects::done_in_batch(tenant, run, batch), batches::headers(document))
            }
            _ => (subjects::done(tenant, run), Headers::new()),
        };
        if seeded::is_on(Bug::SecondDocument) {
            let other = subjects::done("second", &document.run_id);
            self.publish(subjects::DONE, other, encode::run_finished(document), Headers::new()).await?;
        }
        let document_bytes = encode::run_finished(document);
        let published = self.publish(subjects::DONE, subject, document_bytes, headers).await?;
        if let Published::Stored(_) = published {
            self.note_outcome(document);
        }
        Ok(())
    }

    /// The document of a run that has ended.
    ///
    /// # Errors
    /// When the broker cannot be reached or what is kept cannot be read.
    pub async fn ended(&self, run: &RunId) -> Result<Option<Ended>, Error> {
        let entry = self.broker().last_on_subject(subjects::DONE, &subjects::done_of(run)).await?;
        match entry {
            Some(entry) => Ok(Some(self.read_ended(entry).await?)),
            None => Ok(None),
        }
    }

    /// The documents of all runs that have ended and are still kept, each with when it was
    /// kept, in milliseconds since the Unix epoch, the oldest first.
    ///
    /// # Errors
    /// When the broker cannot be reached. What cannot be read is an item of its own, and
    /// others follow it; what the log itself fails with is the last item.
    pub async fn all_ended(&self) -> Result<BoxStream<'_, Result<(u64, Ended), Error>>, Error> {
        let state = self.broker().stream_state(subjects::DONE).await?;
        if state.messages == 0 {
            return Ok(stream::empty().boxed());
        }
        let log = self.broker().read_log(subjects::DONE, state.first_seq).await?;
        let documents = stream::unfold(Some((log, state.last_seq)), move |rest| async move {
            let (mut log, last) = rest?;
            let entry = match log.next().await? {
                Ok(entry) if entry.seq <= last => entry,
                Ok(_) => return None,
                Err(error) => return Some((Err(Error::from(error)), None)),
            };
            let (at_ms, seq) = (entry.at_ms, entry.seq);
            let ended = self.read_ended(entry).await.map(|ended| (at_ms, ended));
            // Nothing comes behind the last one, and a log is read without end.
            Some((ended, (seq < last).then_some((log, last))))
        });
        Ok(documents.boxed())
    }

    /// Whether a run has ended and its document is still kept.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn has_ended(&self, run: &RunId) -> Result<bool, Error> {
        Ok(self.broker().last_on_subject(subjects::DONE, &subjects::done_of(run)).await?.is_some())
    }

    /// Reads one entry of the stream of ended runs.
    pub(crate) async fn read_ended(&self, entry: LogEntry) -> Result<Ended, Error> {
        let finished = self.read_finished(entry).await?;
        let document = serde_json::from_str(&finished.document_json)
            .map_err(|error| Error::Answer(error.to_string()))?;
        Ok(Ended { document, rerun: finished.rerun })
    }

    /// The same with the document as text, which is all that is wanted of most.
    pub(crate) async fn read_finished(&self, entry: LogEntry) -> Result<decode::RunFinished, Error> {
        let LogEntry { subject, headers, payload, .. } = entry;
        let body: Bytes = self.body(&subject, &headers, payload).await?;
        decode::run_finished(&body).map_err(|source| Error::Decode { subject, source })
    }
}
