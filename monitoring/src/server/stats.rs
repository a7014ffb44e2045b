//! What the server counts about itself.
//!
//! Knows no metric: what the counts are called is the site's to say.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hyper::StatusCode;

use super::connection::End;

/// Totals since the start of the server.
#[derive(Debug, Default)]
pub struct Stats {
    /// Answers with status 200 to 299, and 304: the client has the answer already.
    pub answered_2xx: AtomicU64,
    /// Answers with status 400 to 499, those to requests that are not HTTP included.
    pub answered_4xx: AtomicU64,
    /// Answers with status 500 to 599: not ready, or a deadline passed.
    pub answered_5xx: AtomicU64,
    /// Connections closed to make room for others.
    pub evicted_connections: AtomicU64,
    /// Connections closed because the client sent its request or read its answer too slowly.
    /// Those that were kept open for a next request that did not come do not count.
    pub timeouts: AtomicU64,
    /// Failed accepts, for example for want of file descriptors.
    pub accept_errors: AtomicU64,
}

impl Stats {
    /// Counts an answer.
    pub fn count_answer(&self, status: StatusCode) {
        let counter = match status.as_u16() {
            ..400 => &self.answered_2xx,
            400..500 => &self.answered_4xx,
            500.. => &self.answered_5xx,
        };
        counter.fetch_add(1, Relaxed);
    }

    pub(super) fn count_end(&self, end: End) {
        match end {
            End::Closed => {}
            End::Malformed => _ = self.answered_4xx.fetch_add(1, Relaxed),
            End::TimedOut => _ = self.timeouts.fetch_add(1, Relaxed),
        }
    }
}
