//! What was used and what was saved.

use planfleet_core::{
    record::CacheNote,
    usage::{Account, Charge, Usage},
};

use super::{Result, unknown};
use crate::wire;

pub(super) fn charges(charges: Vec<wire::AccountUsage>) -> Result<Vec<Charge>> {
    let charge = |used: wire::AccountUsage| {
        Ok(Charge { account: account(used.account)?, model: used.model, usage: usage(used.usage) })
    };
    charges.into_iter().map(charge).collect()
}

fn account(account: i32) -> Result<Account> {
    match wire::Account::try_from(account) {
        Ok(wire::Account::Planner) => Ok(Account::Planner),
        Ok(wire::Account::Executor) => Ok(Account::Executor),
        Ok(wire::Account::Judge) => Ok(Account::Judge),
        Ok(wire::Account::Triage) => Ok(Account::Triage),
        Ok(wire::Account::Unspecified) | Err(_) => unknown("account", account),
    }
}

fn usage(usage: Option<wire::Usage>) -> Usage {
    usage.map_or(Usage::NONE, |usage| Usage {
        calls: usage.calls,
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        cached_tokens: usage.cached_tokens,
        nano_usd: usage.nano_usd,
    })
}

pub(super) fn cache_note(note: wire::CacheNote) -> CacheNote {
    CacheNote {
        key: note.key,
        class: note.class,
        hit: note.hit,
        saved_tokens: note.saved_tokens,
        saved_nano_usd: note.saved_nano_usd,
        saved_ms: note.saved_ms,
        made_ms: note.made_ms,
    }
}
