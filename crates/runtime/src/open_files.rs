//! How many files and sockets the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Far more than an executor with 1,000 model calls and as many tool calls needs, and a number
/// that every system takes.
const WANTED: u64 = 65_536;

/// Raises the soft limit as far as the system lets it, up to 65,536: each model call under way
/// holds a socket, and many systems give 1,024. Says what the limit is now.
pub fn raise_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    // No limit is told as none.
    let (current, most) = (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX));
    let wanted = WANTED.min(most);
    if current >= wanted {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum }) {
        Ok(()) => wanted,
        // What cannot be raised is still enough for most.
        Err(_) => current,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_what_it_is_said_to_be() {
        let said = raise_limit();
        assert_eq!(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX), said);
        assert_eq!(raise_limit(), said, "once is enough");
    }
}
