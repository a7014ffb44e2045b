//! What the server counts about itself.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hyper::StatusCode;
use prometheus::proto::MetricFamily;

use super::connection::End;
use crate::families::Family;

/// Totals since the start of the agent.
#[derive(Debug, Default)]
pub struct HttpStats {
    /// Answers with status 200 to 299.
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

impl HttpStats {
    /// The totals as metrics.
    pub fn families(&self) -> Vec<MetricFamily> {
        let load = |counter: &AtomicU64| counter.load(Relaxed) as f64;
        let responses = Family::counter(
            "monitoring_agent_http_responses_total",
            "Answers to HTTP requests, by class of status.",
        )
        .with(&[("class", "2xx")], load(&self.answered_2xx))
        .with(&[("class", "4xx")], load(&self.answered_4xx))
        .with(&[("class", "5xx")], load(&self.answered_5xx));
        let refused = Family::counter(
            "monitoring_agent_http_connections_refused_total",
            "Connections closed without a full answer: for room, for slowness, or not accepted.",
        )
        .with(&[("reason", "accept_error")], load(&self.accept_errors))
        .with(&[("reason", "evicted")], load(&self.evicted_connections))
        .with(&[("reason", "timeout")], load(&self.timeouts));
        vec![responses.build(), refused.build()]
    }

    pub(super) fn count_answer(&self, status: StatusCode) {
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
