//! A node that traces what a test chooses, and all spans that it told of so far.

use std::time::Duration;

use aya::Pod;
use monitoring_agent::{config::Config, ring::decode};
use monitoring_common::trace::Record;

use super::ring::{Spans, header, traced};
use crate::{node::Node, poll::poll_until};

/// See the module.
pub(super) struct Traced {
    pub(super) node: Node,
    told: Spans,
    /// Records so far, in the ring's order.
    records: Vec<Vec<u8>>,
}

impl Traced {
    /// Starts families that trace every event of this process of the kinds that `change` gives a
    /// threshold; of the others none.
    pub(super) fn start(families: &[&str], change: impl FnOnce(&mut Config)) -> Self {
        let node = Node::with(families, |config| {
            let errors = std::mem::take(&mut config.sources.trace.errors);
            traced(config, |config| {
                let trace = &mut config.sources.trace;
                trace.errors = errors;
                trace.slow_system_call = None;
                trace.slow_disk_request = None;
                trace.slow_connect = None;
                trace.connection = None;
                trace.off_cpu = None;
                trace.process = None;
                trace.cuda_wait = None;
                change(config);
            });
        });
        Self {
            told: Spans::of(&node),
            records: Vec::new(),
            node,
        }
    }

    /// All spans of a kind so far that are wanted.
    pub(super) fn spans<D: Pod>(
        &mut self,
        kind: usize,
        wanted: impl Fn(&Record<D>) -> bool,
    ) -> Vec<Record<D>> {
        self.records.extend(self.told.take());
        let records = self.records.iter();
        let of_kind = records.filter(|record| usize::from(header(record).kind) == kind);
        let decoded = of_kind.map(|record| decode(record).expect("each kind has one size"));
        decoded.filter(wanted).collect()
    }

    /// Waits until there are so many spans of a kind that are wanted. There must not be more.
    pub(super) fn wait_for<D: Pod>(
        &mut self,
        kind: usize,
        count: usize,
        wanted: impl Fn(&Record<D>) -> bool,
    ) -> Vec<Record<D>> {
        poll_until("the spans", || {
            let spans = self.spans(kind, &wanted);
            assert!(spans.len() <= count, "{} spans of kind {kind}", spans.len());
            (spans.len() == count).then_some(spans)
        })
    }

    /// Asserts that each candidate of a kind was told of or was not in the sample, and how many there
    /// were of both.
    pub(super) fn assert_counted<D: Pod>(&mut self, kind: usize, told: usize, sampled_out: u64) {
        assert_eq!(self.spans::<D>(kind, |_| true).len(), told);
        let sum = self.told.counts();
        assert_eq!(sum.sampled_out[kind], sampled_out, "not in the sample");
        assert_eq!(sum.generated[kind], told as u64 + sampled_out, "candidates");
        assert_eq!((sum.capped, sum.ring_full), (0, 0));
    }
}

/// Longer than anything here lasts: events are candidates only when they fail.
pub(super) const NEVER_SLOW: Option<Duration> = Some(Duration::from_hours(1));

/// All events of a kind are candidates.
pub(super) const ALL: Option<Duration> = Some(Duration::ZERO);
