//! Waiting in tests: for a state, up to a deadline, never for a guessed time.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How long a test waits for what another process or the kernel does on its own time. Generous,
/// because a guest without hardware virtualisation is a hundred times slower.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Polls until `done` returns something.
pub(crate) fn poll_until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
