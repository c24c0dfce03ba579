//! Where a model is served, and how its errors are told to people.

use std::collections::BTreeMap;

use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use crate::dialect::Dialect;
use crate::error::{Error, ErrorClass};
use crate::secret::Secret;
use crate::transport::Timeouts;
use crate::wire::{Wire, anthropic_messages};

/// One served model.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The name in the configuration; errors speak of it.
    pub name: String,
    /// What is spoken there.
    pub wire: Wire,
    /// With the API's version: `https://api.openai.com/v1`. Anthropic's own programs leave it
    /// out, so for that wire it may be missing.
    pub base_url: String,
    pub api_key: Option<Secret>,
    /// The model to ask when a request names none.
    pub model: String,
    pub dialect: Dialect,
    pub timeouts: Timeouts,
    /// Whether answers are asked for as streams also where nobody reads along: a provider that has
    /// gone silent is noticed after [`Timeouts::first_byte`] or [`Timeouts::idle`]. Without it only
    /// [`Timeouts::total`] bounds the wait for them.
    pub always_stream: bool,
    pub extra_headers: BTreeMap<String, String>,
}

impl Endpoint {
    pub(super) fn base(&self) -> Result<Url, Error> {
        let url = Url::parse(&self.base_url).ok();
        let mut url = url
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| self.misconfigured("base_url is no HTTP address such as https://host/v1"))?;
        let path = url.path().trim_end_matches('/').to_owned();
        if self.wire == Wire::AnthropicMessages && !path.ends_with("/v1") {
            url.set_path(&format!("{path}/v1"));
        }
        Ok(url)
    }

    pub(super) fn headers(&self) -> Result<HeaderMap, Error> {
        let mut headers = HeaderMap::new();
        if self.wire == Wire::AnthropicMessages {
            let version = HeaderValue::from_static(anthropic_messages::VERSION);
            headers.insert("anthropic-version", version);
        }
        for (name, value) in &self.extra_headers {
            let header = (name.parse::<HeaderName>(), value.parse::<HeaderValue>());
            let (Ok(key), Ok(mut value)) = header else {
                return Err(self.misconfigured(&format!("extra header `{name}` is malformed")));
            };
            // Gateways take their keys in headers of their own.
            value.set_sensitive(true);
            headers.insert(key, value);
        }
        if let Some(key) = &self.api_key {
            let (name, value) = match self.wire {
                Wire::OpenAiChat => (AUTHORIZATION, format!("Bearer {}", key.expose())),
                Wire::AnthropicMessages => (HeaderName::from_static("x-api-key"), key.expose().to_owned()),
            };
            let mut value = HeaderValue::from_str(&value)
                .map_err(|_| self.misconfigured("the API key has characters that no key has"))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Ok(headers)
    }

    /// The error with what a person needs to act on it: which endpoint, which address, and what
    /// to check; and without anything that must not be shown.
    pub(super) fn explain(&self, error: Error, model: &str) -> Error {
        let mut message =
            format!("model endpoint `{}` at {}: {}", self.name, self.shown_url(), error.message);
        match error.class {
            ErrorClass::Unauthorized if self.api_key.is_none() => {
                message.push_str(&format!(" (no API key is set: set models.{}.api_key_env)", self.name));
            }
            ErrorClass::Unauthorized => {
                message.push_str(&format!(" (check the key that models.{}.api_key_env names)", self.name));
            }
            ErrorClass::NotFound => message.push_str(&format!(
                " (is model `{model}` served there, and does base_url end in the API's version, \
                 such as /v1?)"
            )),
            ErrorClass::Quota => message.push_str(" (the account needs credit or a higher limit)"),
            _ => {}
        }
        Error { message: self.redact(&message), code: error.code.map(|code| self.redact(&code)), ..error }
    }

    fn redact(&self, text: &str) -> String {
        match &self.api_key {
            Some(key) => key.redact(text),
            None => text.to_owned(),
        }
    }

    /// The address without user, password and query, any of which may be a credential.
    fn shown_url(&self) -> String {
        let Ok(mut url) = Url::parse(&self.base_url) else {
            return "an unreadable address".to_owned();
        };
        // Both fail only for addresses that cannot have them.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_query(None);
        url.to_string()
    }

    fn misconfigured(&self, what: &str) -> Error {
        Error::new(ErrorClass::InvalidRequest, format!("model endpoint `{}`: {what}", self.name))
    }
}
