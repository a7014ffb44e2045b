//! The immutable state of all metrics at one moment, which every exporter shares.

use std::{sync::Arc, time::Instant};

use prometheus::proto::MetricFamily;

/// All metrics at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// Grows by one with each snapshot; 0 is the empty one from before the first collection.
    pub number: u64,
    /// When its sources were asked. Its age is added at each scrape, because it is the scrape's
    /// and not the snapshot's.
    pub taken: Instant,
    /// Families sorted by name, each with at least one sample, each name once.
    pub families: Vec<MetricFamily>,
    /// Whether at least one source has delivered: the agent is ready.
    pub ready: bool,
}

/// Where exporters find the newest snapshot, without waiting for anything.
pub type Latest = tokio::sync::watch::Receiver<Arc<Snapshot>>;

impl Snapshot {
    /// The snapshot from before the first collection.
    pub fn empty() -> Self {
        Self {
            number: 0,
            taken: Instant::now(),
            families: Vec::new(),
            ready: false,
        }
    }
}
