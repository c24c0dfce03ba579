//! Users: impatient ones, who submit again under the same key when no answer
//! comes, cancel what they please, and remember what they were told.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use planfleet_bus::{
    Bus, Client,
    client::{Found, Key},
};
use planfleet_core::{
    id::RunId,
    plan::parse,
    record::{ApprovalDecided, Gate},
    task::{Approval, Budget, Envelope, Review, Submission, Task},
};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{dice::Dice, link::Connection, plans, process, reference::short, tools, world::World};

/// A task and its user.
pub(crate) struct User {
    number: usize,
    who: String,
    dice: Dice,
    world: Arc<World>,
    client: Client,
}

impl User {
    pub(crate) fn new(world: &Arc<World>, number: usize) -> Self {
        let who = format!("u{number}");
        let link = process::link(world, &who);
        let client = Client::new(Bus::new(Arc::new(Connection(link)), world.shards));
        let dice = Dice::of(world.seed, &format!("{who} wishes"));
        Self { number, who, dice, world: Arc::clone(world), client }
    }

    /// Has a task done.
    pub(crate) async fn live(self) {
        self.world.sleep(self.dice.millis(0, 6_000)).await;
        let submission = submission(&self.dice);
        let run = self.submit(&submission).await;
        if self.dice.chance(350) {
            self.world.sleep(self.dice.millis(0, 8_000)).await;
            self.submit_again(&submission, &run).await;
        }
        if self.dice.chance(200) {
            self.world.sleep(self.dice.millis(0, 9_000)).await;
            self.cancel(&run).await;
        }
        if self.dice.chance(150) {
            self.world.sleep(self.dice.millis(0, 6_000)).await;
            self.world.witness.fault(&self.who, "pauses of runs", format_args!("{}", short(&run)));
            // What comes of it, nobody has to know: it is resumed in any case.
            let _ = self.client.pause(&run, "wait").await;
        }
        let document = self.wait(&run, &submission).await;
        self.world.witness.line(&self.who, format_args!("{} is {}", short(&run), document["state"]));
        if self.dice.chance(300) {
            self.submit_again(&submission, &run).await;
            self.look_again(&run, &document).await;
        }
        self.world.told(run, document);
    }

    /// Until it is taken, losing patience now and then.
    async fn submit(&self, submission: &Submission) -> RunId {
        let name = format!("task {}", self.number);
        let key = Key::of_task(&name, &json!({"goal": submission.task.goal}));
        loop {
            let patience = self.dice.millis(200, 12_000);
            let taken = timeout(patience, self.client.submit(submission.clone(), Some(&key))).await;
            if let Ok(Ok(run)) = taken {
                self.world.witness.line(&self.who, format_args!("has submitted {}", short(&run)));
                return run;
            }
            self.world.witness.fault(&self.who, "submits repeated", format_args!("{name}"));
        }
    }

    async fn submit_again(&self, submission: &Submission, run: &RunId) {
        self.world.witness.fault(&self.who, "submits repeated", format_args!("at will"));
        let again = self.submit(submission).await;
        if again != *run {
            self.world.witness.violation(format!("one key gave {run} and {again}"));
        }
    }

    async fn cancel(&self, run: &RunId) {
        self.world.witness.fault(&self.who, "cancels", format_args!("{}", short(run)));
        // A user who gets no answer may well leave it at that.
        for _ in 0..self.dice.count(1, 3) {
            if self.client.cancel(run, "enough").await.is_ok() {
                return;
            }
        }
    }

    /// Does what may be waited for whenever it takes long.
    async fn wait(&self, run: &RunId, submission: &Submission) -> Value {
        loop {
            if let Ok(Some(document)) = self.client.wait(run, self.dice.millis(500, 15_000)).await {
                return document;
            }
            // An answer that is lost is given again; one that nobody waits for is ignored.
            let _ = self.client.resume(run).await;
            if submission.envelope.approval.plan {
                self.decide(run).await;
            }
        }
    }

    /// What may wait in the run, and in the runs that are its steps.
    async fn decide(&self, run: &RunId) {
        let mut runs = vec![run.clone()];
        while let Some(run) = runs.pop() {
            self.decide_in(&run).await;
            if let Ok(Found::Active(document)) = self.client.find(&run).await {
                let running = document["steps"].as_array().into_iter().flatten();
                let running = running.filter(|step| step["state"] == "running");
                runs.extend(running.filter_map(|step| step["child"].as_str()?.parse().ok()));
            }
        }
    }

    async fn decide_in(&self, run: &RunId) {
        for revision in 1..=4 {
            let approved = self.dice.chance(850);
            let gate = Gate::Plan { revision };
            let decided = ApprovalDecided { gates: vec![gate], approved, reason: "as I please".to_owned() };
            let _ = self.client.decide(run, decided).await;
        }
    }

    /// What has ended stays as it is.
    async fn look_again(&self, run: &RunId, document: &Value) {
        match self.client.find(run).await {
            Ok(Found::Ended(found)) if found == *document => {}
            Ok(found) => {
                self.world.witness.violation(format!("{run} had ended, and is found as {found:?}"));
            }
            Err(_) => {}
        }
    }
}

/// What is asked for.
fn submission(dice: &Dice) -> Submission {
    let tools = tools::registry();
    let allowed = ["wait", "math_eval", "text_split", "text_template", "post"];
    let nests = dice.chance(250);
    let allowed: BTreeMap<_, _> = allowed
        .into_iter()
        .chain(nests.then_some("sub_task"))
        .filter_map(|name| Some((name.to_owned(), tools.spec(name)?.effect)))
        .collect();
    let envelope = Envelope {
        tools: allowed,
        hosts: Vec::new(),
        pools: Vec::new(),
        budget: Budget { nano_usd: None, tokens: dice.chance(120).then(|| dice.number(200, 3_000)) },
        deadline_ms: dice.chance(200).then(|| dice.number(3_000, 40_000)),
        replans_max: u32::try_from(dice.count(0, 3)).unwrap_or(0),
        steps_max: 30,
        items_max: 10,
        attempts_max: 4,
        review: match dice.count(0, 9) {
            0 => Review::Never,
            1..=3 => Review::AfterEachStep,
            _ => Review::OnFailure,
        },
        approval: Approval { plan: dice.chance(120), ..Approval::default() },
        step_timeout_ms: dice.chance(200).then(|| dice.number(1_000, 9_000)),
        quota_wait_ms: if dice.chance(500) { 100_000 } else { 0 },
        lineage: Vec::new(),
    };
    let goal = dice.chance(950).then(|| "a report".to_owned());
    let planned = goal.is_none() || dice.chance(250);
    let plan = planned.then(|| parse::plan(plans::sound(dice, nests)).ok()).flatten().map(Arc::new);
    let task = Task { goal, ..Task::default() };
    Submission {
        task: task.into(),
        envelope: Arc::new(envelope),
        plan,
        traceparent: None,
        carried: None,
        parent: None,
    }
}

/// How long users may take in all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(900);
