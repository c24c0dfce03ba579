//! As much of a URL as the configuration needs: its scheme, its port and the
//! user information to hide. Clients parse theirs in full.

/// The parts of `scheme://userinfo@host:port/rest`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts<'a> {
    pub(super) scheme: &'a str,
    pub(super) userinfo: Option<&'a str>,
    pub(super) host: &'a str,
    pub(super) port: Option<&'a str>,
    rest: &'a str,
}

pub(super) fn split(url: &str) -> Option<Parts<'_>> {
    let (scheme, after) = url.split_once("://")?;
    let end = after.find(['/', '?', '#']).unwrap_or(after.len());
    let (authority, rest) = after.split_at(end);
    let (userinfo, host_port) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let (host, port) = split_port(host_port);
    Some(Parts { scheme, userinfo, host, port, rest })
}

/// Splits `host:port`; the colons inside of `[::1]` are not separators.
pub(super) fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// What is wrong with the URL, if anything.
pub(super) fn fault(url: &str, schemes: &[&str]) -> Option<String> {
    let wanted = || format!("expected {}://host[:port]", schemes.join(":// or "));
    let Some(parts) = split(url) else {
        return Some(format!("not a URL; {}", wanted()));
    };
    if !schemes.contains(&parts.scheme) || parts.host.is_empty() {
        return Some(format!("not usable here; {}", wanted()));
    }
    parts.port.and_then(|port| port_fault(port, 1))
}

/// A port as text, `lowest` being 0 where the system may choose one.
pub(super) fn port_fault(port: &str, lowest: u16) -> Option<String> {
    match port.parse::<u16>() {
        Ok(number) if number >= lowest => None,
        _ => Some(format!("port {port} is out of range; expected {lowest} to 65535")),
    }
}

/// The URL with its user information replaced; other text comes back as it is.
pub(super) fn without_userinfo(text: &str, replacement: &str) -> String {
    match split(text) {
        Some(parts) if parts.userinfo.is_some() => {
            let port = parts.port.map(|p| format!(":{p}")).unwrap_or_default();
            format!("{}://{replacement}@{}{port}{}", parts.scheme, parts.host, parts.rest)
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_checked_also_behind_ipv6_hosts() {
        assert_eq!(fault("nats://[::1]:4222", &["nats"]), None);
        assert_eq!(fault("nats://[::1]", &["nats"]), None);
        let message = fault("nats://a:70000/x", &["nats"]).unwrap();
        assert!(message.contains("70000"), "{message}");
        assert!(fault("http://a", &["nats", "tls"]).is_some());
        assert!(fault("a:4222", &["nats"]).is_some());
    }
}
