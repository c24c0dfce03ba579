//! The one way out: every outbound request of every tool goes through here.
//!
//! A request passes when its scheme is http or https, its URL carries no
//! credentials, its host is allowed by the settings and by the run's envelope,
//! and **every** address of that host is public. The client connects to the
//! vetted addresses and to nothing else, uses no proxy (a proxy would resolve
//! names for itself) and follows no redirect; redirects are followed here, each
//! checked like a request of its own. What a host is told of credentials is
//! decided here too, by the host alone.

mod address;
mod credential;
mod error;
mod host;
mod outbound;
mod resolve;
#[cfg(test)]
mod spellings;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use planfleet_core::failure::trim_chars;
use reqwest::{Response, Url, header, redirect};

use crate::secrets::Secrets;
use crate::settings::{Settings, SettingsError};
pub(crate) use credential::Credential;
pub use credential::CredentialSettings;
pub(crate) use error::Error;
pub(crate) use host::HostPattern;
pub(crate) use outbound::{Outbound, Reach};
use resolve::{Lookup, SystemLookup, VettingResolver};

/// Real sites need one or two (http to https, to the canonical name); a longer
/// chain is a loop or a trap.
const REDIRECTS_MAX: usize = 3;

/// A host that does not answer a connection attempt within this time is down;
/// the rest of the fetch's time is better spent on another attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Idle connections kept per host: enough for a burst of one run's fetches.
const IDLE_PER_HOST_MAX: usize = 4;

/// Long enough for any real link; longer ones are payloads.
const URL_BYTES_MAX: usize = 8 << 10;

/// What came back, whatever its status.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) url: Url,
    pub(crate) status: u16,
    pub(crate) content_type: Option<String>,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Vec<u8>,
    /// Whether the body was longer than the cap and is cut there.
    pub(crate) truncated: bool,
    /// Whether it is the answer to a redirect, so that the request itself was answered before.
    pub(crate) redirected: bool,
}

/// The gateway. One per process: it owns the connection pool.
pub(crate) struct Gateway {
    client: reqwest::Client,
    hosts: Vec<HostPattern>,
    credentials: Vec<Credential>,
    allow_loopback: bool,
    timeout: Duration,
    body_bytes_max: usize,
    secrets: Secrets,
}

impl Gateway {
    /// Builds the gateway.
    ///
    /// # Errors
    ///
    /// A wrong host pattern or credential, or no root certificates on this machine.
    pub(crate) fn new(settings: &Settings) -> Result<Self, SettingsError> {
        Self::with_lookup(settings, Arc::new(SystemLookup))
    }

    fn with_lookup(settings: &Settings, lookup: Arc<dyn Lookup>) -> Result<Self, SettingsError> {
        let fault = |fault| SettingsError::Faults(vec![fault]);
        let hosts: Result<_, _> = settings.hosts.iter().map(|h| HostPattern::parse(h)).collect();
        let credentials: Result<_, _> =
            settings.credentials.iter().map(|(name, own)| Credential::read(name, own)).collect();
        let resolver = VettingResolver { lookup, allow_loopback: settings.allow_loopback };
        Ok(Self {
            client: client(settings, resolver).map_err(SettingsError::Client)?,
            hosts: hosts.map_err(fault)?,
            credentials: credentials.map_err(fault)?,
            allow_loopback: settings.allow_loopback,
            timeout: Duration::from_millis(settings.http_timeout_ms),
            body_bytes_max: settings.http_body_bytes_max,
            secrets: settings.secrets(),
        })
    }

    /// Sends one request and reads the answer, whatever its status.
    ///
    /// # Errors
    ///
    /// When it is refused, or no whole answer comes in time.
    pub(crate) async fn send(&self, url: &str, what: Outbound, reach: Reach<'_>) -> Result<Fetched, Error> {
        let url = parse(url)?;
        tokio::time::timeout(self.timeout, self.send_unbounded(url, what, reach))
            .await
            .unwrap_or_else(|_| Err(Error::Timeout { ms: self.timeout.as_millis() }))
    }

    /// The beginning of an answer, for an error. Secrets are taken out before it is cut, as half
    /// of one would not be found any more.
    pub(crate) fn excerpt(&self, fetched: &Fetched, chars_max: usize) -> String {
        let body = String::from_utf8_lossy(&fetched.body);
        trim_chars(self.secrets.removed_from(&body).trim(), chars_max)
    }

    /// How long [`Self::send`] may take at most.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The bare client, for a protocol that speaks HTTP by itself: it connects to vetted
    /// addresses only and follows no redirect. The URL has to pass [`Self::admit`] first.
    pub(crate) fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// Checks a URL of the operator's own, and gives what its host is to be told.
    ///
    /// # Errors
    ///
    /// When requests there would be refused.
    pub(crate) fn admit(&self, url: &str) -> Result<header::HeaderMap, Error> {
        let url = parse(url)?;
        self.check(&url, Reach::Operator)?;
        self.credentials_for(&url)
    }

