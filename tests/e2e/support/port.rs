//! Ports for those who cannot be told to take any.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU16, Ordering},
};

/// Below the range that systems take the near ends of connections from: a port there
/// is free one moment, and the next moment somebody has connected to something by it.
const FIRST: u16 = 10_000;
const COUNT: u16 = 20_000;

/// A port that nobody listens on. Tests run side by side in processes of their own,
/// so each process begins somewhere else.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Steps of a prime take neighbours far from each other.
    let start = std::process::id().wrapping_mul(7_919) % u32::from(COUNT);
    (0..COUNT)
        .map(|_| {
            let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
            FIRST + u16::try_from((start + step * 13) % u32::from(COUNT)).expect("it is less than COUNT")
        })
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port among twenty thousand")
}
