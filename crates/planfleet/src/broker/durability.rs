//! What a power cut can lose: one verdict from facts. No I/O, and no guesses.

use std::time::Duration;

/// Below this, a server lacks what planfleet relies on: strict answers to requests
/// that it does not understand, and fixes of lost messages in replicated streams.
const VERSION_MIN: (u32, u32) = (2, 12);

/// How often a nats-server syncs to disk where its configuration does not say:
/// `defaultSyncInterval` in its `server/filestore.go`.
pub(crate) const SERVER_DEFAULT: Duration = Duration::from_secs(120);

/// How often a server syncs what it has acknowledged to disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sync {
    /// Before each ack.
    Always,
    /// Every so often, after the ack.
    Every(Duration),
    /// Nobody could tell, and why.
    Unknown(String),
}

/// What the verdict follows from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The fewest copies that a stream keeps; `None` where no stream could be looked at.
    pub(crate) replicas: Option<usize>,
    pub(crate) sync: Sync,
    /// Whether planfleet has started the server itself.
    pub(crate) own: bool,
}

/// Whether an acknowledged message can be lost by a power cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// It can, or nobody knows.
    pub(crate) at_risk: bool,
    /// In words for people.
    pub(crate) text: String,
}

/// What a power cut can lose.
pub(crate) fn verdict(facts: &Facts) -> Verdict {
    match &facts.sync {
        Sync::Always => Verdict { at_risk: false, text: nothing(facts.replicas) },
        Sync::Every(interval) => {
            let text = format!("{}; {}", loss(facts.replicas, *interval), remedy(facts.own));
            Verdict { at_risk: true, text }
        }
        Sync::Unknown(why) => Verdict { at_risk: true, text: unknown(facts.replicas, why) },
    }
}

fn nothing(replicas: Option<usize>) -> String {
    let disk = if replicas == Some(1) { "; a broken disk loses all, as it has the only copy" } else { "" };
    format!("a power cut loses nothing that was acknowledged: it was synced to disk before{disk}")
}

fn loss(replicas: Option<usize>, interval: Duration) -> String {
    let every = shown(interval);
    match replicas {
        Some(1) => format!(
            "up to {every} of acknowledged work can be lost by a power cut or a kernel crash (not by a \
             nats-server process that is killed): there is one copy, synced to disk every {every}"
        ),
        Some(copies) => format!(
            "acknowledged work can be lost only if a majority of its {copies} copies loses power together, \
             or one does while another is paused or cut off (not by nats-server processes that are \
             killed): each copy is synced to disk every {every}"
        ),
        None => format!(
            "acknowledged work can be lost by a power cut: it is synced to disk every {every}, and how many \
             copies there are is not known, as no stream could be looked at"
        ),
    }
}

fn remedy(own: bool) -> &'static str {
    if own {
        "nats.sync_interval = \"always\" rules that out"
    } else {
        "`sync_interval: always` among the server's jetstream settings rules that out"
    }
}

fn unknown(replicas: Option<usize>, why: &str) -> String {
    let default = loss(replicas, SERVER_DEFAULT);
    format!(
        "what a power cut can lose is not known, as sync_interval is not: {why}. With `always` it is \
         nothing; with the server's default, {default}"
    )
}

/// Why planfleet cannot work with a server of this version. One that is not
/// written as versions are is taken at its word.
pub(crate) fn version_fault(version: &str) -> Option<String> {
    let mut numbers = version.trim_start_matches('v').split('.').map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else { return None };
    let (needed_major, needed_minor) = VERSION_MIN;
    ((major, minor) < VERSION_MIN).then(|| {
        format!("nats-server {version} is too old: planfleet needs {needed_major}.{needed_minor} or newer")
    })
}

/// A duration as configurations write it.
pub(crate) fn shown(interval: Duration) -> String {
    humantime::format_duration(interval).to_string()
}

impl Sync {
    /// What a server syncs like whose configuration says so, or nothing.
    pub(crate) fn configured(setting: Option<&str>) -> Self {
        match setting {
            None => Self::Every(SERVER_DEFAULT),
            Some("always") => Self::Always,
            Some(interval) => humantime::parse_duration(interval)
                .map_or_else(|_| Self::Unknown(format!("{interval:?} is no duration")), Self::Every),
        }
    }

