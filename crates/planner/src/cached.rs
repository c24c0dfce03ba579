//! Plans that are used again: looked up before anything is planned, kept when it was.
//!
//! Of all who miss the same kind of task one plans, and the others wait for that plan. Whoever
//! plans says now and then that he is still at it, so that the others, who hold slots of planners
//! meanwhile, do not wait for one who has died. The cache is a help and no more: with one that
//! cannot be read or written tasks are planned.

use std::{convert::Infallible, sync::Arc, time::Duration};

use planfleet_bus::{Bus, plans::Kept};
use planfleet_core::{
    cache::{Cost, Entry, Outcomes, Way},
    plan::{
        Plan, PlanStep,
        lint::{self, Existing, Scope},
    },
    record::{CacheNote, Decision},
    task::Submission,
    tool::ToolCatalog,
    usage::{Account, Charge, Usage},
};
use tokio::time::{Instant, sleep};

use crate::{answer::Answer, kind::Kind, triage};

/// Between two looks whether another planner has the plan.
const LOOK_FIRST: Duration = Duration::from_millis(50);
const LOOK_MAX: Duration = Duration::from_millis(500);

/// How long others wait for a planner of whom nothing is heard: as long as the queue waits
/// before it gives his work to another one.
const SILENT_MAX: Duration = Duration::from_secs(30);

/// How often he says that he is at it: two of these may be late.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// The cache as one planning sees it.
pub(crate) struct Cache<'a> {
    pub(crate) bus: &'a Bus,
    pub(crate) submission: &'a Submission,
    pub(crate) tools: &'a ToolCatalog,
    /// The planner's model.
    pub(crate) model: &'a str,
    /// Who plans: the run, so that another planner who gets its work can go on.
    pub(crate) holder: &'a str,
    pub(crate) now_ms: fn() -> u64,
}

/// What there is for a kind of task.
pub(crate) enum Found {
    /// An answer.
    Known(Answer, Box<CacheNote>),
    /// Nothing: whoever has this plans, and others wait for it.
    Ours(Box<Claim>),
    /// Nothing that would help, now or later.
    Nothing,
}

/// The right to plan for a kind of task, and the duty to say what came of it.
pub(crate) struct Claim {
    pub(crate) kind: Kind,
    /// As others see it: being written, by us.
    entry: Entry,
}

impl Cache<'_> {
    /// Looks a kind up, and waits while another planner is at it.
    pub(crate) async fn look(&self, kind: Kind) -> Found {
        match self.try_look(kind).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "the plan cache is out of reach; planning");
                Found::Nothing
            }
        }
    }

    async fn try_look(&self, kind: Kind) -> Result<Found, planfleet_bus::Error> {
        let mut wait = LOOK_FIRST;
        // Until when the writer has said last, and since when by this process's own clock.
        let mut heard = (0, Instant::now());
        loop {
            let kept = self.bus.cached_plan(&kind.key).await?;
            let claimed = match &kept {
                None => self.claim(&kind, 0, Outcomes::default()).await?,
                Some(Kept { entry, revision }) => match &entry.way {
                    // Whose writer was lost, and got its work again.
                    Way::Writing { holder, .. } if holder == self.holder => {
                        self.claim(&kind, *revision, entry.fresh).await?
                    }
                    // The writer alone moves its time; outcomes of older runs change the entry too.
                    Way::Writing { until_ms, .. } if heard.0 != *until_ms => {
                        heard = (*until_ms, Instant::now());
                        None
                    }
                    Way::Writing { .. } if heard.1.elapsed() < SILENT_MAX => None,
                    _ if !entry.is_good() => self.claim(&kind, *revision, entry.fresh).await?,
                    way => return Ok(self.use_again(&kind, entry, way)),
                },
            };
            if let Some(claim) = claimed {
                return Ok(Found::Ours(Box::new(claim)));
            }
            sleep(wait).await;
            wait = (wait * 2).min(LOOK_MAX);
        }
    }

    /// Of many who try only one gets it.
    async fn claim(
        &self,
        kind: &Kind,
        revision: u64,
        fresh: Outcomes,
    ) -> Result<Option<Claim>, planfleet_bus::Error> {
        let now_ms = (self.now_ms)();
        // Failures that no success stands against say nothing of the plan that is made now:
        // counted on, they would have such tasks planned one after the other.
        let fresh = if fresh.succeeded > 0 { fresh } else { Outcomes::default() };
        let way = Way::Writing { holder: self.holder.to_owned(), until_ms: until_ms(now_ms) };
        let entry = Entry { fresh, ..kind.entry(way, self.model, now_ms) };
        let written = self.bus.keep_plan(&kind.key, &entry, revision).await?;
        Ok(written.map(|_| Claim { kind: kind.clone(), entry }))
    }

    fn use_again(&self, kind: &Kind, entry: &Entry, way: &Way) -> Found {
        let answer = match way {
            Way::Plan(plan) => self.answer(kind, plan),
            // Unless this one is to be planned whatever it takes.
            Way::Direct if triage::is_wanted(self.submission) => {
                Some(triage::direct(self.submission, "as other tasks of its class"))
            }
            Way::Direct => None,
            Way::Writing { .. } | Way::Each { .. } => None,
        };
        answer.map_or(Found::Nothing, |answer| Found::Known(answer, Box::new(entry.note(&kind.key, true))))
    }

    /// A kept plan as this task's, if it is sound for it.
    fn answer(&self, kind: &Kind, plan: &Plan) -> Option<Answer> {
        let steps: Option<Vec<Arc<PlanStep>>> =
            plan.steps.iter().map(|step| kind.filled(step).map(Arc::new)).collect();
        let plan = Plan { steps: steps?, final_step: plan.final_step };
        let envelope = &self.submission.envelope;
        let scope = Scope {
            tools: &envelope.narrow(self.tools),
            inputs: Some(&self.submission.task.inputs),
            pools: &envelope.pools,
            steps_max: envelope.steps_max as usize,
        };
        let faults = lint::full(&plan, &Existing::default(), &scope);
        if !faults.is_empty() {
            // What is wrong may quote the task.
            tracing::info!(faults = faults.len(), "the kept plan does not fit this task; planning");
            return None;
        }
        Some(Answer {
            decision: Decision::Plan { final_step: plan.final_step },
            steps: plan.steps,
            reason: format!("planned before, for tasks of class {}", kind.class()),
        })
    }
}

