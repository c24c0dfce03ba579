//! Where every operation of a process passes: open, shut while the process is
//! paused, and shut for good once it has crashed.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::Notify;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    Shut,
    Gone,
}

/// The gate of one process.
#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    opened: Notify,
    waited: AtomicU64,
}

impl Gate {
    /// The process is paused.
    pub(crate) fn shut(&self) {
        self.change(State::Shut);
    }

    /// The process goes on.
    pub(crate) fn open(&self) {
        self.change(State::Open);
        self.opened.notify_waiters();
    }

    /// The process is dead: nothing of it comes through any more.
    pub(crate) fn brick_up(&self) {
        self.change(State::Gone);
    }

    /// Waits until the gate is open.
    pub(crate) async fn pass(&self) {
        while self.state() != State::Open {
            let opened = self.opened.notified();
            self.waited.fetch_add(1, Ordering::Relaxed);
            opened.await;
        }
    }

    /// How often somebody had to wait.
    pub(crate) fn waited(&self) -> u64 {
        self.waited.load(Ordering::Relaxed)
    }

    fn state(&self) -> State {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, to: State) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state != State::Gone {
            *state = to;
        }
    }
}