    /// The riskier of two: what is not known may be anything.
    pub(crate) fn or_riskier(self, other: Self) -> Self {
        match (self, other) {
            (unknown @ Self::Unknown(_), _) | (_, unknown @ Self::Unknown(_)) => unknown,
            (Self::Every(one), Self::Every(other)) => Self::Every(one.max(other)),
            (every @ Self::Every(_), _) | (_, every @ Self::Every(_)) => every,
            (Self::Always, Self::Always) => Self::Always,
        }
    }
}

impl std::fmt::Display for Sync {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Always => f.write_str("always"),
            Self::Every(interval) => f.write_str(&shown(*interval)),
            Self::Unknown(_) => f.write_str("unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(replicas: Option<usize>, sync: Sync) -> (bool, String) {
        let Verdict { at_risk, text } = verdict(&Facts { replicas, sync, own: false });
        (at_risk, text)
    }

    #[test]
    fn one_copy_that_is_synced_now_and_then_loses_that_much() {
        let (at_risk, text) = told(Some(1), Sync::Every(SERVER_DEFAULT));
        assert!(at_risk && text.starts_with("up to 2m of acknowledged work can be lost"), "{text}");
        assert!(text.contains("not by a nats-server process that is killed"), "{text}");
        assert!(
            text.ends_with("`sync_interval: always` among the server's jetstream settings rules that out")
        );
        let (_, text) = told(Some(1), Sync::Every(Duration::from_secs(5)));
        assert!(text.starts_with("up to 5s"), "{text}");
    }

    #[test]
    fn three_copies_lose_only_what_a_majority_loses() {
        let (at_risk, text) = told(Some(3), Sync::Every(SERVER_DEFAULT));
        assert!(
            at_risk && text.contains("only if a majority of its 3 copies loses power together"),
            "{text}"
        );
    }

    #[test]
    fn what_is_synced_before_its_ack_is_not_lost() {
        for replicas in [Some(1), Some(3), None] {
            let (at_risk, text) = told(replicas, Sync::Always);
            assert!(!at_risk && text.starts_with("a power cut loses nothing"), "{text}");
            assert_eq!(text.contains("broken disk"), replicas == Some(1), "{text}");
        }
    }

    #[test]
    fn what_is_not_known_is_said_with_what_it_may_be() {
        let (at_risk, text) = told(Some(1), Sync::Unknown("nobody was asked".to_owned()));
        assert!(at_risk && text.contains("not known") && text.contains("nobody was asked"), "{text}");
        assert!(text.contains("With `always` it is nothing") && text.contains("default, up to 2m"), "{text}");
        let (at_risk, text) = told(None, Sync::Every(SERVER_DEFAULT));
        assert!(at_risk && text.contains("how many copies there are is not known"), "{text}");
    }

    #[test]
    fn a_server_of_our_own_is_mended_by_a_setting_of_ours() {
        let facts = Facts { replicas: Some(1), sync: Sync::Every(SERVER_DEFAULT), own: true };
        assert!(verdict(&facts).text.ends_with("nats.sync_interval = \"always\" rules that out"));
    }

    #[test]
    fn an_old_server_is_told_what_is_needed() {
        for (version, too_old) in [
            ("2.9.10", true),
            ("2.11.99", true),
            ("1.4.0", true),
            ("2.12.0", false),
            ("2.12.0-RC.1", false),
            ("2.15.1", false),
            ("3.0.0", false),
            ("v2.9.1", true),
            ("dev", false),
            ("", false),
        ] {
            let fault = version_fault(version);
            assert_eq!(fault.is_some(), too_old, "{version}");
            assert!(fault.is_none_or(|fault| fault.contains(version) && fault.contains("2.12")));
        }
    }

    #[test]
    fn the_riskiest_of_several_servers_counts() {
        let every = |seconds| Sync::Every(Duration::from_secs(seconds));
        let unknown = || Sync::Unknown("x".to_owned());
        assert_eq!(Sync::Always.or_riskier(Sync::Always), Sync::Always);
        assert_eq!(Sync::Always.or_riskier(every(2)), every(2));
        assert_eq!(every(9).or_riskier(every(2)), every(9));
        assert_eq!(every(9).or_riskier(unknown()), unknown());
        assert_eq!(unknown().or_riskier(Sync::Always), unknown());
    }

    #[test]
    fn our_own_configuration_says_how_often_our_server_syncs() {
        assert_eq!(Sync::configured(None), Sync::Every(SERVER_DEFAULT));
        assert_eq!(Sync::configured(Some("always")), Sync::Always);
        assert_eq!(Sync::configured(Some("500ms")), Sync::Every(Duration::from_millis(500)));
        assert!(matches!(Sync::configured(Some("often")), Sync::Unknown(_)));
    }
}
