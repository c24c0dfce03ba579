//! Where a model is served, and how its errors are told to people.

use std::collections::BTreeMap;

use planfleet_core::failure::trim_chars;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use crate::dialect::Dialect;
use crate::error::{Error, ErrorClass};
use crate::secret::Secret;
use crate::transport::Timeouts;
use crate::wire::{Wire, anthropic_messages};

/// Longest part of a server's message that is shown: some servers echo the whole request.
const MESSAGE_CHARS_MAX: usize = 550;

/// A shorter word of a header occurs by chance, and is no key.
const KEY_CHARS_MIN: usize = 8;

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
        // Redacted before it is cut: half a key would not be found.
        let said = trim_chars(&self.redact(&error.message), MESSAGE_CHARS_MAX);
        let mut message = format!("model endpoint `{}` at {}: {said}", self.name, self.shown_url());
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
        Error { message, code: error.code.map(|code| self.redact(&code)), ..error }
    }

    /// Without the key and what stands in the headers, where gateways take theirs.
    fn redact(&self, text: &str) -> String {
        let words = self.extra_headers.values().flat_map(|value| value.split_whitespace());
        let keys = words.filter(|word| word.len() >= KEY_CHARS_MIN).map(Secret::new);
        let text = self.api_key.iter().fold(text.to_owned(), |text, key| key.redact(&text));
        keys.fold(text, |text, key| key.redact(&text))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_in_an_error_nor_half_of_one() {
        let headers = [("x-gateway", "Bearer gateway-key-1"), ("x-version", "2")];
        let endpoint = Endpoint {
            name: "fast".to_owned(),
            wire: Wire::OpenAiChat,
            base_url: "https://llm.example/v1".to_owned(),
            api_key: Some(Secret::new("sk-very-secret")),
            model: "m".to_owned(),
            dialect: Dialect::default(),
            timeouts: Timeouts::default(),
            always_stream: true,
            extra_headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        };
        // Such that a cut would go through either of them.
        for filler in 480..560 {
            for key in ["sk-very-secret", "gateway-key-1"] {
                let said = format!("{} {key} is wrong", "x".repeat(filler));
                let error = Error { code: Some(key.to_owned()), ..Error::new(ErrorClass::Refused, said) };
                let error = endpoint.explain(error, "m");
                assert!(!error.message.contains(&key[..4]) && error.code.as_deref() == Some("[redacted]"));
                assert!(error.message.len() < MESSAGE_CHARS_MAX + 120, "{}", error.message);
            }
        }
        let told = endpoint.explain(Error::new(ErrorClass::Refused, "version 2 is refused"), "m").message;
        assert!(told.ends_with("version 2 is refused"), "{told}");
    }
}
