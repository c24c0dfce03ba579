//! Who a connection is: the key or credentials that it shows, what it trusts, and the
//! subjects on which it is answered.
//!
//! Whoever may listen to `_INBOX.>` reads the answers to everybody. So a key has inboxes
//! of its own, named after it, and the server lets nobody else listen there.

use std::path::Path;

use async_nats::ConnectOptions as ClientOptions;
use nkeys::{KeyPair, KeyPairType};

use super::{ConnectOptions, api::refused};
use crate::broker::Error;

/// Characters of a public key in its inboxes: 80 bits, so no two keys share them, in every
/// request that is sent.
const KEY_CHARS: usize = 16;

/// Where whoever has this public key is answered.
#[must_use]
pub fn inbox(public_key: &str) -> String {
    // The first character is that of all users.
    let own: String = public_key.chars().skip(1).take(KEY_CHARS).collect();
    format!("_INBOX.{own}")
}

/// The client's options as far as they say who it is.
pub(super) async fn options(options: &ConnectOptions) -> Result<ClientOptions, Error> {
    let (base, own_inbox) = match (&options.nkey_file, &options.creds_file) {
        (Some(path), _) => {
            let (seed, public_key) = seed(path).await?;
            (ClientOptions::with_nkey(seed), Some(inbox(&public_key)))
        }
        (None, Some(path)) => {
            let read = ClientOptions::with_credentials_file(path).await;
            let what = || format!("credentials file {}", path.display());
            (read.map_err(|error| refused(&what(), &error))?, None)
        }
        (None, None) => (ClientOptions::new(), None),
    };
    let base = match options.inbox_prefix.clone().or(own_inbox) {
        Some(prefix) => base.custom_inbox_prefix(prefix),
        None => base,
    };
    tls(base, options).await
}

/// The client reads these files when it connects, and says of one that is missing no more
/// than that; here each is named.
async fn tls(mut base: ClientOptions, options: &ConnectOptions) -> Result<ClientOptions, Error> {
    let tls = &options.tls;
    for path in [&tls.ca, &tls.cert, &tls.key].into_iter().flatten() {
        let read = tokio::fs::File::open(path).await;
        read.map_err(|error| refused(&format!("TLS file {}", path.display()), &error))?;
    }
    if let Some(ca) = &tls.ca {
        // Whoever names a CA never wants to be talked into a connection without one.
        base = base.add_root_certificates(ca.clone()).require_tls(true);
    }
    match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => Ok(base.add_client_certificate(cert.clone(), key.clone())),
        (None, None) => Ok(base),
        _ => Err(refused("TLS", "a certificate without its key, or a key without its certificate")),
    }
}

/// The seed in a file and the public key that follows from it. Lines that begin with `#`
/// are for people. The seed is in no error.
async fn seed(path: &Path) -> Result<(String, String), Error> {
    let what = format!("NKey file {}", path.display());
    let text = tokio::fs::read_to_string(path).await.map_err(|error| refused(&what, &error))?;
    let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    let seed = line.ok_or_else(|| refused(&what, "empty; expected a user's seed, which begins with SU"))?;
    match KeyPair::from_seed(seed) {
        Ok(pair) if pair.key_pair_type() == KeyPairType::User => Ok((seed.to_owned(), pair.public_key())),
        _ => Err(refused(&what, "no seed of a user's NKey, which begins with SU")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refusal(text: &str) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        seed(file.path()).await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn a_seed_is_read_among_words_for_people_and_told_to_nobody() {
        let user = KeyPair::new_user();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("# executor\n\n {}\n", user.seed().unwrap())).unwrap();
        assert_eq!(seed(file.path()).await.unwrap(), (user.seed().unwrap(), user.public_key()));
        let account = KeyPair::new_account().seed().unwrap();
        let said = refusal(&account).await;
        assert!(said.contains("begins with SU") && !said.contains(&account), "{said}");
        assert!(refusal("# nothing\n").await.contains("empty"));
    }

    #[tokio::test]
    async fn a_file_that_is_missing_is_named() {
        let mut wanted = ConnectOptions::default();
        wanted.tls.ca = Some("no/such/ca.pem".into());
        let said = options(&wanted).await.unwrap_err().to_string();
        assert!(said.contains("no/such/ca.pem"), "{said}");
        wanted.tls = super::super::Tls { cert: Some("Cargo.toml".into()), ..Default::default() };
        assert!(options(&wanted).await.unwrap_err().to_string().contains("without its key"));
    }

    #[test]
    fn two_keys_have_two_inboxes() {
        let (a, b) = (KeyPair::new_user().public_key(), KeyPair::new_user().public_key());
        assert_ne!(inbox(&a), inbox(&b));
        assert_eq!(inbox(&a).len(), "_INBOX.".len() + KEY_CHARS);
    }
}
