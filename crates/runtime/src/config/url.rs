//! As much of a URL as the configuration needs: its scheme, host and port, and
//! what people may see of it. Clients parse theirs in full.

/// The parts of `scheme://userinfo@host:port/rest` that are asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts<'a> {
    pub(super) scheme: &'a str,
    pub(super) host: &'a str,
    pub(super) port: Option<&'a str>,
}

pub(super) fn split(url: &str) -> Option<Parts<'_>> {
    let (scheme, after) = url.split_once("://")?;
    let end = after.find(['/', '?', '#']).unwrap_or(after.len());
    let authority = &after[..end];
    let host_port = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = split_port(host_port);
    Some(Parts { scheme, host, port })
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

/// The URL as people may see it: without user information, query and fragment,
/// any of which may hold a credential. Takes lists of servers separated by
/// commas too, and text that is no whole URL, such as `user:password@host`.
pub fn shown_url(url: &str) -> String {
    servers(url).into_iter().map(shown_server).collect::<Vec<_>>().join(",")
}

/// A comma begins another server only where a scheme follows: passwords and
/// queries may have commas.
fn servers(list: &str) -> Vec<&str> {
    let begins = |at: &usize| split(list[*at + 1..].trim_start()).is_some_and(|next| is_scheme(next.scheme));
    let commas = list.match_indices(',').map(|(at, _)| at).filter(begins);
    let mut start = 0;
    let mut servers: Vec<&str> = commas.map(|at| &list[std::mem::replace(&mut start, at + 1)..at]).collect();
    servers.push(&list[start..]);
    servers
}

fn is_scheme(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

fn shown_server(url: &str) -> String {
    let (scheme, after) = match url.split_once("://") {
        Some((scheme, after)) => (format!("{scheme}://"), after),
        None => (String::new(), url),
    };
    let after = after.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = after.split_at(after.find('/').unwrap_or(after.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}{host}{path}")
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

    #[test]
    fn what_is_shown_of_a_url_holds_no_credentials() {
        for (url, shown) in [
            ("https://u:p@host:1/v1?key=k#f", "https://host:1/v1"),
            ("https://host?key=k", "https://host"),
            ("nats://u:p,w@a:1/x, nats://t@b,tls://c", "nats://a:1/x, nats://b,tls://c"),
            ("nats://u:p@w@[::1]:4222", "nats://[::1]:4222"),
            ("u:p@host:4222", "host:4222"),
            ("https://host/a@b/v1", "https://host/a@b/v1"),
            ("not a url", "not a url"),
        ] {
            assert_eq!(shown_url(url), shown);
        }
    }
}
