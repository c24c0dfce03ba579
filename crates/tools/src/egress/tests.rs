//! The wall, tried from inside: nothing forbidden is ever connected to.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::credential::CredentialSettings;
use super::spellings::{FORBIDDEN_SPELLINGS, derived};
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

impl Gateway {
    async fn fetch(&self, url: &str, envelope: Option<&[String]>) -> Result<Fetched, Error> {
        self.send(url, Outbound::get(), Reach::Run(envelope)).await
    }
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

#[tokio::test]
async fn no_spelling_of_a_forbidden_address_is_connected_to() {
    let server = Server::start(|_| response("200 OK", b"reached")).await;
    let gateway = gateway(&Settings::default());
    let spellings = FORBIDDEN_SPELLINGS.iter().map(|&spelling| spelling.to_owned()).chain(derived());
    let mut tried = 0;
    for spelling in spellings {
        let url = spelling.replace("PORT", &server.address.port().to_string());
        let error = ToolError::from(gateway.fetch(&url, None).await.unwrap_err());
        assert_eq!(error.class, FailureClass::Denied, "{url}: {error}");
        assert!(error.message.contains("not a public address"), "{url}: {error}");
        tried += 1;
    }
    assert!(tried >= 300, "{tried}");
    assert_eq!(server.accepted(), 0);
}

#[tokio::test]
async fn no_redirect_leads_to_a_forbidden_address() {
    let targets: Arc<Vec<String>> = Arc::new(derived().collect());
    let shown = targets.clone();
    let server = Server::start(move |request| {
        let number: usize = request.split(['/', ' ']).nth(2).and_then(|n| n.parse().ok()).unwrap();
        let location = shown[number].replace("PORT", "80");
        response(&format!("302 Found\r\nlocation: {location}"), b"")
    })
    .await;
    let gateway = gateway(&loopback());
    for (number, target) in targets.iter().enumerate() {
        let error = gateway.fetch(&server.url(&format!("/{number}")), None).await.unwrap_err();
        assert_eq!(error.class(), FailureClass::Denied, "{target}: {error}");
        assert!(error.to_string().contains("not a public address"), "{target}: {error}");
    }
    assert_eq!(server.accepted(), targets.len(), "each was asked once, and nothing behind it");
}

/// A name whose answers change from one question to the next.
struct Rebinding(AtomicUsize);

impl Lookup for Rebinding {
    fn lookup(&self, _: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let turn = self.0.fetch_add(1, Ordering::SeqCst);
        let answer: &str = if turn.is_multiple_of(2) { "127.0.0.1" } else { "169.254.169.254" };
        Box::pin(async move { Ok(vec![answer.parse().unwrap()]) })
    }
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_judged_each_time_and_asked_once() {
    let server = Server::start(|_| response("200 OK", b"reached")).await;
    let names = Arc::new(Rebinding(AtomicUsize::new(0)));
    let gateway = Gateway::with_lookup(&loopback(), names.clone()).unwrap();
    let url = format!("http://rebinding.example:{}/", server.address.port());
    for turn in 0..20 {
        match gateway.fetch(&url, None).await {
            Ok(fetched) => assert_eq!((fetched.body.as_slice(), turn % 2), (&b"reached"[..], 0)),
            Err(error) => assert_eq!((error.class(), turn % 2), (FailureClass::Denied, 1), "{error}"),
        }
        assert_eq!(names.0.load(Ordering::SeqCst), turn + 1);
    }
    assert_eq!(server.accepted(), 10);
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
        let error = ToolError::from(gateway.fetch(url, None).await.unwrap_err());
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
        let error = strict.fetch(&format!("http://{host}:{port}/"), None).await.unwrap_err();
        assert_eq!(error.class(), FailureClass::Denied, "{host}: {error}");
    }
    let error = strict.fetch("http://missing.example/", None).await.unwrap_err();
    assert_eq!(error.class(), FailureClass::ToolError, "{error}");
    assert_eq!(server.accepted(), 0);

