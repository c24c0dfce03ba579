//! The table as a nats-server reads it: one account, one user for each role.

use std::fmt::Write as _;

use planfleet_core::id::ShardId;

use super::Role;
use crate::broker::nats::inbox;

/// The account that everything of a fleet is in.
pub const ACCOUNT: &str = "PLANFLEET";

/// A user of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// What it may do.
    pub role: Role,
    /// The public key of its NKey, which begins with `U`.
    pub public_key: String,
}

/// The part of a nats-server's configuration that says who may do what. It holds no
/// secret. JetStream itself, TLS and ports are the server's own.
#[must_use]
pub fn configuration(users: &[User], shards: ShardId) -> String {
    let asks = |user: &&User| user.role.asks_owners();
    let askers: Vec<String> = users.iter().filter(asks).map(|user| inbox(&user.public_key)).collect();
    let mut text = String::from(
        "# Who may do what on the broker. Written by `planfleet admin nats-auth`: change nothing\n\
         # here, write it anew. Public keys only; the servers take it by `include` and a reload.\n",
    );
    let _ = writeln!(text, "accounts {{\n  {ACCOUNT} {{\n    jetstream: enabled\n    users: [");
    for User { role, public_key } in users {
        let allowed = role.permissions(shards, &inbox(public_key), &askers);
        let _ = writeln!(text, "      # {}\n      {{\n        nkey: {public_key}", role.name());
        let _ = writeln!(text, "        permissions {{");
        for (verb, subjects) in [("publish", allowed.publish), ("subscribe", allowed.subscribe)] {
            let _ = writeln!(text, "          {verb} {{ allow: [");
            for subject in subjects {
                // Quoted, as a bare `$` would begin a variable.
                let _ = writeln!(text, "            \"{subject}\"");
            }
            let _ = writeln!(text, "          ] }}");
        }
        let _ = writeln!(text, "        }}\n      }}");
    }
    text.push_str("    ]\n  }\n}\n");
    text
}
