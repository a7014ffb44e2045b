//! What the server counts about itself, as metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus::proto::MetricFamily;

use super::HttpStats;
use crate::families::Family;

/// The totals as metrics.
pub fn families(stats: &HttpStats) -> Vec<MetricFamily> {
    let load = |counter: &AtomicU64| counter.load(Relaxed) as f64;
    let responses = Family::counter(
        "monitoring_agent_http_responses_total",
        "Answers to HTTP requests, by class of status.",
    )
    .with(&[("class", "2xx")], load(&stats.answered_2xx))
    .with(&[("class", "4xx")], load(&stats.answered_4xx))
    .with(&[("class", "5xx")], load(&stats.answered_5xx));
    let refused = Family::counter(
        "monitoring_agent_http_connections_refused_total",
        "Connections closed without a full answer: for room, for slowness, or not accepted.",
    )
    .with(&[("reason", "accept_error")], load(&stats.accept_errors))
    .with(&[("reason", "evicted")], load(&stats.evicted_connections))
    .with(&[("reason", "timeout")], load(&stats.timeouts));
    vec![responses.build(), refused.build()]
}
