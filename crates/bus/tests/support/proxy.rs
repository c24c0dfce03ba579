//! Between a client and its server: hands everything on, or swallows the answers.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinSet,
};

/// A running proxy; it ends when it is dropped.
pub(crate) struct Proxy {
    port: u16,
    answers: Arc<Answers>,
    _accepting: JoinSet<()>,
}

#[derive(Default)]
struct Answers {
    swallow: AtomicBool,
    swallowed: AtomicU64,
}

impl Proxy {
    /// In front of a server on this port of this machine.
    pub(crate) async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let answers = Arc::<Answers>::default();
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, server, answers.clone()));
        Self { port, answers, _accepting: accepting }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// From now on the server hears everything, and nobody hears the server.
    pub(crate) fn swallow_answers(&self) {
        self.answers.swallow.store(true, Ordering::Relaxed);
    }

    /// From now on it is heard again.
    pub(crate) fn pass_answers(&self) {
        self.answers.swallow.store(false, Ordering::Relaxed);
    }

    /// How many bytes nobody has heard.
    pub(crate) fn swallowed(&self) -> u64 {
        self.answers.swallowed.load(Ordering::Relaxed)
    }
}

async fn accept(listener: TcpListener, server: u16, answers: Arc<Answers>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let Ok(upstream) = TcpStream::connect(("127.0.0.1", server)).await else { continue };
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = upstream.into_split();
        connections.spawn(hand_on(from_client, to_server, None));
        connections.spawn(hand_on(from_server, to_client, Some(answers.clone())));
    }
}

/// Until either side closes. A chunk is swallowed as a whole; where one ends in the
/// middle of a message, the client reconnects, which is one more way to lose an answer.
async fn hand_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, answers: Option<Arc<Answers>>) {
    let mut chunk = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        match &answers {
            Some(answers) if answers.swallow.load(Ordering::Relaxed) => {
                answers.swallowed.fetch_add(read as u64, Ordering::Relaxed);
            }
            _ if to.write_all(&chunk[..read]).await.is_err() => return,
            _ => {}
        }
    }
}
