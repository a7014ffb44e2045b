//! Waiting in tests: for a state, up to a deadline, never for a guessed time.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How long a test waits for what another process or the kernel does on its own time. Generous,
/// because a guest without hardware virtualisation is a hundred times slower.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Polls until `done` returns something.
pub(crate) fn poll_until<T>(what: &str, done: impl FnMut() -> Option<T>) -> T {
    let found = poll_to_deadline(done);
    found.unwrap_or_else(|| panic!("not within {PATIENCE:?}: {what}"))
}

/// As [`poll_until`], at the end of a test that may have failed already: then a second failure
/// would end the whole suite.
#[allow(dead_code, reason = "not every suite has something to put away")]
pub(crate) fn poll_at_end(what: &str, done: impl FnMut() -> Option<()>) {
    let found = poll_to_deadline(done).is_some();
    assert!(
        found || thread::panicking(),
        "not within {PATIENCE:?}: {what}"
    );
}

fn poll_to_deadline<T>(mut done: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = done() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(Duration::from_millis(5));
    }
}
