//! Taking a port, with an error that says which setting chose it.

use std::io;
use std::time::Duration;

use tokio::net::TcpListener;

/// Binding is local; only the look-up of a host's name can take time.
const BIND_TIMEOUT: Duration = Duration::from_secs(5);

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {reason}; set {key} or {}", variable(.key))]
pub struct ListenError {
    /// `host:port` as configured.
    pub address: String,
    /// The setting that chose it, such as `health.listen`.
    pub key: &'static str,
    /// In a few words.
    pub reason: String,
    /// What kind of error the system gave.
    pub kind: io::ErrorKind,
}

/// Binds `host:port`, which the setting `key` chose.
pub async fn listen(address: &str, key: &'static str) -> Result<TcpListener, ListenError> {
    let bound = tokio::time::timeout(BIND_TIMEOUT, TcpListener::bind(address)).await;
    let error = match bound {
        Ok(Ok(listener)) => return Ok(listener),
        Ok(Err(error)) => error,
        Err(_) => io::Error::from(io::ErrorKind::TimedOut),
    };
    Err(ListenError { address: address.to_owned(), key, reason: reason(&error), kind: error.kind() })
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "address in use".to_owned(),
        io::ErrorKind::AddrNotAvailable => "address is not of this machine".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

fn variable(key: &str) -> String {
    format!("PLANFLEET__{}", key.replace('.', "__").to_uppercase())
}
