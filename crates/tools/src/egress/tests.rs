//! The wall, tried from inside: nothing forbidden is ever connected to.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::tool::ToolError;
use planfleet_core::failure::FailureClass;

/// A server on loopback that answers each connection with what `answer` makes
/// of the request, and counts connections.
struct Server {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = accepted.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let mut request = vec![0; 4096];
                let read = stream.read(&mut request).await.unwrap_or(0);
                let answer = answer(&String::from_utf8_lossy(&request[..read]));
                let _ = stream.write_all(&answer).await;
            }
        });
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self { address, accepted, _tasks: tasks }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

fn response(head: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn gateway(settings: &Settings) -> Gateway {
    Gateway::new(settings).unwrap()
}

fn loopback() -> Settings {
    Settings { allow_loopback: true, ..Settings::default() }
}

/// Names for tests, so that none of them asks a real name server.
struct Names(BTreeMap<&'static str, Vec<IpAddr>>);

impl Lookup for Names {
    fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let found = self.0.get(host.as_str()).cloned();
        Box::pin(async move { found.ok_or_else(|| io::Error::other("Name or service not known")) })
    }
}

/// Spellings of addresses that must not be reached; `PORT` is a live listener's.
const FORBIDDEN_SPELLINGS: [&str; 91] = [
    // loopback: dotted, short, decimal, octal, hex, mixed, padded, encoded
    "http://127.0.0.1:PORT/",
    "http://127.0.0.2:PORT/",
    "http://127.255.255.254:PORT/",
    "http://127.1:PORT/",
    "http://127.0.1:PORT/",
    "http://2130706433:PORT/",
    "http://017700000001:PORT/",
    "http://0x7f000001:PORT/",
    "http://0x7f.0.0.1:PORT/",
    "http://0x7f.1:PORT/",
    "http://0177.0.0.1:PORT/",
    "http://0177.1:PORT/",
    "http://0177.0.0.01:PORT/",
    "http://0x7F.0x0.0x0.0x1:PORT/",
    "http://127.0x0.0.1:PORT/",
    "http://127.0.0.0x1:PORT/",
    "http://00000177.0.0.1:PORT/",
    "http://0x000007f.0.0.1:PORT/",
    "http://127.000.000.001:PORT/",
    "http://127.0.0.1.:PORT/",
    "http://%31%32%37.0.0.1:PORT/",
    "http://127%2e0%2e0%2e1:PORT/",
    "http://127。0。0。1:PORT/",
    "http://１２７.０.０.１:PORT/",
    "http://①②⑦.⓪.⓪.①:PORT/",
    "http:127.0.0.1:PORT/",
    "http:/127.0.0.1:PORT/",
    "http:\\\\127.0.0.1:PORT\\",
    "http:///127.0.0.1:PORT/",
    "HTTP://127.0.0.1:PORT/",
    "  http://127.0.0.1:PORT/  ",
    "ht\ntp://127.0.0.1:PORT/",
    "http://127.0.0.1\t:PORT/",
    // this host
    "http://0.0.0.0:PORT/",
    "http://0:PORT/",
    "http://0.0.0.1:PORT/",
    "http://0x0:PORT/",
    "http://0.1.2.3:PORT/",
    // loopback by name
    "http://localhost:PORT/",
    "http://LOCALHOST:PORT/",
    "http://ｌocalhost:PORT/",
    // IPv6: loopback, unspecified, mapped, compatible, translated
    "http://[::1]:PORT/",
    "http://[0:0:0:0:0:0:0:1]:PORT/",
    "http://[0000::0001]:PORT/",
    "http://[::]:PORT/",
    "http://[::ffff:127.0.0.1]:PORT/",
    "http://[::ffff:7f00:1]:PORT/",
    "http://[::FFFF:7F00:0001]:PORT/",
    "http://[0:0:0:0:0:ffff:127.0.0.1]:PORT/",
    "http://[::127.0.0.1]:PORT/",
    "http://[::7f00:1]:PORT/",
    "http://[::ffff:0:127.0.0.1]:PORT/",
    "http://[64:ff9b::127.0.0.1]:PORT/",
    "http://[64:ff9b::7f00:1]:PORT/",
    "http://[64:ff9b:1::127.0.0.1]:PORT/",
    "http://[2002:7f00:1::]:PORT/",
    "http://[2001:0:7f00:1::]:PORT/",
    "http://[2001:0:4136:e378:8000:63bf:80ff:fffe]:PORT/",
    // cloud metadata
    "http://169.254.169.254:PORT/latest/meta-data/",
    "http://2852039166:PORT/",
    "http://0xa9fea9fe:PORT/",
    "http://0251.0376.0251.0376:PORT/",
    "http://169.254.43518:PORT/",
    "http://[::ffff:169.254.169.254]:PORT/",
    "http://[fd00:ec2::254]:PORT/",
    "http://100.100.100.200:PORT/",
    "http://192.0.0.192:PORT/",
    "http://168.63.129.16:PORT/",
    // private, shared, documentation, benchmarking, multicast, reserved
    "http://10.0.0.1:PORT/",
    "http://10.1:PORT/",
    "http://167772161:PORT/",
    "http://172.16.0.1:PORT/",
    "http://172.31.255.255:PORT/",
    "http://192.168.0.1:PORT/",
    "http://192.168.257:PORT/",
    "http://3232235521:PORT/",
    "http://100.64.0.1:PORT/",
    "http://192.0.2.1:PORT/",
    "http://198.18.0.1:PORT/",
    "http://198.51.100.1:PORT/",
    "http://203.0.113.1:PORT/",
    "http://224.0.0.1:PORT/",
    "http://240.0.0.1:PORT/",
    "http://255.255.255.255:PORT/",
    "http://192.88.99.1:PORT/",
    // IPv6 ranges that are not global
    "http://[fc00::1]:PORT/",
    "http://[fe80::1]:PORT/",
    "http://[fec0::1]:PORT/",
    "http://[ff02::1]:PORT/",
    "http://[2001:db8::1]:PORT/",
    "http://[100::1]:PORT/",
];

#[tokio::test]
async fn no_spelling_of_a_forbidden_address_is_connected_to() {
    let server = Server::start(|_| response("200 OK", b"reached")).await;
    let gateway = gateway(&Settings::default());
    for spelling in FORBIDDEN_SPELLINGS {
        let url = spelling.replace("PORT", &server.address.port().to_string());
        let error = ToolError::from(gateway.get(&url, None).await.unwrap_err());
        assert_eq!(error.class, FailureClass::Denied, "{url}: {error}");
        assert!(error.message.contains("not a public address"), "{url}: {error}");
    }
    assert_eq!(server.accepted(), 0);
}

#[tokio::test]
async fn what_is_no_plain_web_address_is_refused() {
    let gateway = gateway(&loopback());
    for (url, class) in [
        ("file:///etc/passwd", FailureClass::Denied),
        ("gopher://127.0.0.1/", FailureClass::Denied),
        ("ftp://example.org/", FailureClass::Denied),
        ("data:text/plain,x", FailureClass::Denied),
        ("http://user@127.0.0.1/", FailureClass::Denied),
        ("http://user:secret@127.0.0.1/", FailureClass::Denied),
        ("http://example.org@127.0.0.1/", FailureClass::Denied),
        ("", FailureClass::ToolError),
        ("127.0.0.1", FailureClass::ToolError),
        ("http://", FailureClass::ToolError),
        ("http://[::1", FailureClass::ToolError),
        ("http://[fe80::1%25eth0]/", FailureClass::ToolError),
        ("http://256.256.256.256/", FailureClass::ToolError),
        ("http://127.0.0.1%00.example/", FailureClass::ToolError),
    ] {
        let error = ToolError::from(gateway.get(url, None).await.unwrap_err());
        assert_eq!(error.class, class, "{url}: {error}");
    }
}

#[tokio::test]
async fn names_are_judged_by_their_addresses() {
    let server = Server::start(|_| response("200 OK", b"reached")).await;
    let names = Names(BTreeMap::from([
        ("private.example", vec!["10.0.0.1".parse().unwrap()]),
        ("half.example", vec!["8.8.8.8".parse().unwrap(), "127.0.0.1".parse().unwrap()]),
        ("home.example", vec!["127.0.0.1".parse().unwrap()]),
    ]));
    let names = Arc::new(names);
    let port = server.address.port();

    let strict = Gateway::with_lookup(&Settings::default(), names.clone()).unwrap();
    for host in ["private.example", "half.example", "home.example"] {
        let error = strict.get(&format!("http://{host}:{port}/"), None).await.unwrap_err();
        assert_eq!(error.class(), FailureClass::Denied, "{host}: {error}");
    }
    let error = strict.get("http://missing.example/", None).await.unwrap_err();
    assert_eq!(error.class(), FailureClass::ToolError, "{error}");
    assert_eq!(server.accepted(), 0);

    let lenient = Gateway::with_lookup(&loopback(), names).unwrap();
    let fetched = lenient.get(&format!("http://home.example:{port}/"), None).await.unwrap();
    assert_eq!(fetched.body, b"reached");
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn hosts_must_be_allowed_by_settings_and_envelope() {
    let server = Server::start(|_| response("200 OK", b"")).await;
    let settings = Settings { hosts: vec!["127.0.0.1".into()], ..loopback() };
    let gateway = gateway(&settings);
    let url = server.url("/");
    let error = gateway.get("http://example.org/", None).await.unwrap_err();
    assert!(error.to_string().contains("tools.hosts"), "{error}");
    for envelope in [vec![], vec!["example.org".to_owned()], vec!["not a host".to_owned()]] {
        let error = gateway.get(&url, Some(&envelope)).await.unwrap_err();
        assert!(error.to_string().contains("envelope"), "{error}");
    }
    assert_eq!(server.accepted(), 0);
    gateway.get(&url, Some(&["127.0.0.1".to_owned()])).await.unwrap();
}

#[tokio::test]
async fn redirects_are_followed_and_checked() {
    let server = Server::start(|request| match request.split(' ').nth(1).unwrap_or("") {
        "/relative" => response("302 Found\r\nlocation: /end", b""),
        "/private" => response("301 Moved\r\nlocation: http://169.254.169.254/", b""),
        "/file" => response("301 Moved\r\nlocation: file:///etc/passwd", b""),
        "/loop" => response("307 Again\r\nlocation: /loop", b""),
        _ => response("200 OK\r\ncontent-type: text/plain", b"end"),
    })
    .await;
    let gateway = gateway(&loopback());

    let fetched = gateway.get(&server.url("/relative"), None).await.unwrap();
    assert_eq!((fetched.url.path(), fetched.body.as_slice()), ("/end", &b"end"[..]));
    for path in ["/private", "/file"] {
        let error = gateway.get(&server.url(path), None).await.unwrap_err();
        assert_eq!(error.class(), FailureClass::Denied, "{path}: {error}");
    }
    let before = server.accepted();
    let error = gateway.get(&server.url("/loop"), None).await.unwrap_err();
    assert!(matches!(error, Error::Redirects { .. }), "{error}");
    assert_eq!(server.accepted() - before, 1 + REDIRECTS_MAX);
}

#[tokio::test]
async fn bodies_stop_at_the_cap() {
    let server = Server::start(|_| response("200 OK", &[b'x'; 5000])).await;
    for (cap, truncated) in [(4999, true), (5000, false), (1, true)] {
        let settings = Settings { http_body_bytes_max: cap, ..loopback() };
        let fetched = gateway(&settings).get(&server.url("/"), None).await.unwrap();
        assert_eq!((fetched.body.len(), fetched.truncated), (cap.min(5000), truncated));
    }
}

#[tokio::test]
async fn a_decompression_bomb_stops_at_the_cap() {
    let bomb = gzip_of_zeros(64 << 20);
    assert!(bomb.len() < 1 << 20);
    let server = Server::start(move |_| response("200 OK\r\ncontent-encoding: gzip", &bomb)).await;
    let settings = Settings { http_body_bytes_max: 100_000, ..loopback() };
    let fetched = gateway(&settings).get(&server.url("/"), None).await.unwrap();
    assert_eq!((fetched.body.len(), fetched.truncated), (100_000, true));
}

/// Zeros, compressed by the system's gzip.
fn gzip_of_zeros(bytes: usize) -> Vec<u8> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&vec![0; bytes]).unwrap();
    std::process::Command::new("gzip").arg("-c").arg(file.path()).output().unwrap().stdout
}

#[tokio::test]
async fn a_silent_server_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = Settings { http_timeout_ms: 50, ..loopback() };
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let error = gateway(&settings).get(&url, None).await.unwrap_err();
    assert_eq!(error.class(), FailureClass::Timeout, "{error}");
}

#[tokio::test]
async fn a_refused_connection_is_transient() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let error = gateway(&loopback()).get(&url, None).await.unwrap_err();
    assert_eq!(error.class(), FailureClass::Transient, "{error}");
}
