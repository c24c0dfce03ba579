//! SIGINT and SIGTERM. The first asks for an orderly end and cancels a token;
//! each further one asks for an immediate end, which the binary decides on.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What the user or the system asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopRequest {
    /// The first signal: stop in order. The token is cancelled.
    Graceful(StopSignal),
    /// A further signal: stop now.
    Immediate(StopSignal),
}

/// The signals that stop a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopSignal {
    /// SIGINT, from a terminal.
    Interrupt,
    /// SIGTERM, from a supervisor.
    Terminate,
}

/// Listens for the signals from its making on; none before [`Signals::next`]
/// is lost.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    token: CancellationToken,
    asked: bool,
}

impl Signals {
    /// Takes the signals over from the system's default, which is to die. Needs
    /// a tokio runtime.
    pub fn listen(token: CancellationToken) -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            token,
            asked: false,
        })
    }

    /// Waits for the next signal, as long as it takes; cancel safe.
    pub async fn next(&mut self) -> StopRequest {
        let signal = tokio::select! {
            Some(()) = self.interrupt.recv() => StopSignal::Interrupt,
            Some(()) = self.terminate.recv() => StopSignal::Terminate,
            // Not reached: the streams of signals do not end.
            else => std::future::pending().await,
        };
        if std::mem::replace(&mut self.asked, true) {
            return StopRequest::Immediate(signal);
        }
        self.token.cancel();
        StopRequest::Graceful(signal)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::*;

    fn send_terminate() {
        let pid = std::process::id().to_string();
        let status = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(status.success());
    }

    async fn next(signals: &mut Signals) -> StopRequest {
        let wait = tokio::time::timeout(Duration::from_secs(10), signals.next());
        wait.await.expect("a signal within ten seconds")
    }

    #[tokio::test]
    async fn the_second_signal_is_immediate() {
        let token = CancellationToken::new();
        let mut signals = Signals::listen(token.clone()).unwrap();
        send_terminate();
        let first = next(&mut signals).await;
        assert_eq!(first, StopRequest::Graceful(StopSignal::Terminate));
        assert!(token.is_cancelled());
        send_terminate();
        let second = next(&mut signals).await;
        assert_eq!(second, StopRequest::Immediate(StopSignal::Terminate));
    }
}
