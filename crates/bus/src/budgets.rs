//! Budgets that all processes of a fleet keep together: what a model call can use at most
//! is set aside before it, and settled after it.
//!
//! A [`Book`] for each run, batch and tenant that has a cap lies in a bucket and is written
//! by compare-and-set. One task of each process does all its writing ([`keeper`]): what is
//! wanted of a book while it is being written goes into the next write together, so that a
//! thousand calls at once are no thousand writes of one key. While a process has anything
//! set aside it says so again and again: of one that has died nobody waits for long.

mod keeper;

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use planfleet_core::{
    budget::{Amount, Book, Short},
    id::RunId,
    task::Budget,
};
use planfleet_proto::subjects::{self, BUDGETS_BATCH, BUDGETS_RUN, BUDGETS_TENANT};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::sleep,
};

use self::keeper::{Keeper, Op, Wish};
use crate::{
    Error,
    broker::{self, Broker, CasOutcome},
};

/// Between two tries to set a cap.
const CAP_PAUSE: Duration = Duration::from_millis(20);

/// Writers that meet at a cap that is being set.
const CAS_TRIES: u32 = 20;

/// Whose budget it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// A run's.
    Run(RunId),
    /// A batch's.
    Batch {
        /// Whose batch.
        tenant: String,
        /// Its id.
        batch: String,
    },
    /// A tenant's, of one day.
    Tenant {
        /// The tenant.
        tenant: String,
        /// The day in UTC, as `2026-11-23`.
        day: String,
    },
}

impl Owner {
    fn key(&self) -> String {
        match self {
            Self::Run(run) => format!("{BUDGETS_RUN}{run}"),
            Self::Batch { tenant, batch } => format!("{BUDGETS_BATCH}{tenant}.{batch}"),
            Self::Tenant { tenant, day } => format!("{BUDGETS_TENANT}{tenant}.{day}"),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(_) => f.write_str("the run's budget"),
            Self::Batch { batch, .. } => write!(f, "the budget of batch {batch}"),
            Self::Tenant { tenant, day } => write!(f, "the budget of tenant {tenant} for {day}"),
        }
    }
}

/// A budget that a call is paid from.
#[derive(Debug, Clone)]
pub struct Source {
    /// Whose it is.
    pub owner: Owner,
    /// The cap; `None` where the book says it, if it does.
    pub cap: Option<Budget>,
}

/// Why nothing was set aside.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// There is less.
    #[error("{owner} of {cap} is used up to {free}")]
    Short {
        /// Whose budget.
        owner: Owner,
        /// The cap.
        cap: Shown,
        /// What there is.
        free: Shown,
        /// Whether a call that is under way may leave enough over.
        under_way: bool,
    },
    /// The books cannot be read or written.
    #[error(transparent)]
    Broker(#[from] Error),
}

/// A budget as people read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown(pub Budget);

impl fmt::Display for Shown {
    #[expect(clippy::cast_precision_loss, reason = "shown, never added up")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usd = self.0.nano_usd.map(|nano| format!("{} USD", nano as f64 / 1e9));
        let tokens = self.0.tokens.map(|tokens| format!("{tokens} tokens"));
        let parts: Vec<String> = usd.into_iter().chain(tokens).collect();
        f.write_str(if parts.is_empty() { "no limit" } else { "" })?;
        f.write_str(&parts.join(" and "))
    }
}

/// The books, as one process keeps them. Cheap to clone.
#[derive(Clone)]
pub struct Budgets {
    shared: Arc<Shared>,
}

struct Shared {
    broker: Arc<dyn Broker>,
    holder: String,
    now_ms: fn() -> u64,
    queue: OnceLock<mpsc::UnboundedSender<Op>>,
    /// Ends with the last clone.
    keeper: Mutex<JoinSet<()>>,
}

impl Budgets {
    /// The books on `broker`. `holder` names this process among all, `now_ms` tells
    /// milliseconds since the Unix epoch.
    #[must_use]
    pub fn new(broker: Arc<dyn Broker>, holder: String, now_ms: fn() -> u64) -> Self {
        let (queue, keeper) = Default::default();
        Self { shared: Arc::new(Shared { broker, holder, now_ms, queue, keeper }) }
    }

    /// Sets `amount` aside in every source, without waiting for what others may leave over.
    ///
    /// # Errors
    /// [`HoldError::Short`] when it does not fit just now; nothing is set aside then.
    pub async fn hold(&self, sources: &[Source], amount: Amount) -> Result<Held, HoldError> {
        match self.try_hold(sources, amount).await? {
            Ok(mut held) => {
                held.is_used = true;
                Ok(held)
            }
            Err((source, cap, Short { free, under_way })) => {
                let owner = source.owner.clone();
                Err(HoldError::Short { owner, cap: Shown(cap), free: Shown(free), under_way })
            }
        }
    }

