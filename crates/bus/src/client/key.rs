//! Idempotency keys: who repeats a submit under its key gets the run that it
//! started, and who sends another task under that key is told so.
//!
//! What a key stands for is on the broker before its run is. The first to write
//! it decides; whether the run has been submitted is noted beside it, so that a
//! repeat needs nobody's memory of the run: no owner, and no kept document.

use std::time::Duration;

use bytes::Bytes;
use planfleet_core::{id::RunId, task::Submission};
use planfleet_proto::subjects;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep};

use super::Client;
use crate::{
    Error,
    broker::{self, CasOutcome, KvEntry},
};

/// A key is claimed for as long as a record is appended: longer than an election,
/// or a server that is started again, takes.
const CLAIM_MAX: Duration = Duration::from_secs(30);

/// Between two tries to claim a key.
const CLAIM_PAUSE: Duration = Duration::from_millis(200);

/// What a key that nobody has used says of its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewKey {
    /// The task may have been submitted so long ago that its key was forgotten.
    MayBeForgotten,
    /// The task was never submitted.
    IsNew,
}

/// What makes a submit the same as an earlier one: a name among those of its
/// tenant, and what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// What keeps names of different origin apart; user's own names have none.
    scope: Option<String>,
    name: String,
    body: String,
}

/// A key as it is kept.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Claim {
    /// The digest of what was asked for under it.
    body: String,
    /// Whether the run's first record is in the log for sure.
    submitted: bool,
}

/// A key that stands for its body now.
struct Claimed {
    claim: Claim,
    revision: u64,
    /// Nobody had used it before.
    is_new: bool,
}

impl Key {
    /// A user's own key for a task. The task counts as it is written: what the
    /// fleet makes of it depends on how the fleet is configured just then.
    #[must_use]
    pub fn of_task(name: &str, task: &Value) -> Self {
        Self { scope: None, name: name.to_owned(), body: digest(task) }
    }

    /// The key of a task in a batch.
    #[must_use]
    pub fn of_batch(batch: &str, custom_id: &str, task: &Value) -> Self {
        Self { scope: Some(format!("batch\0{batch}")), ..Self::of_task(custom_id, task) }
    }

    /// A user's key for a rerun, which asks for nothing but its run.
    pub(super) fn of_rerun(run: &RunId, name: &str) -> Self {
        // The key alone would name the run that was submitted with it.
        Self { scope: Some(run.to_string()), ..Self::of_task(name, &json!({"rerun_of": run})) }
    }

    /// What a run's id is made of: the same for the same key.
    pub(super) fn unique(&self, tenant: &str) -> String {
        let mut hash = Sha256::new().chain_update(tenant).chain_update([0]);
        if let Some(scope) = &self.scope {
            hash = hash.chain_update(scope).chain_update([0]);
        }
        hex::encode(&hash.chain_update(&self.name).finalize()[..16])
    }
}

/// The digest of a task as written. The order of its fields says nothing, and a
/// field that is null is one that is not there.
fn digest(task: &Value) -> String {
    let mut task = task.clone();
    if let Some(fields) = task.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    task.sort_all_objects();
    hex::encode(Sha256::digest(task.to_string()))
}

impl Client {
    /// Appends a run's first record, unless that was done under this key before; says
    /// whether this call has done it.
    pub(super) async fn submit_once(
        &self,
        run: &RunId,
        key: &Key,
        submission: Submission,
        new_key: NewKey,
    ) -> Result<bool, Error> {
        let Claimed { claim, revision, is_new } = self.claim(run, key).await?;
        if claim.submitted {
            return Ok(false);
        }
        // Whoever claimed the key may have died before or after the append. A run
        // that has ended is forgotten by its shard and would start anew; of one
        // that is active a second record would outlive it in the log.
        let surely_new = is_new && new_key == NewKey::IsNew;
        let known = !surely_new && self.is_known(run).await?;
        if !known {
            self.submit_now(run, submission).await?;
        }
        self.note_submitted(run, claim, revision).await;
        Ok(!known)
    }