/// Until when a claim is worth something that is not said again.
fn until_ms(now_ms: u64) -> u64 {
    now_ms.saturating_add(u64::try_from(SILENT_MAX.as_millis()).unwrap_or(u64::MAX))
}

impl Claim {
    /// Says now and then that the plan is being made, for as long as it is polled.
    pub(crate) fn hold(&self, bus: &Bus, now_ms: fn() -> u64) -> impl Future<Output = Infallible> + use<> {
        let (bus, key, ours) = (bus.clone(), self.kind.key.clone(), self.holder().to_owned());
        async move {
            loop {
                sleep(SAY_EVERY).await;
                let said = bus.change_plan(&key, |kept| match &mut kept.way {
                    Way::Writing { holder, until_ms: until } if *holder == ours => {
                        *until = until_ms(now_ms());
                    }
                    _ => {}
                });
                if let Err(error) = said.await {
                    tracing::debug!(%error, "others may not wait for a plan that comes");
                }
            }
        }
    }

    fn holder(&self) -> &str {
        match &self.entry.way {
            Way::Writing { holder, .. } => holder,
            _ => "",
        }
    }

    /// Whether an entry says that we are at it.
    fn is_ours(&self, entry: &Entry) -> bool {
        matches!(&entry.way, Way::Writing { holder, .. } if holder == self.holder())
    }

    /// What is noted of the plan that is made for it.
    pub(crate) fn note(&self) -> Box<CacheNote> {
        Box::new(self.entry.note(&self.kind.key, false))
    }

    /// Keeps the plan for others, or why there is none that fits them.
    pub(crate) async fn keep(self, bus: &Bus, answer: &Answer, charges: &[Charge], ms: u64) {
        let Decision::Plan { final_step } = answer.decision else { return self.release(bus).await };
        let way = match self.kind.unfit(&answer.steps) {
            None => Way::Plan(Plan { steps: answer.steps.clone(), final_step }),
            Some(reason) => Way::Each { reason },
        };
        self.write(bus, &way, charges, ms).await;
    }

    /// Keeps that such tasks need no plan.
    pub(crate) async fn keep_direct(self, bus: &Bus, charges: &[Charge], ms: u64) {
        self.write(bus, &Way::Direct, charges, ms).await;
    }

    /// Lets another planner try.
    pub(crate) async fn release(self, bus: &Bus) {
        let key = &self.kind.key;
        let released = async {
            let ours = bus.cached_plan(key).await?.is_some_and(|kept| self.is_ours(&kept.entry));
            if ours { bus.forget_plan(key).await } else { Ok(()) }
        };
        if let Err(error) = released.await {
            tracing::debug!(%error, "others wait for a plan that does not come");
        }
    }

    /// Unless somebody else has taken it over meanwhile.
    async fn write(self, bus: &Bus, way: &Way, charges: &[Charge], ms: u64) {
        // Who takes slots from a goal is asked for each task, so that a use does not save it.
        let spared = |charge: &&Charge| !self.entry.extracted || charge.account == Account::Planner;
        let charges: Vec<Charge> = charges.iter().filter(spared).cloned().collect();
        let used: Usage = Charge::sum(&charges);
        let cost = Cost { tokens: used.tokens(), nano_usd: used.nano_usd, ms };
        let written = bus.change_plan(&self.kind.key, |kept| {
            if self.is_ours(kept) {
                kept.way = way.clone();
                kept.cost = cost;
            }
        });
        if let Err(error) = written.await {
            tracing::warn!(%error, "a plan is not kept for other tasks");
        }
    }
}
