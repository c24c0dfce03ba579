//! What lies between a process and its broker: a TCP proxy that can break, refuse, delay
//! and dribble.
//!
//! Bytes keep their order whatever is done to them: a delay is a queue of pieces with the
//! time at which each may go on.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until, timeout},
};

/// A piece is what one read brings.
const PIECE_BYTES: usize = 16 * 1024;

/// Pieces under way in one direction: with more, the sender has to wait.
const PIECES_MAX: usize = 64;

/// A broker on the same machine that has not taken a connection by now will not.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// What one write of a dribble brings: commands and headers arrive in parts.
const DRIP_BYTES: usize = 7;

/// The pause after so many of them bounds a dribble to some 50 KiB/s: slow, and still
/// enough for leases to be renewed.
const DRIPS_PER_PAUSE: usize = 8;
const DRIP_PAUSE: Duration = Duration::from_millis(1);

/// What is done to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Nothing.
    Open,
    /// Those there are break, and new ones are not let through.
    Refuse,
    /// Bytes come that much later.
    Delay(Duration),
    /// Bytes come a few at a time.
    Drip,
}

/// What has been done so far.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) broken: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) delayed: AtomicU64,
    pub(crate) dripped: AtomicU64,
}

/// One process's way to all servers of its broker.
pub(crate) struct Proxy {
    addresses: Vec<SocketAddr>,
    state: watch::Sender<State>,
    counters: Arc<Counters>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    mode: Mode,
    /// Connections of an earlier generation are broken.
    generation: u64,
}

impl Proxy {
    /// A way to each of these servers, open.
    pub(crate) async fn start(servers: &[SocketAddr]) -> Self {
        let (state, watched) = watch::channel(State { mode: Mode::Open, generation: 0 });
        let counters = Arc::<Counters>::default();
        let mut addresses = Vec::new();
        for server in servers {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            addresses.push(listener.local_addr().expect("an address"));
            tokio::spawn(accept(listener, *server, watched.clone(), Arc::clone(&counters)));
        }
        Self { addresses, state, counters }
    }

    /// What the process is told to be its broker.
    pub(crate) fn url(&self) -> String {
        let urls: Vec<String> = self.addresses.iter().map(|address| format!("nats://{address}")).collect();
        urls.join(",")
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Breaks every connection there is.
    pub(crate) fn cut(&self) {
        self.state.send_modify(|state| state.generation += 1);
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.state.send_modify(|state| state.mode = mode);
        if mode == Mode::Refuse {
            self.cut();
        }
    }
}

async fn accept(
    listener: TcpListener,
    server: SocketAddr,
    state: watch::Receiver<State>,
    counters: Arc<Counters>,
) {
    while let Ok((client, _)) = listener.accept().await {
        let State { mode, generation } = *state.borrow();
        if mode == Mode::Refuse {
            counters.refused.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        tokio::spawn(connect(client, server, state.clone(), generation, Arc::clone(&counters)));
    }
}

async fn connect(
    client: TcpStream,
    server: SocketAddr,
    mut state: watch::Receiver<State>,
    generation: u64,
    counters: Arc<Counters>,
) {
    let Ok(Ok(server)) = timeout(CONNECT_LIMIT, TcpStream::connect(server)).await else { return };
    for stream in [&client, &server] {
        // Without it, small commands would wait for one another; it cannot be done is as good.
        let _ = stream.set_nodelay(true);
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let broken = state.clone();
    tokio::select! {
        () = carry(from_client, to_server, broken.clone(), Arc::clone(&counters)) => {}
        () = carry(from_server, to_client, broken, Arc::clone(&counters)) => {}
        _ = state.wait_for(|state| state.generation != generation) => {
            counters.broken.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Carries bytes in one direction until either end closes.
async fn carry(
    mut from: OwnedReadHalf,
    to: OwnedWriteHalf,
    state: watch::Receiver<State>,
    counters: Arc<Counters>,
) {
    let (pieces, taken) = mpsc::channel(PIECES_MAX);
    let modes = state.clone();
    let delayed = Arc::clone(&counters);
    let read = async move {
        let mut buffer = vec![0; PIECE_BYTES];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let mut due = Instant::now();
            if let Mode::Delay(delay) = modes.borrow().mode {
                due += delay;
                delayed.delayed.fetch_add(count as u64, Ordering::Relaxed);
            }
            if pieces.send((due, buffer[..count].to_vec())).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write(to, taken, state, counters));
}

async fn write(
    mut to: OwnedWriteHalf,
    mut pieces: mpsc::Receiver<(Instant, Vec<u8>)>,
    state: watch::Receiver<State>,
    counters: Arc<Counters>,
) {
    while let Some((due, piece)) = pieces.recv().await {
        sleep_until(due).await;
        let dripping = state.borrow().mode == Mode::Drip;
        let written = if dripping {
            counters.dripped.fetch_add(piece.len() as u64, Ordering::Relaxed);
            drip(&mut to, &piece).await
        } else {
            to.write_all(&piece).await
        };
        if written.is_err() {
            return;
        }
    }
}

async fn drip(to: &mut OwnedWriteHalf, piece: &[u8]) -> std::io::Result<()> {
    for (place, drop) in piece.chunks(DRIP_BYTES).enumerate() {
        to.write_all(drop).await?;
        if place % DRIPS_PER_PAUSE == 0 {
            sleep(DRIP_PAUSE).await;
        }
    }
    Ok(())
}