    let lenient = Gateway::with_lookup(&loopback(), names).unwrap();
    let fetched = lenient.fetch(&format!("http://home.example:{port}/"), None).await.unwrap();
    assert_eq!(fetched.body, b"reached");
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn hosts_must_be_allowed_by_settings_and_envelope() {
    let server = Server::start(|_| response("200 OK", b"")).await;
    let settings = Settings { hosts: vec!["127.0.0.1".into()], ..loopback() };
    let gateway = gateway(&settings);
    let url = server.url("/");
    let error = gateway.fetch("http://example.org/", None).await.unwrap_err();
    assert!(error.to_string().contains("tools.hosts"), "{error}");
    for envelope in [vec![], vec!["example.org".to_owned()], vec!["not a host".to_owned()]] {
        let error = gateway.fetch(&url, Some(&envelope)).await.unwrap_err();
        assert!(error.to_string().contains("envelope"), "{error}");
    }
    assert_eq!(server.accepted(), 0);
    gateway.fetch(&url, Some(&["127.0.0.1".to_owned()])).await.unwrap();
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

    let fetched = gateway.fetch(&server.url("/relative"), None).await.unwrap();
    assert_eq!((fetched.url.path(), fetched.body.as_slice()), ("/end", &b"end"[..]));
    for path in ["/private", "/file"] {
        let error = gateway.fetch(&server.url(path), None).await.unwrap_err();
        assert_eq!(error.class(), FailureClass::Denied, "{path}: {error}");
    }
    let before = server.accepted();
    let error = gateway.fetch(&server.url("/loop"), None).await.unwrap_err();
    assert!(matches!(error, Error::Redirects { .. }), "{error}");
    assert_eq!(server.accepted() - before, 1 + REDIRECTS_MAX);
}

#[tokio::test]
async fn bodies_stop_at_the_cap() {
    let server = Server::start(|_| response("200 OK", &[b'x'; 5000])).await;
    for (cap, truncated) in [(4999, true), (5000, false), (1, true)] {
        let settings = Settings { http_body_bytes_max: cap, ..loopback() };
        let fetched = gateway(&settings).fetch(&server.url("/"), None).await.unwrap();
        assert_eq!((fetched.body.len(), fetched.truncated), (cap.min(5000), truncated));
    }
}

#[tokio::test]
async fn a_decompression_bomb_stops_at_the_cap() {
    let bomb = gzip_of_zeros(64 << 20);
    assert!(bomb.len() < 1 << 20);
    let server = Server::start(move |_| response("200 OK\r\ncontent-encoding: gzip", &bomb)).await;
    let settings = Settings { http_body_bytes_max: 100_000, ..loopback() };
    let fetched = gateway(&settings).fetch(&server.url("/"), None).await.unwrap();
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
    let error = gateway(&settings).fetch(&url, None).await.unwrap_err();
    assert_eq!(error.class(), FailureClass::Timeout, "{error}");
}

#[tokio::test]
async fn a_refused_connection_is_transient() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let error = gateway(&loopback()).fetch(&url, None).await.unwrap_err();
    assert_eq!(error.class(), FailureClass::Transient, "{error}");
}

/// What a server was sent, request by request.
async fn recorder() -> (Server, Arc<std::sync::Mutex<Vec<String>>>) {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let own = seen.clone();
    let server = Server::start(move |request| {
        own.lock().unwrap().push(request.to_owned());
        let status = request.split(['/', ' ']).nth(2).unwrap_or("").to_owned();
        match status.parse::<u16>() {
            Ok(status) => response(&format!("{status} Moved\r\nlocation: /end"), b""),
            Err(_) => response("200 OK", b"end"),
        }
    })
    .await;
    (server, seen)
}

fn post() -> Outbound {
    let mut headers = header::HeaderMap::new();
    headers.insert("x-own", "mine".parse().unwrap());
    headers.insert("idempotency-key", "call-1".parse().unwrap());
    headers.insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
    Outbound { method: reqwest::Method::POST, headers, body: Some(b"{}".to_vec()) }
}

#[tokio::test]
async fn a_redirected_write_keeps_to_the_rules_of_its_status() {
    let (server, seen) = recorder().await;
    let gateway = gateway(&loopback());
    for (status, expected) in [(301, "GET"), (302, "GET"), (303, "GET"), (307, "POST"), (308, "POST")] {
        seen.lock().unwrap().clear();
        gateway.send(&server.url(&format!("/{status}")), post(), Reach::Run(None)).await.unwrap();
        let requests = seen.lock().unwrap().clone();
        let last = requests.last().unwrap();
        assert_eq!(requests.len(), 2);
        assert!(last.starts_with(&format!("{expected} /end ")), "{status}: {last}");
        assert_eq!(last.ends_with("{}"), expected == "POST", "{last}");
        assert!(last.contains("x-own: mine"), "the same origin: {last}");
    }
    // The operator's own URL is what was configured, or an error.
    let error = gateway.send(&server.url("/307"), post(), Reach::Operator).await.unwrap_err();
    assert!(matches!(error, Error::Redirects { max: 0, .. }), "{error}");
}

#[tokio::test]
async fn a_credential_goes_to_its_host_and_to_no_other() {
    let (second, seen) = recorder().await;
    let away = format!("http://localhost:{}/end", second.address.port());
    let first = Server::start(move |request| {
        assert!(request.contains("x-key: Bearer s3cret"), "{request}");
        response(&format!("307 Moved\r\nlocation: {away}"), b"")
    })
    .await;
    let credential = CredentialSettings {
        hosts: vec!["127.0.0.1".to_owned(), "far.example".to_owned()],
        header: "x-key".to_owned(),
        prefix: "Bearer ".to_owned(),
        value: "s3cret".to_owned(),
    };
    let settings = Settings { credentials: [("c".to_owned(), credential)].into(), ..loopback() };
    let gateway = gateway(&settings);
    gateway.send(&first.url("/"), post(), Reach::Run(None)).await.unwrap();
    let request = seen.lock().unwrap().last().unwrap().clone();
    assert!(request.starts_with("POST /end"), "{request}");
    assert!(!request.contains("s3cret") && !request.contains("x-own"), "{request}");
    assert!(request.contains("idempotency-key: call-1"), "it is the same call there: {request}");
    let error = gateway.fetch("http://far.example/", None).await.unwrap_err();
    assert!(matches!(error, Error::PlainCredential { .. }), "{error}");
}

#[tokio::test]
async fn an_excerpt_holds_no_part_of_a_secret() {
    let credential = CredentialSettings {
        hosts: vec!["127.0.0.1".to_owned()],
        header: "x-key".to_owned(),
        prefix: String::new(),
        value: "s3cret-of-the-web".to_owned(),
    };
    let settings = Settings { credentials: [("c".to_owned(), credential)].into(), ..loopback() };
    let server = Server::start(|_| response("500 Oops", b"your key is s3cret-of-the-web")).await;
    let gateway = gateway(&settings);
    let fetched = gateway.fetch(&server.url("/"), None).await.unwrap();
    for cut in 0..40 {
        assert!(!gateway.excerpt(&fetched, cut).contains("s3"), "{cut}");
    }
    assert_eq!(gateway.excerpt(&fetched, 40), "your key is [secret]");
}

/// Bytes that an endless answer of these chunks gets rid of before the gateway hangs up.
async fn endless(
    chunk: &'static [u8],
    pause: Duration,
    settings: &Settings,
) -> (usize, Result<Fetched, Error>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let flood = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let mut sent = 0;
        while stream.write_all(chunk).await.is_ok() {
            sent += chunk.len();
            tokio::time::sleep(pause).await;
        }
        sent
    };
    let gateway = gateway(settings);
    tokio::join!(flood, async { gateway.fetch(&url, None).await })
}

#[tokio::test]
async fn answers_without_an_end_are_cut_off() {
    let settings = Settings { http_body_bytes_max: 100_000, http_timeout_ms: 2_000, ..loopback() };
    let (sent, fetched) = endless(&[b'x'; 64 << 10], Duration::ZERO, &settings).await;
    let fetched = fetched.unwrap();
    assert_eq!((fetched.body.len(), fetched.truncated), (100_000, true));
    assert!(sent < 64 << 20, "{sent} bytes were taken, more than buffers on the way hold");
    // One that drips stays below the cap for ever, and runs into the time.
    let settings = Settings { http_timeout_ms: 200, ..settings };
    let (_, dripping) = endless(b"x", Duration::from_millis(5), &settings).await;
    assert_eq!(dripping.unwrap_err().class(), FailureClass::Timeout);
}
