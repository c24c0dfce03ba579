//! Host allow-list patterns.

use std::net::Ipv6Addr;

use reqwest::Url;

/// One entry of an allow-list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HostPattern {
    /// `*`: any host.
    Any,
    /// `example.org`: this host and no other.
    Exact(String),
    /// `*.example.org`: its subdomains, kept with the leading dot.
    Under(String),
}

impl HostPattern {
    /// Reads a pattern; the error says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let (is_under, host) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let host = normal_host(host).ok_or_else(|| {
            format!("`{text}` is no host pattern; write `example.org`, `*.example.org` or `*`")
        })?;
        Ok(if is_under { Self::Under(format!(".{host}")) } else { Self::Exact(host) })
    }

    /// Whether a URL's host matches. `host` is as [`url_host`] gives it.
    pub(crate) fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => host == exact,
            Self::Under(suffix) => host.ends_with(suffix) && host.len() > suffix.len(),
        }
    }
}

/// The host of a URL in the form that patterns are compared in: lower case,
/// IDNA-encoded, without a root dot or an IPv6 address's brackets.
pub(crate) fn url_host(url: &Url) -> Option<&str> {
    let host = url.host_str()?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    Some(host.strip_suffix('.').unwrap_or(host)).filter(|host| !host.is_empty())
}

/// Puts a pattern's host through the URL parser, so that both sides of a
/// comparison have been normalised by the same code.
fn normal_host(host: &str) -> Option<String> {
    let is_plain = |c: char| !matches!(c, '/' | '\\' | '?' | '#' | '@' | ':' | '*' | '%');
    let host = match host.trim_matches(['[', ']']).parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) if host.chars().all(is_plain) => host.to_owned(),
        Err(_) => return None,
    };
    let url = Url::parse(&format!("http://{host}/")).ok()?;
    url_host(&url).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, url: &str) -> bool {
        let url = Url::parse(url).unwrap();
        HostPattern::parse(pattern).unwrap().matches(url_host(&url).unwrap())
    }

    #[test]
    fn patterns_match_whole_hosts() {
        assert!(matches("*", "http://anything.example"));
        assert!(matches("Example.ORG", "http://example.org./x"));
        assert!(matches("*.example.org", "http://a.b.example.org"));
        assert!(matches("bücher.example", "http://xn--bcher-kva.example"));
        assert!(matches("[::1]", "http://[0:0::1]:80"));
        assert!(matches("127.0.0.1", "http://2130706433"));
        assert!(!matches("example.org", "http://a.example.org"));
        assert!(!matches("*.example.org", "http://example.org"));
        assert!(!matches("*.example.org", "http://badexample.org"));
        assert!(!matches("example.org", "http://example.org.evil.example"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in ["", "http://x", "x:80", "a/b", "*.*", "a.*.b", "x@y", "*.", "**", "a b", "%41"] {
            assert!(HostPattern::parse(text).is_err(), "{text:?} was accepted");
        }
    }
}