    /// Has the key stand for this body, if it does not yet.
    async fn claim(&self, run: &RunId, key: &Key) -> Result<Claimed, Error> {
        let until = Instant::now() + CLAIM_MAX;
        loop {
            let trouble = match self.try_claim(run, key).await {
                Ok(Some(claimed)) if claimed.claim.body != key.body => {
                    return Err(Error::KeyReused { key: key.name.clone(), run: run.clone() });
                }
                Ok(Some(claimed)) => return Ok(claimed),
                Ok(None) => broker::Error::Unreachable(format!("the key of {run} is being written")),
                // Also when it was written all the same: then it is found as ours.
                Err(Error::Broker(trouble @ broker::Error::Unreachable(_))) => trouble,
                Err(error) => return Err(error),
            };
            if Instant::now() + CLAIM_PAUSE >= until {
                return Err(trouble.into());
            }
            sleep(CLAIM_PAUSE).await;
        }
    }

    /// The claim that holds; `None` where one is just being written or forgotten.
    async fn try_claim(&self, run: &RunId, key: &Key) -> Result<Option<Claimed>, Error> {
        let claim = Claim { body: key.body.clone(), submitted: false };
        if let CasOutcome::Written(revision) = self.write_claim(run, &claim, 0).await? {
            return Ok(Some(Claimed { claim, revision, is_new: true }));
        }
        let kept = self.bus.broker().kv_get(subjects::KEYS, run.as_str()).await?;
        kept.map(|entry| Ok(Claimed { claim: read(&entry)?, revision: entry.revision, is_new: false }))
            .transpose()
    }

    /// Spares a repeat the question whether its run is known. Best effort: a
    /// repeat that finds no note asks.
    async fn note_submitted(&self, run: &RunId, claim: Claim, revision: u64) {
        let noted = self.write_claim(run, &Claim { submitted: true, ..claim }, revision).await;
        if let Err(error) = noted {
            tracing::debug!(%run, %error, "it is not noted that a run was submitted");
        }
    }

    async fn write_claim(&self, run: &RunId, claim: &Claim, revision: u64) -> Result<CasOutcome, Error> {
        let value = serde_json::to_vec(claim).map_err(|error| Error::Answer(error.to_string()))?;
        let broker = self.bus.broker();
        Ok(broker.kv_cas(subjects::KEYS, run.as_str(), Bytes::from(value), revision).await?)
    }
}

fn read(entry: &KvEntry) -> Result<Claim, Error> {
    serde_json::from_slice(&entry.value).map_err(|error| Error::Answer(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_the_same_however_its_fields_are_ordered() {
        let task = |text: &str| digest(&serde_json::from_str(text).unwrap());
        let written = task(r#"{"goal": "g", "inputs": {"a": 1, "b": {"c": null, "d": []}}}"#);
        assert_eq!(
            task(r#"{"inputs": {"b": {"d": [], "c": null}, "a": 1}, "tools": null, "goal": "g"}"#),
            written
        );
        for other in [
            r#"{"goal": "G", "inputs": {"a": 1, "b": {"c": null, "d": []}}}"#,
            r#"{"goal": "g", "inputs": {"a": 1, "b": {"d": []}}}"#,
            r#"{"goal": "g", "inputs": {"a": "1", "b": {"c": null, "d": []}}}"#,
            r#"{"goal": "g", "inputs": {"a": 1, "b": {"c": null, "d": []}}, "tools": []}"#,
        ] {
            assert_ne!(task(other), written, "{other}");
        }
    }

    #[test]
    fn names_of_different_origin_are_different_runs() {
        let task = json!({"goal": "g"});
        let run = RunId::new(0, "a").unwrap();
        let ids = [
            Key::of_task("k", &task).unique("t"),
            Key::of_task("k", &task).unique("u"),
            Key::of_batch("b", "k", &task).unique("t"),
            Key::of_batch("c", "k", &task).unique("t"),
            Key::of_rerun(&run, "k").unique("t"),
        ];
        for (place, id) in ids.iter().enumerate() {
            assert!(!ids[..place].contains(id), "{place}");
        }
    }

    /// Runs that were submitted before an upgrade are found after it.
    #[test]
    fn the_id_of_a_key_stays_as_it_is() {
        let (first, second) = (Key::of_task("k", &json!({"goal": "a"})), Key::of_task("k", &json!({})));
        assert_eq!(first.unique("default"), second.unique("default"), "the body is no part of it");
        let direct = hex::encode(&Sha256::digest("default\0k")[..16]);
        assert_eq!(first.unique("default"), direct);
        assert_eq!(
            Key::of_rerun(&RunId::new(3, "abc").unwrap(), "k").unique("default"),
            hex::encode(&Sha256::digest("default\x0003-abc\0k")[..16])
        );
    }
}
