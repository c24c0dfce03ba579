//! `runs cancel`, `pause`, `resume`, `approve` and `reject`: asks something of a
//! run that goes on, and says where it stands once its owner has read that.

use std::{process::ExitCode, time::Duration};

use planfleet_api::{
    approval,
    reason::{self, Empty},
};
use planfleet_bus::{Client, client::Found};
use planfleet_core::{
    id::RunId,
    record::{ApprovalDecided, Gate},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{reasons, runs};
use crate::{
    cli::{ASKED, Cli, Format, GateArgs},
    exit::{Code, Failure},
    output::{self, cell, line},
};

/// How long the owner may take to read its log; it takes longer only behind a backlog.
const FOLD_MAX: Duration = Duration::from_secs(3);

/// Reading takes milliseconds, and somebody waits at a prompt.
const LOOK_EVERY: Duration = Duration::from_millis(30);

/// Something that is asked of a run.
pub(super) struct Steering<'a> {
    pub(super) cli: &'a Cli,
    pub(super) client: &'a Client,
    pub(super) run: RunId,
}

impl Steering<'_> {
    pub(super) async fn cancel(&self, reason: &str) -> Result<ExitCode, Failure> {
        let reason = worded(reason, Empty::Means(ASKED))?;
        self.active().await?;
        self.client.cancel(&self.run, &reason).await?;
        // Nothing but its end shows that it was read.
        self.settled(|_| false).await
    }

    pub(super) async fn pause(&self, reason: &str) -> Result<ExitCode, Failure> {
        let reason = worded(reason, Empty::Means(ASKED))?;
        let document = self.active().await?;
        // It is in the log all the same: a resume may be there that nobody has read yet.
        self.client.pause(&self.run, &reason).await?;
        if let Some(before) = document["paused"].as_str() {
            self.note(&format!("run {} was paused already: {}", self.run, line(before, 80)));
            return self.data(&document);
        }
        self.settled(|document| !document["paused"].is_null()).await
    }

    pub(super) async fn resume(&self) -> Result<ExitCode, Failure> {
        let document = self.active().await?;
        // Here, too: a pause may be there.
        self.client.resume(&self.run).await?;
        if document["paused"].is_null() {
            let state = cell(&document["state"]);
            self.note(&format!("run {} was not paused: it is {state}", self.run));
            return self.data(&document);
        }
        self.settled(|document| document["paused"].is_null()).await
    }

    /// Says yes or no to what waits for approval.
    pub(super) async fn decide(
        &self,
        approved: bool,
        about: &GateArgs,
        reason: &str,
    ) -> Result<ExitCode, Failure> {
        let reason = worded(reason, if approved { Empty::Means("") } else { Empty::Refused })?;
        let document = self.active().await?;
        let gates = approval::gates(&document, &wanted(about))
            .map_err(|error| Failure::unexpected(format!("run {}: {error}", self.run)))?;
        let ahead = |gate: &&Gate| !approval::waiting(&document).contains(gate);
        let decided = ApprovalDecided { gates: gates.clone(), approved, reason };
        self.client.decide(&self.run, decided).await?;
        for gate in gates.iter().filter(ahead) {
            self.note(&format!("{} did not wait yet: decided in advance", approval::name(gate)));
        }
        self.settled(|document| approval::waiting(document).iter().all(|gate| !gates.contains(gate))).await
    }

    /// The document of a run that goes on.
    async fn active(&self) -> Result<Value, Failure> {
        let run = &self.run;
        match runs::look(self.client, run).await? {
            Found::Active(document) => Ok(document),
            Found::Ended(document) => {
                let state = cell(&document["state"]);
                Err(Failure::new(Code::Unexpected, format!("run {run} has ended already: {state}")))
            }
            Found::Unknown => Err(runs::unknown(run)),
        }
    }

    /// Says where the run stands, once that shows that it has taken up what was
    /// asked of it, or has ended.
    async fn settled(&self, shows: impl Fn(&Value) -> bool) -> Result<ExitCode, Failure> {
        let started = Instant::now();
        while started.elapsed() < FOLD_MAX {
            match self.client.find(&self.run).await {
                Ok(Found::Ended(document)) => return self.report(&document),
                Ok(Found::Active(document)) if shows(&document) => return self.report(&document),
                // It is in the log, whoever owns that just now.
                Ok(_) | Err(_) => sleep(LOOK_EVERY).await,
            }
        }
        self.note(&format!("asked run {0}, which has not taken it up yet: planfleet runs get {0}", self.run));
        self.data(&json!({"run_id": self.run}))
    }

    fn report(&self, document: &Value) -> Result<ExitCode, Failure> {
        self.note(&format!("run {} is {}", self.run, cell(&document["state"])));
        reasons::holds(document, None).iter().for_each(|hold| self.note(hold));
        self.data(document)
    }

    fn note(&self, text: &str) {
        if !self.cli.quiet {
            output::note(text);
        }
    }

    /// For people the note is enough.
    fn data(&self, value: &Value) -> Result<ExitCode, Failure> {
        if self.cli.output != Format::Table {
            output::value(self.cli.output, value)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A reason that people gave, as the API reads it too.
fn worded(reason: &str, empty: Empty<'_>) -> Result<String, Failure> {
    reason::read(reason, empty).map_err(Failure::usage)
}

fn wanted(about: &GateArgs) -> Vec<Gate> {
    let plan = about.plan.map(|revision| Gate::Plan { revision });
    plan.into_iter().chain(about.steps.iter().map(|step| Gate::Step { step: *step })).collect()
}
