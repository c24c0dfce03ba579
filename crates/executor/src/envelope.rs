//! The run's envelope, enforced here and not only where the plan was made: an executor does
//! nothing for a step that asks for more, whoever has sent it.

use std::sync::Arc;

use planfleet_bus::trace;
use planfleet_core::{
    command::StepOrder,
    failure::{Failure, FailureClass},
};
use planfleet_tools::{CallContext, Registry};
use sha2::{Digest as _, Sha256};

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

/// The key of one of a model's calls: that of its step, and what tells it from the step's other
/// calls. A model that is asked again after a crash and makes the same call makes it once.
pub(crate) fn call_key(step_key: &str, tool: &str, arguments: &str, times_before: usize) -> String {
    let hash = Sha256::digest(format!("{tool}\n{arguments}\n{times_before}"));
    let hash: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{step_key}.{hash}")
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

    #[test]
    fn calls_of_a_step_have_keys_of_their_own() {
        let key = |tool, arguments, times| call_key("00-r.7", tool, arguments, times);
        assert_eq!(key("t", "{}", 0), key("t", "{}", 0));
        let all = [key("t", "{}", 0), key("t", "{}", 1), key("u", "{}", 0), key("t", "[]", 0)];
        assert!(all.iter().enumerate().all(|(n, key)| !all[..n].contains(key)), "{all:?}");
    }
}
