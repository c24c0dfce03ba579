//! Whether the broker is of use, for `/readyz`: goes false when it is not, says why,
//! and comes back by itself.
//!
//! A lost connection counts at once, and a server that hangs is a lost connection
//! after three missed pongs, 6 s. Writes that nobody acknowledges count after
//! [`ELECTION`]. What the servers say of themselves is asked for every [`ASK_EVERY`].

use std::time::Duration;

use planfleet_bus::{
    Bus,
    broker::trouble::{Kind, Trouble},
};
use planfleet_runtime::health::HealthHandle;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use super::monitoring::{self, Health};

/// How often the connection is looked at. In memory, so it costs nothing.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How often servers are asked how they are: within two of these a full disk is told.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// An election leaves writes unanswered for up to 9 s, and passes by itself.
const ELECTION: Duration = Duration::from_secs(10);

/// Follows the connection and what is written over it.
pub(crate) async fn follow(bus: Bus, ready: HealthHandle, stop: CancellationToken) {
    let mut ticks = interval(LOOK_EVERY);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break ready.set(false, "draining"),
            _ = ticks.tick() => {
                let grave: Vec<String> =
                    bus.broker().troubles().iter().filter(|one| is_grave(one)).map(ToString::to_string).collect();
                if grave.is_empty() && bus.broker().connected() {
                    ready.set(true, "connected");
                } else {
                    ready.set(false, why(&grave));
                }
            }
        }
    }
}

fn is_grave(trouble: &Trouble) -> bool {
    match trouble.kind {
        Kind::Disconnected { .. } => true,
        Kind::NothingStored { .. } => trouble.lasting >= ELECTION,
    }
}

fn why(troubles: &[String]) -> String {
    // Between two events a connection can be down that has not been told yet.
    if troubles.is_empty() { "disconnected".to_owned() } else { troubles.join("; ") }
}

/// Follows what the servers at these URLs say of themselves.
pub(crate) async fn follow_servers(urls: String, ready: HealthHandle, stop: CancellationToken) {
    let mut ticks = interval(ASK_EVERY);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break ready.set(false, "draining"),
            _ = ticks.tick() => {
                let told = monitoring::health(&urls).await;
                ready.set(is_served(&told), shown(&told));
            }
        }
    }
}

/// A cluster does its work as long as a majority of it is well. A server that does not
/// answer may as well be an address that is wrong: the connection tells of those that
/// are gone.
fn is_served(told: &[(String, Health)]) -> bool {
    let bad = told.iter().filter(|(_, health)| matches!(health, Health::Bad(_))).count();
    bad * 2 < told.len()
}

fn shown(told: &[(String, Health)]) -> String {
    told.iter().map(|(url, health)| format!("{url}: {health}")).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(states: &[Health]) -> Vec<(String, Health)> {
        states.iter().map(|health| ("http://x".to_owned(), health.clone())).collect()
    }

    #[test]
    fn a_majority_that_is_well_serves() {
        let (well, bad) = (Health::Well, Health::Bad("a stream is frozen".to_owned()));
        let unknown = Health::Unknown("connection refused".to_owned());
        for (states, served) in [
            (vec![well.clone()], true),
            (vec![bad.clone()], false),
            (vec![unknown.clone()], true),
            (vec![well.clone(), well.clone(), bad.clone()], true),
            (vec![well.clone(), bad.clone(), bad.clone()], false),
            (vec![well.clone(), unknown.clone(), bad.clone()], true),
            (vec![unknown, bad.clone(), bad.clone()], false),
            (vec![well, bad], false),
        ] {
            assert_eq!(is_served(&told(&states)), served, "{states:?}");
        }
    }

    #[test]
    fn what_servers_say_is_shown_with_who_said_it() {
        let states = told(&[Health::Well, Health::Bad("a stream is frozen".to_owned())]);
        assert_eq!(shown(&states), "http://x: healthy; http://x: unhealthy: a stream is frozen");
    }

    #[test]
    fn an_election_is_waited_out() {
        let writes = |seconds| Trouble {
            lasting: Duration::from_secs(seconds),
            kind: Kind::NothingStored { subjects: "a.b".to_owned(), attempts: 1, last: String::new() },
        };
        assert!(!is_grave(&writes(9)) && is_grave(&writes(10)));
    }
}
