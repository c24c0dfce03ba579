//! Names to vetted addresses, at the moment of connecting.
//!
//! The HTTP client asks this resolver and connects to what it answers, so no
//! second look-up can answer differently (DNS rebinding). An address written
//! into the URL itself never comes here: the gateway vets those beforehand.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address::{self, Forbidden};

/// Where the addresses of a name come from: the system, or a test.
pub(crate) trait Lookup: Send + Sync {
    fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The system's resolver.
pub(crate) struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Why a name led nowhere.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ResolveError {
    #[error("host `{host}` leads to an address that is refused: {forbidden}")]
    Forbidden { host: String, forbidden: Forbidden },
    #[error("there is no host `{host}` ({reason})")]
    Unknown { host: String, reason: String },
    #[error("host `{host}` cannot be resolved just now ({reason})")]
    Unavailable { host: String, reason: String },
}

/// Answers with addresses that have all been vetted, or not at all.
pub(crate) struct VettingResolver {
    pub(crate) lookup: Arc<dyn Lookup>,
    pub(crate) allow_loopback: bool,
}

impl Resolve for VettingResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        let found = self.lookup.lookup(host.clone());
        let allow_loopback = self.allow_loopback;
        Box::pin(async move {
            let addresses = vetted(host, found.await, allow_loopback)?;
            Ok(Box::new(addresses.into_iter().map(|ip| SocketAddr::new(ip, 0))) as Addrs)
        })
    }
}

/// One forbidden address spoils the name: a host that is half private is
/// either a mistake or an attack.
fn vetted(
    host: String,
    found: io::Result<Vec<IpAddr>>,
    allow_loopback: bool,
) -> Result<Vec<IpAddr>, ResolveError> {
    let addresses = match found {
        Ok(addresses) if addresses.is_empty() => {
            return Err(ResolveError::Unknown { host, reason: "no addresses".to_owned() });
        }
        Ok(addresses) => addresses,
        Err(error) => return Err(lookup_error(host, &error)),
    };
    match addresses.iter().find_map(|ip| address::vet(*ip, allow_loopback).err()) {
        None => Ok(addresses),
        Some(forbidden) => Err(ResolveError::Forbidden { host, forbidden }),
    }
}

/// getaddrinfo's code is lost in `io::Error`, so its text has to do. A wording
/// that is not known here counts as passing trouble, which only costs retries.
fn lookup_error(host: String, error: &io::Error) -> ResolveError {
    let reason = error.to_string();
    let is_final = ["not known", "No address associated", "Name does not resolve", "invalid"]
        .iter()
        .any(|text| reason.contains(text));
    if is_final { ResolveError::Unknown { host, reason } } else { ResolveError::Unavailable { host, reason } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vet(addresses: &[&str]) -> Result<Vec<IpAddr>, ResolveError> {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        vetted("h".to_owned(), Ok(addresses), false)
    }

    #[test]
    fn one_private_address_spoils_the_name() {
        assert_eq!(vet(&["8.8.8.8", "1.1.1.1"]).unwrap().len(), 2);
        assert!(matches!(vet(&["8.8.8.8", "10.0.0.1"]), Err(ResolveError::Forbidden { .. })));
        assert!(matches!(vet(&[]), Err(ResolveError::Unknown { .. })));
    }

    #[test]
    fn unknown_names_are_told_from_passing_trouble() {
        let error = |text: &str| lookup_error("h".to_owned(), &io::Error::other(text));
        assert!(matches!(error("Name or service not known"), ResolveError::Unknown { .. }));
        assert!(matches!(error("Temporary failure"), ResolveError::Unavailable { .. }));
    }
}
