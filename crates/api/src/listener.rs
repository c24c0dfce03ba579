//! The API's port: plain, or with TLS where the settings name a certificate.

mod tls;

use std::{io, net::SocketAddr, path::Path, sync::Arc};

use axum::{
    Router,
    serve::{self, ListenerExt as _},
};
use planfleet_runtime::health;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{Error, access::AccessConfig};

pub use tls::TlsError;

/// A port that was taken for the API.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    tls: Option<Arc<ServerConfig>>,
}

/// Takes the port that `api.listen` names.
///
/// # Errors
/// In one line that says what to set.
pub async fn listen(address: &str, access: &AccessConfig) -> Result<Listener, Error> {
    let listener = Listener { tcp: health::listen(address, "api.listen").await?, tls: None };
    listener.check_exposed(access)?;
    Ok(listener)
}

impl Listener {
    /// The same, for HTTPS alone: with a chain of certificates, the server's own first, and its key,
    /// both PEM.
    ///
    /// # Errors
    /// When a file cannot be read or used; it names the setting.
    pub fn with_tls(self, cert: &Path, key: &Path) -> Result<Self, TlsError> {
        Ok(Self { tls: Some(tls::config(cert, key)?), ..self })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// What a browser calls it, without a slash at the end.
    ///
    /// # Errors
    /// When the system does not say where it listens.
    pub fn url(&self) -> io::Result<String> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        Ok(format!("{scheme}://{}", self.local_addr()?))
    }

    pub(crate) fn check_exposed(&self, access: &AccessConfig) -> Result<(), Error> {
        let address = self.local_addr()?;
        let is_near = address.ip().to_canonical().is_loopback();
        if is_near || access.is_required(address.ip()) { Ok(()) } else { Err(Error::Exposed(address)) }
    }

    /// Serves until `stop`, then until what is in work is answered.
    pub(crate) async fn serve(self, router: Router, stop: CancellationToken) -> io::Result<()> {
        let stopped = stop.cancelled_owned();
        match self.tls {
            Some(config) => {
                let listener = tls::TlsListener::new(self.tcp, config);
                serve::serve(listener, router).with_graceful_shutdown(stopped).await
            }
            None => {
                // An answer of several pieces would wait 40 ms for the client to acknowledge the first.
                let listener = self.tcp.tap_io(|connection| drop(connection.set_nodelay(true)));
                serve::serve(listener, router).with_graceful_shutdown(stopped).await
            }
        }
    }
}
