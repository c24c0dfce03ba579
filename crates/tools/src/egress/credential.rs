//! Secrets that go with requests to hosts of theirs, and to no others.

use std::fmt;

use reqwest::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use super::HostPattern;

/// A credential with its value, as the gateway is given it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialSettings {
    /// Hosts that it is sent to: `api.example.org` or `*.example.org`, never `*`.
    pub hosts: Vec<String>,
    /// The header that it is sent in.
    pub header: String,
    /// What stands before it in the header, such as `Bearer `.
    pub prefix: String,
    /// The secret.
    #[serde(skip_serializing)]
    pub value: String,
}

impl fmt::Debug for CredentialSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CredentialSettings({} for {})", self.header, self.hosts.join(", "))
    }
}

/// One that is fit to be sent.
pub(crate) struct Credential {
    pub(super) header: HeaderName,
    pub(super) value: HeaderValue,
    hosts: Vec<HostPattern>,
}

impl Credential {
    /// Checks a credential; the error says what is wrong with it, without its value.
    pub(crate) fn read(name: &str, settings: &CredentialSettings) -> Result<Self, String> {
        let fault = |leaf: &str, what: String| format!("credentials.{name}.{leaf}: {what}");
        let mut hosts = Vec::new();
        for pattern in &settings.hosts {
            match HostPattern::parse(pattern) {
                Ok(HostPattern::Any) => {
                    return Err(fault("hosts", "`*` would send it to everybody; name its hosts".to_owned()));
                }
                Ok(pattern) => hosts.push(pattern),
                Err(what) => return Err(fault("hosts", what)),
            }
        }
        if hosts.is_empty() {
            return Err(fault("hosts", "names none; a credential is sent to its hosts only".to_owned()));
        }
        let header = HeaderName::try_from(settings.header.as_str())
            .map_err(|_| fault("header", format!("`{}` is no header name", settings.header)))?;
        let mut value = HeaderValue::try_from(format!("{}{}", settings.prefix, settings.value))
            .map_err(|_| fault("value", "holds characters that no header may hold".to_owned()))?;
        value.set_sensitive(true);
        Ok(Self { header, value, hosts })
    }

    /// Whether it is meant for a host, given as [`super::host::url_host`] gives it.
    pub(super) fn is_for(&self, host: &str) -> bool {
        self.hosts.iter().any(|pattern| pattern.matches(host))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(hosts: &[&str], header: &str, value: &str) -> CredentialSettings {
        CredentialSettings {
            hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
            header: header.to_owned(),
            prefix: "Bearer ".to_owned(),
            value: value.to_owned(),
        }
    }

    #[test]
    fn a_credential_is_for_its_hosts() {
        let read = Credential::read("c", &settings(&["api.example.org"], "authorization", "s3cret")).unwrap();
        assert!(read.is_for("api.example.org") && !read.is_for("example.org"));
        assert_eq!(read.value, "Bearer s3cret");
        assert!(!format!("{:?}", read.value).contains("s3cret"));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        for (hosts, header, value, said) in [
            (&["*"][..], "authorization", "s3cret", "everybody"),
            (&[], "authorization", "s3cret", "names none"),
            (&["a b"], "authorization", "s3cret", "no host pattern"),
            (&["a.example"], "no header", "s3cret", "no header name"),
            (&["a.example"], "x-key", "s3\ncret", "no header may hold"),
        ] {
            let settings = settings(hosts, header, value);
            let fault = Credential::read("c", &settings).err().unwrap();
            assert!(fault.contains(said) && !fault.contains("cret"), "{fault}");
            assert!(!format!("{settings:?}").contains("cret"));
        }
    }
}
