//! The effective settings for people to read, without what they must not see.

use ::toml::Value;

use super::{Settings, url};

const REDACTED: &str = "<redacted>";

pub(super) fn toml(settings: &Settings) -> Result<String, ::toml::ser::Error> {
    let mut tree = Value::try_from(settings)?;
    hide(&mut tree, false);
    ::toml::to_string_pretty(&tree)
}

/// Replaces secrets in place; `secret` says that a parent key covers all below.
fn hide(value: &mut Value, secret: bool) {
    match value {
        Value::Table(table) => {
            for (key, child) in table.iter_mut() {
                // `[credentials]` says where secrets are and whom they are for.
                let names_secrets = key == "credentials" && child.is_table();
                hide(child, secret || (is_secret_key(key) && !names_secrets));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| hide(item, secret)),
        Value::String(text) if text.is_empty() => {}
        Value::String(text) => *text = hidden_text(text, secret),
        other if secret => *other = Value::String(REDACTED.to_owned()),
        _ => {}
    }
}

/// A PEM or NATS credentials block is a secret wherever someone pasted it, and
/// URLs carry passwords and keys.
fn hidden_text(text: &str, secret: bool) -> String {
    if secret || text.contains("-----BEGIN") {
        return REDACTED.to_owned();
    }
    // Other text may have an `@` or a `?` of its own.
    if text.contains("://") { url::shown_url(text) } else { text.to_owned() }
}

/// Whether a key's value is a secret by its name. Names that end in `_env` or
/// `_file` say where a secret is, and `max_output_tokens` counts something.
fn is_secret_key(key: &str) -> bool {
    const ENDINGS: [&str; 9] = [
        "apikey",
        "password",
        "passwd",
        "secret",
        "token",
        "authorization",
        "credentials",
        "privatekey",
        "extraheaders",
    ];
    let name: String =
        key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}
