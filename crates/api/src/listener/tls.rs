//! HTTPS: a connection is the API's once it has shaken hands, and nobody waits for one that does not.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::serve::Listener;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _},
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// Two round trips, and a client that computes slowly.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Handshakes at once: each is a connection without a request. More wait in the system's queue,
/// until those before them have shaken hands or have run out of time.
const HANDSHAKES_MAX: usize = 256;

/// HTTP/1.1 is all that the API speaks.
const ALPN: &[u8] = b"http/1.1";

/// Why there is no HTTPS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing, or is not PEM of that kind.
    #[error("{setting}: {} cannot be used: {reason}; expected {expected}", .path.display())]
    File {
        /// The setting that names it.
        setting: &'static str,
        /// As configured.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// What would be right.
        expected: &'static str,
    },
    /// They do not belong together, or are of a kind that nobody takes.
    #[error("api.tls: {0}; expected the key of the first certificate in api.tls.cert")]
    Pair(#[from] rustls::Error),
}

/// A server's side of TLS 1.2 and 1.3 with these files.
pub(super) fn config(cert: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let wrong = |setting, path: &Path, reason: pem::Error, expected| TlsError::File {
        setting,
        path: path.to_owned(),
        reason: match reason {
            pem::Error::Io(error) => error.to_string(),
            pem::Error::NoItemsFound => "there is none in it".to_owned(),
            other => other.to_string(),
        },
        expected,
    };
    let chain = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain =
        chain.and_then(|chain| if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) });
    let chain = chain.map_err(|error| wrong("api.tls.cert", cert, error, "certificates in PEM"))?;
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| wrong("api.tls.key", key, error, "a private key in PEM"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, private)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// Connections that have shaken hands, as they come to it.
pub(super) struct TlsListener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
    shaking: JoinSet<Option<(TlsStream<TcpStream>, SocketAddr)>>,
}

impl TlsListener {
    pub(super) fn new(tcp: TcpListener, config: Arc<ServerConfig>) -> Self {
        Self { tcp, acceptor: TlsAcceptor::from(config), shaking: JoinSet::new() }
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            tokio::select! {
                biased;
                Some(shaken) = self.shaking.join_next() => {
                    if let Ok(Some(connection)) = shaken {
                        return connection;
                    }
                }
                (tcp, peer) = Listener::accept(&mut self.tcp), if self.shaking.len() < HANDSHAKES_MAX => {
                    self.shaking.spawn(shake_hands(self.acceptor.clone(), tcp, peer));
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

/// Nothing for whoever speaks no TLS, or not in time: scanners do so all day.
async fn shake_hands(
    acceptor: TlsAcceptor,
    tcp: TcpStream,
    peer: SocketAddr,
) -> Option<(TlsStream<TcpStream>, SocketAddr)> {
    // An answer of several pieces would wait 40 ms for the client to acknowledge the first.
    drop(tcp.set_nodelay(true));
    match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(tcp)).await {
        Ok(Ok(stream)) => Some((stream, peer)),
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "no TLS handshake");
            None
        }
        Err(_) => {
            tracing::debug!(%peer, "no TLS handshake in time");
            None
        }
    }
}
