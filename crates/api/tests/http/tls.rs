//! The API by HTTPS.

#![expect(clippy::unwrap_used, reason = "a rig that does not work fails its test")]

use std::{fs, path::PathBuf};

use planfleet_api::{Config, Listener, access::AccessConfig};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::{Certificate, Client};
use tempfile::TempDir;
use tokio::{io::AsyncReadExt as _, net::TcpStream};

use crate::rig::Rig;

/// A server's certificate and key, and the authority that it is from.
struct Files {
    folder: TempDir,
    authority: Certificate,
}

impl Files {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let of_server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let files = Self {
            folder: tempfile::tempdir().unwrap(),
            authority: Certificate::from_pem(issuer.pem().as_bytes()).unwrap(),
        };
        fs::write(files.path("cert.pem"), of_server.signed_by(&key, &issuer).unwrap().pem()).unwrap();
        fs::write(files.path("key.pem"), key.serialize_pem()).unwrap();
        fs::write(files.path("other.pem"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

async fn listener() -> Listener {
    planfleet_api::listen("127.0.0.1:0", &AccessConfig::default()).await.unwrap()
}

#[tokio::test]
async fn an_api_with_a_certificate_speaks_https_and_nothing_else() {
    let files = Files::new();
    let listener = listener().await.with_tls(&files.path("cert.pem"), &files.path("key.pem")).unwrap();
    let address = listener.local_addr().unwrap();
    assert_eq!(listener.url().unwrap(), format!("https://{address}"));
    let trusting = Client::builder().tls_certs_only([files.authority.clone()]);
    let rig = Rig::on(listener, Config::default(), trusting);

    // Whoever connects and says nothing keeps nobody waiting.
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let answered = rig.get("/openapi.json").await;
    assert_eq!((answered.status.as_u16(), answered.body["openapi"].is_string()), (200, true), "{answered:?}");

    // Who does not know the authority is not served, and neither is plain HTTP: not a byte of it.
    let strict = Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let refused = strict.get(format!("https://{address}/openapi.json")).send().await.unwrap_err();
    assert!(refused.is_connect(), "{refused:?}");
    let mut plain = TcpStream::connect(address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut plain, b"GET /openapi.json HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
    drop(silent);
    rig.shut_down().await;
}

#[tokio::test]
async fn files_that_will_not_do_are_named_with_their_setting() {
    let files = Files::new();
    let fault = async |cert: &str, key: &str| {
        let tried = listener().await.with_tls(&files.path(cert), &files.path(key));
        tried.unwrap_err().to_string()
    };
    let missing = fault("none.pem", "key.pem").await;
    assert!(missing.starts_with("api.tls.cert: ") && missing.contains("none.pem"), "{missing}");
    let swapped = fault("key.pem", "key.pem").await;
    assert!(swapped.starts_with("api.tls.cert: ") && swapped.contains("there is none in it"), "{swapped}");
    let keyless = fault("cert.pem", "cert.pem").await;
    assert!(keyless.starts_with("api.tls.key: ") && keyless.contains("a private key"), "{keyless}");
    let strange = fault("cert.pem", "other.pem").await;
    assert!(strange.starts_with("api.tls: ") && strange.contains("the key of the first"), "{strange}");
}
