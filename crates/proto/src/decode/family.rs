//! What runs that are parts of others say of those.

use planfleet_core::{
    id::StepId,
    task::{Ancestor, Budget, Parent},
};

use super::{Result, criterion, parsed};
use crate::wire;

pub(super) fn parent(parent: wire::Parent) -> Result<Parent> {
    Ok(Parent {
        run: parsed("run_id", &parent.run_id)?,
        step: StepId { step: parent.step, item: parent.item },
        attempt: parent.attempt,
        until_ms: parent.until_unix_ms,
        criteria: parent.criteria.into_iter().map(criterion).collect::<Result<_>>()?,
    })
}

pub(super) fn ancestor(ancestor: wire::Ancestor) -> Result<Ancestor> {
    Ok(Ancestor {
        run: parsed("run_id", &ancestor.run_id)?,
        budget: Budget { nano_usd: ancestor.budget_nano_usd, tokens: ancestor.budget_tokens },
    })
}
