//! The run's envelope, enforced here and not only where the plan was made: an executor does
//! nothing for a step that asks for more, whoever has sent it.

use std::sync::Arc;

use planfleet_bus::trace;
use planfleet_core::{
    command::StepOrder,
    failure::{Failure, FailureClass},
};
use planfleet_tools::{CallContext, Registry};

/// Tiers that every run may use.
const OPEN_TIERS: [&str; 2] = ["default", "strong"];

/// The pool of steps whose tier names none.
const DEFAULT_POOL: &str = "default";

/// Whether the step keeps to its envelope, before anything is called or asked for it. Hosts are
/// looked at when a tool goes there.
pub(crate) fn check(order: &StepOrder, pool: &str, tools: &Registry) -> Result<(), Failure> {
    let (envelope, tier) = (&order.envelope, order.spec.tier.as_str());
    let own_pool = envelope.pools.iter().any(|own| own == tier);
    if !own_pool && !OPEN_TIERS.contains(&tier) {
        return Err(denied(format!("tier {tier:?} is not one that this run may use")));
    }
    let meant_for = if own_pool { tier } else { DEFAULT_POOL };
    if pool != meant_for {
        return Err(denied(format!(
            "a step of tier {tier:?} came to pool {pool:?} instead of {meant_for:?}"
        )));
    }
    let approved = |name: &str| envelope.tools.contains_key(name);
    // What nobody knows is refused by the registry, which says what there is.
    match order.spec.tools.iter().find(|name| !approved(name) && tools.spec(name).is_some()) {
        Some(name) => {
            let have: Vec<&str> = envelope.tools.keys().map(String::as_str).collect();
            Err(denied(format!("this run may not call {name:?}; this step may call [{}]", have.join(", "))))
        }
        None => Ok(()),
    }
}

fn denied(message: String) -> Failure {
    Failure::new(FailureClass::Denied, message)
}

/// What tool calls of this attempt may do.
pub(crate) fn context(order: &StepOrder) -> CallContext {
    CallContext {
        tenant: order.tenant.to_string(),
        run: order.run.to_string(),
        step: order.step.to_string(),
        attempt: order.attempt,
        // The same for every attempt of a step: a repeated write is one write.
        idempotency_key: format!("{}.{}", order.run, order.step.token()),
        traceparent: trace::traceparent(),
        allowed: Some(Arc::new(order.envelope.tools.clone())),
        allowed_hosts: Some(Arc::new(order.envelope.hosts.clone())),
    }
}

/// The key of one of a model's calls: that of its step, and which of the step's calls of the tool it
/// is. A model that is asked again after a crash makes the same calls in other words.
pub(crate) fn call_key(step_key: &str, tool: &str, calls_before: usize) -> String {
    format!("{step_key}.{tool}.{calls_before}")
}

#[cfg(test)]
mod tests {
    use planfleet_tools::Settings;

    use super::*;

    #[test]
    fn a_step_goes_to_the_pool_that_its_tier_and_envelope_name() {
        let registry = Registry::builtin(Settings::default()).unwrap();
        let verdict = |tier: &str, pools: &[&str], pool: &str| {
            let mut order = crate::prompt::tests::order(Vec::new());
            Arc::make_mut(&mut order.spec).tier = tier.to_owned();
            Arc::make_mut(&mut order.envelope).pools = pools.iter().map(|&pool| pool.to_owned()).collect();
            check(&order, pool, &registry).is_ok()
        };
        assert!(verdict("default", &[], "default") && verdict("strong", &[], "default"));
        assert!(verdict("gpu", &["gpu"], "gpu") && verdict("strong", &["strong"], "strong"));
        for (tier, pools, pool) in [
            ("gpu", &[][..], "default"),
            ("gpu", &[], "gpu"),
            ("default", &["gpu"], "gpu"),
            ("gpu", &["gpu"], "default"),
        ] {
            assert!(!verdict(tier, pools, pool), "{tier} {pools:?} {pool}");
        }
    }
}