    async fn try_hold<'s>(
        &self,
        sources: &'s [Source],
        amount: Amount,
    ) -> Result<Result<Held, (&'s Source, Budget, Short)>, Error> {
        let mut held = Held { budgets: self.clone(), owners: Vec::new(), amount, is_used: false };
        for source in sources {
            match self.ask(source, amount).await {
                Ok(keeper::Answer::Held(receipt)) => {
                    receipt.taken();
                    held.owners.push(source.owner.clone());
                }
                Ok(keeper::Answer::NoLimit) => {}
                Ok(keeper::Answer::Short(cap, short)) => {
                    held.settle(Amount::NONE);
                    return Ok(Err((source, cap, short)));
                }
                Err(error) => {
                    held.settle(Amount::NONE);
                    return Err(error.into());
                }
            }
        }
        Ok(Ok(held))
    }

    async fn ask(&self, source: &Source, amount: Amount) -> Result<keeper::Answer, broker::Error> {
        let (tell, told) = oneshot::channel();
        let wish = Wish::Hold { cap: source.cap, amount, tell };
        self.send(Op { key: source.owner.key(), wish });
        told.await.unwrap_or_else(|_| Err(broker::Error::Unreachable("nobody keeps the books".to_owned())))
    }

    fn settle(&self, owner: &Owner, held: Amount, used: Amount) {
        self.send(Op { key: owner.key(), wish: Wish::Settle { held, used } });
    }

    /// The queue is as long as there are calls under way, which executors' slots bound.
    fn send(&self, op: Op) {
        let queue = self.shared.queue.get_or_init(|| self.start());
        let _ended = queue.send(op);
    }

    fn start(&self) -> mpsc::UnboundedSender<Op> {
        let Shared { broker, holder, now_ms, keeper, .. } = &*self.shared;
        let (queue, ops) = mpsc::unbounded_channel();
        let books = Keeper::new(Arc::clone(broker), holder.clone(), *now_ms, queue.downgrade());
        keeper.lock().unwrap_or_else(PoisonError::into_inner).spawn(books.keep(ops));
        queue
    }

    /// A book as it stands; `None` where nothing was ever written.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn book(&self, owner: &Owner) -> Result<Option<Book>, Error> {
        let entry = self.shared.broker.kv_get(subjects::BUDGETS, &owner.key()).await?;
        entry.map(|entry| keeper::read(&entry.value)).transpose().map_err(Error::Answer)
    }

    /// Sets or changes the cap that a book has of its own. Where it had none, and so nothing was
    /// kept of what was spent, that is `spent`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn set_cap(&self, owner: &Owner, cap: Budget, spent: Amount) -> Result<(), Error> {
        let (broker, key) = (&self.shared.broker, owner.key());
        for _ in 0..CAS_TRIES {
            let entry = broker.kv_get(subjects::BUDGETS, &key).await?;
            let revision = entry.as_ref().map_or(0, |entry| entry.revision);
            let book = entry.map(|entry| keeper::read(&entry.value)).transpose().map_err(Error::Answer)?;
            let mut book = book.unwrap_or_default();
            if book.cap.replace(cap).is_none() {
                book.spent = book.spent.plus(spent);
            }
            let value = keeper::write(&book).map_err(Error::Answer)?;
            if let CasOutcome::Written(_) = broker.kv_cas(subjects::BUDGETS, &key, value, revision).await? {
                return Ok(());
            }
            sleep(CAP_PAUSE).await;
        }
        Err(broker::Error::Unreachable(format!("{owner} is being written by others")).into())
    }
}

/// Something set aside. Dropped without [`Held::settle`] it counts as used.
#[must_use]
pub struct Held {
    budgets: Budgets,
    owners: Vec<Owner>,
    amount: Amount,
    /// It is in the hands of who asked for it; before that nothing can have been used.
    is_used: bool,
}

impl Held {
    /// Whether there is a limit at all.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        !self.owners.is_empty()
    }

    /// The call is over and has used so much.
    pub fn settle(mut self, used: Amount) {
        self.settle_all(used);
    }

    fn settle_all(&mut self, used: Amount) {
        for owner in self.owners.drain(..) {
            self.budgets.settle(&owner, self.amount, used);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.settle_all(if self.is_used { self.amount } else { Amount::NONE });
    }
}
