//! What model calls are paid from: a run's budget, that of its batch, and its tenant's.

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc};

use planfleet_bus::budgets::{Budgets, HoldError, Owner, Source};
use planfleet_core::{
    budget::Amount,
    document::rfc3339,
    id::RunId,
    task::{Brief, Budget, Envelope},
};
use planfleet_llm::{Hold, Purse, Refusal};
use planfleet_runtime::{clock, config::Settings};

/// Finds purses: the books of the fleet, and what the settings say of tenants.
#[derive(Clone)]
pub(crate) struct Purses {
    budgets: Budgets,
    tenants: Arc<BTreeMap<String, Budget>>,
}

impl Purses {
    pub(crate) fn new(budgets: Budgets, settings: &Settings) -> Self {
        let tenants = settings.tenants.iter().map(|(name, tenant)| {
            let nano_usd = tenant.usd_per_day.map(|usd| usd.nano_usd());
            (name.clone(), Budget { nano_usd, tokens: tenant.tokens_per_day })
        });
        Self { budgets, tenants: Arc::new(tenants.filter(|(_, budget)| budget.is_limit()).collect()) }
    }

    /// The purse of a step's calls.
    pub(crate) fn of_step(&self) -> planfleet_executor::FindPurse {
        let purses = self.clone();
        Arc::new(move |order| purses.find(&order.run, &order.envelope, order.batch.as_deref(), &order.tenant))
    }

    /// The purse of a planner's calls.
    pub(crate) fn of_plan(&self) -> planfleet_planner::FindPurse {
        let purses = self.clone();
        Arc::new(move |order| {
            let task: &Brief = &order.submission.task;
            purses.find(&order.run, &order.submission.envelope, task.batch.as_deref(), task.tenant())
        })
    }

    /// `None` where nothing limits a run's calls.
    fn find(
        &self,
        run: &RunId,
        envelope: &Envelope,
        batch: Option<&str>,
        tenant: &str,
    ) -> Option<Arc<dyn Purse>> {
        // What a part of a run spends, the run spends: from its own share first, then upwards.
        let runs = envelope.lineage.iter().map(|ancestor| (&ancestor.run, ancestor.budget)).rev();
        let limited = [(run, envelope.budget)].into_iter().chain(runs).filter(|(_, cap)| cap.is_limit());
        let source = |(run, cap): (&RunId, Budget)| Source { owner: Owner::Run(run.clone()), cap: Some(cap) };
        let mut sources: Vec<Source> = limited.map(source).collect();
        if let Some(batch) = batch {
            let owner = Owner::Batch { tenant: tenant.to_owned(), batch: batch.to_owned() };
            sources.push(Source { owner, cap: None });
        }
        sources.extend(self.of_tenant(tenant));
        self.purse(sources)
    }

    /// The purse of planning for a tenant that belongs to no run.
    pub(crate) fn of_preview(&self, tenant: &str) -> Option<Arc<dyn Purse>> {
        self.purse(self.of_tenant(tenant).into_iter().collect())
    }

    /// The day on which an attempt or a planning begins is the one that all of its calls count
    /// for: what is set aside in one book is settled in the same.
    fn of_tenant(&self, tenant: &str) -> Option<Source> {
        let cap = *self.tenants.get(tenant)?;
        let day = rfc3339(clock::unix_ms()).chars().take(10).collect();
        Some(Source { owner: Owner::Tenant { tenant: tenant.to_owned(), day }, cap: Some(cap) })
    }

    fn purse(&self, sources: Vec<Source>) -> Option<Arc<dyn Purse>> {
        let budgets = self.budgets.clone();
        (!sources.is_empty()).then(|| Arc::new(Sources { budgets, sources }) as Arc<dyn Purse>)
    }
}

/// All budgets that a call is paid from at once.
struct Sources {
    budgets: Budgets,
    sources: Vec<Source>,
}

impl Purse for Sources {
    fn hold(
        &self,
        amount: Amount,
    ) -> Pin<Box<dyn Future<Output = Result<Option<Hold>, Refusal>> + Send + '_>> {
        Box::pin(async move {
            match self.budgets.hold(&self.sources, amount).await {
                Ok(held) if !held.is_limited() => Ok(None),
                Ok(held) => Ok(Some(Hold::new(amount, move |used| held.settle(used)))),
                Err(HoldError::Short { owner, cap, free, under_way }) => {
                    Err(Refusal::Short { free: free.0, under_way, whose: format!("{owner}, {cap},") })
                }
                Err(HoldError::Broker(error)) => Err(Refusal::Unreachable(error.to_string())),
            }
        })
    }
}
