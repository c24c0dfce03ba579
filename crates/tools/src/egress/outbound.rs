//! What is sent, and what becomes of it where a redirect leads.

use reqwest::header::{self, HeaderMap};
use reqwest::{Client, Method, RequestBuilder, StatusCode, Url};

use super::REDIRECTS_MAX;

/// Names the call, the same for every try of it.
const IDEMPOTENCY_KEY: header::HeaderName = header::HeaderName::from_static("idempotency-key");

/// A request, but for its URL.
#[derive(Debug, Clone)]
pub(crate) struct Outbound {
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Vec<u8>>,
}

/// Whose URL it is, which decides what it may reach.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reach<'a> {
    /// A run's: the settings' hosts, narrowed by those of its envelope where there is one.
    Run(Option<&'a [String]>),
    /// The operator's own, from the settings, which names its host by itself. It is not
    /// redirected: what answers elsewhere is not what was configured.
    Operator,
}

impl Reach<'_> {
    pub(super) const fn redirects_max(self) -> usize {
        match self {
            Self::Run(_) => REDIRECTS_MAX,
            Self::Operator => 0,
        }
    }
}

impl Outbound {
    /// A plain GET.
    pub(crate) fn get() -> Self {
        Self { method: Method::GET, headers: HeaderMap::new(), body: None }
    }

    /// With the headers of credentials on top of its own.
    pub(super) fn request(&self, client: &Client, url: Url, credentials: HeaderMap) -> RequestBuilder {
        let mut headers = self.headers.clone();
        headers.extend(credentials);
        let request = client.request(self.method.clone(), url).headers(headers);
        match &self.body {
            Some(body) => request.body(body.clone()),
            None => request,
        }
    }

    /// What is asked of the place that an answer of that status leads to, as browsers do it: a
    /// POST becomes a GET unless the status forbids it, and another origin is told nothing that
    /// was meant for the first.
    pub(super) fn redirected(mut self, status: StatusCode, same_origin: bool) -> Self {
        let becomes_get = match status.as_u16() {
            303 => self.method != Method::HEAD,
            301 | 302 => self.method == Method::POST,
            _ => false,
        };
        if becomes_get {
            self.method = Method::GET;
            self.body = None;
            self.headers.remove(header::CONTENT_TYPE);
        }
        if !same_origin {
            let mut kept = vec![header::ACCEPT, header::CONTENT_TYPE];
            if !becomes_get {
                // Which call it is, is what keeps the other origin from doing it twice.
                kept.push(IDEMPOTENCY_KEY);
            }
            let mut own = std::mem::take(&mut self.headers);
            self.headers.extend(kept.into_iter().filter_map(|name| {
                let value = own.remove(&name)?;
                Some((name, value))
            }));
        }
        self
    }
}
