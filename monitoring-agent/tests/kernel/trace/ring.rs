//! The shared maps of tracing, as whoever reads them finds them.

use std::time::Duration;

use aya::{
    Pod,
    maps::{Map, PerCpuArray, RingBuf},
};
use monitoring_agent::{
    config::{Config, TraceAgents, TraceConfig},
    ring::decode,
};
use monitoring_common::trace::{Header, Record, SPANS, TRACE_COUNTS, TraceCounts};

use syscalls::Sysno;

use crate::node::Node;

/// What the kernel tells.
pub(crate) struct Spans {
    ring: RingBuf<aya::maps::MapData>,
    counts: PerCpuArray<aya::maps::MapData, TraceCounts>,
}

impl Spans {
    /// Of the sources that run.
    pub(crate) fn of(node: &Node) -> Self {
        Self {
            ring: Map::RingBuf(node.map(SPANS)).try_into().unwrap(),
            counts: Map::PerCpuArray(node.map(TRACE_COUNTS)).try_into().unwrap(),
        }
    }

    /// What has been told since the last time, as it came.
    pub(crate) fn take(&mut self) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        while let Some(record) = self.ring.next() {
            records.push(record.to_vec());
        }
        records
    }

    /// The records of a kind among what has been told since the last time; the others are gone.
    pub(crate) fn of_kind<D: Pod>(&mut self, kind: usize) -> Vec<Record<D>> {
        let records = self.take();
        let of_kind = records
            .iter()
            .filter(|record| usize::from(header(record).kind) == kind);
        of_kind.map(|record| decode(record).unwrap()).collect()
    }

    /// What became of candidates so far.
    pub(crate) fn counts(&self) -> TraceCounts {
        let mut sum = TraceCounts::EMPTY;
        for counts in self.counts.get(&0, 0).unwrap().iter() {
            sum.merge(counts);
        }
        sum
    }
}

/// What all records begin with.
pub(crate) fn header(record: &[u8]) -> Header {
    decode(&record[..size_of::<Header>()]).unwrap()
}

/// Has everything traced: each event of the watched agents, without a limit. `change` may take
/// something back.
pub(crate) fn traced(config: &mut Config, change: impl FnOnce(&mut Config)) {
    config.otlp_endpoint_given = true;
    config.trace_sample_rate = 1.0;
    config.sources.trace = TraceConfig {
        agents: TraceAgents::Watched,
        spans_per_second: 100_000,
        errors: Vec::new(),
        exclude_system_calls: Vec::new(),
        ..TraceConfig::default()
    };
    change(config);
}

/// Traces all calls of these names that the test process makes, and no others.
pub(crate) fn only_system_calls(names: &[&str], config: &mut Config) {
    let others = Sysno::iter().map(|call| call.name().to_owned());
    let trace = &mut config.sources.trace;
    trace.exclude_system_calls = others.filter(|call| !names.contains(&&**call)).collect();
    trace.slow_system_call = Some(Duration::ZERO);
    trace.process = None;
}