    async fn send_unbounded(&self, url: Url, what: Outbound, reach: Reach<'_>) -> Result<Fetched, Error> {
        let (mut response, redirected) = self.follow(url, what, reach).await?;
        let (body, truncated) = read_capped(&mut response, self.body_bytes_max).await?;
        Ok(Fetched {
            url: response.url().clone(),
            status: response.status().as_u16(),
            content_type: header_text(&response, header::CONTENT_TYPE),
            retry_after: retry_after(&response),
            body,
            truncated,
            redirected,
        })
    }

    /// The last answer, and whether there was one before it.
    async fn follow(
        &self,
        start: Url,
        mut what: Outbound,
        reach: Reach<'_>,
    ) -> Result<(Response, bool), Error> {
        let mut url = start.clone();
        for hop in 0..=reach.redirects_max() {
            let response = match self.ask(&url, &what, reach).await {
                Ok(response) => response,
                Err(error) if hop > 0 => {
                    return Err(Error::Redirected { url: start, error: Box::new(error) });
                }
                Err(error) => return Err(error),
            };
            let Some(next) = redirect_target(&response)? else { return Ok((response, hop > 0)) };
            what = what.redirected(response.status(), url.origin() == next.origin());
            url = next;
        }
        Err(Error::Redirects { url: start, max: reach.redirects_max() })
    }

    async fn ask(&self, url: &Url, what: &Outbound, reach: Reach<'_>) -> Result<Response, Error> {
        self.check(url, reach)?;
        let credentials = self.credentials_for(url)?;
        Ok(what.request(&self.client, url.clone(), credentials).send().await?)
    }

    /// The headers that the credentials of a URL's host make. A secret travels over
    /// https only, or within this machine.
    fn credentials_for(&self, url: &Url) -> Result<header::HeaderMap, Error> {
        let mut headers = header::HeaderMap::new();
        let Some(host) = host::url_host(url) else { return Ok(headers) };
        for credential in self.credentials.iter().filter(|credential| credential.is_for(host)) {
            if url.scheme() != "https" && !is_this_machine(host) {
                return Err(Error::PlainCredential { host: host.to_owned() });
            }
            headers.insert(credential.header.clone(), credential.value.clone());
        }
        Ok(headers)
    }

    /// Everything that can be judged before a connection is opened.
    fn check(&self, url: &Url, reach: Reach<'_>) -> Result<(), Error> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Error::Scheme(url.scheme().to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Error::Credentials);
        }
        let host = host::url_host(url)
            .ok_or_else(|| Error::Url { url: url.to_string(), reason: "it has no host".to_owned() })?;
        if let Reach::Run(envelope) = reach {
            self.check_host(host, envelope)?;
        }
        match host.parse::<IpAddr>() {
            Ok(ip) => address::vet(ip, self.allow_loopback).map_err(Error::Address),
            Err(_) => Ok(()),
        }
    }

    fn check_host(&self, host: &str, envelope: Option<&[String]>) -> Result<(), Error> {
        let refused = |allowed_by| Err(Error::Host { host: host.to_owned(), allowed_by });
        if !self.hosts.iter().any(|pattern| pattern.matches(host)) {
            return refused("only hosts in tools.hosts may be reached");
        }
        // A pattern that cannot be read allows nothing.
        let is_in = |hosts: &[String]| {
            hosts.iter().any(|h| HostPattern::parse(h).is_ok_and(|pattern| pattern.matches(host)))
        };
        if !envelope.is_none_or(is_in) {
            return refused("only the hosts of the run's envelope may be reached");
        }
        Ok(())
    }
}

fn client(settings: &Settings, resolver: VettingResolver) -> Result<reqwest::Client, reqwest::Error> {
    // The client is built without a default TLS provider. An error means that
    // another part of the process has installed one already, which will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .dns_resolver(resolver)
        .no_proxy()
        .redirect(redirect::Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
        .user_agent(&settings.user_agent)
        .build()
}

fn parse(text: &str) -> Result<Url, Error> {
    let fault = |reason: String| Error::Url { url: trim_chars(text, 200), reason };
    if text.len() > URL_BYTES_MAX {
        return Err(fault(format!("longer than {URL_BYTES_MAX} bytes")));
    }
    Url::parse(text).map_err(|error| fault(error.to_string()))
}

/// Where a response sends us, if it does.
fn redirect_target(response: &Response) -> Result<Option<Url>, Error> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(location) = header_text(response, header::LOCATION) else { return Ok(None) };
    match response.url().join(&location) {
        Ok(url) => Ok(Some(url)),
        Err(error) => Err(Error::Url { url: location, reason: error.to_string() }),
    }
}

/// Reads at most `cap` bytes. Chunks come out of the decompressor one by one,
/// so a bomb costs no more memory than the cap and one chunk.
async fn read_capped(response: &mut Response, cap: usize) -> Result<(Vec<u8>, bool), Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = cap - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            return Ok((body, true));
        }
    }
    Ok((body, false))
}

fn header_text(response: &Response, name: header::HeaderName) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(str::to_owned)
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// `retry-after` in seconds. Its other form, a date, is left to the caller's
/// own backoff: comparing it needs the server's clock.
fn retry_after(response: &Response) -> Option<Duration> {
    header_text(response, header::RETRY_AFTER)?.trim().parse().ok().map(Duration::from_secs)
}
